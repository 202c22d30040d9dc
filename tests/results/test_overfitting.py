"""Where a run overfits: after the epoch of its lowest validation loss."""

import numpy as np
import pandas as pd
import pytest
from helpers.made import made_table

from hmdb_lib import config
from hmdb_lib.errors import UserError
from hmdb_lib.results import tables
from hmdb_lib.results.runs import Run, overfitting_table


@pytest.fixture
def run(tmp_path):
    metrics = {
        "epoch": range(4),
        "train_video_loss": [2.0, 1.0, 0.5, 0.1],
        "val_video_loss": [2.0, 1.5, 1.7, 2.1],
        "val_video_accuracy": [0.1, 0.3, 0.4, 0.2],
    }
    pd.DataFrame(metrics).to_csv(tmp_path / "metrics.csv", index=False)
    return Run(tmp_path)


def test_a_run_overfits_after_its_lowest_validation_loss(run):
    told = overfitting_table({"run": run}).loc["run"]
    assert told[["epochs", "overfits_after", "best_epoch"]].tolist() == [4, 1, 2]
    assert told[["gap_there", "gap_at_best", "gap_at_end"]].tolist() == pytest.approx([0.5, 1.2, 2.0])


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_run_says_which_part_was_judged_after_each_epoch(run, part):
    (run.folder / "config.yaml").write_text(config.load(overrides=[f"train.choose_on={part}"]).to_yaml())
    assert overfitting_table({"run": run}).part.tolist() == [part]


def test_a_run_that_never_validated_is_left_out(run):
    run.metrics.assign(val_video_loss=np.nan).to_csv(run.folder / "metrics.csv", index=False)
    assert overfitting_table({"run": run}).empty


def test_the_table_with_the_most_test_videos_is_read_where_none_is_named(tmp_path):
    (tmp_path / "tables").mkdir()
    for name, videos in {"a-one": 12, "b-two": 900}.items():
        made_table(2).assign(videos=videos).to_csv(tmp_path / "tables" / f"{name}.csv")
    assert tables.read_table(results=tmp_path).attrs["name"] == "b-two"
    assert tables.read_table("a-one", tmp_path).videos.tolist() == [12, 12]
    with pytest.raises(UserError, match="no table c; there are a-one, b-two"):
        tables.read_table("c", tmp_path)


def test_a_table_without_a_finished_run_is_not_read_for_the_one_with_the_most_videos(tmp_path):
    (tmp_path / "tables").mkdir()
    for name, videos in {"a-none": np.nan, "b-some": 9}.items():
        made_table(2).assign(videos=videos).to_csv(tmp_path / "tables" / f"{name}.csv")
    assert tables.read_table(results=tmp_path).attrs["name"] == "b-some"
