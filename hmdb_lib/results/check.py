"""Check that results add up: every number of a run and of a table against the predictions beside it; merge folders."""

import hashlib
import json
import math
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from hmdb_lib import config
from hmdb_lib.config import Config
from hmdb_lib.data.hmdb51 import OFFICIAL_TEST
from hmdb_lib.environment import place
from hmdb_lib.errors import UserError
from hmdb_lib.results import tables
from hmdb_lib.results.metrics import best_epoch, classes_of, column_of
from hmdb_lib.results.runs import Run, write_whole
from hmdb_lib.results.statistics import compare, measure_test

NAMED = 3  # differing numbers of a table that are told


def check_results(results: Path | str | None = None) -> int:
    """Check every finished run and every table of a results folder; print what does not add up, a line each.

    Numbers are computed again from predictions.csv, of a table from those of its runs; a run's videos are held against
    HMDB51's official lists (unless data.classes or data.limit leave some out), its configuration against its row.
    Runs whose commit is not known are counted, as those of code that was not committed: that is no fault. Parameters, FLOPs and seconds of the test are taken as
    they are. `results`: None: this machine's. Returns 2 if anything does not add up, else 0. Raises UserError where
    there is neither run nor table.

    Example:
        >>> hl.check_results()

    """
    results = Path(results or place().results)
    runs = [Run(file.parent) for file in sorted((results / "runs").glob("*/*/summary.json"))]
    files = tables.table_files(results)
    if not runs and not files:
        raise UserError(f"{results}: holds no finished run and no table; name a folder that has runs/ or tables/")
    problems = [f"{run.folder}: {told}" for run in runs for told in check_run(run)]
    problems += [f"{file}: {told}" for file in files for told in check_table(file)]
    commits = [run.summary.get("commit") for run in runs if run.finished]
    changed, unknown = sum(str(commit).endswith("+changes") for commit in commits), sum(not each for each in commits)
    if changed:
        print(f"{changed} runs are of code with changes that were not committed, so nobody else can read it")
    if unknown:
        print(f"{unknown} runs are of code whose commit is not known: it was no git checkout")
    print(*problems, f"{len(runs)} runs and {len(files)} tables, {len(problems) or 'no'} faults", sep="\n")
    return 2 if problems else 0


def check_run(run: Run) -> list[str]:
    """List what of a finished run does not follow from its predictions, its epochs and its configuration."""
    try:
        experiment, summary, predictions = run.config, run.summary, run.predictions
        columns = {"classes": list(map(column_of, summary["classes"]))} if "classes" in summary else {}
        faults = _unlike("test.", summary["test"], _recomputed(run)) + _unlike("", summary | columns, _known(run))
        if (without := run.predictions_without_gate) is not None:
            faults += _unlike("attention.gate.", summary["attention"]["gate"], compare(predictions, without).columns())
    except (OSError, ValueError, LookupError, AttributeError, TypeError, UserError) as error:
        return [f"cannot be read: {type(error).__name__}: {error}"]
    belongs = Run.of(experiment, Path()).folder
    if run.folder.resolve().parts[-2:] != belongs.parts[-2:]:
        faults.append(f"its configuration is that of {'/'.join(belongs.parts[-2:])}")
    data = experiment.data
    whole = not experiment.quick and data.classes is None and data.limit is None
    if data.dataset == "hmdb51" and whole:
        listed = hashlib.sha256("\n".join(sorted(predictions.video)).encode()).hexdigest()
        if listed != OFFICIAL_TEST[data.split]:
            faults.append(f"its test videos are not the 1,530 of HMDB51's split {data.split}")
    return faults + _unlike_row(experiment)


