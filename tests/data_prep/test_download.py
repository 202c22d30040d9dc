import hashlib
import io
import re
import subprocess
import time
import zipfile
from dataclasses import replace

import pytest
from helpers.rar import write_hmdb51
from helpers.tiny_hmdb51 import SPLITS, VIDEOS, WHOLE, files_in, mirror, mount_small_disk, write_folders
from helpers.web import FAST, Page, serve

from data_prep.hmdb51.download import get_hmdb51
from data_prep.hmdb51.sources import DOWNLOADS, Archive, Sources
from hmdb_lib.errors import UserError
from hmdb_lib.files import DiskError


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # the stand-in is here
    with serve() as server:
        yield server


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def archives(tmp_path):
    return write_hmdb51(tmp_path / "own", VIDEOS, SPLITS)


@pytest.fixture
def sources(tmp_path, web, archives):
    """Every source is there and empty."""
    kaggle = tmp_path / "kaggle"
    kaggle.mkdir()
    videos, splits = (Archive(a.name, a.stat().st_size, sha256(a)) for a in archives)
    return Sources(
        videos, splits, kaggle, "peer/mirror", "lab/hmdb51", "peer/zip", web.url, f"{web.url}/official", **FAST
    )


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data" / "hmdb51"


def put_official(web, archives):
    web.pages |= {f"/official/{a.name}": Page(a.read_bytes()) for a in archives}


def get_all(root, sources, archive=None):
    return get_hmdb51(root, archive, WHOLE, sources, workers=1)


def is_whole(root):
    splits = {name: text.encode() for name, text in SPLITS.items()}
    assert {path.name for path in root.iterdir()} == {"videos", "splits", "manifest.csv"}
    return files_in(root / "splits") == splits and files_in(root / "videos") == VIDEOS


def test_the_official_address_is_the_last_resort_and_the_line_says_why(root, sources, web, archives, capsys):
    put_official(web, archives)
    assert get_all(root, sources) == root
    assert is_whole(root)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("videos: official address;"))
    assert "already there (" in line
    assert "Kaggle input (no *.avi below" in line
    assert "hub, peer/mirror (" in line
    assert "hub, lab/hmdb51 (" in line


def test_what_is_there_already_needs_no_network(root, sources, web, capsys):
    write_folders(root)
    get_all(root, sources)
    assert web.requests == []
    assert "videos: already there\n" in capsys.readouterr().out
    assert (root / "manifest.csv").exists()


def fill_mirror(web, folder="Videos"):
    web.add_hub("peer/mirror", mirror(folder))


def test_a_read_only_root_serves_while_it_is_whole_and_is_told_when_not(sources, web, tmp_path):
    with mount_small_disk(tmp_path / "disk") as disk:
        write_folders(disk)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert get_all(disk, sources) == disk
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        (disk / "videos/golf").rename(disk / "golf")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(UserError, match="not whole and read-only"):
            get_all(disk, sources)
    assert web.requests == []


def test_a_root_that_cannot_be_made_is_one_line(sources, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="name a folder that you can write to"):
        get_all(tmp_path / "file" / "hmdb51", sources)


@pytest.mark.parametrize("folder", ["Videos", "hmdb51_org"])
def test_the_mirror_gives_single_files_and_the_lists(root, sources, web, folder, capsys):
    fill_mirror(web, folder)
    get_all(root, sources)
    assert is_whole(root)
    assert "videos: hub, peer/mirror; " in capsys.readouterr().out


def test_a_mirror_that_fails_half_way_is_continued_not_begun_again(root, sources, web):
    fill_mirror(web)
    broken = [path for path in web.pages if path.endswith("_3.avi") and "resolve" in path]
    pages = {path: web.pages.pop(path) for path in broken}
    with pytest.raises(UserError, match="hub, peer/mirror"):
        get_all(root, sources)
    web.pages |= pages
    before = len(web.requests)
    get_all(root, sources)
    assert is_whole(root)
    again = {path for path, _ in web.requests[before:] if path.endswith(".avi")}
    assert again <= set(broken)


def test_a_mirror_that_lacks_videos_is_passed_over(root, sources, web, archives, capsys):
    web.add_hub("peer/mirror", {"Videos/golf/a.avi": b"1"})
    put_official(web, archives)
    get_all(root, sources)
    assert is_whole(root)
    assert "hub, peer/mirror (holds 1 videos, not 8)" in capsys.readouterr().out


