"""A trained model on longer clips: what is judged, and that a whole video in parts is the whole video."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.finished_run import write_finished_run

from hmdb_lib.data.sampling import ClipRule
from hmdb_lib.data.transforms import even_crops
from hmdb_lib.data.video import Timeline, read_frames, scan, write_video
from hmdb_lib.errors import UserError
from hmdb_lib.inference.classifier import Classifier
from hmdb_lib.results.runs import read_predictions
from hmdb_lib.studies.clip_length import Lengths, judge_lengths, length_table

SMALL = {"model__blocks": 1, "perceiver__latents": 8, "perceiver__width": 64}
ROWS = {
    "cross1_self1": SMALL,
    "baseline": {"model__blocks": 1},
    "bert": {"model__blocks": 3},
    "videomae_small": {"data__crop": 64, "data__resize": "[66,88]", "train__mixup": 0},
}


def classifier_of(config, folder):
    return Classifier.load(write_finished_run(config, folder).folder, "cpu", "fp32")


@pytest.fixture
def long_video(tmp_path):
    random = np.random.default_rng(0)
    frames = [random.integers(low, low + 100, (48, 64, 3), dtype=np.uint8) for low in (0, 150, 0) for _ in range(27)]
    write_video(tmp_path / "long.mp4", frames, 20)
    return tmp_path / "long.mp4"


def test_a_longer_rule_shows_as_many_frames_a_second():
    rule = ClipRule(16, clip_seconds=2.0).longer(64)
    assert (rule.frames, rule.clip_seconds) == (64, 8.0)
    assert ClipRule(16, frame_step=2).longer(64) == ClipRule(64, frame_step=2)


@pytest.mark.parametrize("frames", [9, 10, 50, 301])
def test_a_whole_video_is_read_from_its_first_frame_to_its_last(frames):
    timeline = Timeline.even(frames, 30)
    indices = ClipRule(8, frame_step=3).whole(timeline)
    if frames > 8 * 3:
        assert (indices == np.arange(0, frames, 3)).all()
    else:
        assert len(indices) == 8


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_every_method_takes_a_whole_video(tiny_config, tmp_path, long_video, row):
    classifier = classifier_of(tiny_config(row, **ROWS[row]), tmp_path / "run")
    predicted = classifier.whole(long_video)
    assert predicted.probabilities.sum() == pytest.approx(1)
    assert predicted.ends.tolist() == [pytest.approx(81 / 20)]


def test_a_hybrid_sees_in_parts_every_frame_of_the_whole(tiny_config, tmp_path, long_video):
    classifier = classifier_of(
        tiny_config("cross1_self1", **SMALL, data__frame_step=1, data__clip_seconds="null"), tmp_path / "run"
    )
    parts = []
    classifier.model.backbone.register_forward_pre_hook(lambda module, clips: parts.extend(clips))
    classifier.whole(long_video)
    frames = read_frames(long_video, classifier.rule.whole(scan(long_video)), (66, 88))
    whole = classifier.normalised(even_crops(torch.from_numpy(frames)[None], 64, 1))
    assert [part.shape[2] for part in parts] == [8] * 9 + [9]
    assert torch.equal(torch.cat(parts, 2), whole)


@pytest.mark.slow
def test_a_run_is_judged_at_each_length_on_the_same_videos(tiny_config, tmp_path):
    run = write_finished_run(tiny_config("cross1_self1", **SMALL), tmp_path / "run")
    table, predictions = judge_lengths(run, [12, "all"])
    assert table.frames.tolist() == [8, 12, "all"]
    assert (table.videos == 4).all()
    assert table.difference[0] == 0
    assert (table.accuracy_low <= table.accuracy).all()
    assert (predictions.native_frames == 12).all()
    assert predictions.groupby("frames").video.nunique().eq(4).all()


@pytest.mark.slow
def test_tables_of_other_lengths_can_be_computed_again_from_their_file(tiny_config, tmp_path):
    run = write_finished_run(tiny_config("cross1_self1", **SMALL), tmp_path / "run")
    judged = judge_lengths(run, [12])
    judged.save(run.folder)
    predictions = read_predictions(run.folder / "lengths-predictions.csv.gz")
    pd.testing.assert_frame_equal(predictions, judged.predictions)
    again = length_table(predictions, 8)
    pd.testing.assert_frame_equal(again, pd.read_csv(run.folder / "lengths.csv")[again.columns], check_dtype=False)


@pytest.mark.slow
def test_a_video_that_cannot_be_read_counts_as_wrong_at_every_length(tiny_config, tmp_path, tiny_videos):
    folder = tmp_path / "videos"
    shutil.copytree(tiny_videos, folder)
    index = pd.read_csv(folder / "index.csv")
    (folder / index.path[index.split == "test"].iloc[0]).write_bytes(b"torn")
    run = write_finished_run(
        tiny_config("cross1_self1", **SMALL, data__root=folder, data__max_lost=0.5), tmp_path / "run"
    )
    judged = judge_lengths(run, [12])
    assert (judged.table.videos == 4).all()
    assert judged.predictions.native_frames.isna().sum() == 2
    assert judged.table.accuracy.max() <= 0.75


def test_accuracy_by_length_counts_as_many_videos_in_each_part():
    predictions = pd.DataFrame(
        {
            **{"video": list("abcdef"), "group": list("abcdef"), "label": ["x"] * 6},
            **{"x": [0.9] * 3 + [0.1] * 3, "y": [0.1] * 3 + [0.9] * 3},
            **{"frames": 8, "native_frames": [10, 20, 30, 40, 50, 60]},
        }
    )
    found = Lengths(pd.DataFrame(), predictions).by_native_length(bins=2)
    assert found.videos.tolist() == [3, 3]
    assert found.accuracy.tolist() == [1, 0]
    assert found.longest.tolist() == [30, 60]


def test_the_mean_over_classes_stands_beside_the_accuracy_where_classes_are_uneven():
    uneven = pd.DataFrame({"video": list("abcd"), "group": list("abcd"), "label": list("xxxy"), "x": [0.9] * 4})
    uneven = uneven.assign(y=0.1, frames="8", native_frames=20)
    assert length_table(uneven, 8).mean_class_accuracy.tolist() == [0.5]
    assert "mean_class_accuracy" not in length_table(uneven[1:3].assign(label=["x", "y"]), 8)


@pytest.mark.slow
def test_videos_that_it_was_trained_on_are_not_judged_as_its_test_part(tiny_config, tmp_path, tiny_videos):
    folder = shutil.copytree(tiny_videos, tmp_path / "videos")
    run = write_finished_run(tiny_config("cross1_self1", **SMALL, data__root=folder), tmp_path / "run")
    judge_lengths(run, [8])
    index = (folder / "index.csv").read_text()
    (folder / "index.csv").write_text(index.replace(",test", ",x").replace(",train", ",test").replace(",x", ",train"))
    with pytest.raises(UserError, match=r"is of other data: 4 test, 8 train.* there, 8 test, 4 train.* now"):
        judge_lengths(run, [8])
