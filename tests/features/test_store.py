"""Tokens in shards: written whole, kept over a kill, made again where they are torn or stale."""

import contextlib
import errno
import itertools
import os
from pathlib import Path

import pytest
import torch

from hmdb_lib.errors import UserError
from hmdb_lib.features import store as module
from hmdb_lib.features.store import FeatureStore
from hmdb_lib.files import DiskError


@pytest.fixture
def files(tmp_path):
    """Four videos, whose bytes alone matter here."""
    found = {f"jump/{number}.avi": tmp_path / f"{number}.avi" for number in range(4)}
    for number, file in enumerate(found.values()):
        file.write_bytes(b"%d" % number * 100)
    return found


def made(files, dtype=torch.float16):
    torch.manual_seed(0)
    return [(path, file, torch.randn(2, 3, 1, 1, 5).to(dtype)) for path, file in files.items()]


@pytest.fixture
def store(tmp_path, files, monkeypatch):
    """A store whose shards hold one video each."""
    monkeypatch.setattr(module, "SHARD_BYTES", 1)
    store = FeatureStore(tmp_path / "features", "key")
    store.write("views2", made(files))
    return store


def shards(store):
    return sorted(store.folder.glob("*.safetensors"))


def test_what_was_written_is_read_bit_by_bit(store, files):
    found = store.read("views2", files)
    assert set(found) == set(files)
    assert all(torch.equal(found[path], tokens) for path, _, tokens in made(files))


def test_another_kind_of_clips_is_another_part_of_the_store(store, files):
    assert store.read("views4", files) == {}


@pytest.mark.parametrize("content", [b"longer" * 99, b"x" * 100])
def test_a_video_that_has_changed_is_left_out_and_told(store, files, content, capsys):
    files["jump/0.avi"].write_bytes(content)
    os.utime(files["jump/0.avi"], (1, 1))
    found = store.read("views2", files)
    assert set(found) == set(files) - {"jump/0.avi"}
    assert "1 videos have changed, such as jump/0.avi" in capsys.readouterr().out


def test_two_videos_of_equal_bytes_that_change_places_are_computed_again(store, files):
    first, second = files["jump/0.avi"], files["jump/1.avi"]
    files |= {"jump/0.avi": second, "jump/1.avi": first}
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    assert set(store.read("views2", files)) == {"jump/2.avi", "jump/3.avi"}


def test_the_same_video_with_another_date_is_the_same(store, files):
    os.utime(files["jump/0.avi"], (1, 1))
    assert set(store.read("views2", files)) == set(files)


def test_a_shard_of_before_is_known_by_the_bytes_of_its_videos(store, files, monkeypatch):
    monkeypatch.setattr(module, "state_of", lambda file: file.stat().st_size)
    store.write("views4", made(files))
    files["jump/0.avi"].write_bytes(b"longer" * 99)
    assert set(store.read("views4", files)) == set(files) - {"jump/0.avi"}


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied"])
def test_a_torn_shard_is_removed_and_told_and_the_others_stay(store, damage, capsys, files):
    file = shards(store)[0]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes({"cut": content[:-9], "flipped": content, "emptied": b""}[damage])
    assert len(store.read("views2", files)) == 3
    assert len(shards(store)) == 3
    assert f"{file}: torn" in capsys.readouterr().out


def test_shards_stay_where_too_many_files_are_open(store, files):
    resource = pytest.importorskip("resource")
    before, (soft, hard) = shards(store), resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        highest = max(stack.enter_context(Path(os.devnull).open()).fileno() for _ in range(99))
        # One file more: enough to list the folder, too few to open a shard.
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, hard))
        try:
            with pytest.raises(UserError, match=r"safetensors: .*[Tt]oo many (open files|files are open)"):
                store.read("views2", files)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert shards(store) == before


def test_a_shard_that_the_system_does_not_open_stays_and_is_told(store, files):
    refused = store.folder / "views2-refused.safetensors"
    refused.symlink_to(refused)
    with pytest.raises(UserError, match=f"^{refused}: is a link that leads back to itself"):
        store.read("views2", files)
    assert refused.is_symlink()


def test_tokens_of_other_weights_are_removed_and_told(store, capsys, files):
    other = FeatureStore(store.folder, "other weights")
    assert other.read("views2", files) == {}
    assert "holds tokens of other weights or settings" in capsys.readouterr().out


def test_an_interruption_keeps_the_finished_shards_and_leaves_nothing_torn(tmp_path, monkeypatch, files):
    monkeypatch.setattr(module, "SHARD_BYTES", 1)

    def interrupted():
        yield from itertools.islice(made(files), 2)
        raise KeyboardInterrupt

    store = FeatureStore(tmp_path / "features", "key")
    with pytest.raises(KeyboardInterrupt):
        store.write("views2", interrupted())
    assert set(store.read("views2", files)) == set(list(files)[:2])


def test_what_a_killed_process_left_is_swept_away(store):
    part = store.folder / ".views2-0.safetensors.123.part"
    part.write_bytes(b"half")
    store.write("views2", [])
    assert not part.exists()


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing_torn(store, monkeypatch, files):
    before = shards(store)

    def full(self, data):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskError, match=r"the disk is full; free some of it .* finished work is kept"):
        store.write("views4", made(files))
    assert shards(store) == before
    assert not list(store.folder.glob(".*.part"))
