"""Find the source video that each clip was cut from: clips of one source must not lie in two parts."""

import filecmp
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path, PurePosixPath

import pandas as pd

from hmdb_lib.data.find import plain, stem_of
from hmdb_lib.errors import UserError

# How public data sets name their clips; the source is what lies between the brackets. The first that fits counts.
CONVENTIONS = {
    # <source>_<body: half, upper, full, lower>_<camera moves or not>_np<people>_<view>_<quality>_<number>
    "HMDB51": r"(.+)_[hufl]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|med|goo)_\d+",
    "UCF101": r"(v_.+_g\d+)_c\d+",
    "KTH": r"(person\d+)_.+_d\d+(?:_uncomp)?",  # one person acts in all four scenes
    "NTU RGB+D": r"S\d{3}C\d{3}(P\d{3})R\d{3}A\d{3}(?:_.+)?",  # the same person
    "Kinetics": r"([\w-]{11})_\d+_\d+",  # YouTube's id, first and last second
}
# Cuts of a video, numbered by whoever cut it. Where all files of a folder have one name, the number only counts them.
NUMBERED = {
    "name-part2": r"(?i)(.+?)[ ._-]*(?:part|pt|clip|scene|shot|seg|segment|cut)[ ._-]*\d+",
    "name (31)": r"(.+?) ?\(\d+\)",
    "name_31": r"(.+?)[ _-]\d+",
}
EACH_ITS_OWN = "'(.*)'"  # the data.group by which every file is its own source


def source_group(name: str) -> str:
    """Name the source of a clip whose file is named as a public data set does; any other file is its own source.

    `name`: a file with or without folder and ending.
    """
    return _fit(CONVENTIONS, name)[1] or name.removesuffix(PurePosixPath(name).suffix)


def find_groups(paths: Sequence[str], pattern: str | None = None) -> pd.Series:
    """Name the source of each file, and print in a line what the sources were told by.

    `pattern` is data.group: a regular expression, searched in the whole path, whose first group is the source. Without
    one the names tell it (`CONVENTIONS`, `NUMBERED`); a file that nothing fits is its own source, its folder included.
    Raises UserError for a path without a match.
    """
    if pattern is not None:
        return _by_pattern(paths, pattern)
    found: list[tuple[str, str]] = [_fit(CONVENTIONS, path) for path in paths]
    numbered = [
        _fit(NUMBERED, path) if not source else ("", "") for path, (_, source) in zip(paths, found, strict=True)
    ]
    beside: dict[PurePosixPath, set[str]] = {}  # the names of a folder's files, without their numbers
    for path, (_, source) in zip(paths, numbered, strict=True):
        beside.setdefault(PurePosixPath(path).parent, set()).add(plain(source) or plain(stem_of(path)))
    several = {name for names in beside.values() if len(names) > 1 for name in names}
    groups, told, first = [], {}, {}
    for path, by_name, by_number in zip(paths, found, numbered, strict=True):
        kind, source = by_name if by_name[1] else by_number
        if kind in NUMBERED:
            # Where a name is its folder's, or all that its folders hold, the number only counts the files.
            name = plain(source)
            only_counts = name not in several or name == plain(PurePosixPath(path).parent.name)
            kind, source = ("", "") if only_counts else (kind, first.setdefault(name, source))
        told[kind] = told.get(kind, 0) + 1
        groups.append(source or path.removesuffix(PurePosixPath(path).suffix))
    _tell(groups, told, paths)
    return pd.Series(groups, dtype=str)


def read_groups(videos: pd.DataFrame, listed: object) -> pd.Series:
    """Read the sources that a column group names, and print in a line how many there are.

    Names that differ in case, in the form of an accent or in blanks around them are one source, under its first name. An
    empty cell makes the file its own source. `listed`: what has the column, for the line.
    """
    named = videos.group.fillna("").astype(str).str.strip()
    groups = named.groupby(named.map(plain)).transform("first")
    empty = groups == ""
    groups = groups.mask(empty, videos.path)
    own = f"; {empty.sum()} have none there and count as their own source each" if empty.any() else ""
    print(f"sources: {groups.nunique()} of {len(groups)} videos, as the column group of {listed} names them{own}")
    return groups