def test_the_laboratory_on_the_hub_gives_its_archives(root, sources, web, archives, capsys):
    web.add_hub("lab/hmdb51", {a.name: a.read_bytes() for a in archives})
    get_all(root, sources)
    assert is_whole(root)
    assert "videos: hub, lab/hmdb51; " in capsys.readouterr().out


def test_the_archives_come_before_thousands_of_single_files(root, sources, web, archives, capsys):
    fill_mirror(web)
    web.add_hub("lab/hmdb51", {a.name: a.read_bytes() for a in archives})
    get_all(root, sources)
    assert is_whole(root)
    assert "videos: hub, lab/hmdb51; " in capsys.readouterr().out
    assert not [request for request in web.requests if "peer/mirror" in str(request)]


def zip_of(files):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return file.getvalue()


def test_a_zip_file_on_the_hub_comes_before_thousands_of_single_files(root, sources, web, capsys):
    fill_mirror(web)
    web.add_hub("peer/zip", {"hmdb51.zip": zip_of({f"hmdb51/{name}": content for name, content in VIDEOS.items()})})
    get_all(root, sources)
    assert is_whole(root)
    assert "videos: hub, peer/zip; " in capsys.readouterr().out
    assert not [path for path, _ in web.requests if "peer/mirror" in path and path.endswith(".avi")]


@pytest.mark.parametrize(
    ("archive", "told"),
    [(zip_of({"hmdb51/golf/a.avi": b"1"}), r"peer/zip \(.* in 2; and"), (b"<html>", r"peer/zip \(.* its sha256 is")],
)
def test_a_zip_file_on_the_hub_that_is_not_the_data_set_is_passed_over_and_deleted(
    root, sources, web, archive, told, capsys
):
    web.add_hub("peer/zip", {"hmdb51.zip": archive})
    fill_mirror(web)
    get_all(root, sources)
    assert is_whole(root)
    assert re.search(told, capsys.readouterr().out)


def test_an_archive_with_a_wrong_checksum_is_not_unpacked_and_the_next_source_is_used(
    root, sources, web, archives, capsys
):
    web.add_hub("lab/hmdb51", {a.name: b"Rar!" * 100 for a in archives})
    put_official(web, archives)
    get_all(root, sources)
    assert is_whole(root)
    assert f"expected {sources.videos.sha256}" in capsys.readouterr().out


def test_a_hub_out_of_reach_costs_seconds(root, sources, web, archives, capsys):
    put_official(web, archives)
    begin = time.monotonic()
    get_all(root, replace(sources, hub="http://127.0.0.1:9"))
    assert time.monotonic() - begin < 10
    assert is_whole(root)
    assert "Connect" in capsys.readouterr().out


def test_a_kaggle_input_is_linked_not_copied(root, sources, web, capsys):
    write_folders(sources.kaggle / "some-data-set" / "HMDB51")
    (sources.kaggle / "cover.png").write_bytes(b"png")
    get_all(root, sources)
    assert is_whole(root)
    assert (root / "videos").is_symlink()
    assert web.requests == []
    assert "videos: Kaggle input; " in capsys.readouterr().out


def test_a_larger_data_set_beside_it_is_not_mistaken_for_it(root, sources):
    write_folders(sources.kaggle / "another", {f"golf/{n}.avi": b"1" for n in range(20)})
    write_folders(sources.kaggle / "hmdb51")
    get_all(root, sources)
    assert is_whole(root)


def test_a_kaggle_input_of_loose_frames_is_refused_with_the_reason(root, sources, web, archives, capsys):
    frames = sources.kaggle / "hmdb51" / "golf" / "clip"
    frames.mkdir(parents=True)
    for n in range(20):
        (frames / f"{n}.jpg").write_bytes(b"jpg")
    put_official(web, archives)
    get_all(root, sources)
    assert is_whole(root)
    assert f"{frames} holds loose frames" in capsys.readouterr().out


def test_your_own_archive_is_used_and_stays(root, sources, web, archives):
    get_all(root, sources, archives[0])
    assert is_whole(root)
    assert archives[0].exists()
    assert web.requests == []


