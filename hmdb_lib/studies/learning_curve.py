"""Measure what a first stage on other videos is worth, by the number of videos in the second stage."""

import contextlib
import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hmdb_lib import config, environment
from hmdb_lib.config import Config
from hmdb_lib.errors import UserError
from hmdb_lib.results.intervals import holm
from hmdb_lib.results.metrics import mean_where_uneven
from hmdb_lib.results.runs import read_predictions, write_predictions, write_whole
from hmdb_lib.results.statistics import accuracy_interval, compare, run_spreads
from hmdb_lib.results.tables import pool_runs
from hmdb_lib.studies import study
from hmdb_lib.studies.board import Board
from hmdb_lib.studies.job import Job
from hmdb_lib.training import experiment as training

Arm = tuple[str, Mapping[str, Any]]  # a row of experiments.yaml, and changes of keys
OWN = {"name", "seed", "data.split", "data.sources", "train.epochs", "train.warmup_epochs"}  # what a curve sets itself
COLUMNS = [
    *("arm", "sources", "runs", "videos", "test_sources", "accuracy", "accuracy_low", "accuracy_high"),
    *("spread_between_runs", "reference", "difference", "difference_low", "difference_high", "p", "p_holm"),
    "compared_videos",
]


def learning_curve(
    arms: Mapping[str, Arm],
    counts: Sequence[int],
    splits: Sequence[int] = (1,),
    seeds: Sequence[int] = (0,),
    *,
    updates: int,
    changes: Mapping[str, Any] = {},
    file: Path = config.CONFIG,
) -> pd.DataFrame:
    """Train every arm on each number of source videos, run what is missing, and write the table, which is returned.

    No video is held out for validation, which would be a source more than the count says: the last epoch is tested.

    Args:
        arms: a name -> a row of experiments.yaml and its changes of keys, such as model.pretrained: a run's folder.
            The first arm of a row is what the row's others are compared with, pair by pair on the same videos.
        counts: how many source videos train (`data.sources`); no more than a split has.
        splits, seeds: of every arm and count.
        updates: optimiser steps, the same for all: fewer videos are seen more often. Rounded to whole epochs.
        changes: of keys for every run, over what the arms say. Epochs, sources and names of runs follow from the above.
        file: another config.yaml under what the rows say.

    The file is <results>/learning_curves/<arms>-<data>.csv (-frozen, -quick as of a table); its columns are in
    results/README.md. All predictions go to one file beside it. What each run prints goes to log.txt in its folder.
    Raises UserError, after writing it, where runs failed; before any is trained, for a count that a split has not.

    Example:
        >>> arms = {"scratch": ("baseline", {"model.pretrained": "none"}), "kinetics": ("baseline", {})}
        >>> hl.learning_curve(arms, counts=[1, 2, 4], updates=300)

    """
    place = environment.place()
    jobs = plan(arms, counts, splits, seeds, updates, changes, place, file)
    everything = [job for of_arm in jobs.values() for job in of_arm]
    board = Board(everything)
    missing, expected = study.look(everything, place, board.tell)
    try:
        study.finish(everything, missing, expected, place, board, to_log=True)
    finally:
        table = _write(arms, jobs, place.results)
    return table


def plan(
    arms: Mapping[str, Arm],
    counts: Sequence[int],
    splits: Sequence[int],
    seeds: Sequence[int],
    updates: int,
    changes: Mapping[str, Any],
    place: environment.Place,
    file: Path = config.CONFIG,
) -> dict[tuple[str, int], list[Job]]:
    """List the runs of each arm and count, as `learning_curve` describes them. Raises UserError."""
    given = set().union(config.parse(config.as_overrides(changes)), *(own for _, own in arms.values()))
    if told := sorted(given & OWN):
        raise UserError(
            f"learning_curve: {', '.join(told)} cannot be given: runs are called <arm>-<count>, `counts` says their sources, "
            "`updates` their epochs, `seeds` and `splits` the rest"
        )
    jobs: dict[tuple[str, int], list[Job]] = {}
    alike = study.trained_alike(
        {arm: (row, config.as_overrides({**own, **changes})) for arm, (row, own) in arms.items()}, file
    )
    for count in counts:
        for arm, (row, _) in arms.items():
            fixed = config.as_overrides({"data.sources": count, "name": f"{arm}-{count}"})
            asked = ["data.validation_share=0", "train.keep=best", *alike[arm], *fixed]
            experiment = config.load(row, asked, file)
            jobs[arm, count] = []
            # A split may have more training videos than another, and a seed draws other sources.
            for split, seed in itertools.product(dict.fromkeys(splits), dict.fromkeys(seeds)):
                epochs = _epochs(experiment.model_copy(update={"seed": seed}), updates, split, place)
                steps = [f"train.epochs={epochs}", f"train.warmup_epochs={min(1.0, 0.1 * epochs)}"]
                jobs[arm, count] += study.plan([row], [split], [seed], [*asked, *steps], place, file)
    return jobs


