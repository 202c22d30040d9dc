"""Pack prepared data into a few large files, on Drive or for a Kaggle data set, and bring them back in another session.

A pack is a folder of tar files, `<name>.pack` (Kaggle unpacks what ends in .tar), and `index.json`, which holds each
one's bytes, SHA-256 and files, with the SHA-256 of the small ones (older packs lack these): a file has changed where
its size has, or its content where that is known. Both ways an interrupted call is simply repeated, and no file that is seen is torn.
"""

import json
import os
import shutil
import tarfile
import uuid
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from hmdb_lib import environment
from hmdb_lib.data.find import is_hidden
from hmdb_lib.errors import UserError
from hmdb_lib.files import report_refusals, require_disk, sha256_of, whole_file
from hmdb_lib.progress import Bar

PART = 2**30  # bytes of files in a part, about
SMALL = 2**20  # bytes; of a file below, the content is compared too
INDEX, INPUTS = "index.json", Path("/kaggle/input")


def pack(folder: Path | str | None = None, to: Path | str | None = None) -> Path:
    """Pack what a data folder holds, and another pack of it does not, into parts of about 1 GiB; return their folder.

    Linked folders (a Kaggle input) and hidden files are left out. What was packed before and is not in `folder` stays.

    Args:
        folder: None: this machine's data, with frame stores and tokens.
        to: None: `hmdb_packed` beside this machine's results, which on Colab is on Drive.

    Raises UserError, and DiskError before anything is written.

    Example:
        >>> hl.pack()

    """
    place = environment.place()
    folder, to = Path(folder or place.data).resolve(), Path(to or place.packed).resolve()
    here, kept = _sizes(folder), {}
    if not here or to.is_relative_to(folder):
        raise UserError(f"{folder}: " + ("cannot hold its own pack; name another folder" if here else "holds no files"))
    before = _read(to)["parts"] if (to / INDEX).exists() else {}
    for name, part in before.items():
        changed = _find_changed(part, folder, here)
        fault = f"{changed} differs from that in {folder}" if changed else _fault(to / name, part)
        if not fault:
            kept[name] = part
        elif not part["files"].keys() <= here.keys():
            raise UserError(f"{to / name}: {fault}, and {folder} lacks other files of it; pack to another folder")
    known = {path for part in kept.values() for path in part["files"]}
    new = {path: size for path, size in here.items() if path not in known}
    with report_refusals(to), Bar(desc="pack", total=sum(new.values()), unit="B", unit_scale=True) as bar:
        to.mkdir(parents=True, exist_ok=True)
        require_disk(to, sum(new.values()), "the pack")
        _write_index(to, kept, not new)
        for old in (*to.glob(".*.part"), *(to / name for name in before if name not in kept)):  # of a killed call, too
            if old.exists():
                os.truncate(old, 0)  # Drive's bin counts against the quota
                old.unlink()
        parts = list(_parts(new))
        for number, files in enumerate(parts, 1):
            name = f"{uuid.uuid4().hex[:12]}.pack"
            small = {path: sha256_of(folder / path) for path, size in files.items() if size < SMALL}
            with whole_file(to / name) as part:
                with tarfile.open(part, "w") as tar:
                    for path, size in files.items():
                        tar.add(folder / path, path, recursive=False)
                        bar.update(size)
                about = {"bytes": part.stat().st_size, "sha256": sha256_of(part), "files": files, "small": small}
            kept[name] = about
            _write_index(to, kept, number == len(parts))
    print(f"packed: {to}, {len(kept)} parts, {len(new):,} files of {sum(new.values()) / 1e9:.3g} GB are new")
    return to


