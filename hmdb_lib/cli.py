"""Read the command line: `hmdb <command> ...`, `python -m hmdb_lib <command> ...`, `python train.py ...`.

Each command is defined beside what it calls; no command's --help waits for torch, pandas or PyAV.
"""

import argparse
import sys
from collections.abc import Sequence

import data_prep.commands
import hmdb_lib as hl
import hmdb_lib.features.commands
import hmdb_lib.inference.commands
import hmdb_lib.studies.commands
import hmdb_lib.training.commands

ROOMS = (hmdb_lib.training, hmdb_lib.studies, hmdb_lib.features, hmdb_lib.inference, data_prep)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command (None: from the shell's arguments); returns 0, 2 for what a user can mend (told in one line on stderr), or 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="hmdb", description="Video-classification experiments on HMDB51.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for room in ROOMS:
        room.commands.add_commands(commands)
    doctor = commands.add_parser("doctor", help="print what this machine has, and what on it would fail")
    doctor.set_defaults(run=lambda _: hl.examine())
    first_hour = commands.add_parser(
        "first-hour",
        help="check the machine, get HMDB51, probe, compare with the public board, train heads by budget",
        usage="hmdb first-hour [--hours 1] [--splits 1 2 3] [key=value ...] [--config FILE]",
    )
    first_hour.add_argument("--hours", type=float, default=1.0, help="of all steps together; default: 1")
    first_hour.add_argument("--splits", nargs="+", type=int, default=[1, 2, 3], help="default: 1 2 3")
    hmdb_lib.training.commands.add_config(first_hour)
    first_hour.set_defaults(run=_first_hour, stopped="stopped; the same command goes on after the last step")
    command = commands.choices.get(argv[0]) if argv else None
    takes_keys = command is not None and command.get_default("keyed")
    # A key=value may stand anywhere, behind --seeds 0 1 2 too, which would take it for a seed.
    keys = [word for word in argv if "=" in word and word[0] != "-"] if takes_keys else []
    arguments = parser.parse_args([word for word in argv if word not in keys], argparse.Namespace(changes=keys))
    return data_prep.commands.run(arguments)


def _first_hour(arguments: argparse.Namespace) -> int:
    would_fail = hl.examine()
    given = {"changes": arguments.changes, "file": arguments.config}
    findings = hl.first_hour(hours=arguments.hours, splits=arguments.splits, **given)
    return 2 if findings or would_fail else 0
