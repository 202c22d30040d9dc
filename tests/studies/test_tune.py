"""Settings are searched on validation alone, and what was searched is recorded."""

import shutil
import time

import pandas as pd
import pytest
import yaml

from hmdb_lib import cli, config
from hmdb_lib.data.loader import ClipData
from hmdb_lib.environment import place
from hmdb_lib.errors import UserError
from hmdb_lib.features.extract import Wanted
from hmdb_lib.results.runs import Run, list_runs
from hmdb_lib.studies import study
from hmdb_lib.studies.tune import Watch, tune
from hmdb_lib.training import experiment as training
from hmdb_lib.training.modules import DivergedError

SEARCH = """
search:
  all:
    train.lr: {low: 1.0e-4, high: 0.1, log: true}
    train.label_smoothing: [0.0, 0.2]
  perceiver:
    perceiver.dropout: {low: 0.0, high: 0.5}
"""


@pytest.fixture
def changes(tiny_videos, tmp_path, monkeypatch):
    """What makes a trial of a second: a frozen backbone of one block, on stored tokens."""
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("HMDB_DATA", str(tmp_path / "data"))
    return {
        **{"data": "folder", "data.root": str(tiny_videos), "data.frames": 8, "data.resize": [66, 88], "data.crop": 64},
        **{
            "data.workers": 0,
            "data.features": "pooled",
            "model.pretrained": "none",
            "model.blocks": 1,
            "model.width": 0.25,
        },
        **{"model.frozen": "all", "train.views": 2, "evaluate.clips": 2, "train.precision": "fp32"},
        **{"train.epochs": 2, "train.batch_size": 4, "train.warmup_epochs": 0},
        **{"perceiver.latents": 4, "perceiver.width": 16},
    }


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "search.yaml"
    file.write_text(SEARCH)
    return file


def trials_of(row="baseline"):
    return pd.read_csv(next((place().results / "tuning" / "runs" / f"{row}-frozen").glob("*/trials.csv")))


@pytest.mark.slow
def test_no_test_clip_is_read(changes, file, monkeypatch):
    monkeypatch.setattr(ClipData, "test_dataloader", lambda self: pytest.fail("the test loader was built"))
    parts, judged = [], Wanted.judged.__func__
    monkeypatch.setattr(
        Wanted,
        "judged",
        classmethod(lambda cls, data, videos, *of: parts.append(videos) or judged(cls, data, videos, *of)),
    )
    tune("baseline", trials=2, changes=changes, file=file)
    assert {role for videos in parts for role in videos.role} == {"validation"}


@pytest.mark.slow
def test_every_row_of_a_table_has_as_many_trials_and_the_first_is_the_row_itself(changes, file, capsys):
    table = tune("baseline", "cross1_self1", trials=3, changes=changes, file=file)
    assert table.trials.tolist() == [3, 3]
    for row in ("baseline", "cross1_self1"):
        trials = trials_of(row)
        assert len(trials) == 3
        assert "'train.lr': 0.0003, 'train.label_smoothing': 0.1" in trials.user_attrs_values[0]
    assert (table.validation_accuracy >= table.as_it_stands).all()
    assert "perceiver.dropout" not in trials_of("baseline").user_attrs_values[1]
    assert "perceiver.dropout: low 0.0, high 0.5" in capsys.readouterr().out


@pytest.mark.slow
def test_features_are_computed_once_for_all_trials(changes, file, monkeypatch):
    computed, compute = [], training.Tokens._compute
    monkeypatch.setattr(training.Tokens, "_compute", lambda *of: computed.append(of[2].kind) or compute(*of))
    tune("baseline", "cross1_self1", trials=2, changes=changes, file=file)
    assert sorted(computed) == ["clips2x1", "views2"]


@pytest.mark.slow
def test_the_best_row_gives_what_its_trial_gave_and_says_how_many_trials_it_took(changes, file, tmp_path):
    table = tune("baseline", "cross1_self1", trials=3, changes=changes, file=file)
    (found,) = (place().results / "tuning").glob("*.yaml")
    again = [word for word in config.as_overrides(changes) if word.startswith(("data=", "data.root", "data.workers"))]
    names = yaml.safe_load(found.read_text())["tables"]["baseline+cross1_self1_tuned"]["rows"]
    assert names == ["baseline_tuned", "cross1_self1_tuned"]
    for row in names:
        tuned = config.load(row, [*again, "train.precision=fp32"], found)
        run = training.train(tuned)
        assert run.metrics.val_video_accuracy.max() == table.loc[(row, 1), "validation_accuracy"]
        assert run.summary["trials"] == 3
    line = study.run_study("baseline+cross1_self1_tuned", changes=[*again, "train.precision=fp32"], file=found)
    assert line.frame.trials.tolist() == [3, 3]
    assert "trials" in line.files[1].read_text().splitlines()[0]
    assert "settings that hmdb tune tried on the validation part" in line.caption