def unpack(source: Path | str | None = None, to: Path | str | None = None) -> None:
    """Bring a pack's files that are not there yet.

    Args:
        source: a pack's folder; None: where `pack` writes, or below a Kaggle input; where nothing is, a line says so.
        to: None: this machine's data folder.

    Raises UserError for a part that is missing or torn and for other data in the way, and DiskError.

    Example:
        >>> hl.unpack()

    """
    place = environment.place()
    folder, to = Path(source) if source else find_pack(place), Path(to or place.data).resolve()
    if folder is None:
        print(f"nothing is packed in {place.packed}")
        return
    if not (folder / INDEX).exists():
        raise UserError(f"{folder}: is no pack, it has no {INDEX}; hmdb pack makes one")
    index, here = _read(folder), _sizes(to)
    changed = (_find_changed(part, to, here) for part in index["parts"].values())
    if other := next(filter(None, changed), None):
        raise UserError(f"{to / other}: differs from that in {folder}; move it away, or unpack to another folder")
    missing = {name: part for name, part in index["parts"].items() if not part["files"].keys() <= here.keys()}
    for name, part in missing.items():
        if fault := _fault(folder / name, part):
            raise UserError(f"{folder / name}: {fault}; copy it there again, or pack again where the data are")
    size = sum(part["bytes"] for part in missing.values())
    scratch = to / ".unpack"
    with report_refusals(to), Bar(desc="unpack", total=size, unit="B", unit_scale=True) as bar:
        to.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        require_disk(to, size, "unpacking")
        for name, part in missing.items():
            _unpack(folder / name, part, scratch)
            for path in part["files"]:
                (to / path).parent.mkdir(parents=True, exist_ok=True)
                (scratch / path).replace(to / path)
            shutil.rmtree(scratch)
            bar.update(part["bytes"])
    told = "" if index["whole"] else ", which is not all: packing was broken off, repeat it where the data are"
    print(f"unpacked: {len(missing)} of {len(index['parts'])} parts, {size / 1e9:.3g} GB, from {folder} to {to}{told}")


def find_pack(place: environment.Place) -> Path | None:
    """Find the pack that is on this machine: where `pack` writes, or below a Kaggle input."""
    inputs = (INPUTS.glob(f"{depth}/{place.packed.name}") for depth in ("*", "*/*/*"))
    return next((folder for folder in chain([place.packed], *inputs) if (folder / INDEX).exists()), None)


def _unpack(file: Path, part: dict[str, Any], scratch: Path) -> None:
    """Unpack a part into `scratch`, unless it is not the one that was packed."""
    if sha256_of(file) != part["sha256"]:
        raise UserError(f"{file}: torn, its SHA-256 is another; copy it there again, or remove it and pack again")
    with tarfile.open(file) as tar:
        tar.extractall(scratch, filter="data")


def _find_changed(part: dict[str, Any], folder: Path, here: dict[str, int]) -> str | None:
    """Find a file of a part that is another one in `folder`, whose files and sizes are `here`."""
    small = part.get("small", {})
    for path, size in part["files"].items():
        if path in here and (here[path] != size or (path in small and sha256_of(folder / path) != small[path])):
            return path
    return None


def _fault(file: Path, part: dict[str, Any]) -> str:
    """Tell what is wrong with a part, without reading it."""
    if not file.exists():
        return "is missing"
    return (
        "" if file.stat().st_size == part["bytes"] else f"torn: has {file.stat().st_size:,} of {part['bytes']:,} bytes"
    )


def _sizes(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(_files(folder))}


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_symlink() or is_hidden(path.name):
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path


def _parts(sizes: dict[str, int]) -> Iterator[dict[str, int]]:
    """Share files out to parts, in their order."""
    files, held = {}, 0
    for path, size in sizes.items():
        files[path] = size
        held += size
        if held >= PART:
            yield files
            files, held = {}, 0
    if files:
        yield files


def _read(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return {"whole": index["whole"], "parts": index["parts"]}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder / INDEX}: is no index of a pack, or torn; pack again, to another folder") from None


def _write_index(folder: Path, parts: dict[str, Any], whole: bool) -> None:
    with whole_file(folder / INDEX) as part:
        part.write_text(json.dumps({"whole": whole, "parts": parts}), encoding="utf-8")
