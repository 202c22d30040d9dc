"""What a machine refuses, made for a test: a mount that died, a read-only disk, a folder without permission."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_OVERRIDE = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: what lets root read everything


@contextmanager
def dead_mount(folder: Path) -> Iterator[Path]:
    """Mount a FUSE disk whose program has ended over a folder, as a killed Google Drive leaves it.

    Skips the test where mounting one needs other rights.
    """
    try:
        program = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")
    how = f"fd={program},rootmode=40000,user_id=0,group_id=0".encode()
    refused = ctypes.CDLL(None).mount(b"drive", os.fsencode(folder), b"fuse", 0, how)
    os.close(program)
    if refused:
        pytest.skip("cannot mount a FUSE disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Make a folder read-only, by a mount of it over itself; skips the test where that needs other rights."""
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("only root can mount")
    bound = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, text=True, check=False)
    if bound.returncode:
        pytest.skip(f"cannot mount a folder over itself: {bound.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def no_permission(folder: Path) -> Iterator[Path]:
    """Take all permissions from a folder, and from root the right to go past them, in this thread."""
    if sys.platform != "linux":
        pytest.skip("permissions are set as on Linux")
    before = folder.stat().st_mode
    capabilities = _effective_capabilities()
    folder.chmod(0)
    _effective_capabilities(capabilities & ~_OVERRIDE)
    try:
        yield folder
    finally:
        _effective_capabilities(capabilities)
        folder.chmod(before)


def _effective_capabilities(wanted: int | None = None) -> int:
    """Return the low 32 effective capabilities of this thread, or set them."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    data = (ctypes.c_uint32 * 6)()
    if libc.capget(header, data):
        pytest.skip("cannot read the capabilities of this process")
    if wanted is not None:
        data[0] = wanted
        if libc.capset(header, data):
            pytest.skip(f"cannot give up a capability: {os.strerror(ctypes.get_errno())}")
    return data[0]
