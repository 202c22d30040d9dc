"""Define the command `hmdb train`, which `python train.py` is too. Needs no torch before it runs."""

import argparse
import math
import os
import sys
import textwrap
import threading

from data_prep.commands import add_config
from hmdb_lib import config

GOES_ON = "stopped; the same command goes on from the last finished epoch"


def add_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `train` to a parser's sub-commands; the parsed arguments hold `run`, a function that takes them."""
    parser = subparsers.add_parser(
        "train",
        help="train, evaluate and record one experiment",
        usage="hmdb train [row] [key=value ...] [--config FILE]",
        description="Train, evaluate and record one experiment.",
        epilog=_rows_and_keys(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser, row=True)
    parser.add_argument("--end-with-stdin", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=math.inf, help=argparse.SUPPRESS)
    parser.set_defaults(run=_train, stopped=GOES_ON)


def _train(arguments: argparse.Namespace) -> int:
    if arguments.end_with_stdin:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    experiment = config.load(arguments.row, arguments.changes, arguments.config)  # a wrong key does not wait for torch
    from hmdb_lib.training.experiment import train  # noqa: PLC0415 - the help must not wait for torch
    from hmdb_lib.training.launch import TIME_IS_UP  # noqa: PLC0415 - as above

    run = train(experiment, until=arguments.until)
    # Of several machines all but one return before the first has written the run's summary.
    return 0 if arguments.until == math.inf or run.finished else TIME_IS_UP


def _end_with_stdin() -> None:
    """End the run when the pipe to its standard input closes: an `hmdb study` that is killed leaves no run behind."""
    os.read(sys.stdin.fileno(), 1)  # no Python lock is held meanwhile, which forked readers of videos would inherit
    os._exit(1)


def _rows_and_keys() -> str:
    width = max(map(len, config.rows()))
    rows = [
        textwrap.fill(row["question"], 120, initial_indent=f"  {name:{width}}  ", subsequent_indent=" " * (width + 4))
        for name, row in config.rows().items()
    ]
    keys = config.CONFIG.read_text(encoding="utf-8")
    return "\n".join(["rows (experiments.yaml):", *rows, "", "keys (config.yaml):", keys])
