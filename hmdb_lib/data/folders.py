"""Read which videos a folder of one's own holds, and what it says about classes, sources and parts.

In this order: an index.csv; folders of parts (<part>/<class>/<video> or <class>/<part>/<video>); lists of parts beside
the class folders, as UCF101 and mmaction2 have them; class folders alone.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hmdb_lib.data.find import is_hidden, locate, plain, stem_of
from hmdb_lib.data.sources import source_group
from hmdb_lib.errors import UserError

# What parts are called, alone or beside other words: train_set, videos_val, test_256.
_ROLES = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "val", "valid", "validate", "dev", "eval", "evaluation"),
    "test": ("test", "testing", "tst"),
    "unused": ("unused", "none"),
}
_BESIDE = {"set", "split", "data", "video", "videos", "clips", "list", "lists", "part", "frames"}
_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words}
# What columns of an index are called.
_COLUMNS = {
    "path": ("path", "video_path", "filepath", "file_path", "file", "filename", "file_name", "video", "video_name"),
    "label": ("label", "class", "class_name", "label_name", "category", "action"),
    "group": ("group", "source"),
    "split": ("split", "subset", "part", "partition"),
    "fold": ("fold",),
}
_LABELLED = re.compile(r"(.*\.\w{2,5})[ ,\t]+(.+)")  # a line of a list
_LISTED_ENOUGH = 0.5  # share of a text file's lines that must name videos for it to be a list


class Listing(NamedTuple):
    """Hold the videos of a folder.

    Attributes:
        videos: columns path and label; group and role where the data say them; present.
        source: the file or folder that says so, for messages.
        folds: the values of data.split that the data have of their own; empty: they have no parts.

    """

    videos: pd.DataFrame
    source: Path
    folds: tuple[int, ...] = ()


def role_of(name: str) -> str | None:
    """Tell which part a folder, a list or a value of the column split names; None: no part.

    Example:
        >>> role_of("Train_set"), role_of("videos_val"), role_of("running")
        ('train', 'validation', None)

    """
    words = [word for word in re.split(r"[\W_]+|(?<=[a-z])(?=\d)", plain(name)) if word and not word.isdecimal()]
    joined = re.fullmatch(rf"({'|'.join(_ROLE_OF)})({'|'.join(_BESIDE)})?", "".join(words))
    if joined:
        return _ROLE_OF[joined[1]]
    roles = {_ROLE_OF[word] for word in words if word in _ROLE_OF}
    return roles.pop() if len(roles) == 1 and all(word in _ROLE_OF or word in _BESIDE for word in words) else None


def read_folder(root: Path, found: Sequence[str], split: int) -> Listing:
    """Read what a folder says of its videos, of which `found` are all. Raises UserError for what cannot be used."""
    index = next((file for file in sorted(root.iterdir()) if plain(file.name) == "index.csv"), None)
    if index:
        return _read_index(root, index, found, split)
    parts = [path.split("/") for path in found]
    for level in (0, 1):
        if any(len(part) >= 3 and role_of(part[level]) for part in parts):
            return _read_parts(root, found, level)
    return _read_lists(root, found, split) or _read_classes(root, found)


def _read_index(root: Path, index: Path, found: Sequence[str], split: int) -> Listing:
    table = _read_table(index)
    if missing := {"path", "label"} - set(table):
        raise UserError(
            f"{index}: needs the columns path and label, filled in every row; it has {', '.join(map(str, table)) or 'none'}, "
            f"and lacks {' and '.join(sorted(missing))}"
        )
    for column in ("path", "label"):
        empty = table.index[table[column].str.strip() == ""]
        if len(empty):
            told = f"the column {column} is empty; it must be filled in every row"
            raise UserError(f"{index}, row {empty[0] + 2}: {told}")
    folds: tuple[int, ...] = ()
    if "fold" in table and "split" in table and table.split.map(role_of).notna().all():
        raise UserError(
            f"{index}: has parts in the column split and in the column fold, and only one can say what tests; remove or "
            "rename the other"
        )
    if "fold" in table:
        folds, table["role"] = _folds(index, table, split)
    elif "split" in table:
        folds, table["role"] = (1,), _roles(index, table)
    return Listing(_on_disk(root, table, found, index), index, folds)


def _read_table(file: Path) -> pd.DataFrame:
    """Read a CSV table as text, its known columns under our names. A class may be called None or NA."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: is not a CSV table: {error}") from None
    if not isinstance(table.index, pd.RangeIndex):
        told = f"the first line names {len(table.columns)} columns, and rows have more"
        raise UserError(f"{file}: {told}; remove commas at their ends, and quote names that hold one")
    for name, spellings in _COLUMNS.items():
        known = {plain(str(column)): column for column in table}
        if name not in table and (column := next((known[word] for word in spellings if word in known), None)):
            table = table.rename(columns={column: name})
    return table


