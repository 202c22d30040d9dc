"""Videos of two figures, without end, to learn from before the real ones."""

import numpy as np
import pytest

from data_prep.drawn import pairs
from hmdb_lib.data.splits import read_videos
from hmdb_lib.data.video import read_frames, scan
from hmdb_lib.errors import UserError


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Two of the classes, seven videos each."""
    return pairs.make_pairs(tmp_path_factory.mktemp("drawn") / "pairs", seed=5, clips=7, classes=2, workers=1)


def test_a_class_is_an_unordered_pair_of_actions():
    assert len(pairs.PAIRS) == 36
    assert len({frozenset(pair) for pair in pairs.PAIRS}) == 36


@pytest.mark.slow
def test_the_folder_is_a_data_set_whose_parts_share_no_actors(few):
    videos = read_videos("folder", few, 1, 0.1, seed=0)
    assert set(videos.label) == {"catch+clap", "catch+catch"}
    assert videos.groupby("group").role.nunique().max() == 1
    assert videos.role.value_counts().to_dict() == {"test": 6, "validation": 6, "train": 2}


@pytest.mark.slow
def test_both_halves_move(few):
    file = few / "catch+catch" / "pair5_0000.avi"
    frames = read_frames(file, np.arange(0, scan(file).frames, 4)).astype(float)
    moves = np.abs(np.diff(frames.mean(-1), axis=0)).mean((0, 1))  # W
    half = len(moves) // 2
    assert min(moves[:half].max(), moves[half:].max()) > 3 * moves.min()


@pytest.mark.slow
def test_drawing_goes_on_where_it_was_cut_off_and_gives_the_same_files(few):
    file = few / "catch+clap" / "pair5_0003.avi"
    before, index = file.read_bytes(), (few / "index.csv").read_text()
    file.unlink()
    pairs.make_pairs(few, seed=5, clips=7, classes=2, workers=1)
    assert file.read_bytes() == before
    assert (few / "index.csv").read_text() == index


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        pairs.make_pairs(tmp_path)
    with pytest.raises(UserError, match="at least 7 a class"):
        pairs.make_pairs(tmp_path, clips=3)
