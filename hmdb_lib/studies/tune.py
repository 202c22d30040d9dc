"""Search settings of rows by Optuna, on the validation part alone: no test video is read."""

import contextlib
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import pandas as pd
import yaml
from filelock import AcquireReturnProxy, FileLock, Timeout

from hmdb_lib import config, environment
from hmdb_lib.data.loader import ClipData
from hmdb_lib.errors import UserError
from hmdb_lib.results import seen
from hmdb_lib.results.runs import Run, write_whole
from hmdb_lib.studies import study
from hmdb_lib.studies.job import Job
from hmdb_lib.training import experiment as training
from hmdb_lib.training.callbacks import Deadline
from hmdb_lib.training.modules import DivergedError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

# What decides which videos, clips and batches there are is the same for all trials.
NOT_SEARCHED = {f"train.{key}" for key in ("objective", "views", "batch_size", "sampler", "choose_on", "final_fit")}


def tune(
    *names: str,
    splits: Sequence[int] = (1,),
    trials: int = 20,
    hours: float | None = None,
    changes: Mapping[str, Any] | Sequence[str] = (),
    file: Path = config.CONFIG,
) -> pd.DataFrame:
    """Search the settings of tables and rows on the validation part, with as many trials for each; return the best.

    Optuna's TPE sampler proposes settings from `search` in experiments.yaml, its median pruner ends poor trials early. A
    row's first trial is the row as it stands. A trial trains with seed 0 and counts by the epoch of the highest validation
    accuracy. The test part is taken away before the first trial. All trials are in
    <results>/tuning/runs/<row>/<data>-split<k>-seed0/; the same call goes on after the last one there.

    The best of each row becomes the row <row>_tuned of <results>/tuning/<names>-<data>.yaml, which `file` of other calls
    and `--config` take. Where the time was up, all rows are given what was found in as many trials as each of them had.

    Args:
        names: tables and rows of experiments.yaml, or of `file`.
        splits: tuned each for itself: the validation videos of one may be the test videos of another.
        trials: of each row and split.
        hours: no trial is begun, and no epoch, that would end later.
        changes: of keys for every trial, as in `run_study`.
        file: another config.yaml, or a part of one. Its part `search` takes the place of that of experiments.yaml.

    Returns a line a row and split. Raises UserError.

    Example:
        >>> hl.tune("attention_depth", hours=2, changes={"model.frozen": "all"})

    """
    until = time.time() + 3600 * hours if hours else math.inf
    words = config.as_overrides(changes) if isinstance(changes, Mapping) else list(changes)
    place = environment.place()
    jobs = study.plan(names, splits, [0], words, replace(place, results=place.results / "tuning"), file)
    with contextlib.ExitStack() as stack:
        for job in jobs:
            stack.enter_context(_lock(job.run))
        searches = [Search(job, place, words, file) for job in jobs]
        print("\n".join(["searched:", *dict.fromkeys(itertools.chain(*map(Search.describe, searches)))]))
        for number, search in itertools.product(range(trials), searches):
            if len(search.done) <= number and not search.try_once(until, trials):
                print("the time is up; the same command goes on")
                break
    count = min(trials, *(len(search.done) for search in searches))
    if not count:
        raise UserError("the time was up before every row had a trial; give it more with --hours")
    return _write(names, searches, words, file, place.results / "tuning", count)


def without_test(experiment: config.Config, place: environment.Place) -> ClipData:
    """Load an experiment's videos without the test part. Raises UserError where its weights have seen that part."""
    data = training.read_data(experiment, place)
    seen.check(experiment.model.pretrained, data.listed("test"), experiment.train.allow_seen)
    del data.tables["test"]
    return data


