"""Check that HMDB51 is complete: counts, names against the lists, checksums and, on request, every frame."""

import os
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm.contrib.concurrent import thread_map

from hmdb_lib.data.find import find_videos
from hmdb_lib.data.hmdb51 import read_split
from hmdb_lib.data.sources import source_group
from hmdb_lib.data.video import VideoError, scan
from hmdb_lib.errors import UserError
from hmdb_lib.files import sha256_of, whole_file
from hmdb_lib.progress import Bar

SPLITS = (1, 2, 3)
DEEP = ["frames", "size", "fps"]
MANIFEST = ["path", "class", "group", "roles", *DEEP, "bytes", "sha256"]


@dataclass(frozen=True)
class Whole:
    """Count what a complete data set holds, by default HMDB51. `train` and `test`: videos per class and split.

    Example:
        >>> hl.find_problems("data/sample", hl.Whole(classes=8, videos=256, train=20, test=8))

    """

    classes: int = 51
    videos: int = 6766
    train: int = 70
    test: int = 30


HMDB51 = Whole()


def verify(root: Path, deep: bool = False, whole: Whole = HMDB51, workers: int | None = None) -> list[str]:
    """Check `root/videos/<class>/*.avi` and `root/splits/*.txt`; print and return what is missing or broken, by name.

    Writes `root/manifest.csv`, one row per video: path (below videos/), class, group (source video), roles (in splits
    1 to 3), frames, size (width x height), fps (where it is constant), bytes, sha256. `deep` decodes every file to its
    last frame, for frames, size and fps; without it these are kept for unchanged files.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; python -m data_prep download makes it")
    if not _avi_files(root / "videos"):
        raise UserError(
            f"{root}: holds no videos/<class>/*.avi, so it is not HMDB51, which alone is checked; python -m data_prep "
            "download gets it, and data=folder data.root=<folder> trains on videos of your own"
        )
    before = _read_manifest(root / "manifest.csv")
    problems = find_problems(root, whole)
    manifest, broken = _describe_all(root, deep, workers)
    problems += broken
    if not deep:
        known = before.set_index(["path", "sha256"])[DEEP]
        manifest = manifest.drop(columns=DEEP).join(known, on=["path", "sha256"])
    if os.access(root, os.W_OK):
        with whole_file(root / "manifest.csv") as part:
            manifest[MANIFEST].astype({"frames": "Int64"}).to_csv(part, index=False)
    else:
        print(f"{root}: read-only, so no manifest.csv is written")
    decoded = ", every frame decodes" if deep else ""
    counts = f"{whole.classes} classes, {whole.videos:,} videos, {len(SPLITS)} splits"
    print(*(problems or [f"{root}: whole, {counts}{decoded}"]), sep="\n")
    return problems


def find_problems(root: Path | str, whole: Whole = HMDB51) -> list[str]:
    """List what is missing of a data set's lists and videos, a line each, without reading the videos.

    Example:
        >>> hl.find_problems("data/hmdb51")

    """
    splits, videos = Path(root) / "splits", Path(root) / "videos"
    return split_problems(splits, whole) + video_problems(videos, splits, whole)


def split_problems(folder: Path, whole: Whole = HMDB51) -> list[str]:
    """List what is wrong with the split lists, a line each."""
    if not any(folder.glob("*_test_split*.txt")):
        return [f"{folder}: no lists <class>_test_split<1 to 3>.txt"]
    try:
        tables = [read_split(folder, split) for split in SPLITS]
    except UserError as error:
        return [str(error)]
    problems = []
    for split, table in zip(SPLITS, tables, strict=True):
        classes, videos = table.label.nunique(), table.path.nunique()
        if classes != whole.classes:
            problems.append(f"{folder}: split {split} has {classes} class lists, expected {whole.classes}")
        if videos != whole.videos:
            problems.append(f"{folder}: split {split} names {videos:,} videos, expected {whole.videos:,}")
        for label, roles in table.groupby("label").role:
            train, test = (roles == "train").sum(), (roles == "test").sum()
            if (train, test) != (whole.train, whole.test):
                file, wanted = f"{folder}/{label}_test_split{split}.txt", f"{whole.train} and {whole.test}"
                problems.append(f"{file}: {train} train and {test} test, expected {wanted}")
    if len({frozenset(table.path) for table in tables}) > 1:
        problems.append(f"{folder}: the three splits do not name the same videos")
    return problems


def video_problems(videos: Path, splits: Path, whole: Whole = HMDB51) -> list[str]:
    """List what is wrong with the videos, a line each: counts, and files that are missing, empty or in no list."""
    present, listed = set(_avi_files(videos)), set(_roles(splits, 1))
    classes = {path.partition("/")[0] for path in present}
    problems = []
    if (len(classes), len(present)) != (whole.classes, whole.videos):
        found = f"{len(present):,} videos in {len(classes)} classes"
        problems.append(f"{videos}: {found}, expected {whole.videos:,} in {whole.classes}")
    if listed:
        problems += _missing(videos, listed, listed - present)
        problems += [f"{videos / path}: in no split list" for path in sorted(present - listed)]
    return problems + [f"{videos / path}: empty" for path in sorted(present) if not (videos / path).stat().st_size]


def _avi_files(videos: Path) -> list[str]:
    return [path for path in find_videos(videos, depth=2) if path.endswith(".avi") and (videos / path).is_file()]


def _missing(videos: Path, listed: set[str], missing: set[str]) -> list[str]:
    total, gone = (Counter(name.partition("/")[0] for name in names) for names in (listed, missing))
    classes = {label for label, count in gone.items() if count == total[label]}
    lines = [f"{videos / label}: missing, all {total[label]} videos" for label in sorted(classes)]
    return lines + [f"{videos / name}: missing" for name in sorted(missing) if name.partition("/")[0] not in classes]


def _roles(splits: Path, split: int) -> dict[str, str]:
    try:
        table = read_split(splits, split)
    except UserError:  # split_problems tells
        return {}
    return dict(zip(table.path, table.role, strict=True))


def _read_manifest(file: Path) -> pd.DataFrame:
    written = file.exists() and file.stat().st_size > 0
    table = pd.read_csv(file) if written else pd.DataFrame(columns=MANIFEST)
    if list(table) != MANIFEST:
        raise UserError(f"{file}: was not written by verify; is this the sample data set? Nothing was checked")
    return table


def _describe_all(root: Path, deep: bool, workers: int | None) -> tuple[pd.DataFrame, list[str]]:
    videos = root / "videos"
    rows = thread_map(
        partial(_describe, deep, videos), _avi_files(videos), desc="verify", max_workers=workers, tqdm_class=Bar
    )
    problems = [row.pop("problem") for row in rows if "problem" in row]
    table = pd.DataFrame(rows, columns=["path", *DEEP, "bytes", "sha256"])
    table["class"] = [path.partition("/")[0] for path in table.path]
    table["group"] = table.path.map(source_group)
    roles = [_roles(root / "splits", split) for split in SPLITS]
    table["roles"] = [" ".join(role.get(path, "unlisted") for role in roles) for path in table.path]
    return table, problems


def _describe(deep: bool, videos: Path, path: str) -> dict:
    file = videos / path
    row = {"path": path, "bytes": file.stat().st_size, "sha256": sha256_of(file)}
    if deep:
        try:
            video = scan(file)
        except VideoError as error:
            return {**row, "problem": str(error)}
        row |= {"frames": video.frames, "size": f"{video.width}x{video.height}"}
        if video.is_even:  # frames and a rate that varies would not tell its times
            row["fps"] = video.fps
    return row
