"""Read the command line: `hmdb <command> ...`, `python -m hmdb_lib <command> ...`, `python train.py ...`.

Each command is defined beside what it calls; no command's --help waits for torch, pandas or PyAV.
"""

import argparse
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Sequence

import data_prep.commands
import hmdb_lib.features.commands
import hmdb_lib.inference.commands
import hmdb_lib.studies.commands
import hmdb_lib.training.commands
from hmdb_lib import environment
from hmdb_lib.errors import UserError

ROOMS = (hmdb_lib.training, hmdb_lib.studies, hmdb_lib.features, hmdb_lib.inference, data_prep)
KEYED = ("train", "study", "audit", "features", "probe")  # commands that take key=value


def entry() -> int:
    """Run the console script `hmdb`; returns the exit code."""
    return main(sys.argv[1:])


def train(argv: Sequence[str]) -> int:
    """Run `python train.py [row] [key=value ...] [--config FILE]`; returns the exit code."""
    return main(["train", *argv])


def main(argv: Sequence[str]) -> int:
    """Run a command; returns 0, 2 for what a user can mend (told in one line on stderr), or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="hmdb", description="Video-classification experiments on HMDB51.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for room in ROOMS:
        room.commands.add_commands(commands)
    doctor = commands.add_parser("doctor", help="print versions, device, folders and free disk, for a bug report")
    doctor.set_defaults(run=_doctor)
    # A key=value may stand anywhere, behind --seeds 0 1 2 too, which would take it for a seed.
    keys = [word for word in argv if "=" in word and word[0] != "-"] if argv[:1] and argv[0] in KEYED else []
    arguments = parser.parse_args([word for word in argv if word not in keys], argparse.Namespace(changes=keys))
    try:
        return arguments.run(arguments) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(vars(arguments).get("stopped", "stopped"), file=sys.stderr)
        return 130


def _doctor(arguments: argparse.Namespace) -> None:
    from hmdb_lib.device import choose_device  # noqa: PLC0415 - the help must not wait for torch

    place = environment.place()
    print(f"python {platform.python_version()} on {platform.platform()}, {environment.cores()} cores")
    for name in ("hmdb-lib", "torch", "torchvision", "lightning", "transformers", "av", "numpy", "pandas"):
        print(name, importlib.metadata.version(name))
    print(f"device: {choose_device().reason}\nplace: {place.name}")
    for what, folder in (("data", place.data), ("results", place.results)):
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        writable = "" if os.access(there, os.W_OK) else ", not writable"
        print(f"{what}: {folder}, {shutil.disk_usage(there).free / 1e9:.0f} GB free{writable}")