def _folds(index: Path, table: pd.DataFrame, split: int) -> tuple[tuple[int, ...], pd.Series]:
    wrong = table.index[~table.fold.str.strip().str.fullmatch(r"\d+")]
    if len(wrong):
        told = f"the column fold holds {table.fold[wrong[0]]!r}; expected a whole number"
        raise UserError(f"{index}, row {wrong[0] + 2}: {told}")
    numbers = table.fold.astype(int)
    return tuple(sorted(numbers.unique().tolist())), numbers.map(lambda fold: "test" if fold == split else "train")


def _roles(index: Path, table: pd.DataFrame) -> pd.Series:
    roles = table.split.map(role_of)
    wrong = table.index[roles.isna()]
    if len(wrong):
        raise UserError(
            f"{index}, row {wrong[0] + 2}: the column split holds {table.split[wrong[0]]!r}; expected train, "
            "validation, test or unused"
        )
    return _with_test(roles)


def _with_test(roles: pd.Series) -> pd.Series:
    """Take validation for the test part where there is none: as Kinetics is mostly handed around."""
    return roles if (roles == "test").any() else roles.replace("validation", "test")


def _on_disk(root: Path, table: pd.DataFrame, found: Sequence[str], source: Path) -> pd.DataFrame:
    """Put the paths of the files for the listed ones; tell what was meant by another form of a name."""
    taken = locate(root, table.path, found)
    table["present"] = table.path.isin(taken.keys())
    first = next(((path, file) for path, file in taken.items() if path != file), None)
    if first:
        count = sum(path != file for path, file in taken.items())
        print(f"{source}: {count} paths are written otherwise than their files, such as {first[0]!r} for {first[1]!r}")
    twice = pd.Series([taken.get(path, path) for path in table.path], table.index, dtype=str)
    repeated = table.index[twice.duplicated()]
    if len(repeated):
        row = repeated[0]
        before = table.index[twice == twice[row]][0]
        differing = [
            f"{column} {table[column][before]} and {table[column][row]}"
            for column in ("label", "role")
            if column in table and table[column][before] != table[column][row]
        ]
        told = f", with {' and '.join(differing)}" if differing else ""
        more = f" ({len(repeated)} rows repeat a video)" if len(repeated) > 1 else ""
        raise UserError(
            f"{source}: names the video {twice[row]} twice, in rows {before + 2} and {row + 2}{told}{more}; keep one"
        )
    table["path"] = twice
    kept = [column for column in ("path", "label", "group", "role", "present") if column in table]
    return table[kept]


def _read_parts(root: Path, found: Sequence[str], level: int) -> Listing:
    rows, beside = [], []
    for path in found:
        parts = path.split("/")
        role = role_of(parts[level]) if len(parts) >= 3 else None
        rows += [(path, parts[1 - level], role)] if role else []
        beside += [] if role else [path]
    if beside:
        told = "they name no part" if role_of(beside[0].split("/")[0]) is None else "they lie in no class folder"
        print(f"{root}: {len(beside)} videos are left out, such as {beside[0]}: {told}")
    rows.sort(key=lambda row: list(_ROLES).index(row[2]))
    videos = pd.DataFrame(rows, columns=["path", "label", "role"])
    if not (videos.role == "train").any():
        others = sorted({path.split("/")[level] for path in found if path.count("/") > level})
        raise UserError(f"{root}: has no folder train/<class>/ with videos beside its other parts ({_some(others)})")
    videos["role"] = _with_test(videos.role)
    return Listing(videos.assign(present=True), root, (1,))


