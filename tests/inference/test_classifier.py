"""Pointing a trained model at videos: the numbers of the run's own test, along time, past broken files."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.finished_run import write_finished_run

from hmdb_lib import cli as command
from hmdb_lib.data.video import VideoError, read_frames, write_video
from hmdb_lib.errors import UserError
from hmdb_lib.inference import trained as portable
from hmdb_lib.inference.classifier import Classifier, find_videos
from hmdb_lib.training import experiment as training

SMALL = {"model__blocks": 1, "perceiver__latents": 8, "perceiver__width": 64}


@pytest.fixture(scope="module")
def classifier(hybrid_run):
    return Classifier.load(hybrid_run.folder, "cpu", "fp32")


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """Three seconds: dark, bright, dark noise."""
    file = tmp_path_factory.mktemp("long") / "long.mp4"
    random = np.random.default_rng(0)
    frames = [random.integers(low, low + 100, (48, 64, 3), dtype=np.uint8) for low in (0, 150, 0) for _ in range(20)]
    write_video(file, frames, 20)
    return file


@pytest.mark.slow
def test_the_runs_own_test_videos_get_the_probabilities_that_the_run_recorded(tiny_config, tiny_videos):
    run = training.train(tiny_config("cross1_self1", train__epochs=1, **SMALL))
    recorded = run.predictions
    predicted = Classifier.load(run.folder, "cpu", "fp32").predict([tiny_videos / video for video in recorded.video])
    probabilities = np.stack([video.probabilities for video in predicted.videos])
    np.testing.assert_allclose(probabilities, recorded[["bright", "dark"]].to_numpy(), atol=1e-5)


@pytest.mark.parametrize(("own", "precision"), [("fp32", "fp32"), ("auto", "bf16"), ("fp16", "bf16")])
def test_a_run_predicts_in_its_own_precision_where_the_machine_is_fast_in_it(
    hybrid_run, tmp_path, monkeypatch, own, precision
):
    monkeypatch.setattr("hmdb_lib.models.device._best_precision", lambda kind: ("bf16", "of this machine"))
    run = shutil.copytree(hybrid_run.folder, tmp_path / "run")
    (run / "config.yaml").write_text(hybrid_run.config.changed("train", precision=own).to_yaml())
    assert Classifier.load(run, "cpu").device.precision == precision


def test_a_short_video_is_one_window(classifier, tiny_videos):
    (video,) = classifier.predict(tiny_videos / "dark" / "1.avi").videos
    assert (video.starts.tolist(), video.ends.tolist()) == ([0.0], [0.4])
    assert sum(video.top().values()) == pytest.approx(1)


def test_a_long_video_is_cut_into_windows_of_equal_length(classifier, long_video):
    (video,) = classifier.predict(long_video, window=1).videos
    assert video.starts.tolist() == [0, 1, 2]
    assert video.ends.tolist() == [1, 2, 3]
    np.testing.assert_allclose(video.probabilities, video.windows.mean(0))


def test_a_window_is_judged_as_if_it_were_a_video_of_its_own(classifier, long_video, tmp_path):
    whole = classifier.predict(long_video, window=1).videos[0]
    write_video(tmp_path / "part.avi", read_frames(long_video, np.arange(20, 40)), 20, "ffv1")
    part = classifier.predict(tmp_path / "part.avi").videos[0]
    np.testing.assert_allclose(part.probabilities, whole.windows[1], atol=5e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose
@pytest.mark.parametrize("how", [{"batch_size": 1}, {"batch_size": 5}, {"workers": 2}])
def test_batches_and_workers_do_not_change_the_numbers(classifier, tiny_videos, how):
    videos = [tiny_videos / "dark" / f"{number}.avi" for number in (5, 1, 3)]
    first = classifier.predict(videos, workers=0)
    second = classifier.predict(videos, **{"workers": 0} | how)
    assert [video.video for video in first.videos] == [video.video for video in second.videos]
    for one, other in zip(first.videos, second.videos, strict=True):
        np.testing.assert_allclose(one.windows, other.windows, atol=1e-6)


@pytest.mark.parametrize("clips", ["all", "consecutive", 3])
def test_every_way_to_choose_clips_gives_probabilities(classifier, long_video, clips):
    video = classifier.predict(long_video, window=1, clips=clips).videos[0]
    np.testing.assert_allclose(video.windows.sum(1), 1, atol=1e-6)


def test_three_crops_are_averaged(tiny_config, tmp_path, tiny_videos):
    run = write_finished_run(tiny_config("cross1_self1", evaluate__crops=3, **SMALL), tmp_path / "crops")
    video = Classifier.load(run.folder).predict(tiny_videos / "dark" / "1.avi").videos[0]
    assert video.probabilities.sum() == pytest.approx(1)


def test_a_portable_file_predicts_as_its_run_does(hybrid_run, classifier, tiny_videos, tmp_path):
    portable.write(hybrid_run.folder, tmp_path / "model.safetensors")
    handed_on = Classifier.load(tmp_path / "model.safetensors", "cpu", "fp32")
    one, other = (c.predict(tiny_videos / "dark" / "1.avi").videos[0] for c in (classifier, handed_on))
    assert one.top() == other.top()


def test_clips_are_normalised_as_the_trained_model_says(classifier, tiny_videos):
    other = Classifier(dataclasses.replace(classifier.trained, mean=(0.9, 0.9, 0.9)), classifier.device)
    one, moved = (c.predict(tiny_videos / "dark" / "1.avi").videos[0].probabilities for c in (classifier, other))
    assert abs(one - moved).max() > 1e-4


def test_files_that_cannot_be_read_are_skipped_and_told(classifier, tiny_videos, tmp_path, capsys):
    (tmp_path / "notes.avi").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    found = classifier.predict([tmp_path / "notes.avi", tiny_videos / "dark" / "1.avi", tmp_path / "empty.mp4"])
    assert [video.video.name for video in found.videos] == ["1.avi"]
    assert [path.name for path in found.skipped] == ["notes.avi", "empty.mp4"]
    assert "is not a video file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["notes.avi", "notes.txt", "missing.avi", "empty.avi"])
def test_a_single_file_that_is_no_video_is_an_error(classifier, tmp_path, name):
    (tmp_path / "notes.avi").write_text("not a video")
    (tmp_path / "notes.txt").write_text("not a video")
    (tmp_path / "empty.avi").touch()
    with pytest.raises(VideoError, match=name):
        classifier.predict(tmp_path / name)


def test_a_video_of_no_frames_is_an_error(classifier, tmp_path):
    write_video(tmp_path / "v.avi", [np.zeros((48, 64, 3), np.uint8)], 20)
    content = (tmp_path / "v.avi").read_bytes()
    (tmp_path / "v.avi").write_bytes(content[: content.index(b"movi") + 4])
    with pytest.raises(VideoError, match=r"v\.avi"):
        classifier.predict(tmp_path / "v.avi")


def test_a_folder_stands_for_the_videos_anywhere_in_it(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/two.MP4", "one.avi", "notes.txt"):
        (tmp_path / name).touch()
    assert find_videos([tmp_path]) == [tmp_path / "a" / "two.MP4", tmp_path / "one.avi"]


def test_a_folder_without_videos_is_told(classifier, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="no video in this folder"):
        classifier.predict(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"window": 0}, "window=0"),
        ({"window": math.nan}, "window=nan"),
        ({"clips": 0}, "clips=0"),
        ({"clips": "al"}, "clips=al"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"frames": 0}, "frames is 0"),
        ({"frames": -8}, "frames is -8"),
    ],
    ids=str,
)
def test_an_argument_that_makes_no_sense_is_told(classifier, tiny_videos, wrong, told):
    with pytest.raises(UserError, match=told):
        classifier.predict(tiny_videos, **wrong)


def test_a_video_below_one_frame_a_second_is_predicted(classifier, tmp_path):
    grey = np.full((5, 48, 64, 3), 100, np.uint8)
    write_video(tmp_path / "slow.avi", grey, 0.25)
    (video,) = classifier.predict(tmp_path / "slow.avi", window=10).videos
    assert (len(video.windows), video.ends[-1]) == (2, 20)
    assert classifier.whole(tmp_path / "slow.avi").windows.shape == (1, 2)


def shell(run, *words):
    return command.main(["predict", *map(str, words), "--checkpoint", str(run.folder), "--device", "cpu"])


def test_the_command_prints_the_best_classes_and_the_windows(hybrid_run, long_video, capsys):
    assert shell(hybrid_run, long_video, "--window", 1, "--top", 1) == 0
    first, *windows, worth = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{long_video}: ")
    assert len(windows) == 3
    assert "It knows 2 classes" in worth


def test_the_command_prints_json_alone(hybrid_run, tiny_videos, tmp_path, capsys):
    (tmp_path / "notes.avi").write_text("not a video")
    assert shell(hybrid_run, tiny_videos / "dark" / "1.avi", tmp_path / "notes.avi", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["videos"][0]["top"]) == {"bright", "dark"}
    assert list(told["skipped"]) == [str(tmp_path / "notes.avi")]


def test_the_command_prints_csv_alone(hybrid_run, long_video, capsys, tmp_path):
    assert shell(hybrid_run, long_video, "--window", 1.5, "--csv") == 0
    (tmp_path / "table.csv").write_text(capsys.readouterr().out)
    table = pd.read_csv(tmp_path / "table.csv")
    assert table.columns.tolist() == ["video", "start", "end", "rank", "class", "probability"]
    assert table[["start", "end"]].drop_duplicates().to_numpy().tolist() == [[0, 3], [0, 1.5], [1.5, 3]]


@pytest.mark.parametrize("bad", ["missing.avi", "notes.avi"])
def test_the_command_tells_bad_input_in_one_line(hybrid_run, tmp_path, capsys, bad):
    (tmp_path / "notes.avi").write_text("not a video")
    assert shell(hybrid_run, tmp_path / bad) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1


def test_the_command_tells_a_bad_checkpoint_in_one_line(tmp_path, tiny_videos, capsys):
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04.")
    assert command.main(["predict", str(tiny_videos), "--checkpoint", str(tmp_path / "model.safetensors")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_along_a_video_the_best_classes_stand_window_by_window(classifier, long_video):
    (video,) = classifier.predict(long_video, window=1).videos
    table = video.along(1)
    (best,) = video.top(1)
    assert list(table) == ["start", "end", best]
    assert table[best].mean() == pytest.approx(video.top(1)[best])


def test_the_clip_to_look_at_is_the_middle_one_as_the_model_sees_it(classifier, long_video):
    clip = classifier.clip(long_video)
    assert (clip.shape, clip.dtype) == ((8, 64, 64, 3), torch.uint8)
    assert [bool(frame.float().mean() > 100) for frame in clip[[0, 4, -1]]] == [False, True, False]


def test_a_notebook_shows_each_video_once_with_its_best_classes_and_what_the_model_is_worth(classifier, long_video):
    predictions = classifier.predict([long_video, long_video])
    page = predictions._repr_html_()
    assert page.count(f">{long_video.name}<") == (predictions.table()["rank"] == 1).sum()
    assert page.count(">bright<") == page.count(">dark<") == (predictions.table()["rank"] == 1).sum()
    assert classifier.trained.worth.split(";")[0] in page
