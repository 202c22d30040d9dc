"""Finding the video files of a folder."""

import pytest

from hmdb_lib.data.find import find_videos


@pytest.fixture
def folder(tmp_path):
    for path in (
        *("b/2.avi", "b/1.MP4", "a/deep/3.mkv", "top.webm", "b/notes.txt"),
        *(".hidden/4.avi", "b/._1.avi", "__MACOSX/b/1.avi", "b/@eaDir/1.avi"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "b" / "folder.avi").mkdir()
    return tmp_path


def test_videos_are_found_at_any_depth_without_hidden_and_system_files(folder):
    assert find_videos(folder) == ["a/deep/3.mkv", "b/1.MP4", "b/2.avi", "top.webm"]


def test_a_depth_finds_the_videos_of_that_level_alone(folder):
    assert find_videos(folder, depth=2) == ["b/1.MP4", "b/2.avi"]


def test_a_hidden_folder_may_itself_be_searched(folder):
    assert find_videos(folder / ".hidden") == ["4.avi"]


def test_class_folders_that_are_links_are_followed(folder, tmp_path_factory):
    data = tmp_path_factory.mktemp("linked")
    (data / "class").symlink_to(folder / "b")
    assert find_videos(data, depth=2) == ["class/1.MP4", "class/2.avi"]


def test_a_folder_that_is_missing_holds_no_videos(tmp_path):
    assert find_videos(tmp_path / "nowhere") == []
