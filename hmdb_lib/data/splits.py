"""Split a data set into training, validation and test videos that share no source video."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hmdb_lib.data.find import find_videos, locate
from hmdb_lib.data.folders import Listing, read_folder, tell_empty_folders
from hmdb_lib.data.hmdb51 import read_split
from hmdb_lib.data.sources import check_copies, check_sources, find_groups, read_groups, source_group
from hmdb_lib.errors import UserError


def read_videos(
    dataset: str,
    root: Path,
    split: int,
    validation_share: float,
    seed: int,
    *,
    folds: int = 5,
    group: str | None = None,
    classes: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read the videos of one split of a data set into one table.

    Columns: `path` (below `video_folder(dataset, root)`), `label` (the class's name), `group` (the source video),
    `role` (train, validation or test; videos without a part in the split are left out). Videos that are listed but
    not on disk have `present` False. `dataset` is sample, hmdb51 or folder; `split` is HMDB51's 1 to 3, the fold of a
    folder's index that tests, or one of the `folds` into which class folders without parts are cut. `group` is
    data.group; of `classes` alone where they are given. Without a `validation_share` all but the test videos train. Raises UserError when the folder does not
    hold such a data set, when a source or a file is in two parts, and for a split that the data do not have.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(
            f"data.root={root}: there is no such folder; python -m data_prep --help tells how to get the data"
        )
    folder = video_folder(dataset, root)
    found = find_videos(folder)
    listing = read_folder(root, found, split) if dataset == "folder" else _read_hmdb51(root, found, split)
    videos = listing.videos.reset_index(drop=True)
    there = [present and (folder / path).is_file() for path, present in zip(videos.path, videos.present, strict=True)]
    videos["present"] = np.array(there, bool)  # a link's file may be gone
    if dataset == "folder":
        tell_empty_folders(root, found)
        if listing.folds and split not in listing.folds:
            own = "one split alone" if listing.folds == (1,) else f"the folds {', '.join(map(str, listing.folds))}"
            raise UserError(f"data.split={split}: {listing.source} has parts of its own, {own}")
    if classes is not None:
        videos = keep_classes(videos, classes, root)
    if group is not None or "group" not in videos:
        named = dataset == "folder" or group is not None
        videos["group"] = find_groups(videos.path.tolist(), group) if named else videos.path.map(source_group)
    else:
        videos["group"] = read_groups(videos, listing.source)
    cut = "role" not in videos
    if cut:
        videos["role"] = np.where(make_folds(videos, folds, root) == split, "test", "train")
        if not 1 <= split <= folds:
            raise UserError(f"data.split={split}: {root} is cut into data.folds={folds} folds; give 1 to {folds}")
        print(f"parts: fold {split} of {folds} tests; the folds share neither videos nor sources")
    check_sources(videos, root)
    check_copies(videos, folder)
    videos = videos[videos.role != "unused"].reset_index(drop=True)
    train = videos[videos.present & (videos.role == "train")]
    if not validation_share:
        videos["role"] = videos.role.replace("validation", "train")
    elif not (videos.role == "validation").any():
        held_out = hold_out(train, validation_share, seed)
        videos.loc[held_out.index[held_out], "role"] = "validation"
    for role in ("train", "validation", "test") if validation_share else ("train", "test"):
        if not (videos.present & (videos.role == role)).any():
            hint = "; no source is small enough for data.validation_share: raise it, or 0 takes the last epoch"
            raise UserError(
                f"{root}, split {split}: no {role} videos are there; {_what_is_there(videos, folder)}"
                + hint * (role == "validation")
            )
    videos.attrs["cut"] = cut  # into folds, by this function
    return videos[["path", "label", "group", "role", "present"]]


def video_folder(dataset: str, root: Path) -> Path:
    """Return the folder that a table's paths are relative to."""
    return Path(root) if dataset == "folder" else Path(root) / "videos"