def check_table(file: Path) -> list[str]:
    """List what of a table in <results>/tables does not follow from the predictions of its runs in <results>/runs."""
    try:
        written = tables.read_written(file)
        table, runs, own = written.frame, written.runs, list(written.runs)
        faults = [
            f"row {row}: {run.folder.name} is {told}"
            for row in own
            for run in runs[row]
            for told in _unfit(run, written.kinds)
        ]
        references = {str(row): str(to) for row, to in table.reference[own].dropna().items()}
        reference = next((to for to in references.values() if to not in references), own[0])
        judged = config.of_tables(written.names.split("+"), "judged")
        for row, _, way in (label.partition(": ") for label in table.index if ": " in label):
            judged[row] = [*dict.fromkeys([*judged.get(row, ()), way])]
        expected = tables.study(runs, reference, references, judged)
    except UserError as error:
        return [str(error).removeprefix(f"{file}: ")]
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        return [f"cannot be read: {type(error).__name__}: {error}"]
    lines = {
        "not in it": expected.index.difference(table.index),
        "without runs": table.index.difference(expected.index),
    }
    lines |= {"columns not in it": expected.columns.difference(table.columns)}
    faults += [f"{what}: {', '.join(found)}; run hmdb study again" for what, found in lines.items() if len(found)]
    differing = _unlike("", table.to_dict("index"), expected.to_dict("index"))
    return faults + differing[:NAMED] + [f"and {len(differing) - NAMED} numbers more"] * (len(differing) > NAMED)


def merge_results(*sources: Path | str, results: Path | str | None = None) -> int:
    """Copy the finished runs of other results folders, or of zip files of them, into one; print a line for each.

    A run that is there already is left. Another run of the same row, split and seed is kept apart: its row is called
    <row>-<name of its source>, so that `hmdb study <row> name=<name of the source>` reads it. One that does not add up
    (see `check_results`) or is not finished is refused with the reason. Returns 2 if any was, else 0.

    Args:
        sources: folders, or zip files; runs may lie anywhere in them.
        results: where to; None: this machine's.

    Raises UserError for a source that holds no run.

    Example:
        >>> hl.merge_results("kaggle.zip", "my_colab_results")

    """
    results, refused = Path(results or place().results), 0
    for source in map(Path, sources):
        with _opened(source) as folder:
            found = [Run(file.parent) for file in sorted(folder.rglob("runs/*/*/config.yaml"))]
            if not found:
                raise UserError(
                    f"{source}: holds no runs/<row>/<run>/config.yaml; name a results folder or a zip of one"
                )
            if others := len(list(folder.rglob("pretraining/*/*/config.yaml"))):
                print(
                    f"{source.name}: {others} runs without labels in pretraining/ are not copied; copy that folder yourself"
                )
            for run in found:
                faults = check_run(run) if run.finished else ["is not finished"]
                told = f"refused: {'; '.join(faults)}" if faults else _take(run, results, source)
                refused += told.startswith("refused")
                print(f"{source.name}: {run.folder.parent.name}/{run.folder.name}: {told}")
    print(f"all in {results}; hmdb study writes its tables anew")
    return 2 if refused else 0


def _take(run: Run, results: Path, source: Path) -> str:
    """Copy a run to its place, or, where another has that, to one named after the source."""
    experiment = run.config
    there = Run.of(experiment, results)
    if there.folder.exists() and not _same(run, there):
        called = source.stem if source.is_file() else source.name  # a folder's name may hold dots
        name = f"{experiment.name or experiment.row}-{re.sub(r'[^A-Za-z0-9_]+', '_', called)}"
        experiment = experiment.model_copy(update={"name": name})
        there = Run.of(experiment, results)
        if there.folder.exists() and not _same(run, there):
            return f"refused: {there.folder} holds another run; give {source} another name"
    if there.folder.exists():
        return "is there already"
    there.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=there.folder.parent, prefix=".") as part:
        copy = Path(shutil.copytree(run.folder, Path(part) / "run"))
        if experiment.name != run.config.name:
            write_whole(copy / "config.yaml", experiment.to_yaml())
            summary = json.dumps(run.summary | {"name": experiment.title}, indent=2)
            write_whole(copy / "summary.json", f"{summary}\n")
        copy.rename(there.folder)
    return f"added as {there.folder.parent.name}/{there.folder.name}"