@pytest.mark.slow
def test_each_split_is_tuned_for_itself_and_a_row_is_refused_on_another(changes, file, tiny_videos, tmp_path):
    shutil.copytree(tiny_videos, tmp_path / "folds", ignore=shutil.ignore_patterns("index.csv"))
    changes |= {"data.root": str(tmp_path / "folds"), "data.folds": 2, "data.validation_share": 0.5}
    table = tune("baseline", splits=[1, 2], trials=1, changes=changes, file=file)
    assert table.index.tolist() == [("baseline_tuned", 1), ("baseline_tuned", 2)]
    (found,) = (place().results / "tuning").glob("*.yaml")
    config.load("baseline_tuned", ["data=folder", "data.split=2"], found)
    with pytest.raises(UserError, match="tuned for split 1, 2, whose validation videos may be test videos of split 3"):
        config.load("baseline_tuned", ["data=folder", "data.split=3"], found)


@pytest.mark.slow
def test_a_tuned_table_says_all_that_the_table_says_of_the_rows_it_was_tuned_from(changes, file):
    table = {"rows": ["baseline", "cross1_self1"], "varies": ["model.head"], "note": "Mine."}
    table |= {"against": {"cross1_self1": ["baseline"]}, "besides": {"as it was": ["seed"]}}
    file.write_text(yaml.safe_dump({"tables": {"own": table}, "search": {"all": {"train.lr": [0.1]}}}))
    tune("own", trials=1, changes=changes, file=file)
    (found,) = (place().results / "tuning").glob("*.yaml")
    assert yaml.safe_load(found.read_text())["tables"]["own_tuned"] == table | {
        "rows": ["baseline_tuned", "cross1_self1_tuned"],
        "against": {"cross1_self1_tuned": ["baseline_tuned"]},
        "besides": {"as it was": ["seed"], "as each was tuned on validation": ["train.lr"]},
    }


@pytest.fixture
def tuned(changes, file):
    """A file with the row that comes of tuning the rate, and a function that tunes that row again."""
    file.write_text("search: {all: {train.lr: [0.01]}}\n")
    tune("baseline", trials=2, changes=changes, file=file)
    (first,) = (place().results / "tuning").glob("*.yaml")

    def again(search):
        file.write_text(yaml.safe_dump(yaml.safe_load(first.read_text()) | {"search": {"all": search}}))
        tune("baseline_tuned", trials=1, changes=changes, file=file)
        (second,) = (place().results / "tuning").glob("baseline_tuned*.yaml")
        rows = yaml.safe_load(second.read_text())["rows"]
        return rows["baseline_tuned"], rows["baseline_tuned_tuned"]

    return again


@pytest.mark.slow
def test_what_was_tuned_before_stays_in_a_row_that_is_tuned_again(tuned):
    before, after = (row["by_split"][1] for row in tuned({"train.label_smoothing": [0.0, 0.2]}))
    assert after == before | {"train.label_smoothing": 0.1}


@pytest.mark.slow
def test_what_was_tuned_before_is_not_searched_again(tuned):
    with pytest.raises(UserError, match="nothing is left to search"):
        tuned({"train.lr": [0.5]})