def _read_lists(root: Path, found: Sequence[str], split: int) -> Listing | None:
    """Read lists of parts: UCF101's trainlist01.txt, mmaction2's lines of `path label`, tables with a column of paths."""
    below = sorted({path.split("/")[0] for path in found if path.count("/") >= 1})
    folders = [
        root,
        *(f for f in sorted(root.iterdir()) if f.is_dir() and not is_hidden(f.name) and f.name not in below),
    ]
    files = [file for folder in folders for file in sorted(folder.iterdir()) if file.suffix.lower() in (".txt", ".csv")]
    _tell_unread(root, folders, found)
    lists: dict[int, list[tuple[Path, pd.DataFrame]]] = {}
    for file in files:
        role = _role_of_list(file.stem)
        table = _read_list(root, file, found, below, role)
        if table is not None:
            number = re.search(r"(?:split|list|fold)[ _-]?0*(\d+)", file.stem, re.IGNORECASE)
            lists.setdefault(int(number[1]) if number else 1, []).append((file, table))
    if not lists:
        return None
    names = ", ".join(file.relative_to(root).as_posix() for file, _ in lists.get(split, []))
    if split in lists:
        videos = pd.concat([table for _, table in lists[split]], ignore_index=True)
        videos["role"] = _with_test(videos.role)
        if {"train", "test"} - set(videos.role):
            raise UserError(
                f"{root}: {names} list {_some(sorted(set(videos.role)))} videos alone; what tests and trains?"
            )
        print(f"parts: as {names} list them; {len(set(found) - set(videos.path))} videos are in no list")
        return Listing(_on_disk(root, videos, found, root / names), root, tuple(sorted(lists)))
    return Listing(pd.DataFrame(columns=["path", "label", "role", "present"]), root, tuple(sorted(lists)))


def _tell_unread(root: Path, folders: Sequence[Path], found: Sequence[str]) -> None:
    """Print the lists of parts that are not read: JSON, as Kinetics has it, and those of UCF101 beside the folder."""
    names = {name for path in found[:20] for name in (stem_of(path), source_group(path))}
    for file in (file for folder in folders for file in sorted(folder.glob("*.json"))):
        if _role_of_list(file.stem) or any(name in file.read_text(errors="replace") for name in names):
            print(f"{file}: is not read: parts are read from lists of paths (.txt, .csv) and from an index.csv")
    with suppress(OSError):  # beside the folder another user's may lie
        for file in sorted(root.absolute().parent.glob("*[Ll]ist*/*list*.txt")):
            if file.parent != root.absolute() and _role_of_list(file.stem):
                print(f"{file.parent}: its lists of parts are not read; data.root={root.absolute().parent} reads them")
                break


def _role_of_list(stem: str) -> str | None:
    roles = {role for role in _ROLES if any(word in plain(stem) for word in _ROLES[role][:1])}
    roles |= {"validation"} if re.search(r"(?<![a-z])(val|valid|dev)", plain(stem)) else set()
    return roles.pop() if len(roles) == 1 else None


def _read_list(
    root: Path, file: Path, found: Sequence[str], below: Sequence[str], role: str | None
) -> pd.DataFrame | None:
    """Read one list as path, label, role, and group where it has that column.

    None for a file that is none, which is told where its name says a part.
    """
    rows = _rows(file)
    if rows.empty:
        return None
    for prefix in ("", *(f"{folder}/" for folder in below)):
        listed = prefix + rows.path
        taken = locate(root, listed, found)
        if len(taken) < _LISTED_ENOUGH * len(rows):
            continue
        table = rows.assign(path=[taken.get(path, path) for path in listed])
        folders = table.path.str.removeprefix(prefix).str.extract(r"^([^/]+)/")[0].fillna("")
        # A number stands for a class whose name is the folder's, where each folder has a number of its own.
        pairs = pd.DataFrame({"label": table.label, "folder": folders}).drop_duplicates()
        numbers = table.label.str.isdecimal() & (not any(pairs[column].duplicated().any() for column in pairs))
        table["label"] = table.label.mask((folders != "") & (numbers | (table.label == "")), folders)
        if (table.label == "").any():
            raise UserError(f"{file}: names videos without a class, and they lie in no class folder")
        table["role"] = [role_of(part) if part else role for part in table.pop("split")]
        if table.role.notna().all():
            return table
    if role:
        print(f"{file}: is not read: its first line was looked for as {root / rows.path[0]}, which is not there")
    return None


