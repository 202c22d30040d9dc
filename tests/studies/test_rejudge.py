"""One checkpoint is judged in several ways, each paired with its own way on the same videos."""

import shutil

import numpy as np
import pandas as pd
import pytest

from hmdb_lib import config, environment
from hmdb_lib.cli import main
from hmdb_lib.errors import UserError
from hmdb_lib.results import tables
from hmdb_lib.results.metrics import classes_of
from hmdb_lib.results.runs import OWN_WAY, Run
from hmdb_lib.studies import rejudge as rejudging, study
from hmdb_lib.studies.job import Job
from hmdb_lib.studies.rejudge import rejudge

MAJORITY, CONSECUTIVE = "evaluate.vote=majority", "evaluate.clips=consecutive"


@pytest.fixture
def run(trained_run, tmp_path):
    """A run to write into."""
    return Run(shutil.copytree(trained_run.folder, tmp_path / "baseline" / "tiny-split1-seed0"))


@pytest.mark.slow
def test_its_own_way_gives_the_predictions_of_the_run_and_the_others_are_paired_with_them(run):
    table = rejudge(run, MAJORITY, CONSECUTIVE, "evaluate.crops=3").set_index("way")
    assert table.index.tolist() == [OWN_WAY, MAJORITY, CONSECUTIVE, "evaluate.crops=3"]
    judged = run.judged
    classes = classes_of(run.predictions)
    pd.testing.assert_frame_equal(judged[OWN_WAY], run.predictions, atol=1e-4)
    assert set(np.unique(judged[MAJORITY][classes])) <= {0.0, 0.5, 1.0}, "two clips vote"
    assert not np.allclose(judged["evaluate.crops=3"][classes], run.predictions[classes])
    own = table.loc[OWN_WAY]
    assert (own.accuracy, own.difference) == (run.summary["test"]["accuracy"], 0)
    assert (table.difference - (table.accuracy - own.accuracy)).abs().max() < 1e-9
    assert pd.read_csv(run.folder / "judged.csv").way.tolist() == table.index.tolist()


@pytest.mark.slow
def test_ways_with_the_same_clips_are_computed_once_and_earlier_ways_stay(run, monkeypatch):
    passes, judge = [], rejudging.training.judge
    monkeypatch.setattr(
        rejudging.training, "judge", lambda way, *rest: passes.append(way.config.evaluate) or judge(way, *rest)
    )
    rejudge(run, MAJORITY)
    assert len(passes) == 1
    rejudge(run, "evaluate.clips=1 evaluate.vote=majority")
    assert [way.clips for way in passes[1:]] == [2, 1]
    assert list(run.judged) == [OWN_WAY, MAJORITY, "evaluate.clips=1 evaluate.vote=majority"]


def test_a_run_that_two_devices_trained_with_averaged_weights_and_patience_is_judged_on_one(run):
    how = run.config.changed("train", devices=2, ema=0.9, patience=3, sync_batch_norm=True)
    (run.folder / "config.yaml").write_text(how.to_yaml())
    before = {file: file.read_bytes() for file in run.folder.rglob("*") if file.is_file()}
    rejudge(run, MAJORITY)
    pd.testing.assert_frame_equal(run.judged[OWN_WAY], run.predictions, atol=1e-4)
    assert {file: file.read_bytes() for file in before} == before


def test_the_command_judges_each_way_and_all_together(run, capsys):
    assert main(["rejudge", str(run.folder), MAJORITY, CONSECUTIVE, "train.device=cpu"]) == 0
    assert list(run.judged) == [OWN_WAY, MAJORITY, CONSECUTIVE, f"{MAJORITY} {CONSECUTIVE}"]
    printed = capsys.readouterr().out
    assert f"{MAJORITY} {CONSECUTIVE}" in printed
    assert "Testing" not in printed, "Lightning's own bar beside ours"


@pytest.mark.parametrize(
    ("ways", "told"),
    [
        (["train.lr=1"], r"rejudge: train\.lr=1: training has settled this; give evaluate\.clips"),
        (["evaluate.validation_clips=3"], "training has settled this"),
        (["evaluate.vote=loudest"], "evaluate.vote"),
        (["data.workers=0"], "no way to judge it was given"),
        ([MAJORITY, "data.root=/nowhere"], "/nowhere: there is no such folder"),
    ],
)
def test_what_cannot_be_judged_is_told_in_one_line(run, ways, told):
    with pytest.raises(UserError, match=told) as error:
        rejudge(run, *ways)
    assert "\n" not in str(error.value)


def test_a_run_whose_videos_are_others_or_that_has_no_checkpoint_is_told(run, tiny_videos, tmp_path):
    fewer = shutil.copytree(tiny_videos, tmp_path / "fewer")
    index = pd.read_csv(fewer / "index.csv")
    index.drop(index.index[index.split == "test"][0]).to_csv(fewer / "index.csv", index=False)
    with pytest.raises(UserError, match=r"is of other data: 4 test.* there, 3 test"):
        rejudge(run, MAJORITY, f"data.root={fewer}")
    run.best.unlink()
    with pytest.raises(UserError, match="holds no finished run"):
        rejudge(run, MAJORITY)


def test_the_table_has_each_way_as_a_line_under_its_row_with_the_difference_to_it(run):
    rejudge(run, MAJORITY, CONSECUTIVE)
    ways = [MAJORITY, CONSECUTIVE, "evaluate.crops=3"]
    table = tables.study({"baseline": [run], "self1": [run]}, "self1", judged={"baseline": ways})
    assert table.index.tolist() == ["baseline", f"baseline: {MAJORITY}", f"baseline: {CONSECUTIVE}", "self1"]
    line = table.loc[f"baseline: {MAJORITY}"]
    assert (line.reference, line.videos, line.compared_videos) == ("baseline", 4, 4)
    assert line.difference == line.accuracy - table.loc["baseline"].accuracy
    planned = table.p_holm / table.p
    assert planned.max() <= 4, "one other row and three ways"
    assert not table.best_on_validation[f"baseline: {MAJORITY}"]


def test_a_study_judges_again_what_its_table_names_and_says_it_under_the_table(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path))
    monkeypatch.setattr(
        config,
        "tables",
        lambda file: {"any": {"rows": ["baseline"], "varies": ["seed"], "judged": {"baseline": [MAJORITY]}}},
    )
    job = Job([], run.config, run)
    study.judge_again(["any"], [job])
    assert list(run.judged) == [OWN_WAY, MAJORITY]
    written = study.write(["any"], [job], [], environment.place().results)
    assert written.frame.index.tolist() == ["baseline", f"baseline: {MAJORITY}"]
    assert "Rows of any differ in seed." in written.caption
    assert "Below a row, key=value: the same runs judged so" in written.caption
    assert "Holm: for the 1 comparisons" in written.caption
    run.best.unlink()
    (run.folder / "judged-predictions.csv.gz").unlink()
    study.judge_again(["any"], [job])
    assert "has no checkpoint any more, so that it is not judged by evaluate.vote=majority" in capsys.readouterr().out
