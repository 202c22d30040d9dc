"""Prepared data packed for another session: whole, resumed, checked, and each fault told in a line."""

import json
import subprocess
import sys
import time

import pytest
from helpers.tiny_hmdb51 import files_in, mount_small_disk

from data_prep import pack as packing
from data_prep.__main__ import main
from data_prep.pack import pack, unpack
from hmdb_lib.errors import UserError
from hmdb_lib.files import DiskError, whole_file

NAMES = ["hmdb51/videos/golf/Yards!!!_&_[a;b]_(#0) 100%.avi", "hmdb51/frames/golf/é.frames", "features/a/b.safetensors"]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Six files of 1,000 bytes, two a part; a link and a hidden file that are no part of them."""
    monkeypatch.setattr(packing, "PART", 2000)
    monkeypatch.setenv("HMDB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path / "drive/hmdb_results"))
    for number, name in enumerate([*NAMES, "hmdb51/manifest.csv", "hmdb51/splits/a.txt", "hmdb51/splits/b.txt"]):
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([number]) * 1000)
    (tmp_path / "data/features/.lock").write_text("")
    (tmp_path / "data/linked").symlink_to("/usr")
    return tmp_path / "data"


def visible(folder):
    return {name: content for name, content in files_in(folder).items() if "/." not in name}


def parts(folder):
    return sorted(folder.glob("*.pack"))


def test_what_one_session_packs_the_next_one_has_by_a_command_each_way(data, tmp_path, monkeypatch, capsys):
    before, times = visible(data), {name: (data / name).stat().st_mtime for name in NAMES}
    assert main(["pack"]) == 0
    assert len(parts(tmp_path / "drive/hmdb_packed")) == 3
    monkeypatch.setenv("HMDB_DATA", str(tmp_path / "another"))
    assert main(["unpack"]) == 0
    assert files_in(tmp_path / "another") == before
    assert {name: (tmp_path / "another" / name).stat().st_mtime for name in NAMES} == pytest.approx(times)
    assert "unpacked: 3 of 3 parts" in capsys.readouterr().out


def test_a_kaggle_input_is_found_in_the_next_session(data, tmp_path, monkeypatch):
    pack(to=tmp_path / "input/notebooks/me/prepare/hmdb_packed")
    monkeypatch.setattr(packing, "INPUTS", tmp_path / "input")
    unpack(to=tmp_path / "other")
    assert files_in(tmp_path / "other") == visible(data)


def test_where_nothing_was_packed_a_line_says_so(data, capsys):
    unpack()
    assert "nothing is packed in " in capsys.readouterr().out
    assert main(["unpack", str(data)]) == 2
    assert "is no pack, it has no index.json" in capsys.readouterr().err


def test_what_is_new_goes_into_new_parts_and_what_is_not_here_stays(data, tmp_path):
    to = pack()
    before = {file: file.stat().st_mtime_ns for file in parts(to)}
    whole = visible(data)
    (data / NAMES[0]).unlink()
    (data / "features/new").write_bytes(b"tokens")
    pack()
    assert before.items() <= {file: file.stat().st_mtime_ns for file in parts(to)}.items()
    unpack(to, tmp_path / "other")
    assert files_in(tmp_path / "other") == whole | {"features/new": b"tokens"}


def test_a_part_with_a_file_that_has_changed_is_packed_again_and_the_old_one_goes(data, tmp_path):
    to = pack()
    (data / "hmdb51/manifest.csv").write_bytes(b"other")
    pack()
    assert len(parts(to)) == 3
    unpack(to, tmp_path / "other")
    assert files_in(tmp_path / "other") == visible(data)


def test_a_small_file_of_the_same_size_and_other_content_is_packed_again(data, tmp_path):
    to = pack()
    (data / "hmdb51/manifest.csv").write_bytes(b"x" * 1000)
    pack()
    unpack(to, tmp_path / "other")
    assert files_in(tmp_path / "other") == visible(data)


def test_a_small_file_of_the_same_size_and_other_content_in_the_way_is_told_and_stays(data, tmp_path):
    to = pack()
    file = tmp_path / "other/hmdb51/manifest.csv"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 1000)
    with pytest.raises(UserError, match=rf"^{file}: differs from that in {to}; move it away"):
        unpack(to, tmp_path / "other")
    assert files_in(tmp_path / "other") == {"hmdb51/manifest.csv": b"x" * 1000}


def test_a_pack_of_before_small_files_had_checksums_is_used_as_it_is(data, tmp_path):
    index = pack() / "index.json"
    old = json.loads(index.read_text())
    for part in old["parts"].values():
        del part["small"]
    index.write_text(json.dumps(old))
    pack()
    unpack(index.parent, tmp_path / "other")
    assert json.loads(index.read_text()) == old
    assert files_in(tmp_path / "other") == visible(data)


def test_packing_that_is_killed_goes_on_after_its_last_part(data, tmp_path):
    code = (
        "import os\nfrom data_prep import pack\npack.PART = 2000\nwrite = pack._write_index\n"
        "def kill(folder, parts, whole):\n    write(folder, parts, whole)\n    len(parts) == 2 and os._exit(9)\n"
        "pack._write_index = kill\npack.pack()\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    to = tmp_path / "drive/hmdb_packed"
    (to / ".killed.123.part").write_bytes(b"half")
    first = {file: file.stat().st_mtime_ns for file in parts(to)}
    pack()
    assert first.items() <= {file: file.stat().st_mtime_ns for file in parts(to)}.items()
    assert sorted(file.suffix for file in to.iterdir()) == [".json", ".pack", ".pack", ".pack"]
    unpack(to, tmp_path / "other")
    assert files_in(tmp_path / "other") == visible(data)


def test_a_pack_that_was_broken_off_gives_what_it_has_and_says_so(data, tmp_path, monkeypatch, capsys):
    def stop(path, **how):
        if len(parts(tmp_path / "drive/hmdb_packed")) == 1 and path.suffix == ".pack":
            raise KeyboardInterrupt
        return whole_file(path, **how)

    monkeypatch.setattr(packing, "whole_file", stop)
    with pytest.raises(KeyboardInterrupt):
        pack()
    unpack(to=tmp_path / "other")
    assert len(files_in(tmp_path / "other")) == 2
    assert "which is not all: packing was broken off" in capsys.readouterr().out


def test_unpacking_that_is_killed_leaves_no_torn_file_and_goes_on_with_the_parts_that_are_missing(data, tmp_path):
    to, other = pack(), tmp_path / "other"
    code = (
        "import os, sys\nfrom data_prep import pack\nunpack, count = pack._unpack, [0]\n"
        "def kill(*of):\n    count[0] += 1\n    unpack(*of)\n    count[0] == 2 and os._exit(9)\n"
        "pack._unpack = kill\npack.unpack(*sys.argv[1:])\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(to), str(other)]).returncode == 9
    there = {
        file: file.stat().st_ctime_ns for file in other.rglob("*") if file.is_file() and ".unpack" not in file.parts
    }
    assert len(there) == 2
    time.sleep(0.01)
    unpack(to, other)
    assert files_in(other) == visible(data)
    assert all(file.stat().st_ctime_ns == before for file, before in there.items())


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda file: file.unlink(), "is missing; copy it there again"),
        (lambda file: file.write_bytes(file.read_bytes()[:-9]), "torn: has .* of .* bytes"),
        (lambda file: file.write_bytes(file.read_bytes()[:-9] + b"123456789"), "torn, its SHA-256 is another"),
        (lambda file: file.write_bytes(bytes(file.stat().st_size)), "torn, its SHA-256 is another"),
        (lambda file: file.with_name("index.json").write_text("{"), "is no index of a pack, or torn"),
    ],
    ids=["missing", "cut off", "changed", "empty", "index"],
)
def test_a_fault_of_the_pack_is_a_line_and_gives_no_file(data, tmp_path, harm, told):
    to = pack()
    for file in parts(to):
        harm(file)
    with pytest.raises(UserError, match=told) as error:
        unpack(to, tmp_path / "other")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "other").exists() or files_in(tmp_path / "other") == {}


def test_a_torn_part_is_packed_again(data, tmp_path):
    to = pack()
    parts(to)[0].write_bytes(b"torn")
    pack()
    unpack(to, tmp_path / "other")
    assert files_in(tmp_path / "other") == visible(data)


def test_other_data_in_the_way_are_told_and_stay(data, tmp_path):
    to = pack()
    file = tmp_path / "other" / NAMES[1]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"differs from that in .*; move it away"):
        unpack(to, tmp_path / "other")
    with pytest.raises(UserError, match=r"differs from that in .* lacks other files of it; pack to another folder"):
        pack(tmp_path / "other", to)
    assert files_in(tmp_path / "other") == {NAMES[1]: b"mine"}
    unpack(to, tmp_path / "third")
    assert files_in(tmp_path / "third") == visible(data)


def test_a_disk_that_is_too_small_is_told_before_anything_is_copied(data, tmp_path):
    (data / "large").write_bytes(bytes(2_000_000))
    with mount_small_disk(tmp_path / "disk") as disk:
        for copy in (lambda: pack(to=disk / "pack"), lambda: unpack(pack(), disk / "data")):
            with pytest.raises(DiskError, match=r"pack.* needs 0\.00\d* GB of free disk"):
                copy()
        assert files_in(disk) == {}


@pytest.mark.parametrize(("folder", "told"), [("data", "cannot hold its own pack"), ("gone", "holds no files")])
def test_what_cannot_be_packed_is_a_line(data, tmp_path, folder, told):
    with pytest.raises(UserError, match=told):
        pack(tmp_path / folder, data / "pack")
