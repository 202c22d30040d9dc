"""Run `python -m data_prep <command>`."""

import argparse
import sys
from collections.abc import Sequence

from data_prep.commands import add_commands, run


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (None: from the shell's arguments); returns its exit code, see `commands.run`."""
    parser = argparse.ArgumentParser("python -m data_prep", description="Prepare data sets for training.")
    add_commands(parser.add_subparsers(required=True, metavar="command"))
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
