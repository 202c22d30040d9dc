"""A run is of the data that it was started on, and of data that can be read."""

import json
import shutil

import lightning as L
import pytest

from hmdb_lib.errors import UserError
from hmdb_lib.results.runs import Run
from hmdb_lib.training import experiment as training
from hmdb_lib.training.modules import TrainingModule


@pytest.fixture
def own_videos(tiny_videos, tmp_path):
    """A copy of the tiny data set, to change."""
    return shutil.copytree(tiny_videos, tmp_path / "own" / "tiny")


def spoil(root, role, count=None):
    """Write text over the videos of a part; returns their number."""
    rows = [line.split(",") for line in (root / "index.csv").read_text().splitlines()[1:]]
    chosen = [row[0] for row in rows if row[3] == role][:count]
    for path in chosen:
        (root / path).write_text("this is not a video")


class Stop(L.Callback):
    """Interrupts a run after its first epoch."""

    def on_train_epoch_end(self, trainer, module):
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


def test_a_finished_run_of_other_data_is_not_taken_for_ones_own(trained_run, tiny_experiment, own_videos, monkeypatch):
    monkeypatch.setenv("HMDB_RESULTS", str(trained_run.folder.parents[2]))
    kept = json.loads((trained_run.folder / "data.json").read_text())
    assert kept["parts"] == {"test": 4, "train": 8, "validation": 4}
    name = own_videos.with_name(trained_run.config.data.name)
    own_videos = own_videos.rename(name)
    same = tiny_experiment(train__epochs=3, data__root=own_videos)
    assert training.train(same).folder == trained_run.folder, "the same files in another place are the same data"
    with (own_videos / "bright" / "0.avi").open("ab") as video:
        video.write(b"more")
    with pytest.raises(UserError, match=r"is of other data: 4 test, 8 train, 4 val.*, but other paths, parts or sizes"):
        training.train(same)
    index = own_videos / "index.csv"
    index.write_text("\n".join(index.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match=r"4 test, 8 train.* of 2 classes there, 3 test, 8 train.* of 2 classes now"):
        training.train(same)
    shutil.rmtree(own_videos)
    assert training.train(same).finished, "where the data are not, there is nothing to compare"


def test_a_finished_run_of_an_older_release_is_skipped_as_before(trained_run, tiny_experiment, tmp_path, monkeypatch):
    results = shutil.copytree(trained_run.folder.parents[2], tmp_path / "results")
    monkeypatch.setenv("HMDB_RESULTS", str(results))
    next(results.rglob("data.json")).unlink()
    stamp = next(results.rglob("summary.json")).stat().st_mtime_ns
    training.train(tiny_experiment(train__epochs=3))
    assert next(results.rglob("summary.json")).stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_data(tiny_config, own_videos):
    config = tiny_config(data__root=own_videos, train__epochs=3)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, callbacks=[Stop()])
    shutil.copy(own_videos / "dark" / "1.avi", own_videos / "dark" / "new.avi")
    with (own_videos / "index.csv").open("a") as index:
        index.write("\ndark/new.avi,dark,new,train")
    with pytest.raises(UserError, match="4 test, 8 train, 4 validation of 2 classes there, 4 test, 9 train"):
        training.train(config)


def test_a_run_begun_before_folds_were_disjoint_does_not_go_on(tmp_path):
    run = Run(tmp_path)
    data = {"parts": {"train": 8}, "classes": ["a"], "cut": False, "sha256": "x"}
    run.write_epoch({"epoch": 0})
    run.keep_data(data)
    with pytest.raises(UserError, match="was begun before folds were disjoint"):
        run.keep_data(data | {"cut": True})


@pytest.mark.slow
def test_a_first_start_that_fails_leaves_nothing_that_refuses_the_second(tiny_config, own_videos, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "on_train_epoch_start", fail)
        with pytest.raises(RuntimeError):
            training.train(tiny_config(data__root=own_videos, train__epochs=1, train__lr=0.1))
    assert training.train(tiny_config(data__root=own_videos, train__epochs=1)).finished


