"""`python -m data_prep <command>`: the steps before training, from the shell. No logic."""

import argparse
import sys
from collections.abc import Sequence

from data_prep import extract
from data_prep.drawn import pairs, sample
from data_prep.hmdb51 import download, verify
from hmdb_lib.errors import UserError

COMMANDS = {
    "download": (download, "download HMDB51, unpack it and prove it whole"),
    "verify": (verify, "prove HMDB51 whole and write its manifest"),
    "extract": (extract, "decode every video once into a frame store that training reads fast"),
    "sample": (sample, "make the sample data set of drawn figures"),
    "pairs": (pairs, "draw pairs of figures without end, to learn from before the real videos"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (None: the shell's); what a user can mend is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser("python -m data_prep", description="The steps before training.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, (module, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose)
        module.add_arguments(command)
        command.set_defaults(main=module.main)
    arguments = parser.parse_args(argv)
    try:
        return arguments.main(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
