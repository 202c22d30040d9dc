"""Free disk: asked for before a long step, and told in one line when it runs out all the same."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmdb_lib.errors import FREE_DISK, UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskError(UserError):
    """There is not enough free disk; no other source would help."""


def need(folder: Path, size: float, what: str) -> None:
    """Raise DiskError unless `folder`'s disk has `size` free bytes for `what`."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DiskError(
            f"{folder}: {what} needs {size / 1e9:.3g} GB of free disk, {free / 1e9:.3g} GB are free; {FREE_DISK}"
        )


def is_full(error: BaseException) -> bool:
    """Whether the system says that a disk (or its quota) is full."""
    return isinstance(error, OSError) and error.errno in _FULL


@contextmanager
def told_when_full(folder: Path) -> Iterator[None]:
    """Turn the system's "no space left" into a DiskError that names the folder."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise DiskError(f"{folder}: the disk is full; {FREE_DISK} and call again, finished work is kept") from error
        raise