@pytest.mark.slow
def test_a_row_that_is_tuned_again_says_how_many_trials_it_took_in_all(tuned):
    assert tuned({"train.label_smoothing": [0.0, 0.2]})[1]["trials"] == 3


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_and_ends_as_a_whole_one(changes, file, monkeypatch):
    tune("baseline", trials=4, changes=changes | {"name": "whole"}, file=file)
    write, rows = Run.write_epoch, []

    def killed(self, row):
        rows.append(row)
        if len(rows) == 5:
            raise KeyboardInterrupt
        write(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            tune("baseline", trials=4, changes=changes | {"name": "cut"}, file=file)
    tune("baseline", trials=4, changes=changes | {"name": "cut"}, file=file)
    whole, cut = trials_of("baseline-whole"), trials_of("baseline-cut")
    assert cut.state.tolist().count("FAIL") == 1
    ended = cut[cut.state != "FAIL"].reset_index(drop=True)
    assert ended[["value", "user_attrs_values"]].equals(whole[["value", "user_attrs_values"]])


@pytest.mark.slow
def test_when_the_time_is_up_rows_are_compared_by_as_many_trials_as_all_of_them_had(changes, file, monkeypatch, capsys):
    began = time.time()
    ends = []
    end = Watch.on_train_epoch_end

    def slow(self, *of):
        ends.append(self)
        end(self, *of)

    monkeypatch.setattr(Watch, "on_train_epoch_end", slow)
    # An hour passes at the end of the second row's second trial: epoch 2 of trials 1, 2, 3 and 4 is the eighth.
    monkeypatch.setattr(time, "time", lambda: began + 3600 * (len(ends) >= 7))
    table = tune("baseline", "cross1_self1", trials=3, hours=0.9, changes=changes, file=file)
    assert table.trials.tolist() == [1, 1]
    assert "the time is up; the same command goes on" in capsys.readouterr().out
    monkeypatch.undo()


def test_the_search_is_of_what_the_row_leaves_open(changes, file, capsys):
    tune("baseline", trials=1, changes=changes | {"train.lr": 0.01}, file=file)
    assert "train.lr: low" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("search", "more", "told"),
    [
        ("{all: {data.frames: [8, 16]}}", {}, "data.frames cannot be searched"),
        ("{all: {train.views: [1, 2]}}", {}, "train.views cannot be searched"),
        ("{all: {train.lr: 3}}", {}, "expected a list, or"),
        ("{all: {train.mixup: {low: 0, high: 1, log: true}}}", {}, "around the row's own, which is 0.0"),
        (None, {"data.validation_share": 0}, "needs labels and a validation part"),
        (None, {"train.choose_on": "test"}, "needs labels and a validation part"),
        ("{all: {train.lr: [0.1]}}", {"train.lr": 0.1}, "nothing is left to search"),
        (None, {"train.batch_size": "auto"}, "needs a number for train.batch_size"),
    ],
)
def test_what_cannot_be_tuned_is_told_before_anything_starts(changes, file, search, more, told):
    if search:
        file.write_text(f"search: {search}\n")
    with pytest.raises(UserError, match=told):
        tune("baseline", changes=changes | more, file=file)


def test_another_search_in_the_same_place_is_refused(changes, file):
    tune("baseline", trials=1, changes=changes, file=file)
    file.write_text(SEARCH.replace("0.1,", "0.2,"))
    with pytest.raises(UserError, match="tuned in another search space; give this one a name"):
        tune("baseline", trials=1, changes=changes, file=file)


@pytest.mark.slow
def test_trials_are_no_runs_and_a_diverged_one_counts(changes, file, capsys):
    file.write_text("search: {all: {train.lr: {low: 1.0e-4, high: 1.0e+30, log: true}}}\n")
    words = config.as_overrides(changes)
    assert cli.main(["tune", "baseline", "--trials", "4", "--config", str(file), *words, "train.clip_norm=0"]) == 0
    assert list_runs() == {}
    assert "PRUNED" in trials_of().state.tolist()
    assert "best of 4 trials each" in capsys.readouterr().out


@pytest.fixture
def diverging(monkeypatch):
    """The second trial diverges after an epoch that did better than any other."""
    train, trials = training.train_unrecorded, []

    def diverge(resolved, data, callbacks):
        trials.append(resolved)
        if len(trials) == 2:
            callbacks[0].trial.report(2.0, 0)
            raise DivergedError("it diverged")
        return train(resolved, data, callbacks)

    monkeypatch.setattr(training, "train_unrecorded", diverge)


@pytest.mark.usefixtures("diverging")
def test_a_trial_that_diverged_is_not_the_best_however_good_its_last_epoch_was(changes, file):
    table = tune("baseline", trials=2, changes=changes, file=file)
    assert table["train.lr"].tolist() == [3e-4], "the row's own, which is the first trial"


@pytest.mark.slow
@pytest.mark.usefixtures("diverging")
def test_a_trial_that_diverged_has_no_value(changes, file):
    tune("baseline", trials=2, changes=changes, file=file)
    assert trials_of().value.isna().tolist() == [False, True]


@pytest.mark.slow
def test_the_range_test_finds_rates_at_which_the_loss_falls(changes, capsys, monkeypatch):
    monkeypatch.setattr(ClipData, "test_dataloader", lambda self: pytest.fail("the test loader was built"))
    words = [*config.as_overrides(changes), "train.lr=0.01"]
    assert cli.main(["tune", "baseline", "--rates", *words]) == 0
    table = pd.read_csv(next((place().results / "tuning" / "rates").rglob("rates.csv")))
    assert (table.lr.iloc[0], table.lr.is_monotonic_increasing) == (1e-5, True)
    assert table.smoothed.min() < 0.9 * table.smoothed.iloc[0]
    assert "the loss falls fastest at train.lr=" in capsys.readouterr().out
