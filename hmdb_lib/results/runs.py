"""Manage the results folder: start, resume or refuse a run, write its files, read all runs.

`<results>/runs/<row>/<data>-split<k>-seed<s>/` holds one run. What each file and column means: results/README.md.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hmdb_lib.config import Config, load, read
from hmdb_lib.environment import place
from hmdb_lib.errors import UserError
from hmdb_lib.files import remove_dead_parts, whole_file
from hmdb_lib.results.metrics import KEYS, best_epoch, up_to_date

# Where, how fast and whether a run may be computed, not what: these may differ when it goes on elsewhere.
MACHINE_KEYS = {
    *("data.root", "data.store", "data.workers", "data.on_error", "data.max_lost"),
    "train.allow_seen",
    *("train.device", "train.devices", "train.machines", "train.precision", "train.checkpointing", "train.keep"),
}

OWN_WAY = "as configured"  # what a run's own way to be judged is called among others


class Run:
    """Manage one run's folder, which no other experiment ever overwrites."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.checkpoints = self.folder / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.previous = self.checkpoints / "previous.ckpt"
        self.best = self.checkpoints / "best.ckpt"

    @classmethod
    def start(cls, config: Config, results: Path) -> "Run":
        """Make or find the folder of this experiment. Raises UserError as `holds` does."""
        run = cls.of(config, results)
        if not run.holds(config):
            run.checkpoints.mkdir(parents=True, exist_ok=True)
            write_whole(run.folder / "config.yaml", config.to_yaml())
        for folder in (run.folder, run.checkpoints):
            remove_dead_parts(folder)
        return run

    @classmethod
    def of(cls, config: Config, results: Path) -> "Run":
        """Return the folder where this experiment belongs, started or not."""
        kind = "-final" * config.train.final_fit + "-quick" * config.quick
        name = f"{config.data.name}-split{config.data.split}-seed{config.seed}{kind}"
        # Runs that learn without labels have no accuracy: what reads results does not meet them.
        kind_of = "pretraining" if config.train.objective == "masked" else "runs"
        return cls(Path(results) / kind_of / config.title / name)

    def holds(self, config: Config) -> bool:
        """Tell whether this experiment was started here. Where it says train.batch_size=auto, any number stands for it.

        Raises UserError, naming the keys, when the folder belongs to an experiment that differs.
        """
        if not (self.folder / "config.yaml").exists():
            return False
        before, now = self.config.flat(), config.used()
        settled = {"train.batch_size"} if now["train.batch_size"] == "auto" else set()
        differing = [key for key in now if now[key] != before.get(key) and key not in MACHINE_KEYS | settled]
        if differing:
            changes = ", ".join(f"{key} ({before.get(key)} there, {now[key]} now)" for key in differing)
            raise UserError(
                f"{self.folder}: holds another experiment: {changes}; give this one a folder of its own with name=..."
            )
        return True

    def keep_data(self, data: dict[str, Any]) -> None:
        """Record which data the run is of, see `hmdb_lib.data.load.identify`.

        Raises UserError where it is of others. A run of an older release has no record and goes on, except where the
        folds are cut, which older releases cut otherwise; what its record lacks is not compared.
        """
        file = self.folder / "data.json"
        if file.exists():
            before = json.loads(file.read_text(encoding="utf-8"))
            differing = {key for key in before if before[key] != data.get(key)}
            if differing == {"sources"}:
                raise UserError(
                    f"{self.folder}: was begun when the same videos had other sources, by which validation is cut and "
                    "intervals are computed; train anew with name=..., or put the sources back as they were"
                )
            if differing:
                there, now = (
                    f"{', '.join(f'{n} {part}' for part, n in of['parts'].items())} of {len(of['classes'])} classes"
                    for of in (before, data)
                )
                told = f"{there} there, {now} now" if there != now else f"{now}, but other paths, parts or sizes"
                raise UserError(
                    f"{self.folder}: is of other data: {told}; give these a folder of their own with name=..."
                )
        elif not len(self.metrics):
            write_whole(file, json.dumps(data, indent=2) + "\n")
        elif data["cut"]:
            raise UserError(f"{self.folder}: was begun before folds were disjoint; begin anew with name=...")

    def abandon(self) -> None:
        """Remove what a first start left that failed before its first epoch, so that it refuses no other."""
        with contextlib.suppress(OSError):  # the folder may be what failed
            if not len(self.metrics) and not self.last.exists():
                for name in ("config.yaml", "data.json", "seen.txt"):
                    (self.folder / name).unlink(missing_ok=True)

    @property
    def config(self) -> Config:
        """Load the configuration the run was started with."""
        return load(file=self.folder / "config.yaml")

    @property
    def finished(self) -> bool:
        """Tell whether the run is complete: its summary is written last. One that was cut off in copying does not count."""
        try:
            return bool(self.summary)
        except (OSError, ValueError):
            return False

    @property
    def summary(self) -> dict[str, Any]:
        """Read the finished run's summary.json."""
        return json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))

    @property
    def metrics(self) -> pd.DataFrame:
        """Read metrics.csv: one row an epoch; empty before the first.

        Its `.attrs` say which part was judged after each epoch, `part`: validation or test.
        """
        file, own = self.folder / "metrics.csv", self.folder / "config.yaml"
        metrics = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["epoch"])
        train = read(own).get("train", {}) if own.exists() else {}
        metrics.attrs["part"] = train.get("choose_on", "validation")
        return metrics

    @property
    def precisions(self) -> list[str]:
        """List the precisions that epochs were computed in, one for each stretch of epochs, in order."""
        of_epochs = self.metrics.get("precision", pd.Series(dtype=str)).dropna()
        return of_epochs[of_epochs != of_epochs.shift()].tolist()

    @property
    def predictions(self) -> pd.DataFrame:
        """Read the finished run's test videos: video, group, label, then the probability of each class.

        A listed video that is missing or could not be read has none.
        """
        return up_to_date(read_predictions(self.folder / "predictions.csv"))

    @property
    def predictions_without_gate(self) -> pd.DataFrame | None:
        """Read what the same weights predict without the gate's part; None for a model without a gate."""
        file = self.folder / "predictions_without_gate.csv"
        return up_to_date(read_predictions(file)) if file.exists() else None

    @property
    def judged(self) -> dict[str, pd.DataFrame]:
        """Read the predictions of each way in which the run was judged once more, see `hmdb_lib.studies.rejudge`."""
        file = self.folder / "judged-predictions.csv.gz"
        if not file.exists():
            return {}
        return {
            str(way): up_to_date(part.drop(columns="way").reset_index(drop=True))
            for way, part in read_predictions(file).groupby("way", sort=False)
        }

    def write_epoch(self, row: dict[str, Any]) -> None:
        """Add an epoch's row; an epoch that is done again after a resume replaces its row and all after it."""
        before = self.metrics
        rows = [*before[before.epoch < row["epoch"]].to_dict("records"), row]
        write_whole(self.folder / "metrics.csv", pd.DataFrame(rows).to_csv(index=False))

    def finish(
        self, predictions: pd.DataFrame | None, summary: dict[str, Any], without_gate: pd.DataFrame | None = None
    ) -> None:
        """Write the test predictions, if there are any, then the summary that marks the run as finished.

        Of the checkpoints those stay that `train.keep` names.
        """
        for name, table in (("predictions", predictions), ("predictions_without_gate", without_gate)):
            if table is not None:
                write_whole(self.folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
        write_whole(self.folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        keep = self.config.train.keep if (self.folder / "config.yaml").exists() else "all"
        unneeded = {"all": [], "best": [self.last], "none": [self.last, self.best]}
        for file in (self.previous, *unneeded[keep]):
            file.unlink(missing_ok=True)


def list_runs(results: Path | None = None, data: str | None = None, *, finished: bool = False) -> dict[str, Run]:
    """List the runs that have at least one epoch behind them by name, `<row>/<data>-split<k>-seed<s>`.

    Args:
        results: a results folder; None: this machine's.
        data: runs of one data set alone.
        finished: without those that are not finished.

    Example:
        >>> hl.list_runs(data="hmdb51", finished=True)["baseline/hmdb51-split1-seed0"].predictions

    """
    files = sorted((Path(results or place().results) / "runs").glob("*/*/metrics.csv"))
    folders = [file.parent for file in files if file.stat().st_size]
    folders = [folder for folder in folders if data in (None, folder.name.rpartition("-split")[0])]
    found = {f"{folder.parent.name}/{folder.name}": Run(folder) for folder in folders}
    return {name: run for name, run in found.items() if run.finished or not finished}


def results_table(results: Path | None = None) -> pd.DataFrame:
    """Read every finished run into one table, a row a run: its summary's values under dotted names.

    A folder whose summary cannot be read is left out. Empty when there is none. `results`: as in `list_runs`.

    Example:
        >>> hl.results_table()[["name", "split", "seed", "test.accuracy"]]

    """
    runs = map(Run, sorted((Path(results or place().results) / "runs").glob("*/*")))
    rows = [
        pd.json_normalize(run.summary).iloc[0].to_dict() | {"folder": str(run.folder)} for run in runs if run.finished
    ]
    return pd.DataFrame(rows)


def overfitting_table(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Tell where each of some runs, name -> run, overfits: the epoch after which its validation loss only rises.

    That is the epoch of the lowest validation loss, `overfits_after`. Beside it the epoch of the highest validation
    accuracy, the gap (validation loss minus training loss) at both, and at the end. Epochs count from 0. Where the epoch
    was chosen on the test part, `part` says so: what is called validation is that part.

    Example:
        >>> hl.overfitting_table(hl.list_runs(data="hmdb51"))

    """
    rows = {}
    for name, run in runs.items():
        metrics = run.metrics
        part = metrics.attrs["part"]
        metrics = metrics.reindex(columns=["epoch", "train_video_loss", "val_video_loss", "val_video_accuracy"])
        gap = (metrics.val_video_loss - metrics.train_video_loss).set_axis(metrics.epoch)
        if gap.notna().any():
            lowest, best = int(np.nanargmin(metrics.val_video_loss)), best_epoch(metrics)
            rows[name] = {
                **{"epochs": len(metrics), "part": part, "overfits_after": lowest, "best_epoch": best},
                "validation_accuracy": metrics.val_video_accuracy.max(),
                **{"gap_there": gap.iloc[lowest], "gap_at_best": gap.get(best), "gap_at_end": gap.iloc[-1]},
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def read_predictions(file: Path, *texts: str) -> pd.DataFrame:
    """Read a predictions.csv, or a file of `write_predictions`; `texts`: further columns that hold words, not numbers."""
    kinds = dict.fromkeys((*KEYS, "frames", *texts), str)
    return pd.read_csv(file, dtype=kinds, keep_default_na=False, na_values=[""])  # a class may be called None or NA


def write_predictions(predictions: pd.DataFrame, file: Path) -> None:
    """Write the predictions behind a table into one compressed file, probabilities to four digits."""
    with whole_file(file, make_folder=False) as part:
        predictions.to_csv(part, index=False, float_format="%.4f", compression={"method": "gzip", "mtime": 0})


def write_whole(file: Path, text: str) -> None:
    """Write a text file beside its place and rename it."""
    with whole_file(file, make_folder=False) as part:
        part.write_text(text, encoding="utf-8")