def check_sources(videos: pd.DataFrame, root: object) -> None:
    """Raise UserError where a source lies in two parts, which would test what has trained."""
    parts = videos[videos.role != "unused"].groupby("group").role.nunique()
    torn = parts.index[parts > 1]
    if not len(torn):
        return
    first = videos[videos.group == torn[0]].drop_duplicates("role")
    where = ", ".join(f"{role}: {path}" for role, path in zip(first.role, first.path, strict=True))
    raise UserError(
        f"{root}: {len(torn)} of {len(parts)} sources lie in two parts, such as {torn[0]} ({where}); move them to one "
        f"part, or name the sources with data.group=<regex> ({EACH_ITS_OWN}: every file is a source of its own)"
    )


def check_copies(videos: pd.DataFrame, folder: Path) -> None:
    """Raise UserError for one file that lies in two parts under two names; print which files have a copy in another part.

    A copy has the same bytes; only videos of the same size are compared.
    """
    used = videos[videos.present & (videos.role != "unused")]
    told = {path: (folder / path).stat() for path in used.path}
    inodes = [f"{of.st_dev} {of.st_ino or path}" for path, of in told.items()]  # 0: the file system counts none
    used = used.assign(size=[of.st_size for of in told.values()], inode=inodes)
    used = used[used.duplicated("size", keep=False) & (used["size"] > 0)].copy()
    used["middle"] = [_middle(folder / path, size) for path, size in zip(used.path, used["size"], strict=True)]
    copies = []
    for _, alike in used.groupby(["size", "middle"]):
        for (_, one), (_, other) in combinations(alike.iterrows(), 2):
            if one.role == other.role:
                continue
            if one.inode == other.inode:
                where = f"{one.path} ({one.role}) and {other.path} ({other.role})"
                raise UserError(f"{folder}: {where} are one file, which would lie in two parts; remove one of them")
            if filecmp.cmp(folder / one.path, folder / other.path, shallow=False):
                copies.append(f"{one.path} ({one.role}) and {other.path} ({other.role})")
    if copies:
        print(
            f"{folder}: {len(copies)} pairs of videos in two parts have the same bytes, such as {copies[0]}: what is tested has "
            "trained; remove one of each, or name both's source with data.group"
        )


def _middle(file: Path, size: int) -> bytes:
    """Read a little from the middle of a file, which tells most videos of the same size apart."""
    with file.open("rb") as opened:
        opened.seek(size // 2)
        return opened.read(4096)


def _by_pattern(paths: Sequence[str], pattern: str) -> pd.Series:
    matches = [re.search(pattern, path) for path in paths]
    missed = [path for path, match in zip(paths, matches, strict=True) if not (match and match[1])]
    if missed:
        raise UserError(
            f"data.group={pattern}: finds no source in {len(missed)} of {len(paths)} paths, such as {missed[0]}"
        )
    groups = pd.Series([match[1] for match in matches if match], dtype=str)
    print(f"sources: {groups.nunique()} of {len(paths)} videos, as data.group={pattern} finds them")
    return groups


def _fit(patterns: Mapping[str, str], path: str) -> tuple[str, str]:
    """Name of the first pattern that fits a file's name, and the source; both empty where none does."""
    for kind, pattern in patterns.items():
        if match := re.fullmatch(pattern, stem_of(path)):
            return kind, match[1]
    return "", ""


def _tell(groups: list[str], told: dict[str, int], paths: Sequence[str]) -> None:
    unknown = told.pop("", 0)
    kinds = ", ".join(f"{count} named as {kind}" for kind, count in told.items())
    own = (
        "every file counts as its own source" if not told else f"{unknown} others each count as their own"
    ) + "; clips cut from one video would lie on both sides of a split; data.group=<regex with a group> names sources"
    print(
        f"sources: {len(set(groups))} of {len(paths)} videos: "
        + ", ".join(filter(None, (kinds, own if unknown else "")))
    )
