"""Write files whole, hash them, and report a full disk before and while writing."""

import errno
import hashlib
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmdb_lib.errors import FREE_DISK, UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskError(UserError):
    """Report that there is not enough free disk; another source of the data would not help."""


@contextmanager
def whole_file(path: Path, keep_suffix: bool = False, make_folder: bool = True) -> Iterator[Path]:
    """Write a file under another name and rename it at the end, so that no reader and no crash sees half a file.

    Yields the path to write: hidden, beside `path`, with a name that no other process uses, ending in `.part`.
    `keep_suffix` appends the suffix of `path`, for writers that choose the format by it. `make_folder=False` leaves a
    folder that is gone to fail, as that of a run on a Drive that is no longer mounted must. After an
    error `path` is what it was and the part is removed; a killed process leaves its part.

    Example:
        >>> with whole_file(folder / "table.csv") as part:
        ...     table.to_csv(part)

    """
    path = Path(path)
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part{path.suffix if keep_suffix else ''}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sha256_of(file: Path) -> str:
    """Compute a file's SHA-256 as hexadecimal digits."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


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


@contextmanager
def report_full_disk(folder: Path) -> Iterator[None]:
    """Turn the system's "no space left" into a DiskError that names `folder`."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskError(f"{folder}: the disk is full; {FREE_DISK} and call again, finished work is kept") from error
        raise
