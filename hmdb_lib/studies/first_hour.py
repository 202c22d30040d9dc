"""Spend the first hour on a machine: data, features, probes, the public board, its calibration, then heads by budget."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from data_prep.hmdb51.download import get_hmdb51
from data_prep.pack import unpack
from hmdb_lib import config, environment
from hmdb_lib.config import Config
from hmdb_lib.features import probe as probes
from hmdb_lib.files import whole_file
from hmdb_lib.results.statistics import range_text
from hmdb_lib.studies import study
from hmdb_lib.training.batch_size import measure_step

SPLITS = (1, 2, 3)
PROBED, HEADS = "baseline", "attention_depth"  # R(2+1)D-18 from Kinetics-400, and the table whose heads read its tokens
CALIBRATION, OF_BOARD = "xclip", "microsoft/xclip-base-patch32"


def first_hour(
    *,
    hours: float = 1.0,
    splits: Sequence[int] = SPLITS,
    quick: bool = False,
    changes: Mapping[str, Any] | Sequence[str] = (),
    file: Path = config.CONFIG,
) -> list[str]:
    """Get HMDB51, probe R(2+1)D-18 and hold it against the public board, calibrate, then train frozen heads.

    Each step says how long it took; one that is done is not done again (`<results>/first_hour.json`), so that the same call
    goes on; after a change of the configuration all are. Calibration: X-CLIP by the same protocol must reach what the board
    says of it, else that is a finding.

    Args:
        hours: of all steps together; the heads get what is left.
        splits: that are probed and trained on; the board is of split 1.
        quick: a few small clips of the data that are there, the sample data set too, and no weights.
        changes: of keys for every step, a mapping, or words as in the shell; `data=folder` uses your own videos.
        file: another config.yaml, or a part of one.

    Returns the findings, a line each. Raises UserError.

    Example:
        >>> findings = hl.first_hour(hours=1)

    """
    until, place = time.time() + 3600 * hours, environment.place()
    words = config.as_overrides(changes) if isinstance(changes, Mapping) else list(changes)
    words += ["quick=true"] * quick
    fetch = not quick and "data.dataset" not in config.parse(words)
    words += ["data.dataset=hmdb51"] * fetch
    by_split = [_frozen(PROBED, split, words, file) for split in splits]
    calibrating = _frozen(CALIBRATION, 1, words, file)
    steps = _Steps(place.results / "first_hour.json", [*by_split, calibrating])
    if fetch:
        root = place.data / "hmdb51"
        steps.run("data", lambda: _fetch(root), done=lambda: (root / "videos").is_dir())
    steps.run("features", lambda: _compute(by_split))
    steps.run("probes", lambda: [line for experiment in by_split for line in _probe(experiment)])
    steps.run("board", lambda: _stand(by_split[0]))
    findings = steps.run("calibration", lambda: _calibrate(calibrating))
    left = (until - time.time()) / 3600
    if left > 0:
        how = {"splits": splits, "frozen": True, "changes": words, "file": file, "hours": left}
        steps.run("heads", lambda: [str(study.run_study(HEADS, **how))])
    else:
        print("heads: no time is left for them; the same call goes on")
    return [line for line in findings if line.startswith("finding")]


def _fetch(root: Path) -> list[str]:
    unpack()
    return [str(get_hmdb51(root))]


def calibrate(accuracies: np.ndarray, theirs: float) -> tuple[bool, str]:
    """Tell whether the mean of ten draws agrees with the board's mean of ten others, and say so in a line.

    The test videos are the same, so that draws alone may differ: 95 % of the differences of two such means lie within
    the interval.
    """
    count = len(accuracies)
    reach = stats.t.ppf(0.975, count - 1) * accuracies.std(ddof=1) * np.sqrt(2 / count)
    low, high = accuracies.mean() - reach, accuracies.mean() + reach
    held = bool(low <= theirs <= high)
    ours = f"{100 * accuracies.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    return held, f"{OF_BOARD}: {ours} here, {100 * theirs:.1f} on the board"


class _Steps:
    """Runs steps in order, tells how long each took, and keeps that in a file."""

    def __init__(self, file: Path, experiments: Sequence[Config]) -> None:
        resolved = json.dumps([experiment.flat() for experiment in experiments], sort_keys=True)
        self.file, self.settings = file, hashlib.sha256(resolved.encode()).hexdigest()

    def run(self, name: str, work: Callable[[], list[str]], done: Callable[[], bool] = lambda: True) -> list[str]:
        """Do a step, unless it was done by the same settings, as resolved, and `done` agrees; return and print what it told."""
        kept = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}
        before = kept.get(name, {})
        if name != "heads" and before.get("settings") == self.settings and done():  # a study knows what is done
            print(f"{name}: done before, it took {timedelta(seconds=before['seconds'])}")
        else:
            print(f"{name}: begins", flush=True)
            start = time.monotonic()
            told = work()
            before = {"seconds": round(time.monotonic() - start), "told": told, "settings": self.settings}
            with whole_file(self.file) as part:
                part.write_text(json.dumps(kept | {name: before}, indent=2), encoding="utf-8")
            print(f"{name}: took {timedelta(seconds=before['seconds'])}")
        print(*(f"  {line}" for line in before["told"]), sep="\n", flush=True)
        return before["told"]


def _frozen(row: str, split: int, words: Sequence[str], file: Path) -> Config:
    return config.load(row, ["model.frozen=all", "data.features=pooled", f"data.split={split}", *words], file)


def _compute(experiments: Sequence[Config]) -> list[str]:
    """Compute the features of all videos of some splits; what one split has computed the next one reads."""
    place = environment.place()
    prepared = [(experiment, *probes.prepare(experiment, place)) for experiment in experiments]
    videos = len({path for _, data, *_ in prepared for table in data.tables.values() for path in table.path})
    evaluate = experiments[0].evaluate
    if isinstance(evaluate.clips, int):
        a_clip = measure_step(experiments[0], len(prepared[0][1].classes), 4)["seconds_judging"] / 4
        expected = timedelta(seconds=round(videos * evaluate.clips * evaluate.crops * a_clip))
        print(f"  about {expected} for {videos} videos and reading them: forecast from four random clips, not measured")
    for experiment, data, _, tokens in prepared:
        probes.pooled(data, tokens, experiment)
    return [f"{videos} videos in {prepared[0][3].store.folder}"]


def _probe(experiment: Config) -> list[str]:
    table = probes.probe(experiment)
    return [
        f"split {experiment.data.split}, {name}: {line['accuracy']:.3f} "
        f"{range_text(line['accuracy_low'], line['accuracy_high'], line['sources'], '.3f')}"
        for name, line in table.iterrows()
    ]


def _stand(experiment: Config) -> list[str]:
    accuracies = probes.probe_as_board(experiment)
    mean, models = accuracies.mean(), pd.read_csv(probes.BOARD)
    others = " (of HMDB51's split 1; these are other data)" * (not _of_board(experiment))
    return [
        f"{experiment.model.backbone}: {mean:.3f}, standard deviation {accuracies.std(ddof=1):.3f} over ten draws; "
        f"{(models.accuracy > mean).sum()} of the {len(models)} models of the public board{others} are above",
        *probes.board(mean).to_string(index=False).splitlines(),
    ]


def _calibrate(experiment: Config) -> list[str]:
    if not _of_board(experiment):
        return ["the board is of HMDB51's split 1: nothing to hold this against"]
    theirs = pd.read_csv(probes.BOARD, index_col="model").accuracy[OF_BOARD]
    held, told = calibrate(probes.probe_as_board(experiment), theirs)
    if held:
        return [f"{told}: they agree, so other numbers of this protocol may be read beside the board's"]
    return [f"finding: {told}: they differ by more than draws do, so do not read numbers beside the board's yet"]


def _of_board(experiment: Config) -> bool:
    data = experiment.data
    return data.dataset == "hmdb51" and data.split == 1 and not experiment.quick
