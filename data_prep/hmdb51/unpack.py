"""Unpack HMDB51's nested RAR archives, without root rights and never outside the target folder."""

import shutil
import subprocess
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

import rarfile

from hmdb_lib.data.parallel import parallel_map
from hmdb_lib.errors import UserError
from hmdb_lib.files import report_refusals, require_disk

try:  # no wheel for every platform
    from unrar.cffi.unrarlib import FLAGS_RHDF_DIRECTORY, BadRarFile, RarArchive, RarHeader
except ImportError:
    RarArchive = None

# On some machines a program does not read RAR: Debian's 7z and bsdtar leave parts of the format out.
_PROGRAMS = {
    "unrar": ["x", "-y", "-idq", "{archive}", "{folder}/"],
    "7zz": ["x", "-y", "-bd", "-bso0", "-o{folder}", "{archive}"],
    "7z": ["x", "-y", "-bd", "-bso0", "-o{folder}", "{archive}"],
    "bsdtar": ["-x", "-f", "{archive}", "-C", "{folder}"],
}


def unpack_videos(archive: Path, videos: Path, scratch: Path, workers: int | None = None) -> None:
    """Unpack `hmdb51_org.rar`, which holds one `<class>.rar` per class, to `videos/<class>/*.avi`.

    The class archives lie in `scratch/classes` until their class is complete, so that an interrupted call is continued.
    `workers`: see `parallel_map`. Raises UserError, DiskError.
    """
    classes = scratch / "classes"
    videos.mkdir(parents=True, exist_ok=True)
    if not classes.exists():
        # The class archives once more, and the few of them that are being unpacked.
        require_disk(videos, 1.3 * archive.stat().st_size, f"unpacking {archive.name}")
        unpack(archive, classes, ".rar")
    archives = sorted(classes.glob("*.rar"))
    # Processes, not threads: UnRAR has globals.
    for _ in parallel_map(partial(_unpack_class, videos), archives, workers, "unpack", "class"):
        pass
    shutil.rmtree(classes)


def unpack(archive: Path, target: Path, ending: str) -> None:
    """Unpack the one folder of `archive` that holds its `*<ending>` files to `target`, unless that is complete.

    Raises DiskError, and UserError for an archive that is damaged, holds a link or a path outside the folder, or
    does not have exactly one such folder.
    """
    sizes = _list(archive)
    holders = {path.parent for path in sizes if path.suffix == ending}
    if len(holders) != 1:
        raise UserError(f"{archive}: expected one folder with {ending} files, found {len(holders)}")
    holder = holders.pop()
    wanted = {path.name: size for path, size in sizes.items() if path.parent == holder}
    if wanted.items() <= _sizes(target).items():
        return
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with report_refusals(target.parent):
            _extract(archive, part)
        missing = wanted.items() - _sizes(part / holder).items()
        if missing:
            count = f"{len(missing)} of {len(wanted)}"
            raise UserError(f"{archive}: {count} files did not come out, {min(missing)[0]} one of them")
        if target.exists():
            shutil.rmtree(target)
        (part / holder).rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack_class(videos: Path, archive: Path) -> None:
    unpack(archive, videos / archive.stem, ".avi")
    archive.unlink()


def _list(archive: Path) -> dict[PurePosixPath, int]:
    """Read the path and size of every file, after checking that all entries stay inside the folder."""
    try:
        with rarfile.RarFile(archive) as rar:
            entries = rar.infolist()
    except rarfile.Error as error:
        raise UserError(f"{archive}: not a whole RAR archive ({error})") from error
    sizes = {}
    for entry in entries:
        if entry.is_symlink() or entry.file_redir:
            raise UserError(f"{archive}: refused, its entry {entry.filename!r} is a link")
        path = _inside(archive, entry.filename)
        if entry.is_file():
            sizes[path] = entry.file_size
    return sizes


def _inside(archive: Path, name: str) -> PurePosixPath:
    path = PureWindowsPath(name)  # knows both kinds of slash, and drives
    if path.anchor or ":" in name or ".." in path.parts:
        raise UserError(f"{archive}: refused, its entry {name!r} leads out of the folder")
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
        raise UserError(f"{archive}: nothing here unpacks RAR; pip install unrar2-cffi, or apt-get install unrar")
    raise UserError(f"{archive}: could not be unpacked ({'; '.join(reasons)})")


def _extract_with_library(archive: Path, folder: Path) -> None:
    assert RarArchive
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
