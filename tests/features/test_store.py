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

SIZES = {f"jump/{number}.avi": 100 + number for number in range(4)}


def made(dtype=torch.float16):
    torch.manual_seed(0)
    return [(path, size, torch.randn(2, 3, 1, 1, 5).to(dtype)) for path, size in SIZES.items()]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store whose shards hold one video each."""
    monkeypatch.setattr(module, "SHARD_BYTES", 1)
    store = FeatureStore(tmp_path / "features", "key")
    store.write("views2", made())
    return store


def shards(store):
    return sorted(store.folder.glob("*.safetensors"))


def test_what_was_written_is_read_bit_by_bit(store):
    found = store.read("views2", SIZES)
    assert set(found) == set(SIZES)
    assert all(torch.equal(found[path], tokens) for path, _, tokens in made())


def test_another_kind_of_clips_is_another_part_of_the_store(store):
    assert store.read("views4", SIZES) == {}


def test_a_video_that_has_changed_is_left_out_and_told(store, capsys):
    found = store.read("views2", SIZES | {"jump/0.avi": 999})
    assert set(found) == set(SIZES) - {"jump/0.avi"}
    assert "1 videos have changed, such as jump/0.avi" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied"])
def test_a_torn_shard_is_removed_and_told_and_the_others_stay(store, damage, capsys):
    file = shards(store)[0]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes({"cut": content[:-9], "flipped": content, "emptied": b""}[damage])
    assert len(store.read("views2", SIZES)) == 3
    assert len(shards(store)) == 3
    assert f"{file}: torn" in capsys.readouterr().out


def test_shards_stay_where_too_many_files_are_open(store):
    resource = pytest.importorskip("resource")
    before, (soft, hard) = shards(store), resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        highest = max(stack.enter_context(Path(os.devnull).open()).fileno() for _ in range(99))
        # One file more: enough to list the folder, too few to open a shard.
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, hard))
        try:
            with pytest.raises(UserError, match=r"safetensors: .*[Tt]oo many (open files|files are open)"):
                store.read("views2", SIZES)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert shards(store) == before


def test_a_shard_that_the_system_does_not_open_stays_and_is_told(store):
    refused = store.folder / "views2-refused.safetensors"
    refused.symlink_to(refused)
    with pytest.raises(UserError, match=f"^{refused}: is a link that leads back to itself"):
        store.read("views2", SIZES)
    assert refused.is_symlink()


def test_tokens_of_other_weights_are_removed_and_told(store, capsys):
    other = FeatureStore(store.folder, "other weights")
    assert other.read("views2", SIZES) == {}
    assert "holds tokens of other weights or settings" in capsys.readouterr().out


def test_an_interruption_keeps_the_finished_shards_and_leaves_nothing_torn(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", 1)

    def interrupted():
        yield from itertools.islice(made(), 2)
        raise KeyboardInterrupt

    store = FeatureStore(tmp_path / "features", "key")
    with pytest.raises(KeyboardInterrupt):
        store.write("views2", interrupted())
    assert set(store.read("views2", SIZES)) == set(list(SIZES)[:2])


def test_what_a_killed_process_left_is_swept_away(store):
    part = store.folder / ".views2-0.safetensors.123.part"
    part.write_bytes(b"half")
    store.write("views2", [])
    assert not part.exists()


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing_torn(store, monkeypatch):
    before = shards(store)

    def full(self, data):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskError, match=r"the disk is full; free some of it .* finished work is kept"):
        store.write("views4", made())
    assert shards(store) == before
    assert not list(store.folder.glob(".*.part"))
