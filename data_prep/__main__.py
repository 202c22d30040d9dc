"""Run `python -m data_prep <command>`."""

import argparse
import sys
from collections.abc import Sequence

from data_prep.commands import add_commands
from hmdb_lib.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (None: from the shell's arguments). Prints a UserError in one line and returns 2."""
    parser = argparse.ArgumentParser("python -m data_prep", description="Prepare data sets for training.")
    add_commands(parser.add_subparsers(required=True, metavar="command"))
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
