import shutil

import numpy as np
import pandas as pd
import pytest
from helpers.tiny_hmdb51 import NAMES, VIDEOS, WHOLE, files_in, write_folders

from data_prep.__main__ import main
from data_prep.hmdb51.verify import HMDB51, split_problems, verify, video_problems
from hmdb_lib.data.video import write_video
from hmdb_lib.errors import UserError

FIRST = f"golf/{NAMES['golf'][0]}"


@pytest.fixture
def root(tmp_path):
    return write_folders(tmp_path / "hmdb51")


def problems(root):
    return split_problems(root / "splits", WHOLE) + video_problems(root / "videos", root / "splits", WHOLE)


def test_a_whole_data_set_has_no_problems_and_gets_a_manifest(root, capsys):
    assert verify(root, whole=WHOLE, workers=1) == []
    assert "whole" in capsys.readouterr().out
    manifest = pd.read_csv(root / "manifest.csv")
    assert list(manifest) == ["path", "class", "group", "roles", "frames", "size", "fps", "bytes", "sha256"]
    assert set(manifest.path) == set(VIDEOS)
    row = manifest.set_index("path").loc[FIRST]
    assert (row["class"], row.roles, row.bytes) == ("golf", "train train train", len(VIDEOS[FIRST]))
    assert row.group == "Yards!!!_&_[a;b]_(#0) 100%_golf"


def test_the_official_lists_are_whole(real_data):
    assert split_problems(real_data / "hmdb51_splits", HMDB51) == []


def test_what_other_systems_leave_beside_the_lists_and_an_empty_manifest_are_no_fault(root):
    (root / "splits/._golf_test_split1.txt").write_bytes(b"\x00\x05\x16\x07\xff")
    (root / "manifest.csv").touch()
    assert verify(root, whole=WHOLE, workers=1) == []


def test_a_link_to_a_video_that_is_gone_is_a_missing_video(root):
    (root / "videos" / FIRST).unlink()
    (root / "videos" / FIRST).symlink_to(root / "gone.avi")
    assert f"{root / 'videos' / FIRST}: missing" in problems(root)


def test_a_missing_video_is_named(root):
    (root / "videos" / FIRST).unlink()
    assert f"{root / 'videos' / FIRST}: missing" in problems(root)


def test_a_class_that_is_missing_whole_is_one_line(root):
    shutil.rmtree(root / "videos/wave")
    assert f"{root / 'videos/wave'}: missing, all 4 videos" in problems(root)
    assert len(problems(root)) == 2  # with the count


def test_a_video_in_no_list_is_named(root):
    (root / "videos/golf/new.avi").write_bytes(b"x")
    assert f"{root / 'videos/golf/new.avi'}: in no split list" in problems(root)


def test_an_empty_video_is_named(root):
    (root / "videos" / FIRST).write_bytes(b"")
    assert problems(root) == [f"{root / 'videos' / FIRST}: empty"]


def test_unfinished_and_hidden_files_do_not_count(root):
    (root / "videos/.golf.part").mkdir()
    (root / "videos/.golf.part/a.avi").write_bytes(b"x")
    (root / "videos/golf/._a.avi").write_bytes(b"x")
    assert problems(root) == []


def test_a_missing_list_is_told(root):
    (root / "splits/wave_test_split2.txt").unlink()
    assert f"{root / 'splits'}: split 2 has 1 class lists, expected 2" in problems(root)


def test_a_class_with_a_wrong_number_of_train_videos_is_named(root):
    file = root / "splits/wave_test_split3.txt"
    file.write_text(file.read_text().replace(" 1 \n", " 0 \n", 1))
    assert problems(root) == [f"{file}: 1 train and 1 test, expected 2 and 1"]


def test_lists_that_disagree_on_the_videos_are_told(root):
    file = root / "splits/wave_test_split3.txt"
    file.write_text(file.read_text().replace("_0.avi", "_9.avi"))
    assert problems(root) == [f"{root / 'splits'}: the three splits do not name the same videos"]


def test_a_broken_line_in_a_list_is_told_with_its_file(root):
    file = root / "splits/wave_test_split3.txt"
    file.write_text("nonsense\n")
    assert str(file) in problems(root)[0]


def test_a_deep_check_names_files_that_do_not_decode_and_measures_the_others(root, capsys):
    video = root / "videos" / FIRST
    write_video(video, [np.full((32, 48, 3), shade, np.uint8) for shade in range(0, 250, 25)], fps=30)
    told = verify(root, deep=True, whole=WHOLE, workers=1)
    assert len(told) == len(VIDEOS) - 1
    broken = sorted(set(VIDEOS) - {FIRST})[0]
    assert f"{root / 'videos' / broken}: " in capsys.readouterr().out
    row = pd.read_csv(root / "manifest.csv").set_index("path").loc[FIRST]
    assert (row.frames, row["size"], row.fps) == (10, "48x32", 30)

    verify(root, whole=WHOLE, workers=1)
    kept = pd.read_csv(root / "manifest.csv").set_index("path").loc[FIRST]
    assert (kept.frames, kept["size"], kept.fps) == (10, "48x32", 30)


def test_the_command_exits_with_2_when_something_is_missing_and_leaves_the_data_alone(root, capsys):
    before = files_in(root / "videos")
    assert main(["verify", str(root), "--workers", "1"]) == 2  # 8 videos are not HMDB51
    assert "expected 6,766 in 51" in capsys.readouterr().out
    assert files_in(root / "videos") == before


def test_a_root_that_does_not_exist_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        verify(tmp_path / "nowhere")


def test_a_manifest_of_another_kind_is_not_overwritten(root):
    (root / "manifest.csv").write_text("path,label\n")
    with pytest.raises(UserError, match="not written by verify"):
        verify(root, whole=WHOLE)
    assert (root / "manifest.csv").read_text() == "path,label\n"


@pytest.mark.parametrize("there", ["nothing", "mp4", "class folders"])
def test_a_folder_without_one_avi_is_one_line_and_gets_no_manifest(tmp_path, there, capsys):
    if there != "nothing":
        file = tmp_path / ("videos/golf/a.mp4" if there == "mp4" else "golf/a.avi")
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x")
    before = files_in(tmp_path)
    assert main(["verify", str(tmp_path)]) == 2
    assert f"error: {tmp_path}: holds no videos/<class>/*.avi, so it is not HMDB51" in capsys.readouterr().err
    assert files_in(tmp_path) == before
