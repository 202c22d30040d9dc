"""Split a data set into training, validation and test videos that share no source video."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from hmdb_lib.data.find import find_videos
from hmdb_lib.data.hmdb51 import read_split, source_group
from hmdb_lib.errors import UserError

# Folders of a data set that comes cut into parts, as Kinetics does.
PARTS = {"train": "train", "val": "validation", "validate": "validation", "validation": "validation", "test": "test"}


def read_videos(dataset: str, root: Path, split: int, validation_share: float, seed: int) -> pd.DataFrame:
    """Read the videos of one split of a data set into one table.

    Columns: `path` (below `video_folder(dataset, root)`), `label` (the class's name), `group` (the source video),
    `role` (train, validation or test; videos without a part in the split are left out). Videos that are listed but
    not on disk have `present` False. `dataset` is sample, hmdb51 or folder; `split` is HMDB51's 1 to 3, or the fold
    of a folder's index that tests. Without a `validation_share` all but the test videos train. Raises UserError when
    the folder does not hold such a data set.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(
            f"data.root={root}: there is no such folder; python -m data_prep --help tells how to get the data"
        )
    videos = _read_folder(root, split) if dataset == "folder" else _read_hmdb51(root, split)
    videos = videos[videos.role != "unused"].reset_index(drop=True)
    folder = video_folder(dataset, root)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    videos["present"] = videos.path.isin(there)
    train = videos[videos.present & (videos.role == "train")]
    if not validation_share:
        videos["role"] = videos.role.replace("validation", "train")
    elif not (videos.role == "validation").any():
        held_out = hold_out(train, validation_share, seed)
        videos.loc[held_out.index[held_out], "role"] = "validation"
    for role in ("train", "validation", "test") if validation_share else ("train", "test"):
        if not (videos.present & (videos.role == role)).any():
            raise UserError(f"{root}, split {split}: no {role} videos are there; {_what_is_there(videos)}")
    return videos


def video_folder(dataset: str, root: Path) -> Path:
    """Return the folder that a table's paths are relative to."""
    return Path(root) if dataset == "folder" else Path(root) / "videos"


def hold_out(videos: pd.DataFrame, share: float, seed: int) -> pd.Series:
    """Hold out a share of the videos, stratified by class and grouped by source: True for those held out.

    Groups come in random order; one is taken whole when no class then exceeds `share` of its videos (rounded, at
    least one, never all). A random cut of single clips would leave a source on both sides for most of HMDB51's clips.
    """
    counts = pd.crosstab(videos.group, videos.label)
    sizes = counts.sum().to_numpy()
    room = np.minimum(np.maximum((sizes * share).round(), 1), sizes - 1)
    taken = []
    for group in np.random.default_rng(seed).permutation(len(counts)):
        clips = counts.iloc[group].to_numpy()
        if (clips <= room).all():
            room -= clips
            taken.append(counts.index[group])
    return videos.group.isin(taken)


def limit_sources(videos: pd.DataFrame, count: int | None, seed: int) -> pd.DataFrame:
    """Training videos of at most `count` sources alone, drawn by the seed; the other parts stay as they are.

    A larger count keeps the sources of a smaller one, so that a learning curve adds videos and takes none away.
    """
    train = videos.role == "train"
    sources = np.random.default_rng(seed).permutation(sorted(videos.group[train].unique()))[:count]
    return videos[~train | videos.group.isin(sources)].reset_index(drop=True)


def limit(videos: pd.DataFrame, count: int | None) -> pd.DataFrame:
    """At most `count` present videos of a class in each part, the first in the table's order."""
    videos = videos[videos.present]
    return (videos if count is None else videos.groupby(["role", "label"]).head(count)).reset_index(drop=True)


def _read_hmdb51(root: Path, split: int) -> pd.DataFrame:
    for part in ("videos", "splits"):
        if not (root / part).is_dir():
            raise UserError(
                f"{root}: has no folder {part}/; expected videos/<class>/*.avi and splits/<class>_test_split1.txt"
            )
    videos = read_split(root / "splits", split)
    videos["group"] = videos.path.map(source_group)
    return videos


def _read_folder(root: Path, split: int) -> pd.DataFrame:
    index = root / "index.csv"
    if not index.exists() and any((root / name).is_dir() for name in PARTS):
        return _read_parts(root)
    if not index.exists():
        paths = find_videos(root, depth=2)
        if not paths:
            raise UserError(f"{root}: holds neither index.csv nor <class>/<video> files")
        videos = pd.DataFrame({"path": paths, "label": [path.partition("/")[0] for path in paths]})
    else:
        try:
            videos = pd.read_csv(index, dtype={"path": str, "label": str, "group": str})
        except (ValueError, UnicodeDecodeError) as error:
            raise UserError(f"{index}: is not a CSV table: {error}") from None
        missing = {"path", "label"} - set(videos.columns)
        if missing or videos.path.isna().any() or videos.label.isna().any():
            raise UserError(f"{index}: needs the columns path and label, filled in every row")
    if "group" not in videos:
        videos["group"] = videos.path.map(source_group)
    videos["role"] = _roles(videos, split, index)
    return videos[["path", "label", "group", "role"]]


def _read_parts(root: Path) -> pd.DataFrame:
    """Kinetics' layout: <part>/<class>/<video>. A part without class folders (a test part without labels) is none."""
    rows = [
        (f"{name}/{path}", path.partition("/")[0], _kinetics_source(Path(path).stem), role)
        for name, role in PARTS.items()
        for path in find_videos(root / name, depth=2)
    ]
    videos = pd.DataFrame(rows, columns=["path", "label", "group", "role"])
    if not (videos.role == "train").any():
        raise UserError(f"{root}: has no folder train/<class>/ with videos beside its other parts")
    if not (videos.role == "test").any():  # as Kinetics is mostly handed around: validation is what is published
        videos["role"] = videos.role.replace("validation", "test")
    return videos


def _kinetics_source(stem: str) -> str:
    """Return the YouTube video behind <id>_<start>_<end>."""
    match = re.fullmatch(r"(.{11})_\d{6}_\d{6}", stem)
    return match[1] if match else source_group(stem)


def _roles(videos: pd.DataFrame, split: int, index: Path) -> pd.Series:
    if "fold" in videos:
        folds = sorted(videos.fold.unique())
        if split not in folds:
            raise UserError(f"data.split={split}: {index} has the folds {', '.join(map(str, folds))}")
        return pd.Series(np.where(videos.fold == split, "test", "train"), videos.index)
    if "split" in videos:
        unknown = set(videos.split) - {"train", "validation", "test"}
        if unknown:
            raise UserError(f"{index}: the column split holds {unknown.pop()!r}; expected train, validation or test")
        return videos.split
    # Nothing says which videos test: a fifth does, by source; another data.split cuts another fifth.
    return pd.Series(np.where(hold_out(videos, 0.2, split), "test", "train"), videos.index)


def _what_is_there(videos: pd.DataFrame) -> str:
    counts = videos[videos.present].role.value_counts()
    there = ", ".join(f"{count} {role}" for role, count in counts.items()) or "none"
    return f"{len(videos)} are listed, on disk: {there}"
