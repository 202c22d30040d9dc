"""Writing the frame store: nothing half, nothing twice, nothing old."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from helpers.frames import ODD, smooth_frames
from helpers.tiny_hmdb51 import files_in

from data_prep import extract as extracting
from data_prep.__main__ import main
from data_prep.extract import Setting, extract, extract_frames
from hmdb_lib.config import load
from hmdb_lib.data.store import FrameStore
from hmdb_lib.data.video import Size, write_video
from hmdb_lib.errors import UserError
from hmdb_lib.files import DiskError

SMALL = Setting((48, 64))


@pytest.fixture
def root(tmp_path):
    for path, count in {ODD: 8, "wave/a.avi": 12, "wave/b.avi": 5}.items():
        (tmp_path / "videos" / path).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "videos" / path, smooth_frames(count), 30)
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "wave_test_split1.txt").write_text("a.avi 1\n")
    return tmp_path


def test_every_video_has_its_packed_file_and_nothing_else_is_left(root, capsys):
    done = extract(root, SMALL, workers=1)
    names = {f"{path}.frames" for path in (ODD, "wave/a.avi", "wave/b.avi")}
    assert set(files_in(root / "frames-48x64")) == {*names, ".lock"}
    assert (done.videos, done.kept, done.frames) == (3, 0, 25)
    assert "629,238 frames take" in capsys.readouterr().out


@pytest.mark.parametrize("index", [True, False], ids=["index.csv", "class called videos"])
def test_a_folder_of_ones_own_with_a_folder_videos_is_extracted_as_training_reads_it(root, index):
    shutil.rmtree(root / "splits")
    if index:
        (root / "splits").mkdir()
        (root / "index.csv").write_text("path,label\nvideos/wave/a.avi,wave\n")
    else:
        shutil.copytree(root / "videos/wave", root / "waves")
    extract(root, SMALL, workers=1)
    assert not FrameStore(root / "frames-48x64", (48, 64)).look(["videos/wave/a.avi"], root)


def test_videos_of_hmdb51_are_extracted_before_its_lists_are_there(root):
    shutil.rmtree(root / "splits")
    extract(root, SMALL, workers=1)
    assert not FrameStore(root / "frames-48x64", (48, 64)).look(["wave/a.avi"], root / "videos")


@pytest.mark.slow
def test_an_experiment_extracts_the_folder_that_its_data_set_reads(root):
    own = ["data=folder", f"data.root={root}", "data.resize=[48, 64]", "data.crop=32"]
    extract_frames(load(overrides=own))
    assert not FrameStore(root / "frames-48x64", (48, 64)).look(["videos/wave/a.avi"], root)


def test_a_second_call_keeps_what_stands(root, monkeypatch):
    extract(root, SMALL, workers=1)
    before = files_in(root / "frames-48x64")
    monkeypatch.setattr(extracting, "encode", None)  # whoever decodes again fails
    assert extract(root, SMALL, workers=1).kept == 3
    assert files_in(root / "frames-48x64") == before


def test_a_file_copied_elsewhere_with_a_new_date_is_still_the_same(root):
    extract(root, SMALL, workers=1)
    os.utime(root / "videos" / "wave" / "a.avi", (1, 1))
    assert extract(root, SMALL, workers=1).kept == 3


@pytest.mark.parametrize(
    "setting", [Setting((48, 64), 50), Setting((48, 64), None), Setting(48), Setting(Size(48, 64, False))]
)
def test_a_changed_setting_makes_a_store_stale_and_says_so(root, setting, capsys):
    extract(root, SMALL, root / "store", workers=1)
    done = extract(root, setting, root / "store", workers=1)
    assert set(done.again.values()) == {"stale, made with 48x64, JPEG quality 90"}
    assert "stale, made with 48x64, JPEG quality 90" in "".join(capsys.readouterr())
    assert extract(root, setting, root / "store", workers=1).kept == 3


def test_a_changed_video_is_extracted_again(root):
    extract(root, SMALL, workers=1)
    write_video(root / "videos" / "wave" / "a.avi", smooth_frames(7), 30)
    done = extract(root, SMALL, workers=1)
    assert done.again == {"wave/a.avi": "stale, the video has changed since"}
    assert FrameStore(root / "frames-48x64").timeline("wave/a.avi").frames == 7


@pytest.mark.parametrize("place", [100, -100], ids=["frames", "header"])
@pytest.mark.parametrize("shards", [0, 1])
def test_a_torn_file_is_found_and_made_again(root, shards, place):
    extract(root, SMALL, workers=1, shards=shards)
    sound = files_in(root / "frames-48x64")
    file = next((root / "frames-48x64").rglob("*.tar" if shards else "b.avi.frames"))
    data = bytearray(file.read_bytes())
    data[1500 + place if shards else place] ^= 255
    file.write_bytes(data)
    assert set(extract(root, SMALL, workers=1, shards=shards).again.values()) == {"torn"}
    assert FrameStore(root / "frames-48x64").open("wave/b.avi").whole()
    assert shards or files_in(root / "frames-48x64") == sound


KILLED = """
import os, signal, sys
from pathlib import Path
from data_prep import extract
frames = []
def encode(frame, quality):
    frames.append(frame)
    if len(frames) == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    return bytes(500)