def _write(arms: Mapping[str, Arm], jobs: Mapping[tuple[str, int], Sequence[Job]], results: Path) -> pd.DataFrame:
    everything = [job for of_arm in jobs.values() for job in of_arm]
    stem = results / "learning_curves" / study.stem(list(arms), everything, [])
    stem.parent.mkdir(parents=True, exist_ok=True)
    lines, found = [], []
    for (arm, count), of_arm in jobs.items():
        first = next(name for name, (row, _) in arms.items() if row == arms[arm][0])
        lines.append({"arm": arm, "sources": count, "reference": None if arm == first else first})
        finished = [job.run for job in of_arm if job.run.finished]
        if finished:
            found.append(pool_runs(finished).droplevel(-1).reset_index().assign(arm=arm, sources=count))
    predictions = stem.with_name(f"{stem.name}-predictions.csv.gz")
    table = pd.DataFrame(lines)
    shown = table.reindex(columns=COLUMNS)
    if found:
        # Written first and read again, so that the table follows from the file to the last digit.
        write_predictions(pd.concat(found), predictions)
        shown = curve_table(table, read_predictions(predictions, "arm"))
    write_whole(stem.with_name(f"{stem.name}.csv"), shown.to_csv(index=False))
    print(f"table: {stem}.csv, predictions: {predictions}")
    return shown


def _epochs(experiment: Config, updates: int, split: int, place: environment.Place) -> int:
    """Compute the epochs that make `updates` steps on the training videos of an experiment.

    Raises UserError where these are of fewer sources than `data.sources` asks for.
    """
    experiment = experiment.changed("data", split=split)
    with contextlib.redirect_stdout(io.StringIO()):  # each run says again what data it reads
        training_part = training.read_data(experiment, place).tables["train"]
    count, sources, videos = experiment.data.sources, training_part.group.nunique(), len(training_part)
    if count is not None and sources < count and not experiment.quick:  # which is cut to few videos, and no result
        raise UserError(f"counts={count}: split {split} has {sources} training sources; leave it out")
    train = experiment.train
    if train.batch_size == "auto":
        raise UserError("a learning curve counts steps, so that it needs a number for train.batch_size, not auto")
    return max(1, round(updates / max(1, videos // train.batch_size // train.accumulate)))


def curve_table(asked: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Compute a learning curve's table from its predictions, as they stand in <table>-predictions.csv.gz.

    `asked` has the columns arm, sources and reference (the arm that the difference is to), one line each.
    """
    keys, run = ["arm", "sources"], ["split", "seed"]
    pools = {key: pool.drop(columns=keys).set_index(run, append=True) for key, pool in predictions.groupby(keys)}
    spreads = run_spreads(pools)
    lines = []
    for arm, count, reference in asked[[*keys, "reference"]].itertuples(index=False):
        line: dict[str, Any] = {"arm": arm, "sources": count, "runs": 0, "reference": reference}
        if (arm, count) in pools:
            pool, (spread, spread_from) = pools[arm, count], spreads[arm, count]
            line |= {"runs": len(pool.groupby(level=run)), "videos": pool.video.nunique()}
            line |= accuracy_interval(pool, spread).columns("test_sources")
            line |= {"spread_between_runs": spread_from} | mean_where_uneven(pool)
            if (reference, count) in pools:
                both = (spread, spreads[reference, count][0])
                versus = compare(pool, pools[reference, count], both, partial=True)
                line |= versus.columns() | {"compared_videos": versus.videos}
        lines.append(line)
    uneven = ["mean_class_accuracy"] if any("mean_class_accuracy" in line for line in lines) else []
    table = pd.DataFrame(lines).reindex(columns=[*COLUMNS, *uneven])
    compared = table.p.notna()
    table.loc[compared, "p_holm"] = holm(table.p[compared].to_numpy(float), int(asked.reference.notna().sum()))
    return table
