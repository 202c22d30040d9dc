"""Fixtures that several test files share."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep.drawn.sample import make_sample
from hmdb_lib import config
from hmdb_lib.config import Config
from hmdb_lib.data.video import write_video
from hmdb_lib.results.runs import Run


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several workers one thread."""
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers, and what they start, are started with this


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have most slow tests, so that no worker waits at the end for another's long file."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips; it is never part of the repository."""
    folder = os.environ.get("HMDB_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("HMDB_REAL_DATA does not name a folder of real clips")
    return Path(folder)


@pytest.fixture(scope="session")
def full_sample(tmp_path_factory) -> Path:
    """The whole sample data set, made once for all workers: some twenty seconds, so only slow tests ask for it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # `make_sample` lets one worker draw and the others wait
    return make_sample(folder / "shared" / "sample")


@pytest.fixture(scope="session")
def tiny_videos(tmp_path_factory) -> Path:
    """A folder data set that a few steps can learn: bright and dark noise, 8 training videos, 4 and 4 others."""
    root = tmp_path_factory.mktemp("tiny")
    random = np.random.default_rng(0)
    lines = ["path,label,group,split"]
    for number in range(16):
        label, part = ("bright", "dark")[number % 2], ("train", "train", "validation", "test")[number // 2 % 4]
        (root / label).mkdir(exist_ok=True)
        low = 150 if label == "bright" else 0
        write_video(
            root / label / f"{number}.avi", random.integers(low, low + 100, (12, 72, 96, 3), dtype=np.uint8), 30
        )
        lines.append(f"{label}/{number}.avi,{label},source{number},{part}")
    (root / "index.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="session")
def tiny_experiment(tiny_videos) -> Callable[..., Config]:
    """A function that gives a configuration for a run of seconds on `tiny_videos`."""
    small = {
        "data.dataset": "folder",
        "data.root": tiny_videos,
        "data.frames": 8,
        "data.resize": [66, 88],
        "data.crop": 64,
        "data.workers": 0,
        "model.pretrained": "none",
        "train.epochs": 2,
        "train.batch_size": 4,
        "train.lr": 1e-3,
        "train.warmup_epochs": 0,
        "train.step_epochs": 1,
        "train.precision": "fp32",
        "evaluate.clips": 2,
    }

    def make(row="baseline", **changes):
        changes = {key.replace("__", "."): value for key, value in changes.items()}
        cut = (
            {"model.blocks": 1, "model.width": 0.25}
            if config.load(row, ["data=folder"]).model.backbone in config.CUT
            else {}
        )
        return config.load(row, [f"{key}={value}" for key, value in (small | cut | changes).items()])

    return make


@pytest.fixture
def tiny_config(tiny_experiment, tmp_path, monkeypatch) -> Callable[..., Config]:
    """`tiny_experiment`, with results in the test's own folder."""
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path / "results"))
    return tiny_experiment


@pytest.fixture(scope="session")
def hybrid_run(tiny_experiment, tmp_path_factory) -> Run:
    """A finished run of a small hybrid with random weights, to read only."""
    from helpers.finished_run import write_finished_run  # noqa: PLC0415 - the process that hands out tests needs no torch

    small = {"model__blocks": 1, "perceiver__latents": 8, "perceiver__width": 64}
    return write_finished_run(tiny_experiment("cross1_self1", **small), tmp_path_factory.mktemp("hybrid") / "run")


@pytest.fixture(scope="session")
def trained_run(tiny_experiment, tmp_path_factory) -> Run:
    """The run of `tiny_experiment()` over three epochs, to read only."""
    from hmdb_lib.training import experiment as training  # noqa: PLC0415 - as above

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HMDB_RESULTS", str(tmp_path_factory.mktemp("trained")))
        return training.train(tiny_experiment(train__epochs=3))