def test_your_own_archive_if_damaged_is_refused_and_stays(root, sources, archives):
    archives[0].write_bytes(archives[0].read_bytes()[:-10])
    with pytest.raises(UserError, match="its sha256 is"):
        get_all(root, sources, archives[0])
    assert archives[0].exists()


@pytest.mark.parametrize("lists", [True, False])
def test_your_own_zip_file_is_taken_by_what_it_holds(root, sources, web, archives, tmp_path, lists):
    files = {f"HMDB51/clips/{name}": content for name, content in VIDEOS.items()}
    files |= {f"HMDB51/lists/{name}": text for name, text in SPLITS.items() if lists}
    with zipfile.ZipFile(tmp_path / "my.zip", "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    put_official(web, archives)
    get_all(root, sources, tmp_path / "my.zip")
    assert is_whole(root)
    assert [path for path, _ in web.requests if path.startswith("/official")] == (
        [] if lists else [f"/official/{archives[1].name}"]
    )


@pytest.mark.parametrize(("held", "told"), [(7, "7 videos"), (8, "damaged")])
def test_a_zip_file_that_lacks_a_video_or_is_damaged_is_refused(root, sources, tmp_path, held, told):
    file = tmp_path / "my.zip"
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in [*SPLITS.items(), *list(VIDEOS.items())[:held]]:
            packed.writestr(name, content)
    if told == "damaged":
        file.write_bytes(file.read_bytes().replace(b"med_1.avi Yards", b"med_1.avi yards", 1))
    with pytest.raises(UserError, match=told):
        get_all(root, sources, file)
    assert not (root / "videos").exists()


def test_an_archive_that_is_not_there_is_told_before_anything_is_tried(root, sources, web, tmp_path):
    with pytest.raises(UserError, match=r"gone\.rar: no such archive"):
        get_all(root, sources, tmp_path / "gone.rar")
    assert web.requests == []


def test_an_archive_downloaded_by_an_interrupted_call_is_used(root, sources, web, archives):
    write_folders(root, {})
    (root / DOWNLOADS).mkdir()
    archives[0].rename(root / DOWNLOADS / archives[0].name)
    get_all(root, sources)
    assert is_whole(root)
    assert web.requests == []


def test_a_folder_called_downloads_is_the_users_own(root, sources):
    write_folders(root)
    (root / "downloads").mkdir()
    (root / "downloads/thesis.pdf").write_text("mine")
    get_all(root, sources)
    assert (root / "downloads/thesis.pdf").exists()


def test_ones_own_archive_is_left_there_though_it_lies_with_the_downloaded_ones(root, sources, archives):
    own = root / DOWNLOADS / archives[0].name
    own.parent.mkdir(parents=True)
    for archive in archives:
        archive.rename(own.parent / archive.name)
    get_all(root, sources, own)
    assert own.exists()


@pytest.mark.parametrize("own", ["videos/letter.txt", "videos/holiday/beach.avi", "splits/todo.txt"])
def test_files_of_ones_own_in_the_place_of_a_part_are_never_removed(root, sources, web, archives, own):
    (root / own).parent.mkdir(parents=True)
    (root / own).write_text("mine")
    put_official(web, archives)
    with pytest.raises(UserError, match=f"{own}: is none of HMDB51's .*; move it away, or name another folder"):
        get_all(root, sources)
    assert (root / own).read_text() == "mine"


def test_one_lost_video_is_put_back(root, sources, web, archives):
    write_folders(root, dict(list(VIDEOS.items())[1:]))
    put_official(web, archives)
    get_all(root, sources)
    assert is_whole(root)


def test_when_nobody_has_it_one_line_says_so_of_each_source(root, sources):
    with pytest.raises(UserError, match="nowhere to be had") as told:
        get_all(root, sources)
    assert str(told.value).count("(") >= 5
    assert "\n" not in str(told.value)
    assert "answers 404" in str(told.value)


def test_a_full_disk_ends_the_search(sources, web, archives, tmp_path):
    put_official(web, archives)
    with mount_small_disk(tmp_path / "disk") as disk, pytest.raises(DiskError, match="GB of free disk"):
        get_all(disk / "hmdb51", replace(sources, splits=Archive(archives[1].name, 1e6, "")))
