"""Write files whole, hash them, and tell in one line what the system refuses."""

import errno
import glob
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hmdb_lib.errors import FREE_DISK, UserError

_SAME_DATE = 10**6  # nanoseconds: tar files, and so packs, round what a disk keeps
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A killed FUSE mount (Google Drive's), a network disk whose server is gone, a stick that was pulled out.
_GONE = (errno.ENOTCONN, errno.ESTALE, errno.EHOSTDOWN, errno.ENODEV, errno.ENXIO)
_REFUSALS = {
    **dict.fromkeys(_FULL, f"the disk is full; {FREE_DISK} and call again, finished work is kept"),
    **dict.fromkeys(_GONE, "its disk or Drive is no longer connected; mount it again, then call again"),
    errno.EIO: "the disk, or the network behind it, fails; try again, or copy the folder to another disk",
    errno.EROFS: "is read-only; name a folder that you can write to",
    errno.EACCES: "you may not use it; change its permissions, or name another folder",
    errno.EPERM: "you may not use it; change its permissions, or name another folder",
    errno.EEXIST: "a file stands where a folder is meant; move it away, or name another folder",
    errno.ENOTDIR: "a file stands where a folder is meant; move it away, or name another folder",
    errno.EISDIR: "is a folder where a file is meant; name a file",
    errno.ENAMETOOLONG: "the name is too long for this disk; shorten it",
    errno.ENOENT: "no such file or folder; was it moved, or is its disk or Drive no longer mounted?",
    errno.ELOOP: "is a link that leads back to itself; remove it",
    errno.EMFILE: "too many files are open; set a smaller data.workers, or raise the limit with ulimit -n",
}
_DEAD = 3600  # seconds without a write, after which nobody writes to a part any more
_LONGEST = 150  # bytes of a file's name that its part repeats: names have 255 at most


class DiskError(UserError):
    """Report that there is not enough free disk; another source of the data would not help."""


@contextmanager
def report_refusals(place: Path | None = None) -> Iterator[None]:
    """Turn what the system refuses into a UserError, or a DiskError for a full disk: the path, why, and what to do.

    `place` is named where the system names no path. Other errors pass through. Commands and notebooks run everything
    inside it, and so do the processes that read for them.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        kind = DiskError if is_disk_full(error) else UserError
        path = error.filename if isinstance(error.filename, str) else str(place or "a file")
        raise kind(f"{path.removeprefix('file:')}: {_REFUSALS[error.errno]} ({os.strerror(error.errno)})") from error
    except UnicodeEncodeError as error:
        name = os.fsencode(error.object) if error.reason == "surrogates not allowed" else None
        if name is None:
            raise
        raise UserError(f"{name!r}: holds a name that is not UTF-8, which cannot be written; rename it") from error


def is_there(folder: Path) -> bool:
    """Whether a folder can be seen; `Path.is_dir` raises an error where its disk is gone."""
    try:
        return folder.is_dir()
    except OSError:
        return False


def is_gone(error: BaseException) -> bool:
    """Whether the system says that a whole disk is gone, so that the fault is not one file's."""
    return isinstance(error, OSError) and error.errno in _GONE


@contextmanager
def whole_file(path: Path, keep_suffix: bool = False, make_folder: bool = True) -> Iterator[Path]:
    """Write a file under another name and rename it at the end, so that no reader and no crash sees half a file.

    Yields the path to write: hidden, beside `path`, with a name that no other process uses, ending in `.part`.
    `keep_suffix` appends the suffix of `path`, for writers that choose the format by it. `make_folder=False` leaves a
    folder that is gone to fail, as that of a run on a Drive that is no longer mounted must. After an error `path` is
    what it was and the part is removed; a killed process leaves its part, see `remove_dead_parts`.

    Example:
        >>> with whole_file(folder / "table.csv") as part:
        ...     table.to_csv(part)

    """
    path = Path(path)
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{_start_of_parts(path)}{uuid.uuid4().hex[:12]}.part{path.suffix if keep_suffix else ''}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        if error.filename in (None, str(part), f"file:{part}"):
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):  # the disk may be gone, which the error tells
            part.unlink(missing_ok=True)


def remove_dead_parts(folder: Path) -> None:
    """Remove the parts in a folder to which nobody has written for an hour: their processes were killed."""
    for part in folder.glob(".*.part*"):
        with suppress(OSError):  # another process has removed or finished it
            if time.time() - part.stat().st_mtime > _DEAD:
                part.unlink()


def parts_of(path: Path) -> list[Path]:
    """List the parts of a file, of processes that write it or were killed."""
    return list(path.parent.glob(f"{glob.escape(_start_of_parts(path))}*.part*"))


def _start_of_parts(path: Path) -> str:
    name = path.name
    while len(os.fsencode(name)) > _LONGEST:
        name = name[:-1]
    return f".{name}."


def sha256_of(file: Path) -> str:
    """Compute a file's SHA-256 as hexadecimal digits."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def state_of(file: Path) -> dict[str, Any]:
    """Describe a file, so that `is_still` can tell whether another one has taken its name."""
    state = file.stat()
    return {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": sha256_of(file)}


def is_still(file: Path, state: Mapping[str, Any]) -> bool:
    """Tell whether a file is the one that `state_of` described: as many bytes, and the same date or SHA-256."""
    now = file.stat()
    same_date = abs(now.st_mtime_ns - state["mtime_ns"]) < _SAME_DATE
    return now.st_size == state["bytes"] and (same_date or sha256_of(file) == state["sha256"])


def require_disk(folder: Path, size: float, what: str) -> None:
    """Raise DiskError unless the disk of `folder` has `size` free bytes for `what`."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DiskError(
            f"{folder}: {what} needs {size / 1e9:.3g} GB of free disk, {free / 1e9:.3g} GB are free; {FREE_DISK}"
        )


def is_disk_full(error: BaseException) -> bool:
    """Whether the system says that a disk or its quota is full."""
    return isinstance(error, OSError) and error.errno in _FULL
