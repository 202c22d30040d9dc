"""What the shell can ask for: the arguments of `python train.py` and `python -m hmdb_lib`, and how errors are told."""

import argparse
import functools
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

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


def main(argv: Sequence[str]) -> int:
    """`python -m hmdb_lib cost ...`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hmdb_lib", description="What stands beside training.")
    commands = parser.add_subparsers(dest="command", required=True)
    cost = commands.add_parser("cost", help="parameters, FLOPs and tokens of rows, beside the published numbers")
    cost.add_argument("rows", nargs="*", help="rows of experiments.yaml; none: all")
    cost.add_argument("--json", action="store_true", help="one object, row -> numbers")
    cost.add_argument("--measure", action="store_true", help="seconds and peak memory too, one clip at a time")
    arguments = parser.parse_args(argv)
    return guarded(lambda: _cost(arguments.rows, arguments.json, arguments.measure))


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


def _cost(rows: Sequence[str], as_json: bool, measure: bool) -> None:
    chosen = {row: config.load(row, auto="hmdb51") for row in rows or config.rows()}
    from hmdb_lib import cost, models, tables  # noqa: PLC0415 - a wrong row must not wait for torch to load

    builds = {}
    for row, experiment in chosen.items():
        arguments = experiment.architecture()
        builds[row] = (arguments.pop("name"), arguments, experiment.data.frames, experiment.data.crop)
    table = cost.table(builds, models.build)
    if measure:
        measured = {
            row: cost.measure(functools.partial(models.build, name, 51, **arguments), frames, size)
            for row, (name, arguments, frames, size) in tqdm(builds.items(), "measuring", unit="row")
        }
        table = table.join(pd.DataFrame.from_dict(measured, orient="index"))
    print(table.to_json(orient="index", indent=2) if as_json else tables.cost_text(table))


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
