"""Run the tables of experiments.yaml: list the runs, run what is missing, write the table.

Each run is a process of its own, the command that one would type: a run that crashes or takes all memory ends alone,
nothing of it stays in memory, and Lightning may start it once more for each GPU. Quick runs, which take less time than a
process does to start, are trained here. What is finished is read from the results folder alone, so `hmdb study` can be
stopped and started again at any point. One at a time in a folder.
"""

import contextlib
import functools
import html
import io
import itertools
import math
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hmdb_lib import config, environment, models
from hmdb_lib.config import Config
from hmdb_lib.data.loader import EvaluationClips, Unreadable
from hmdb_lib.errors import UserError
from hmdb_lib.models import cost
from hmdb_lib.models.device import choose_device
from hmdb_lib.progress import Bar
from hmdb_lib.results import tables
from hmdb_lib.results.intervals import resolution
from hmdb_lib.results.metrics import smoothing_floor
from hmdb_lib.results.runs import MACHINE_KEYS, Run
from hmdb_lib.studies.board import Board
from hmdb_lib.studies.job import Job
from hmdb_lib.studies.rejudge import rejudge
from hmdb_lib.training import experiment as training
from hmdb_lib.training.batch_size import measure_step
from hmdb_lib.training.launch import TIME_IS_UP, Command, on_ray, one_by_one, side_by_side

DISAGREE, ALIKE = (0.2, 0.4), 0.1  # what a plan assumes before there are results
TOLD_OTHERWISE = MACHINE_KEYS | {"name", "quick", "data", "data.dataset"}  # no part of what a table or row is


@dataclass(frozen=True, repr=False)
class StudyTable:
    """Hold a table of rows; a notebook shows it. `data` names its data set, `caption` says what it holds."""

    frame: pd.DataFrame
    data: str
    caption: str
    files: list[Path]

    def __repr__(self) -> str:
        return f"{self.caption}\n{self.files[0]}"

    def _repr_html_(self) -> str:
        return tables.study_styled(self.frame, self.data).to_html() + f"<p>{html.escape(self.caption)}</p>"


def run_study(
    *names: str,
    splits: Sequence[int] = (1,),
    seeds: Sequence[int] = (0,),
    quick: bool = False,
    frozen: bool = False,
    at_once: int = 1,
    hours: float | None = None,
    changes: Mapping[str, Any] | Sequence[str] = (),
    file: Path = config.CONFIG,
    to_log: bool = True,
    on: str = "here",
    address: str | None = None,
    gpus: float | None = None,
) -> StudyTable:
    """Run what is missing of tables and rows of experiments.yaml on every split and seed; write and return one table.

    With `to_log` what a run prints goes to log.txt in its folder, as a notebook wants it. With `frozen` every head
    trains on the same stored tokens, with `at_once` so many runs go on at once, each on a GPU of its own. `changes` of
    keys for every run, over what its row says, are a mapping, or words as in the shell; with name=x the runs are called
    <row>-x. `file` is another config.yaml, or a part of one, under what the rows say. With `hours` no epoch is begun
    that would end later; the same call goes on. `on` is here, one run after the other, or ray, as many at once as there
    is room for: see `hmdb_lib.training.launch.on_ray` for `address` and `gpus` (None: 1 where there is a GPU).
    Raises UserError: before anything starts where a name or a key is wrong, and at the end, naming them, where runs
    failed.

    Example:
        >>> hl.run_study("attention_depth", splits=[1, 2, 3], changes={"train.epochs": 10})

    """
    words = config.as_overrides(changes) if isinstance(changes, Mapping) else list(changes)
    words += ["quick=true"] * quick + ["model.frozen=all"] * frozen
    place = environment.place()
    until = time.time() + 3600 * hours if hours else math.inf
    jobs = plan(names, splits, seeds, words, place, file)
    board = Board(jobs)
    missing, expected = look(jobs, place, board.tell)
    if hours:
        tell_sessions(jobs, missing, [of_run / at_once for of_run in expected], hours, place)
    how = {"to_log": to_log, "on": on, "address": address, "gpus": gpus, "at_once": at_once}
    try:
        finish(jobs, missing, expected, place, board, until=until, **how)
        judge_again(names, jobs, file)
    finally:
        table = write(names, jobs, words, place.results, file)
    return table