def _rows(file: Path) -> pd.DataFrame:
    """Read the lines of a list: path, label, split, both empty where they are not given, and group where it is."""
    try:
        if file.suffix.lower() == ".csv":
            table = _read_table(file)
            if "path" in table:
                wanted = ["path", "label", "split", *(["group"] if "group" in table else [])]
                return table.reindex(columns=wanted, fill_value="")
            with file.open(newline="", encoding="utf-8-sig") as text:
                lines = [row for row in csv.reader(text, skipinitialspace=True) if row]
        else:
            found = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
            lines = [match.groups() if (match := _LABELLED.fullmatch(line)) else (line,) for line in found]
    except (UserError, UnicodeDecodeError, csv.Error):
        lines = []
    return pd.DataFrame([(*line, "")[:2] for line in lines], columns=["path", "label"], dtype=str).assign(split="")


def _read_classes(root: Path, found: Sequence[str]) -> Listing:
    inside = [path for path in found if "/" in path]
    if not inside:
        loose = f"; {len(found)} videos lie in no class folder, such as {found[0]}" if found else ""
        raise UserError(f"{root}: holds neither index.csv nor <class>/<video> files{loose}")
    labels = [path.split("/")[0] for path in inside]
    if loose := [path for path in found if "/" not in path]:
        print(f"{root}: {len(loose)} videos are left out, such as {loose[0]}: they lie in no class folder")
    if deep := [path for path in inside if path.count("/") > 1]:
        print(
            f"{root}: {len(deep)} videos lie deeper than <class>/<video>, such as {deep[0]}: class {deep[0].split('/')[0]}"
        )
    return Listing(pd.DataFrame({"path": inside, "label": labels, "present": True}), root)


def check_classes(videos: pd.DataFrame, root: Path) -> None:
    """Tell class folders that are empty; raise UserError for classes that make no sense to tell apart.

    These are one class alone, names that differ in case, accents or blanks only, and a class of the test or validation
    part that no training video has.
    """
    labels = sorted(videos.label.unique())
    if len(labels) == 1:
        below = {"/".join(path.split("/")[:2]) for path in videos.path if path.count("/") >= 2}
        higher = f"; is data.root={root / labels[0]} meant?" if len(below) > 1 else ""
        raise UserError(
            f"{root}: all {len(videos)} videos are of one class, {labels[0]}, and there is none to tell it from{higher}"
        )
    alike = [name for name, count in Counter(map(plain, labels)).items() if count > 1]
    if alike:
        same = [label for label in labels if plain(label) == alike[0]]
        raise UserError(
            f"{root}: the classes {' and '.join(map(repr, same))} differ in case, accents or blanks alone; rename one"
        )
    trained = set(videos.label[videos.role == "train"])
    for role in ("test", "validation"):
        if unknown := sorted(set(videos.label[videos.role == role]) - trained):
            raise UserError(
                f"{root}: {_some(unknown)} {'is' if len(unknown) == 1 else 'are'} in the {role} part and never trained; "
                "give training videos or sources of more than one video, or leave classes out with data.classes"
            )


def tell_empty_folders(root: Path, found: Sequence[str]) -> None:
    """Print the class folders that hold no video."""
    full = {path.split("/")[0] for path in found}
    empty = [f.name for f in sorted(root.iterdir()) if f.is_dir() and not is_hidden(f.name) and f.name not in full]
    empty = [name for name in empty if not name.startswith(("frames-", "features"))]
    if empty:
        print(f"{root}: {_some(empty)} {'holds' if len(empty) == 1 else 'hold'} no video and no class")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
