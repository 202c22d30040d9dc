"""Unpack HMDB51's nested RAR archives: no root needed, never outside the target folder, nothing half done on view."""

import os
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path, PurePosixPath, PureWindowsPath
from threading import Thread

import rarfile
from tqdm.auto import tqdm

from hmdb_lib import files as disk
from hmdb_lib.environment import cores
from hmdb_lib.errors import UserError

try:  # no wheel for every platform
    from unrar.cffi.unrarlib import FLAGS_RHDF_DIRECTORY, BadRarFile, RarArchive, RarHeader
except ImportError:
    RarArchive = None

# Each reads RAR on some machines only: Debian's 7z and bsdtar leave parts of the format out.
_PROGRAMS = {
    "unrar": ["x", "-y", "-idq", "{archive}", "{folder}/"],
    "7zz": ["x", "-y", "-bd", "-bso0", "-o{folder}", "{archive}"],
    "7z": ["x", "-y", "-bd", "-bso0", "-o{folder}", "{archive}"],
    "bsdtar": ["-x", "-f", "{archive}", "-C", "{folder}"],
}


class UnpackError(UserError):
    """The archive is damaged, hostile, or nothing here can unpack it."""


def unpack_videos(archive: Path, videos: Path, scratch: Path, workers: int | None = None) -> None:
    """Unpack `hmdb51_org.rar`, which holds one `<class>.rar` a class, to `videos/<class>/*.avi`.

    The class archives wait in `scratch/classes`; each goes when its class stands complete in `videos`. A call after an
    interruption continues with those that are left. `workers` processes (None: one a CPU), so a script that calls
    this needs Python's `if __name__ == "__main__":`. Raises UnpackError, DiskError.
    """
    classes = scratch / "classes"
    videos.mkdir(parents=True, exist_ok=True)
    if not classes.exists():
        # The class archives once more, and the few of them that are being unpacked.
        disk.need(videos, 1.3 * archive.stat().st_size, f"unpacking {archive.name}")
        unpack(archive, classes, ".rar")
    archives = sorted(classes.glob("*.rar"))
    # Spawned, not forked: a notebook's process has threads, and a fork of those may hang. UnRAR itself has globals.
    with ProcessPoolExecutor(workers or cores(), get_context("spawn"), initializer=_end_with_parent) as pool:
        list(tqdm(pool.map(partial(_unpack_class, videos), archives), desc="unpack", total=len(archives), unit="class"))
    shutil.rmtree(classes)


def unpack(archive: Path, target: Path, ending: str) -> None:
    """Make `target` the one folder of `archive` that holds its `*<ending>` files; left alone where it is complete.

    Written beside and renamed. Raises UnpackError for an archive that is damaged, names a path outside the folder,
    holds a link or has not exactly one such folder; DiskError.
    """
    sizes = _list(archive)
    holders = {path.parent for path in sizes if path.suffix == ending}
    if len(holders) != 1:
        raise UnpackError(f"{archive}: expected one folder with {ending} files, found {len(holders)}")
    holder = holders.pop()
    wanted = {path.name: size for path, size in sizes.items() if path.parent == holder}
    if wanted.items() <= _sizes(target).items():
        return
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with disk.told_when_full(target.parent):
            _extract(archive, part)
        missing = wanted.items() - _sizes(part / holder).items()
        if missing:
            raise UnpackError(
                f"{archive}: {len(missing)} of {len(wanted)} files did not come out, {min(missing)[0]} one of them"
            )
        if target.exists():
            shutil.rmtree(target)
        (part / holder).rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _end_with_parent() -> None:
    # A pool's workers wait for ever when their parent is killed, and would write beside the next run.
    def watch() -> None:
        parent_process().join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _unpack_class(videos: Path, archive: Path) -> None:
    unpack(archive, videos / archive.stem, ".avi")
    archive.unlink()


def _list(archive: Path) -> dict[PurePosixPath, int]:
    """Path and size of every file, once all entries are known to stay inside."""
    try:
        with rarfile.RarFile(archive) as rar:
            entries = rar.infolist()
    except rarfile.Error as error:
        raise UnpackError(f"{archive}: not a whole RAR archive ({error})") from error
    for entry in entries:
        if entry.is_symlink() or entry.file_redir:
            raise UnpackError(f"{archive}: refused, its entry {entry.filename!r} is a link")
        _inside(archive, entry.filename)
    return {_inside(archive, entry.filename): entry.file_size for entry in entries if entry.is_file()}


def _inside(archive: Path, name: str) -> PurePosixPath:
    path = PureWindowsPath(name)  # knows both kinds of slash, and drives
    if path.anchor or ":" in name or ".." in path.parts:
        raise UnpackError(f"{archive}: refused, its entry {name!r} leads out of the folder")
    return PurePosixPath(*path.parts)


def _extract(archive: Path, folder: Path) -> None:
    reasons = []
    if RarArchive:
        try:
            return _extract_with_library(archive, folder)
        except BadRarFile as error:
            reasons.append(f"unrar2-cffi: {error}")
    for program, arguments in _PROGRAMS.items():
        command = shutil.which(program)
        if not command:
            continue
        filled = [argument.format(archive=archive.absolute(), folder=folder.absolute()) for argument in arguments]
        done = subprocess.run([command, *filled], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return None
        reasons.append(f"{program}: {' '.join(done.stderr.split())[-200:]}")
    if not reasons:
        raise UnpackError(f"{archive}: nothing here unpacks RAR; pip install unrar2-cffi, or apt-get install unrar")
    raise UnpackError(f"{archive}: could not be unpacked ({'; '.join(reasons)})")


def _extract_with_library(archive: Path, folder: Path) -> None:
    with RarArchive.open_for_processing(archive) as rar:
        for header in rar.iterate_headers():
            path = folder / _inside(archive, header.FileNameW)
            if header.Flags & FLAGS_RHDF_DIRECTORY:
                header.skip()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(header, path)


def _write(header: "RarHeader", path: Path) -> None:
    faults = []
    with path.open("wb") as file:

        def write(chunk: bytes) -> None:
            try:
                if not faults:
                    file.write(chunk)
            except OSError as error:  # an error inside UnRAR's callback would be printed and lost
                faults.append(error)

        header.test(write)  # "test" hands out every byte and checks the CRC
    if faults:
        raise faults[0]


def _sizes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in folder.iterdir()} if folder.is_dir() else {}