def _same(run: Run, other: Run) -> bool:
    """Whether two runs, of which one may be renamed, are one: their predictions and epochs agree to the digit."""
    names = ("predictions.csv", "metrics.csv")
    one, two = ([file.read_bytes() for name in names if (file := of.folder / name).exists()] for of in (run, other))
    return one == two


@contextmanager
def _opened(source: Path) -> Iterator[Path]:
    """Give the folder that a source is, or that a zip holds."""
    if not source.is_file():
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(source) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise UserError(
                f"{source}: is no zip file, or a torn one ({error}); name a folder or a zip of one"
            ) from None
        yield Path(folder)


def _recomputed(run: Run) -> dict[str, float]:
    numbers = measure_test(run.predictions)
    if run.config.evaluate.vote == "majority":
        del numbers["loss"]  # of the clips' probabilities, which predictions.csv does not hold
    return numbers


def _known(run: Run) -> dict[str, Any]:
    """What of a summary the configuration and the epochs say too."""
    experiment, metrics = run.config, run.metrics
    known = {
        **{"row": experiment.row, "name": experiment.title, "data": experiment.data.name, "quick": experiment.quick},
        **{"split": experiment.data.split, "seed": experiment.seed, "final_fit": experiment.train.final_fit},
        **{"trials": experiment.trials, "classes": classes_of(run.predictions)},
    }
    if len(metrics):
        known |= {"epochs_done": len(metrics), "seconds": run.summary["seconds"] | {"training": metrics.seconds.sum()}}
        epoch = best_epoch(metrics) if experiment.validates and experiment.train.choose_on == "validation" else None
        epoch = int(run.summary["best_epoch"]["epoch"]) if epoch is None else epoch
        known["best_epoch"] = metrics[metrics.epoch == epoch].iloc[0].dropna().to_dict()
    return known


def _unlike(prefix: str, told: Mapping[Any, Any], computed: Mapping[Any, Any]) -> list[str]:
    """Compare values that both have, names of the first behind a prefix."""
    faults = []
    for key, value in computed.items():
        if key in told and isinstance(value, Mapping):
            faults += _unlike(f"{prefix}{key}.", told[key], value)
        elif key in told and not _equal(told[key], value):
            faults.append(f"{prefix}{key} is {told[key]}, but {value} by what lies beside it")
    return faults


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, str | list | None) or isinstance(other, str | list | None):
        return one == other or (not isinstance(one, list) and bool(pd.isna(one)) and bool(pd.isna(other)))
    return (pd.isna(one) and pd.isna(other)) or math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)


def _unlike_row(experiment: Config) -> list[str]:
    """Tell the settings of its row that a run does not have, but for a quick run, which is smaller on purpose."""
    flat = experiment.flat()
    own = {} if experiment.quick else _row_settings(experiment.row)
    differing = [f"{key} ({own[key]} there, {flat[key]} here)" for key in own if own[key] != flat[key]]
    return [f"its row in experiments.yaml differs: {', '.join(differing)}"] if differing else []


def _row_settings(row: str) -> dict[str, Any]:
    """Say what experiments.yaml sets for a row: nothing for one that it lacks, as those of `hmdb tune`."""
    found = config.rows().get(row, {})
    return config.up_to_date({key: value for key, value in found.items() if key not in ("question", "by_split")})


def _unfit(run: Run, kinds: str) -> list[str]:
    """Say why a run may not stand in a table of such kinds of runs."""
    experiment = run.config
    faults = ["a quick run, which is no result"] * (experiment.quick and "-quick" not in kinds)
    if experiment.train.choose_on == "test" and _row_settings(experiment.row).get("train.choose_on") != "test":
        faults.append("chosen on the test part, which its row does not say")
    return faults
