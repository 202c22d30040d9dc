"""Fixtures that several test files share."""

import os
from pathlib import Path

import numpy as np
import pytest

from data_prep.drawn.sample import make_sample
from hmdb_lib import config
from hmdb_lib.data.video import write_video


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips; it is never part of the repository."""
    folder = os.environ.get("HMDB_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("HMDB_REAL_DATA does not name a folder of real clips")
    return Path(folder)


@pytest.fixture(scope="session")
def full_sample(tmp_path_factory) -> Path:
    """The whole sample data set, made once: some twenty seconds, so only slow tests ask for it."""
    return make_sample(tmp_path_factory.mktemp("data") / "sample")


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


@pytest.fixture
def tiny_config(tiny_videos, tmp_path, monkeypatch):
    """A function that gives a configuration for a run of seconds, results in the test's own folder."""
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path / "results"))
    small = {
        "data.dataset": "folder",
        "data.root": tiny_videos,
        "data.frames": 8,
        "data.resize": [66, 88],
        "data.crop": 64,
        "data.workers": 0,
        "model.pretrained": "none",
        "model.blocks": 2,
        "train.epochs": 2,
        "train.batch_size": 4,
        "train.lr": 1e-3,
        "train.warmup_epochs": 0,
        "train.precision": "fp32",
        "evaluate.clips": 2,
    }

    def make(row="baseline", **changes):
        changes = {key.replace("__", "."): value for key, value in changes.items()}
        return config.load(row, [f"{key}={value}" for key, value in (small | changes).items()])

    return make
