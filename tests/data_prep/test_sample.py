"""The sample data set: its layout, its promise that only the order of frames tells the pairs apart, its determinism."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep.__main__ import main
from data_prep.drawn.figure import MOTIONS, act
from data_prep.drawn.sample import ACTIONS, CLASSES, FPS, figure_boxes, make_sample
from data_prep.drawn.scene import FRAMES, HEIGHT, WIDTH, Take
from data_prep.load import read_data
from hmdb_lib import config, environment
from hmdb_lib.data.hmdb51 import read_split
from hmdb_lib.data.sources import source_group
from hmdb_lib.data.video import read_frames, scan
from hmdb_lib.errors import UserError

PAIR = ("sit", "stand")


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    """Both classes of one pair, 8 clips each, made after a run that broke off."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "sample.partial" / "videos" / "sit").mkdir(parents=True)
    (folder / "sample.partial" / "videos" / "sit" / "half.avi").write_bytes(b"half")
    return make_sample(folder / "sample", clips=8, classes=PAIR)


@pytest.fixture(scope="module")
def manifest(sample) -> pd.DataFrame:
    """Its manifest."""
    return pd.read_csv(sample / "manifest.csv")


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a folder by its path in it."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def frames_of(sample: Path, path: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """All frames of one clip."""
    video = sample / "videos" / path
    return read_frames(video, range(scan(video).frames), size).astype(float)


@pytest.mark.slow
def test_the_folder_holds_what_the_manifest_lists_in_hmdb51s_layout(sample, manifest):
    videos = sorted(path.relative_to(sample / "videos").as_posix() for path in sample.glob("videos/*/*.avi"))
    assert videos == manifest.path.tolist()
    assert manifest["class"].value_counts().to_dict() == {"sit": 8, "stand": 8}
    names = manifest.path.str.extract(r"^(\w+)/(\w+?)_(\w+?)_f_(?:cm|nm)_np1_(?:ba|fr|le|ri)_(?:bad|med|goo)_\d+\.avi$")
    assert names.notna().all().all()
    assert (names[0] == names[2]).all()
    assert (manifest.group == manifest.path.map(source_group)).all()
    assert set(manifest.groupby("group").size()) == {2, 3}


@pytest.mark.slow
def test_what_decodes_is_what_the_manifest_says(sample, manifest):
    for row in manifest.itertuples():
        timeline = scan(sample / "videos" / row.path)
        assert (timeline.frames, timeline.fps) == (row.frames, row.fps)
        assert (timeline.height, timeline.width) == (HEIGHT, WIDTH)
        assert FRAMES[0] <= timeline.frames <= FRAMES[1]


@pytest.mark.slow
@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_splits_read_as_the_official_ones_and_keep_sources_apart(sample, manifest, split):
    text = (sample / "splits" / f"sit_test_split{split}.txt").read_text()
    assert all(line[-3:] in (" 0 ", " 1 ", " 2 ") for line in text.splitlines())
    lists = read_split(sample / "splits", split)
    assert sorted(lists.path) == manifest.path.tolist()
    groups = lists.path.map(source_group).groupby(lists.role).agg(set)
    assert groups["train"]
    assert groups["test"]
    assert not groups["train"] & groups["test"]


def test_the_splits_differ(sample):
    lists = [read_split(sample / "splits", split) for split in (1, 2, 3)]
    tests = [set(table.path[table.role == "test"]) for table in lists]
    assert not tests[0] & tests[1]
    assert not tests[1] & tests[2]
    assert not tests[0] & tests[2]


@pytest.mark.slow
def test_the_whole_sample_has_80_to_train_32_to_test_and_16_unused_a_class(full_sample):
    for split in (1, 2, 3):
        table = read_split(full_sample / "splits", split)
        counts = table.groupby(["label", "role"]).size().unstack()
        assert tuple(counts.index) == CLASSES
        assert (counts["train"] == 80).all()
        assert (counts["test"] == 32).all()
        assert (counts["unused"] == 16).all()
        groups = table.path.map(source_group).groupby(table.role).agg(set)
        assert not groups["train"] & groups["test"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(sample, tmp_path):
    again = make_sample(tmp_path / "again", clips=8, classes=PAIR, workers=1)
    assert contents(again) == contents(sample)


def test_another_seed_gives_other_videos():
    one, other = (Take("wave", 0, 0, seed).draw(FPS)[0] for seed in (0, 1))
    assert one.shape != other.shape or (one != other).any()


def test_takes_of_a_source_share_the_scene_and_differ_in_timing():
    takes = [Take("clap", 3, take, 0).draw(FPS) for take in (0, 1)]
    corners = [video[0, :40, :40].mean(axis=(0, 1)) for video, *_ in takes]
    np.testing.assert_allclose(corners[0], corners[1], atol=12)
    assert len(takes[0][0]) != len(takes[1][0])


@pytest.mark.slow
def test_a_pair_holds_the_same_pictures_in_opposite_order(sample, manifest):
    sits, stands = (manifest.path[manifest["class"] == label] for label in PAIR)
    for sit, stand in zip(sits, stands, strict=True):
        forwards, backwards = frames_of(sample, sit), frames_of(sample, stand)
        assert len(forwards) == len(backwards)
        assert np.abs(forwards - backwards[::-1]).mean() < 3, "more than the encoder's own noise"
        np.testing.assert_array_equal(figure_boxes(sample, sit), figure_boxes(sample, stand)[::-1])


def test_only_the_order_of_its_frames_tells_a_clips_class(sample, manifest):
    """The head sinks while one sits down; which pictures there are, and how coarse each one is, says nothing."""
    sinking, brightness, coarseness = {}, {}, {}
    for label in PAIR:
        clips = [frames_of(sample, path, (60, 80)) for path in manifest.path[manifest["class"] == label]]
        boxes = [figure_boxes(sample, path) for path in manifest.path[manifest["class"] == label]]
        sinking[label] = [box[-1, 1] - box[0, 1] for box in boxes]
        brightness[label] = [clip.mean() for clip in clips]
        coarseness[label] = [np.abs(np.diff(clip, axis=2)).mean() for clip in clips]
    assert min(sinking["sit"]) > 10
    assert max(sinking["stand"]) < -10
    np.testing.assert_allclose(brightness["sit"], brightness["stand"], atol=0.5)
    np.testing.assert_allclose(coarseness["sit"], coarseness["stand"], rtol=0.02)


def test_each_backward_class_has_its_forward_twin():
    forwards = {motion for motion, backwards in ACTIONS.values() if not backwards}
    assert forwards == set(MOTIONS)
    assert {ACTIONS[label][0] for label in ("catch", "stand")} == {"throw", "sit"}


@pytest.mark.parametrize("motion", MOTIONS)
def test_figures_move_smoothly_with_bones_of_one_length(motion):
    joints = act(motion, 60, 30, np.random.default_rng(0))
    for side in ("left", "right"):
        for a, b in pairwise(("shoulder", "elbow", "hand")):
            bone = np.linalg.norm(joints[f"{side}_{a}"] - joints[f"{side}_{b}"], axis=1)
            np.testing.assert_allclose(bone, bone[0], atol=1e-6)
    steps = {name: np.linalg.norm(np.diff(track, axis=0), axis=1) for name, track in joints.items()}
    assert max(step.max() for name, step in steps.items() if name != "ball") < 0.3
    assert sum(step.sum() for step in steps.values()) > 1, "nothing much happens"


def test_figures_face_both_ways():
    signs = {Take("kick", source, 0, 0).draw(FPS)[2].split("_")[2] for source in range(8)}
    assert signs >= {"le", "ri"}


@pytest.mark.slow
def test_boxes_hold_the_figure(sample, manifest):
    moving = 0
    for path in manifest.path[manifest.path.str.contains("_nm_")]:
        boxes, frames = figure_boxes(sample, path), frames_of(sample, path)
        assert boxes.shape == (len(frames), 4)
        assert boxes.dtype == np.int16
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        tall = (boxes[:, 3] - boxes[:, 1]).max() / HEIGHT
        assert 0.6 < tall <= 1
        change = np.abs(frames - frames.mean(axis=0)).mean(axis=(0, 3))  # H W
        x0, y0, x1, y1 = *boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()
        inside = np.zeros(change.shape, bool)
        inside[y0:y1, x0:x1] = True
        assert change[inside].mean() > 3 * change[~inside].mean()
        moving += 1
    assert moving


def test_a_finished_sample_is_kept_as_it_is(sample):
    before = {path: path.stat().st_mtime_ns for path in sample.rglob("*")}
    assert make_sample(sample, clips=8, classes=PAIR) == sample
    assert {path: path.stat().st_mtime_ns for path in sample.rglob("*")} == before


def test_a_folder_with_anything_else_is_not_touched(sample, tmp_path):
    with pytest.raises(UserError, match="something else"):
        make_sample(sample, seed=1, clips=8, classes=PAIR)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("three years")
    with pytest.raises(UserError, match="something else"):
        make_sample(tmp_path / "mine")
    assert contents(tmp_path / "mine") == {"thesis.txt": b"three years"}


def test_what_a_broken_run_left_behind_is_no_sample(sample):
    assert not list(sample.rglob("half.avi"))
    assert not sample.with_name("sample.partial").exists()


@pytest.mark.slow
def test_processes_that_ask_for_one_sample_at_once_draw_it_once(sample, tmp_path):
    code = f"from data_prep.drawn.sample import make_sample; make_sample({str(tmp_path / 's')!r}, 0, 8, {PAIR!r}, 1)"
    root = Path(__file__).parents[1]
    asking = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, cwd=root) for _ in range(2)]
    told = [process.communicate()[1].decode() for process in asking]
    assert [process.returncode for process in asking] == [0, 0]
    assert sorted("drawing" in text for text in told) == [False, True]
    assert contents(tmp_path / "s") == contents(sample)


@pytest.mark.parametrize(
    ("arguments", "reason"), [({"clips": 5}, "at least 8"), ({"classes": ["sitt"]}, "no class 'sitt'")]
)
def test_a_wrong_argument_is_named(tmp_path, arguments, reason):
    with pytest.raises(UserError, match=reason):
        make_sample(tmp_path / "sample", **arguments)


@pytest.mark.slow
def test_the_command_reports_a_users_mistake_in_one_line(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    command = [sys.executable, "-m", "data_prep", "sample", str(tmp_path / "full")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "something else" in done.stderr


def test_the_command_asks_for_as_many_clips_as_it_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["data_prep", "sample", str(tmp_path / "few"), "--clips", "7"])
    assert main() == 2
    assert "clips is 7; three splits need at least 8" in capsys.readouterr().err


@pytest.mark.slow
def test_an_experiment_reads_a_sample_data_set_that_was_drawn_with_another_seed(tmp_path):
    root = make_sample(tmp_path / "drawn", seed=1, clips=8)
    words = ["data=sample", f"data.root={root}", "data.validation_share=0"]
    assert len(read_data(config.load(overrides=words), environment.place()).classes) == 8