@pytest.mark.parametrize("role", ["train", "validation", "test"])
@pytest.mark.parametrize("most", [0.05, 1])
def test_a_part_in_which_nothing_can_be_read_stops_before_training(tiny_config, own_videos, role, most):
    spoil(own_videos, role)
    with pytest.raises(
        UserError, match=rf"(\d) of \1 {role} videos cannot be read, more than data.max_lost={most:.3g}"
    ):
        training.train(tiny_config(data__root=own_videos, data__max_lost=most))
    assert not list((own_videos.parents[1] / "results").rglob("config.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["spoiled", "missing"])
def test_a_part_that_loses_more_than_its_share_stops_before_training(tiny_config, own_videos, damage):
    if damage == "spoiled":
        spoil(own_videos, "train", 2)
    else:
        for name in ("0", "8"):
            (own_videos / "bright" / f"{name}.avi").unlink()
    with pytest.raises(UserError, match=r"2 of 8 train videos cannot be read, .*data\.max_lost=0\.2 allows: .*0\.avi"):
        training.train(tiny_config(data__root=own_videos, data__max_lost=0.2))
    assert training.train(tiny_config(data__root=own_videos, data__max_lost=0.25, train__epochs=1)).finished


@pytest.mark.slow
def test_damage_behind_the_first_frame_stops_after_the_epoch(tiny_config, own_videos, monkeypatch):
    monkeypatch.setattr("hmdb_lib.data.load.read_frames", lambda path, indices: None)
    spoil(own_videos, "test")
    with pytest.raises(UserError, match=r"4 of 4 test videos cannot be read"):
        training.train(tiny_config(data__root=own_videos, train__epochs=1))
    spoil(own_videos, "train")
    with pytest.raises(UserError, match=r"8 of 8 train videos cannot be read"):
        training.train(tiny_config(data__root=own_videos, train__epochs=1, name="other"))


@pytest.mark.slow
def test_with_one_test_video_in_twenty_unreadable_accuracy_is_over_all_twenty(tiny_config, own_videos, capsys):
    index = own_videos / "index.csv"
    rows = [row for row in index.read_text().splitlines() if not row.endswith(",test")]
    for number in range(20):
        label = ("bright", "dark")[number % 2]
        shutil.copy(own_videos / label / f"{number % 2}.avi", own_videos / label / f"test{number}.avi")
        rows.append(f"{label}/test{number}.avi,{label},test{number},test")
    index.write_text("\n".join(rows))
    (own_videos / "dark" / "test19.avi").write_text("this is not a video")
    run = training.train(tiny_config(data__root=own_videos, train__epochs=1))
    test = run.summary["test"]
    assert (test["videos"], test["present"], test["read"]) == (20, 20, 19)
    assert test["accuracy"] == pytest.approx(test["accuracy_read"] * 19 / 20)
    assert "on 20 listed videos, of which 20 were there and 19 read" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_of_the_same_videos_with_other_sources_is_not_taken_for_ones_own(tiny_config, own_videos):
    config = tiny_config(data__root=own_videos, train__epochs=1)
    training.train(config)
    index = own_videos / "index.csv"
    index.write_text(index.read_text().replace("source3", "source2").replace("source7", "source6"))
    with pytest.raises(UserError, match="was begun when the same videos had other sources"):
        training.train(config)


def test_a_run_from_before_sources_were_recorded_is_taken_as_before(
    trained_run, tiny_experiment, tmp_path, monkeypatch
):
    results = shutil.copytree(trained_run.folder.parents[2], tmp_path / "results")
    monkeypatch.setenv("HMDB_RESULTS", str(results))
    record = next(results.rglob("data.json"))
    kept = json.loads(record.read_text())
    del kept["sources"]
    record.write_text(json.dumps(kept))
    assert training.train(tiny_experiment(train__epochs=3)).finished