extract.encode = encode
extract.extract(Path(sys.argv[1]), extract.Setting((48, 64)), workers=1, shards=int(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("shards", [0, 2])
def test_killed_half_way_nothing_partial_has_a_name_and_the_next_call_finishes(root, shards):
    killed = subprocess.run([sys.executable, "-c", KILLED, root, str(shards)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = files_in(root / "frames-48x64")
    assert any(name.endswith(".part") for name in left)
    assert sum(name.endswith((".frames", ".tar")) for name in left) == 1
    done = extract(root, SMALL, workers=1, shards=shards)
    assert (done.videos, done.frames) == (3, 25)
    assert not [name for name in files_in(root / "frames-48x64") if name.endswith(".part")]


@pytest.mark.slow
def test_a_second_process_is_refused_while_one_writes_and_the_first_one_finishes(root):
    waiting = (
        "import sys, data_prep.extract as e\nfrom pathlib import Path\npack = e._pack\n"
        "def wait(*of):\n    print('writing', flush=True)\n    sys.stdin.readline()\n    pack(*of)\n"
        "e._pack = wait\ne.extract(Path(sys.argv[1]), e.Setting((48, 64)), workers=1)\n"
    )
    command = [sys.executable, "-c", waiting, root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        while "writing" not in first.stdout.readline():
            pass
        with pytest.raises(UserError, match=f"^{root / 'frames-48x64'}: another process extracts into it now"):
            extract(root, SMALL, workers=1)
        first.communicate("\n" * 3, timeout=60)
    assert first.returncode == 0
    assert extract(root, SMALL, workers=1).kept == 3


def test_machines_that_share_the_work_make_together_what_one_makes(root):
    for number in (1, 2):
        extract(root, SMALL, root / "shared", workers=1, shards=3, part=(number, 2))
    extract(root, SMALL, root / "alone", workers=1, shards=3)
    extract(root, SMALL, root / "files", workers=1)
    made, alone = (sorted(file.name for file in (root / store).glob("*.tar")) for store in ("shared", "alone"))
    assert made == alone
    for path in (ODD, "wave/a.avi", "wave/b.avi"):
        one, other = (FrameStore(root / store).read(path, np.arange(5)) for store in ("shared", "files"))
        assert np.array_equal(one, other)


def test_a_store_cut_into_another_number_of_shards_is_refused(root):
    extract(root, SMALL, workers=1, shards=3)
    with pytest.raises(UserError, match="is cut into other shards"):
        extract(root, SMALL, workers=1, shards=2)


def test_a_hidden_file_that_macos_puts_beside_a_shard_is_no_other_shard(root):
    extract(root, SMALL, workers=1, shards=1)
    (root / "frames-48x64/._shard-00001-of-00001.tar").write_bytes(b"Mac OS X")
    assert extract(root, SMALL, workers=1, shards=1).kept == 3


@pytest.mark.parametrize("shards", [0, 1])
def test_a_video_that_cannot_be_decoded_is_named_and_left_out(root, shards, capsys):
    (root / "videos" / "wave" / "a.avi").write_text("this is not a video")
    for _ in range(2):
        done = extract(root, SMALL, workers=1, shards=shards)
        assert (done.videos, len(done.unreadable)) == (2, 1)
        assert "left out, " in capsys.readouterr().out
    assert done.kept == 2


@pytest.mark.slow
def test_two_processes_make_the_same_files_as_one(root):
    extract(root, SMALL, root / "two", workers=2)
    extract(root, SMALL, root / "one", workers=1)
    assert files_in(root / "two") == files_in(root / "one")


def test_a_disk_that_is_too_small_is_told_before_it_is_full(root, monkeypatch):
    for number in range(20):
        shutil.copy(root / "videos" / "wave" / "a.avi", root / "videos" / "wave" / f"c{number}.avi")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, 0))
    with pytest.raises(DiskError, match="the frame store needs"):
        extract(root, SMALL, workers=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quality", "101"], "quality 101: JPEG has 1 to 100"),
        (["--size", "0", "5"], "pixels are at least 1"),
        (["--to", "x"], "holds no videos"),
    ],
)
def test_what_a_user_can_mend_is_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.setattr("sys.argv", ["data_prep", "extract", str(tmp_path), *arguments])
    assert main() == 2
    assert said in capsys.readouterr().err


def test_the_whole_of_hmdb51_fits_into_six_gigabytes(real_data, tmp_path):
    done = extract(real_data / "hmdb51_mini", to=tmp_path, workers=1)
    assert done.frames == 748
    assert done.bytes / done.frames * extracting.HMDB51_FRAMES < 6e9