def forecast(jobs: Sequence[Job], place: environment.Place, hours: float | None = None, at_once: int = 1) -> None:
    """Print what these runs would cost here, in which order, and what their table will tell apart after each round."""
    missing, expected = look(jobs, place)
    tell_sessions(jobs, missing, [of_run / at_once for of_run in expected], hours or math.inf, place)


def missing_commands(jobs: Sequence[Job]) -> list[str]:
    """Write what of these runs is not finished here as commands, one a run, to be pasted on any machine."""
    usual = ["--config", str(config.CONFIG.resolve())]
    words = [job.arguments[: -2 * (job.arguments[-2:] == usual) or None] for job in _missing(jobs)]
    return [shlex.join(["hmdb", "train", *of_run]) for of_run in words]


def cost_table(*names: str, classes: int = 51, measure: bool = False) -> pd.DataFrame:
    """Count parameters by component, FLOPs and tokens of rows and tables (none: all rows), at the sizes of HMDB51.

    `measure`: seconds and peak memory of one clip too. Raises UserError for a row that there is not.

    Example:
        >>> hl.cost_table("attention_depth")

    """
    rows = {row: config.load(row, ["data.dataset=hmdb51"]).architecture() for row in config.list_rows(*names)}
    table = cost.table(rows, classes)
    if not measure:
        return table
    measured = {
        row: cost.measure(functools.partial(models.build, classes=classes, **how), how["frames"], how["size"])
        for row, how in Bar(rows.items(), "measuring", unit="row")
    }
    return table.join(pd.DataFrame.from_dict(measured, orient="index"))


def look(
    jobs: Sequence[Job], place: environment.Place, tell: Callable[[str], None] = print
) -> tuple[list[Job], list[float]]:
    """Find the jobs that are not finished and the seconds that each will take, and tell both. Raises UserError."""
    missing = _missing(jobs)
    for job in jobs:
        if job.run.finished:
            training.check_data(training.Resolved(job.config, place, job.run, job.config.train.epochs))
    tell(f"{len(jobs)} runs, {len(jobs) - len(missing)} of them finished")
    return missing, expect(jobs, missing, place, tell)


def _missing(jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if not (job.run.holds(job.config) and job.run.finished)]


def finish(
    jobs: Sequence[Job],
    missing: Sequence[Job],
    expected: Sequence[float],
    place: environment.Place,
    board: Board,
    *,
    to_log: bool = False,
    on: str = "here",
    address: str | None = None,
    gpus: float | None = None,
    at_once: int = 1,
    until: float = math.inf,
) -> None:
    """Run the `missing` of `jobs`, as `run_study` says. Raises UserError that names those that failed, at the end."""
    together = on == "ray" or at_once > 1
    logged = to_log or together
    limit = [] if until == math.inf else ["--until", str(until)]
    written = [Run.of(job.config, place.local).folder if place.local else job.run.folder for job in missing]
    commands = [
        Command([*job.arguments, *limit], folder / "log.txt" if logged else None)
        for job, folder in zip(missing, written, strict=True)
    ]
    if on == "ray":
        gpus = float(choose_device().kind == "cuda") if gpus is None else gpus
        ends = on_ray(commands, place, address, gpus)
    else:

        def fits(number: int) -> bool:
            of = missing[number]
            an_epoch = expected[number] / max(1, of.config.train.epochs - len(of.run.metrics))
            return not time.time() + an_epoch > until  # an unknown time fits

        def watch(number: int) -> None:
            board.look_at(replace(missing[number], run=Run(written[number])))

        if together:
            ends = side_by_side(commands, fits, watch, at_once)
        elif all(job.config.quick and job.config.train.devices == job.config.train.machines == 1 for job in missing):
            ends = _in_this_process(missing, commands, fits, until)
        else:
            ends = one_by_one(commands, fits, watch)
    began_with = time.time()
    failed, left, spent, foreseen = [], dict(enumerate(expected)), 0.0, 0.0
    began = time.monotonic()
    for number, code in ends:
        job = missing[number]
        if code is None:
            began = time.monotonic()
        elif code != TIME_IS_UP:
            del left[number]
            if code or not job.run.finished:
                reason = f"exit code {code}" if code >= 0 else f"ended by signal {-code}"
                failed.append(f"{job}: {reason}" + (f"; see {commands[number].log}" if logged else ""))
            elif not math.isnan(expected[number]):
                # Runs at once overlap: what counts is the time since they all began.
                spent = time.monotonic() - began + (0 if together else spent)
                foreseen += expected[number]
        if code is None or together:
            count = len(missing) - len(left) + (code is None)
            seconds = sum(left.values()) * (spent / foreseen if foreseen else 1)
            told = "" if math.isnan(seconds) else f"; about {_clock(seconds)} left"
            board.tell(f"[{count}/{len(missing)}] {job}{'' if code is None else ' ended'}{told}")
        board.look_at(job)
    board.end()
    if left:
        done = len(jobs) - len(left) - len(failed)
        seconds = sum(left.values()) * (spent / foreseen if foreseen else 1)
        told = (
            ""
            if math.isnan(seconds)
            else f", {math.ceil(seconds / max(1, until - began_with))} sessions like this one left"
        )
        print(f"the time is up: {done} of {len(jobs)} done{told}; the same command goes on")
    if failed:
        lines = "\n  ".join(failed)
        raise UserError(f"{len(failed)} of {len(jobs)} runs failed; the same command tries them again\n  {lines}")