def make_folds(videos: pd.DataFrame, count: int, root: Path) -> pd.Series:
    """Cut videos into disjoint folds, numbered from 1: sources stay whole, classes are spread evenly.

    The largest sources come first, each into the fold that has least of its classes; equals come in an order that is
    always the same. Raises UserError where there are fewer sources than folds, or a class has one source alone.
    """
    counts = pd.crosstab(videos.group, videos.label)
    single = counts.columns[(counts > 0).sum() < 2]
    if len(single):
        raise UserError(
            f"{root}: class {single[0]} has one source alone ({counts.index[counts[single[0]] > 0][0]}), which cannot "
            "both train and test; add videos, leave it out with data.classes, or name the sources with data.group"
        )
    if len(counts) < count:
        raise UserError(f"{root}: {len(counts)} sources cannot make data.folds={count} folds; give fewer or data.group")
    shares = (counts / counts.sum()).to_numpy()
    order = np.random.default_rng(0).permutation(len(counts))
    order = order[np.argsort(-shares[order].sum(1), kind="stable")]
    loads, fold_of = np.zeros((count, shares.shape[1])), {}
    for number in order:
        fold = int(np.argmin(loads @ shares[number] + 1e-6 * loads.sum(1)))
        loads[fold] += shares[number]
        fold_of[counts.index[number]] = fold + 1
    return videos.group.map(fold_of)


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


def keep_classes(videos: pd.DataFrame, classes: Sequence[str], root: Path) -> pd.DataFrame:
    """Keep the videos of some classes. Raises UserError for one that there is not."""
    known = sorted(videos.label.unique())
    for name in classes:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1) or known
            raise UserError(
                f"data.classes: {root} has no class {name!r}; the nearest of {len(known)} is {nearest[0]!r}"
            )
    return videos[videos.label.isin(classes)].reset_index(drop=True)


def limit_training(videos: pd.DataFrame, count: int | None, seed: int) -> pd.DataFrame:
    """Keep at most `count` training videos a class, drawn by the seed; the other parts stay as they are.

    A larger count keeps the videos of a smaller one.
    """
    if count is None:
        return videos
    order = pd.Series(np.random.default_rng(seed).permutation(len(videos)), videos.index)
    rank = order.groupby([videos.role, videos.label]).rank()
    return videos[(videos.role != "train") | (rank <= count)].reset_index(drop=True)


def limit_sources(videos: pd.DataFrame, count: int | None, seed: int) -> pd.DataFrame:
    """Keep the training videos of at most `count` sources, drawn by the seed; the other parts stay as they are.

    A larger count keeps the sources of a smaller one, so that a learning curve adds videos and takes none away.
    """
    train = videos.role == "train"
    sources = np.random.default_rng(seed).permutation(sorted(videos.group[train].unique()))[:count]
    return videos[~train | videos.group.isin(sources)].reset_index(drop=True)


def limit(videos: pd.DataFrame, count: int | None) -> pd.DataFrame:
    """Keep at most `count` present videos of a class in each part, the first in the table's order."""
    videos = videos[videos.present]
    return (videos if count is None else videos.groupby(["role", "label"]).head(count)).reset_index(drop=True)


def _read_hmdb51(root: Path, found: Sequence[str], split: int) -> Listing:
    for part in ("videos", "splits"):
        if not (root / part).is_dir():
            raise UserError(
                f"{root}: has no folder {part}/; expected videos/<class>/*.avi and splits/<class>_test_split1.txt"
            )
    videos = read_split(root / "splits", split)
    taken = locate(root / "videos", videos.path, found)
    videos["present"] = videos.path.isin(taken.keys())
    videos["path"] = [taken.get(path, path) for path in videos.path]
    return Listing(videos, root)


def _what_is_there(videos: pd.DataFrame, folder: Path) -> str:
    counts = videos[videos.present].role.value_counts()
    there = ", ".join(f"{count} {role}" for role, count in counts.items()) or "none"
    gone = videos.path[~videos.present]
    return f"{len(videos)} are listed, on disk: {there}" + (
        f"; not there: {folder / gone.iloc[0]}" if len(gone) else ""
    )