def _lock(run: Run) -> AcquireReturnProxy:
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(run.folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise UserError(f"{run.folder}: another process tunes this row now; wait for its end") from None


class Search:
    """Hold the trials of one row on one split, and the data that they share.

    Raises UserError for a row or a search space that cannot be tuned.
    """

    def __init__(self, job: Job, place: environment.Place, changes: Sequence[str], file: Path) -> None:
        try:
            import optuna  # noqa: PLC0415 - optional
            from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415
        except ImportError:
            raise UserError("hmdb tune needs Optuna, which is not installed: pip install optuna") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.job, self.place, self.row = job, place, job.config.row
        self.optuna: Any = optuna
        self.space = _space(job.config, changes, file)
        self.run = Run.start(job.config, place.results / "tuning")
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(self.run.folder / "journal.log")))
        pruner = optuna.pruners.MedianPruner(n_warmup_steps=job.config.train.epochs // 3)
        self.study = optuna.create_study(
            storage=storage, study_name="trials", pruner=pruner, direction="maximize", load_if_exists=True
        )
        before = self.study.user_attrs.setdefault("space", self.space)
        if before != self.space:
            raise UserError(f"{self.run.folder}: was tuned in another search space; give this one a name with name=...")
        self.study.set_user_attr("space", self.space)
        state = optuna.trial.TrialState
        for cut_off in self.study.get_trials(states=(state.RUNNING,)):  # by the time or a kill: it is done again
            self.study.tell(cut_off.number, state=state.FAIL)
            self.study.enqueue_trial(cut_off.params)
        if not self.study.trials:
            self.study.enqueue_trial({key: of["own"] for key, of in self.space.items()})

    def describe(self) -> list[str]:
        """List the settings that are searched, a line each."""
        return [
            f"  {key}: " + ", ".join(f"{n} {v}" for n, v in of.items() if n != "own") for key, of in self.space.items()
        ]

    @property
    def done(self) -> "list[FrozenTrial]":
        """List the trials that count: those that ended, and those that were pruned or diverged."""
        state = self.optuna.trial.TrialState
        return self.study.get_trials(states=(state.COMPLETE, state.PRUNED))

    @cached_property
    def data(self) -> ClipData:
        """Load the videos, without the test part."""
        data = without_test(self.job.config, self.place)
        self.run.keep_data(data.identity)
        return data

    def try_once(self, until: float, trials: int) -> bool:
        """Train with the next settings; returns whether that ended before `until`."""
        done = self.done
        longest = max((trial.user_attrs["seconds"] for trial in done), default=0.0)
        if time.time() + longest > until:
            return False
        self.study.sampler = self.optuna.samplers.TPESampler(seed=len(done))  # so that a resumed search is the same
        trial = self.study.ask()
        values = {key: _suggest(trial, key, of) for key, of in self.space.items()}
        chosen = config.as_overrides(values)
        row, *words, _, file = self.job.arguments
        tried = config.load(row, [*words, *chosen], Path(file))
        run = Run(self.run.folder / f"trial-{trial.number:03}")
        run.folder.mkdir(exist_ok=True)
        watch, deadline, start = Watch(trial), Deadline(until), time.monotonic()
        resolved = training.Resolved(tried, self.place, run, tried.train.epochs)
        ended = "PRUNED"
        try:
            self.data = training.train_unrecorded(resolved, self.data, [watch, deadline])
            ended = "PRUNED" if watch.pruned else "COMPLETE"
        except DivergedError as error:
            print(error)
        if deadline.reached and not watch.pruned:
            return False
        seconds = time.monotonic() - start
        for name, value in {"seconds": seconds, "accuracy": watch.accuracy, "values": values}.items():
            trial.set_user_attr(name, value)
        state = self.optuna.trial.TrialState[ended]
        self.study.tell(trial, watch.best if ended == "COMPLETE" else None, state=state)
        table = self.study.trials_dataframe(attrs=("number", "state", "value", "user_attrs"))
        table["value"] = table.value.where(table.state == "COMPLETE")
        write_whole(self.run.folder / "trials.csv", table.to_csv(index=False))
        print(
            f"[{len(done) + 1}/{trials}] {self.row} split {tried.data.split}, {' '.join(chosen)}: validation accuracy "
            f"{watch.accuracy:.3f}{' (pruned)' * (ended == 'PRUNED')}, {timedelta(seconds=round(seconds))}",
            flush=True,
        )
        return True

    def best(self, count: int) -> "FrozenTrial":
        """Return the best of the first `count` trials, of equals the first: none that was pruned or diverged."""
        complete = self.optuna.trial.TrialState.COMPLETE  # Optuna gives the others the value of their last epoch
        ended = [trial for trial in self.done[:count] if trial.state == complete]
        if not ended:
            raise UserError(f"{self.run.folder}: no trial of {self.row} ended well; see the lines above")
        return max(ended, key=lambda trial: cast("float", trial.value))


class Watch(L.Callback):
    """Report each epoch's validation result to Optuna, and stop what it prunes.

    `best` is the highest value of the metric that chooses the epoch, `accuracy` the accuracy of that epoch.
    """

    def __init__(self, trial: "Trial") -> None:
        self.trial, self.best, self.accuracy, self.pruned = trial, -math.inf, 0.0, False

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report the epoch."""
        value, accuracy = (trainer.callback_metrics[name].item() for name in ("val_choice", "val_video_accuracy"))
        self.best, self.accuracy = max((self.best, self.accuracy), (value, accuracy))
        self.trial.report(value, trainer.current_epoch)
        if self.trial.should_prune():
            self.pruned = trainer.should_stop = True


def _space(experiment: config.Config, changes: Sequence[str], file: Path) -> dict[str, dict[str, Any]]:
    """Compute what is searched for a row: key -> low, high and log, or choices; and own, the row's value, which is one."""
    train = experiment.train
    if train.objective == "masked" or train.choose_on != "validation" or not experiment.validates:
        raise UserError(f"{experiment.row}: hmdb tune needs labels and a validation part that chooses the epoch")
    if train.batch_size == "auto" or (train.devices, train.machines) != (1, 1):
        raise UserError("hmdb tune needs a number for train.batch_size, and one device (train.devices=1)")
    parts = ["all", *([] if experiment.frozen else ["backbone"]), experiment.model.head]
    search, row = config.search_space(file), config.up_to_date(config.find_row(experiment.row, file))
    fixed = {*row, *row.get("by_split", {}).get(experiment.data.split, {}), *config.parse(changes)}
    asked = {key: of for part in parts for key, of in (search.get(part) or {}).items()}
    own = experiment.flat()
    for key in asked:
        if key not in own or key.partition(".")[0] not in ("train", experiment.model.head) or key in NOT_SEARCHED:
            raise UserError(
                f"search: {key} cannot be searched, only settings of a head and of train (without "
                f"{', '.join(sorted(NOT_SEARCHED))})"
            )
    space = {key: _range(key, of, own[key]) for key, of in asked.items() if key not in fixed}
    if not space:
        raise UserError(f"{experiment.row}: nothing is left to search; `search` names only what is given")
    return space


def _range(key: str, of: Any, own: Any) -> dict[str, Any]:
    if isinstance(of, list):
        return {"choices": list(dict.fromkeys([*of, own])), "own": own}
    try:
        low, high, log = float(of["low"]), float(of["high"]), bool(of.get("log", False))
        low, high = min(low, own), max(high, own)
        if low >= high or (log and low <= 0):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"search: {key}: expected a list, or {{low: ..., high: ..., log: true}} with numbers, above 0 for log, around "
            f"the row's own, which is {own}; found {of}"
        ) from None
    return {"low": low, "high": high, "log": log, "own": own}