def _in_this_process(
    jobs: Sequence[Job], commands: Sequence[Command], fits: Callable[[int], bool], until: float
) -> Iterator[tuple[int, int | None]]:
    """Train runs in order, each told in its command's log: yields what `one_by_one` does."""
    for number, (job, command) in enumerate(zip(jobs, commands, strict=True)):
        if not fits(number):
            continue
        yield number, None
        with contextlib.ExitStack() as stack:
            if command.log:
                command.log.parent.mkdir(parents=True, exist_ok=True)
                log = stack.enter_context(command.log.open("a", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(log))
                stack.enter_context(contextlib.redirect_stderr(log))
            try:
                code = 0 if training.train(job.config, until=until).finished else TIME_IS_UP
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
                code = 2
            except Exception:  # whatever it is, the other runs go on
                traceback.print_exc()
                code = 1
        yield number, code


def judge_again(names: Sequence[str], jobs: Sequence[Job], file: Path = config.CONFIG) -> None:
    """Judge finished runs in the ways that tables name for their row, where that is not done yet."""
    ways = config.of_tables(names, "judged", file)
    for job in jobs:
        missing = [way for way in ways.get(job.config.row, ()) if job.run.finished and way not in job.run.judged]
        if missing and job.run.best.exists():
            machine = {key: value for key, value in job.config.flat().items() if key in MACHINE_KEYS}
            rejudge(job.run, *missing, *config.as_overrides(machine))
        elif missing:
            print(f"{job.run.folder}: has no checkpoint any more, so that it is not judged by {', '.join(missing)}")


def plan(
    names: Sequence[str],
    splits: Sequence[int],
    seeds: Sequence[int],
    changes: Sequence[str],
    place: environment.Place,
    file: Path = config.CONFIG,
) -> list[Job]:
    """List the runs that tables and rows need: all rows of a split and seed, then the next split, then the next seed.

    Other test videos narrow an interval more than the same ones judged again. Raises UserError.
    """
    given = _pairs(changes)
    for key, way in {"data.split": "--splits", "seed": "--seeds", "row": "the row's name"}.items():
        if key in given:
            raise UserError(f"command line: hmdb study takes {key} from {way}, not from {key}={given[key]}")
    rows = config.list_rows(*names, file=file)
    alike = trained_alike({row: (row, changes) for row in rows}, file)
    jobs = []
    for seed in dict.fromkeys(seeds):
        for split in dict.fromkeys(splits):
            for row in rows:
                arguments = [*alike[row], f"data.split={split}", f"seed={seed}"]
                if "name" in given:
                    arguments.append(f"name={row}-{given['name']}")
                experiment = config.load(row, arguments, file)
                if experiment.train.objective == "masked":
                    raise UserError(f"{row}: learns without labels, so that no table can hold it; hmdb train {row}")
                told = ["--config", str(file.resolve())]
                jobs.append(Job([row, *arguments, *told], experiment, Run.of(experiment, place.results)))
    return jobs


def trained_alike(asked: Mapping[str, tuple[str, Sequence[str]]], file: Path) -> dict[str, list[str]]:
    """Give the changes of runs that are compared: name -> (row, changes) to name -> changes.

    The sample data set freezes the backbone of a run that says nothing about it. Where another run trains its own, all
    do: they are compared for what they name, not for that.
    """
    experiments = {name: config.load(row, changes, file) for name, (row, changes) in asked.items()}
    all_frozen = all(experiment.frozen for experiment in experiments.values())
    given = {}
    for name, (row, changes) in asked.items():
        experiment = experiments[name]
        by_the_sample = experiment.data.dataset == "sample" and "model.frozen" not in config.find_row(row, file)
        trains = experiment.frozen and by_the_sample and not all_frozen
        given[name] = [*(["model.frozen=0"] if trains else []), *changes]  # a change of the user's wins
    return given


def expect(
    jobs: Sequence[Job], missing: Sequence[Job], place: environment.Place, tell: Callable[[str], None] = print
) -> list[float]:
    """Forecast the seconds of each missing run and tell them; nan where that cannot be measured.

    A row that has a finished run among `jobs` takes as long again; any other one is measured, but for a quick one, which
    takes less time than that. Stored tokens are counted once for the rows that share them.
    """
    seconds: dict[str, Seconds] = {}
    stored = set()
    for job in jobs:
        if job.run.finished:
            seconds[job.config.row] = Seconds(sum(job.run.summary["seconds"].values()))
            stored.add(_tokens_of(job.config))
    for job in missing:
        if job.config.quick:
            seconds.setdefault(job.config.row, Seconds(math.nan))
        if job.config.row not in seconds:
            # What the data are is told once, not for every row.
            with contextlib.redirect_stdout(io.StringIO() if seconds else sys.stdout):
                seconds[job.config.row] = _measure(job.config, place)
            of_run, tokens = seconds[job.config.row]
            more = f", and {_clock(tokens)} once for the tokens of its backbone" * bool(tokens)
            tell(f"expected: {job.config.row} {_clock(of_run)} a run{more}")
    left = []
    for job in missing:
        of_run, tokens = seconds[job.config.row]
        left.append(of_run * (1 - len(job.run.metrics) / job.config.train.epochs))
        left[-1] += tokens * (_tokens_of(job.config) not in stored)
        stored.add(_tokens_of(job.config))
    if missing and not missing[0].config.quick:
        tell(f"expected: {_clock(sum(left))} for the {len(missing)} runs to do, on this machine as busy as it is now")
    return left


def tell_sessions(
    jobs: Sequence[Job], missing: Sequence[Job], expected: Sequence[float], hours: float, place: environment.Place
) -> None:
    """Print in which session of so many `hours` each round of rows ends, and which differences the table then tells."""
    sizes: list[np.ndarray] = []
    seconds, passed = dict(zip(map(str, missing), expected, strict=True)), 0.0
    low, high = DISAGREE
    print(
        f"assumed: two rows judge {low:.0%} to {high:.0%} of the videos differently, and videos of a source correlate by "
        f"{ALIKE}; the spread between runs, which several seeds show, is not counted"
    )
    for (seed, split), of_round in itertools.groupby(jobs, lambda job: (job.config.seed, job.config.data.split)):
        for job in of_round:
            passed += seconds.get(str(job), 0.0)
            first = job.config
        if seed == jobs[0].config.seed:
            with contextlib.redirect_stdout(io.StringIO()):
                data = training.read_data(first, place)
            sizes.append(data.listed("test").group.value_counts().to_numpy())
        least, most = (resolution(np.concatenate(sizes), share, ALIKE) for share in DISAGREE)
        sessions = passed / 3600 / hours  # nan: a row could not be measured
        session = f", session {math.ceil(sessions) or 1}" if hours < math.inf and sessions >= 0 else ""
        print(
            f"after {_clock(passed)}{session}: split {split} seed {seed} of all rows; tells rows apart that differ by "
            f"{100 * least:.1f} to {100 * most:.1f} points"
        )


def write(
    names: Sequence[str], jobs: Sequence[Job], changes: Sequence[str], results: Path, file: Path = config.CONFIG
) -> StudyTable:
    """Write the table of the jobs that are finished: <results>/tables/<names>-<data>.csv, .md and .tex.

    What is said of the tables among `names` is that of experiments.yaml and of `file`.
    """
    finished = {job.config.row: [] for job in jobs}
    for job in jobs:
        if job.run.finished:
            finished[job.config.row].append(job.run)
    known = [row for name in ("baseline", "cross1_self1") for row in (name, f"{name}_tuned") if row in finished]
    reference = next(iter(known), next(iter(finished)))
    first = jobs[0].config
    of_tables = config.of_tables(names, "against", file)
    against = {row: to for to, rows in of_tables.items() if to in finished for row in rows}
    judged = config.of_tables(names, "judged", file)
    caption = _caption(names, jobs, changes, reference, finished, file)
    frame = tables.study(finished, reference, against, judged)
    files = tables.write_study(frame, first.data.name, caption, results / "tables" / stem(names, jobs, changes))
    print("table: " + ", ".join(map(str, files)))
    return StudyTable(frame, first.data.name, caption, files)


def stem(names: Sequence[str], jobs: Sequence[Job], changes: Sequence[str]) -> str:
    """Name what is written about these jobs together: names, data, and what kind of runs they are."""
    first = jobs[0].config
    frozen = "frozen" * all(job.config.frozen for job in jobs)
    kinds = [frozen, "final" * first.train.final_fit, "quick" * first.quick]
    return "-".join(filter(None, ["+".join(names), _pairs(changes).get("name"), first.data.name, *kinds]))


def _caption(
    names: Sequence[str],
    jobs: Sequence[Job],
    changes: Sequence[str],
    reference: str,
    finished: Mapping[str, Sequence[Run]],
    file: Path,
) -> str:
    first = jobs[0].config
    splits = ", ".join(map(str, sorted({job.config.data.split for job in jobs})))
    seeds = ", ".join(map(str, sorted({job.config.seed for job in jobs})))
    changed = [f"{key}={value}" for key, value in _pairs(changes).items() if key not in TOLD_OTHERWISE]
    data = first.data
    judged = config.of_tables(names, "judged", file)
    comparisons = len(finished) - 1 + sum(map(len, judged.values()))
    against = config.of_tables(names, "against", file)
    others = "".join(f", of {' and '.join(rows)} to {to}" for to, rows in against.items() if to in finished)
    lines = [
        f"{', '.join([*names, *changed])} on {data.name}, split {splits}, seed {seeds}; {first.train.epochs} epochs from "
        f"weights {first.model.pretrained}, clips of {data.frames} x {data.crop} x {data.crop} where a row says no other."
    ]
    for name in names:
        table = config.tables(file).get(name, {})
        besides = "".join(f"; {reason}: {', '.join(keys)}" for reason, keys in table.get("besides", {}).items())
        if "varies" in table:
            lines.append(f"Rows of {name} differ in {', '.join(table['varies'])}{besides}.")
        if "note" in table:
            lines.append(table["note"])
    if all(job.config.frozen for job in jobs):
        backbones = ", ".join(dict.fromkeys(job.config.model.backbone for job in jobs))
        lines.append(f"Heads alone are trained, on the stored tokens of frozen {backbones}.")
    perceiver = next((job.config.perceiver for job in jobs if job.config.model.head == "perceiver"), None)
    if perceiver:
        lines.append(f"Attention has {perceiver.latents} latents of width {perceiver.width} where a row says no other.")
    if first.quick:
        lines.append("A check that everything runs, on a few small clips: no result.")
    if data.dataset != "hmdb51":
        lines.append(f"The data are {data.name}, not HMDB51: no match for the published columns.")
    lines += [
        "Losses and validation accuracy: at the chosen epoch, by video.",
        *_floors(jobs, finished),
        "Set off: the row that validation would choose; the highest test accuracy of many rows flatters.",
        "Test accuracy: ± standard deviation over runs [95 % interval over source videos; below 10 sources with the "
        "least share of simulated intervals that held the truth]; a video that could not be read counts as wrong.",
        f"Difference: to {reference}{others} on the same videos [95 % interval, likewise].",
        f"p: random signs of the sources' differences, of these runs; Holm: for the {comparisons} comparisons of the "
        "table.",
        "Runs averaged: the mean of the probabilities of a row's seeds, as one model.",
        "Parameters in millions, attention: all but the CNN.",
    ]
    if any(job.config.trials for job in jobs):
        lines.append("Trials: settings that hmdb tune tried on the validation part, of which the row is the best.")
    summaries = [run.summary for of_row in finished.values() for run in of_row]
    if any("attention" in of for of in summaries):
        lines += [
            "Entropy: of a latent's attention over all places, 1: all alike; shared: what of it the next latent has too.",
            "The gate: the same weights with its part and without, on the same videos, and its share of the variance of "
            "logits over clips.",
        ]
    if judged:
        lines.append("Below a row, key=value: the same runs judged so, and the difference to the row.")
    if any(job.config.train.choose_on == "test" for job in jobs):
        lines.append("*: epoch chosen on the test part, of which its validation columns speak.")
    if commonest := [of["commonest_class"] for of in summaries if "commonest_class" in of]:
        chance = 100 / len(summaries[0]["classes"])
        lines.append(f"Chance {chance:.1f} %, always saying the commonest class {100 * np.mean(commonest):.1f} %.")
    lines += [f"Of the data: {told}." for told in sorted({of.get("shortfall") or "" for of in summaries} - {""})]
    if not all(finished.values()):
        lines.append("Rows without numbers have no finished run.")
    return " ".join(lines)


def _floors(jobs: Sequence[Job], finished: Mapping[str, Sequence[Run]]) -> list[str]:
    """Say how low label smoothing lets the training loss fall, beside published losses that had none."""
    counts = {len(run.summary.get("classes", ())) for of_row in finished.values() for run in of_row} - {0}
    classes = max(counts, default=51)
    smoothed = sorted({job.config.train.label_smoothing for job in jobs} - {0.0})
    told = [f"label smoothing {of:g} holds it above about {smoothing_floor(of, classes):.2f}" for of in smoothed]
    return [f"Training loss: plain, not smoothed; {', '.join(told)}, the published had none."] if told else []


def _pairs(changes: Sequence[str]) -> dict[str, str]:
    return {key: value for key, _, value in (change.partition("=") for change in changes)}


class Seconds(NamedTuple):
    """Hold what a run costs, and what is spent once for all runs on the same stored tokens."""

    run: float
    tokens: float = 0.0


def _tokens_of(experiment: Config) -> str:
    """Name the stored tokens that a row with a frozen backbone trains on."""
    return str((experiment.model.model_copy(update={"head": ""}), experiment.data, experiment.train.views))


def _measure(experiment: Config, place: environment.Place) -> Seconds:
    """Forecast the seconds of a whole run, from a few steps on random clips and from reading a few videos.

    Device and readers work side by side, but for a CPU, which does both. The start is taken to last as long as
    this measurement, which also starts a process and builds the model.
    """
    train, evaluate = experiment.train, experiment.evaluate
    device = choose_device(train.device, train.precision)
    data = training.read_data(experiment, place)
    # Four clips at once cost a CPU as much a clip as a whole batch does; a single one up to twice as much.
    batch = 4 if train.batch_size == "auto" else train.batch_size
    batch = batch if device.kind == "cuda" else min(4, batch)
    start = time.perf_counter()
    try:
        step = measure_step(experiment, len(data.classes), batch)
    except Exception as error:  # whatever it is, out of memory most of all, the run itself will tell
        print(f"{experiment.row} cannot be measured: {type(error).__name__}: {error}", file=sys.stderr)
        return Seconds(math.nan)
    start_up = time.perf_counter() - start
    counts = {role: len(table) for role, table in data.tables.items()}
    sample = data.tables["test"].iloc[np.linspace(0, counts["test"] - 1, 3).astype(int)]
    clips, seconds_to_read = _read(EvaluationClips(sample, data.source, data.rule, evaluate.clips))
    of_one, _ = _read(EvaluationClips(sample, data.source, data.rule, evaluate.validation_clips))
    trained = train.epochs * counts["train"]
    judged = train.epochs * experiment.validates * counts.get(train.choose_on, 0) * of_one
    tested = counts["test"] * clips
    both = sum if device.kind == "cpu" else max
    a_clip, to_judge = step["seconds_training"] / batch, step["seconds_judging"] / batch
    seconds_to_read /= max(1, data.workers)
    if experiment.frozen:  # a step is the head's alone; what goes through the backbone is stored
        once = counts["train"] * train.views + judged / train.epochs + tested
        tokens = both((once * evaluate.crops * to_judge, once * seconds_to_read))
        return Seconds(start_up + (trained + judged + tested) * a_clip, tokens)
    computing = trained * a_clip + (judged + tested * evaluate.crops) * to_judge
    return Seconds(start_up + both((computing, (trained + judged + tested) * seconds_to_read)))


def _read(videos: EvaluationClips) -> tuple[float, float]:
    """Measure clips a video, and seconds a clip once the file's times are known."""
    for _ in range(2):
        start = time.perf_counter()
        items = [videos[number] for number in range(len(videos))]
    clips = [len(item[2]) for item in items if not isinstance(item, Unreadable)]
    if not clips:
        return math.nan, math.nan
    return sum(clips) / len(clips), (time.perf_counter() - start) / sum(clips)


def _clock(seconds: float) -> str:
    return "an unknown time" if math.isnan(seconds) else str(timedelta(seconds=round(seconds)))
