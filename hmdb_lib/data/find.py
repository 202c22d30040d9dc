"""Find the video files of a folder, and listed files whose names were written in another form."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

VIDEO_ENDINGS = {
    *(".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".3gp", ".wmv", ".flv", ".gif"),
    *(".ts", ".mts", ".m2ts", ".vob", ".ogv", ".asf", ".divx"),
}
_SYSTEM_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}


def find_videos(folder: Path, depth: int | None = None) -> list[str]:
    """List the video files anywhere below `folder`, or exactly `depth` levels below it (2: `<class>/<video>`).

    Returns sorted paths relative to `folder`, with forward slashes. Linked folders are followed, each folder once on a
    path; links to files that are gone are listed too. Hidden files and folders and those that operating systems and
    network disks add are skipped.
    """
    found = _files(Path(folder), (), depth, frozenset())
    return sorted(path for path in found if is_video(path) and depth in (None, path.count("/") + 1))


def is_video(path: str) -> bool:
    """Tell by its ending whether a file is a video."""
    return PurePosixPath(path).suffix.lower() in VIDEO_ENDINGS


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder belongs to the system and not to the data."""
    return name.startswith(".") or name.casefold() in _SYSTEM_FOLDERS


def stem_of(path: str) -> str:
    """Return a file's name without folder and without the ending of a video."""
    name = PurePosixPath(path).name
    return name[: -len(PurePosixPath(name).suffix)] if is_video(name) else name


def plain(text: str) -> str:
    """Write a name in the one form in which spellings of it agree: case, accents, blanks around it."""
    return unicodedata.normalize("NFC", text).casefold().strip()


def locate(folder: Path, listed: Iterable[str], found: Iterable[str]) -> Mapping[str, str]:
    """Map each listed path to the file that it means; what there is none for is left out.

    `found` are the videos below `folder`. Taken in this order: the path as it is written; an absolute one, or one with
    ./, ../, backslashes or blanks around it; another case, or the other Unicode form of an accent; another ending of a
    video. A form that two files have means neither.
    """
    there, root = set(found), Path(os.path.normpath(Path.cwd() / folder))
    forms, stems = _unique(there, plain), _unique(there, _without_ending)
    taken = {}
    for path in listed:
        tidy = path.strip().replace("\\", "/")
        whole = Path(os.path.normpath(root / tidy))  # not resolved: a linked folder keeps its name
        tidy = (whole.relative_to(root) if whole.is_relative_to(root) else whole).as_posix()
        choices = (path, tidy, forms.get(plain(tidy)), stems.get(_without_ending(tidy)))
        file = next((choice for choice in choices if choice in there), None)
        if not file and (folder / tidy).is_file():  # outside the folder, or with another ending than a video's
            file = tidy
        if file:
            taken[path] = file
    return taken


def _without_ending(path: str) -> str:
    return plain(path[: -len(PurePosixPath(path).suffix)] if is_video(path) else path)


def _unique(paths: Iterable[str], form: Callable[[str], str]) -> dict[str, str]:
    keys = [(form(path), path) for path in paths]
    counts = Counter(key for key, _ in keys)
    return {key: path for key, path in keys if counts[key] == 1}


def _files(folder: Path, above: tuple[str, ...], depth: int | None, seen: frozenset[str]) -> Iterable[str]:
    """Paths of the files below a folder, `above` being its own place."""
    real = os.path.realpath(folder)
    if real in seen or not folder.is_dir():
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if is_hidden(entry.name):
            continue
        if entry.is_dir():
            if depth is None or len(above) + 1 < depth:
                yield from _files(Path(entry.path), (*above, entry.name), depth, seen | {real})
        elif is_video(entry.name) and (entry.is_file() or entry.is_symlink()):
            yield "/".join((*above, entry.name))