def _suggest(trial: "Trial", key: str, of: Mapping[str, Any]) -> Any:
    if "choices" in of:
        return trial.suggest_categorical(key, of["choices"])
    if isinstance(of["own"], int):
        return trial.suggest_int(key, int(of["low"]), int(of["high"]), log=of["log"])
    value = trial.suggest_float(key, of["low"], of["high"], log=of["log"])
    return float(f"{value:.3g}")  # three digits are enough to read and to write


def _write(
    names: Sequence[str], searches: Sequence[Search], changes: Sequence[str], file: Path, folder: Path, count: int
) -> pd.DataFrame:
    """Write the best settings of each row as rows of a configuration, and print the command that runs them."""
    given, lines = config.parse(changes), []
    kept = {key: value for key, value in given.items() if key not in study.TOLD_OTHERWISE}
    rows: dict[str, dict[str, Any]] = {}
    tuned = {search.row: f"{search.row}_{given.get('name', 'tuned')}" for search in searches}
    for search in searches:
        best, first, split = search.best(count), search.done[0], search.job.config.data.split
        values = best.user_attrs["values"]
        own = config.find_row(search.row, file)
        tuned_before = own.pop("by_split", {}).get(split, {})
        question = f"{own.pop('question')} Tuned on validation, {count} trials."
        tried = {"trials": own.get("trials", 0) + count, "by_split": {}}
        row = rows.setdefault(tuned[search.row], {"question": question} | own | kept | tried)
        row["by_split"][split] = {key: value for key, value in tuned_before.items() if key not in kept} | values
        accuracies = {"as_it_stands": first.user_attrs["accuracy"], "validation_accuracy": best.user_attrs["accuracy"]}
        lines.append({"row": tuned[search.row], "split": split, "trials": row["trials"]} | accuracies | values)
    jobs = [search.job for search in searches]
    target = folder / f"{study.stem(names, jobs, changes)}.yaml"
    table = f"{'+'.join(names)}_{given.get('name', 'tuned')}"
    tree = {} if file == config.CONFIG else config.read(file)
    tree["rows"] = tree.get("rows", {}) | rows
    if len(rows) > 1:
        searched = [*dict.fromkeys(key for search in searches for key in search.space)]
        tree["tables"] = tree.get("tables", {}) | {table: _tuned_table(names, tuned, searched, file)}
    write_whole(target, yaml.safe_dump(tree, sort_keys=False))
    again = [word for word in changes if word.partition("=")[0] in study.TOLD_OTHERWISE - {"name"}]
    splits = " ".join(map(str, dict.fromkeys(job.config.data.split for job in jobs)))
    run = table if len(rows) > 1 else next(iter(rows))
    print(
        f"best of {count} trials each: {target}\n  {' '.join(['hmdb study', run, '--config', str(target), '--splits', splits, *again])}"
    )
    return pd.DataFrame(lines).set_index(["row", "split"])


def _tuned_table(names: Sequence[str], tuned: Mapping[str, str], searched: Sequence[str], file: Path) -> dict[str, Any]:
    """Make the tables among `names` one of the tuned rows (`tuned`: row -> its new name), with all that they say."""
    of = [config.tables(file).get(name, {}) for name in names]
    told = {
        "note": " ".join(table["note"] for table in of if "note" in table),
        "against": {
            tuned.get(to, to): [tuned.get(row, row) for row in rows]
            for to, rows in config.of_tables(names, "against", file).items()
        },
        "judged": {tuned.get(row, row): ways for row, ways in config.of_tables(names, "judged", file).items()},
    }
    if all("varies" in table for table in of):  # a row alone does not say in what it differs from the others
        told["varies"] = [*dict.fromkeys(key for table in of for key in table["varies"])]
        told["besides"] = config.of_tables(names, "besides", file) | {"as each was tuned on validation": list(searched)}
    return {"rows": list(tuned.values())} | {key: value for key, value in told.items() if value}
