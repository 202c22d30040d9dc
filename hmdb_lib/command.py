"""What the shell can ask for: the arguments of `python train.py` and `python -m hmdb_lib`, and how errors are told."""

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from hmdb_lib import config
from hmdb_lib.errors import UserError


def train(argv: Sequence[str]) -> int:
    """`python train.py [row] [key=value ...] [--config FILE]`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        usage="python train.py [row] [key=value ...] [--config FILE]",
        description="Train, evaluate and record one experiment.",
        epilog=_rows_and_keys(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "changes", nargs="*", metavar="row | key=value", help="a row of experiments.yaml, then single keys"
    )
    parser.add_argument(
        "--config", type=Path, default=config.CONFIG, metavar="FILE", help="another config.yaml, a run's own too"
    )
    arguments = parser.parse_intermixed_args(argv)
    return guarded(lambda: _train(arguments.changes, arguments.config))


def guarded(work: Callable[[], object]) -> int:
    """Do the work; tell what a user can mend in one line on stderr. The exit code: 0, 2 for that, 130 for Ctrl-C."""
    try:
        work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last finished epoch", file=sys.stderr)
        return 130
    return 0


def _train(changes: Sequence[str], file: Path) -> None:
    row, overrides = (changes[0], changes[1:]) if changes and "=" not in changes[0] else (None, changes)
    # A wrong key must not wait for torch to load.
    config.load(row, overrides, file)
    from hmdb_lib import environment, training  # noqa: PLC0415

    training.run(config.load(row, overrides, file, environment.place().best_dataset))


def _rows_and_keys() -> str:
    width = max(map(len, config.rows()))
    rows = [
        textwrap.fill(row["question"], 120, initial_indent=f"  {name:{width}}  ", subsequent_indent=" " * (width + 4))
        for name, row in config.rows().items()
    ]
    return (
        "rows (experiments.yaml):\n"
        + "\n".join(rows)
        + "\n\nkeys (config.yaml):\n"
        + config.CONFIG.read_text(encoding="utf-8")
    )
