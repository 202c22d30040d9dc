"""Load the data of a configuration: choose what frames are read from, check it, make the loaders."""

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.contrib.concurrent import thread_map

from hmdb_lib.config import Config, Data
from hmdb_lib.data.folders import check_classes
from hmdb_lib.data.loader import ClipData, Videos
from hmdb_lib.data.splits import limit, limit_sources, limit_training, read_videos, video_folder
from hmdb_lib.data.store import FrameStore, Source, store_name
from hmdb_lib.data.video import Size, VideoError, read_frames, scan
from hmdb_lib.environment import Place, cores
from hmdb_lib.errors import UserError
from hmdb_lib.progress import Bar, tell

OFFICIAL_CLASSES, OFFICIAL = 51, {"train": 3570, "test": 1530}  # of each of HMDB51's three splits


def data_root(config: Config, place: Place) -> Path:
    """Find the folder of an experiment's data set."""
    data = config.data
    return Path(data.root).expanduser() if data.root else place.data / data.dataset


def load(config: Config, place: Place) -> ClipData:
    """Make the loaders of an experiment; print what data they read. Raises UserError for data that cannot be used."""
    data, root = config.data, data_root(config, place)
    videos, absent, shortfall = read_table(config, place)
    folder = video_folder(data.dataset, root)
    identity = identify(videos, folder)
    counts = videos.role.value_counts()
    tell(f"data: {root}, {videos.label.nunique()} classes, " + ", ".join(f"{n} {role}" for role, n in counts.items()))
    # A user's own folder may hold another kind of manifest.csv.
    files = Videos(folder, Size.of(data), None if data.dataset == "folder" else root / "manifest.csv")
    source = choose_source(data.store, root, files, videos.path.tolist())
    stop, known = data.on_error == "stop", source.opened if isinstance(source, FrameStore) else files.timelines
    asked = [path for path in videos.path if stop or path not in known]
    # Where it is skipped, not even the first frame can be read; damage further on shows in training.
    fault = partial(_fault, read=scan if stop else partial(read_frames, indices=[0]))
    how = {"max_workers": cores(), "desc": "checking videos", "disable": not stop, "tqdm_class": Bar}
    reasons = thread_map(fault, [folder / path for path in asked], **how)  # libav decodes without Python's lock
    lost = {path: reason for path, reason in zip(asked, reasons, strict=True) if reason}
    if stop and lost:
        told = "; ".join(list(lost.values())[:3])
        raise UserError(f"{len(lost)} of {len(asked)} videos cannot be read (data.on_error: stop): {told}")
    stop_at_loss(videos, lost, data)
    return ClipData(videos, source, config, folder=folder, identity=identity, absent=absent, shortfall=shortfall)


def read_table(config: Config, place: Place) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Read the videos that an experiment uses, as `splits.read_videos` does.

    Returns those on disk, those that are listed and are not, and `describe_shortfall`. Raises UserError for data that
    cannot be used.
    """
    data, root = config.data, data_root(config, place)
    if data.dataset == "sample":
        tell("data: the sample data set of drawn figures, not HMDB51")
        if not root.exists():
            raise UserError(f"{root}: the sample data set is not there; hmdb sample {root} makes it")
    elif data.dataset == "folder" and not data.root:
        raise UserError("data=folder needs data.root=<folder of class folders>")
    videos = read_videos(
        data.dataset,
        root,
        data.split,
        data.validation_share,
        config.seed,
        folds=data.folds,
        group=data.group,
        classes=_classes(data.classes),
    )
    if config.train.objective == "classify":
        check_classes(videos, root)
    folder = video_folder(data.dataset, root)
    absent = videos[~videos.present]
    shortfall = describe_shortfall(videos, official=data.dataset == "hmdb51" and data.classes is None)
    if len(absent):
        told = f"{len(absent)} of {len(videos)} listed videos are not on disk, such as {folder / absent.path.iloc[0]}"
        if data.on_error == "stop":
            raise UserError(f"{root}: {told} (data.on_error: stop)")
        print(told)
        stop_at_loss(videos, {path: f"{folder / path}: not on disk" for path in absent.path}, data)
    if shortfall:
        tell(f"data: {shortfall}" + "; hmdb verify names them" * (data.dataset == "hmdb51"))
    if data.limit is not None:  # a check of few videos, whichever are there
        absent = absent.head(0)
    cut = videos.attrs["cut"]
    videos = limit_sources(limit(videos, data.limit), data.sources, config.seed)
    videos = limit_training(videos, data.per_class, config.seed)
    if config.train.final_fit:
        videos["role"] = videos.role.replace("validation", "train")
    videos.attrs["cut"] = cut
    return videos, absent, shortfall


def _classes(given: list[str] | str | None) -> list[str] | None:
    """Read data.classes: a list of names, or a file with one a line."""
    if not isinstance(given, str):
        return given
    try:
        lines = Path(given).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.classes={given}: is neither a list nor a text file ({error})") from None
    return [line.strip() for line in lines if line.strip()]


def identify(videos: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Describe the data of a run, so that it is never taken for the run of others: data.json.

    `parts` counts the videos of each part, `cut` tells whether the folds were cut here, `sha256` is that of every
    video's path, class, part and bytes, and `sources` that of every video's path and source.
    """
    sizes = [str((folder / path).stat().st_size) for path in videos.path]
    return {
        "parts": {str(role): int(count) for role, count in videos.role.value_counts().sort_index().items()},
        "classes": sorted(videos.label.unique()),
        "cut": bool(videos.attrs["cut"]),
        "sha256": _sha256(videos.path, videos.label, videos.role, sizes),
        "sources": _sha256(videos.path, videos.group),
    }


def identity_now(config: Config, place: Place) -> dict[str, Any] | None:
    """Describe the data that a configuration names now; None where they are not here, or cannot be used."""
    root = data_root(config, place)
    if not root.exists():
        return None
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            videos, *_ = read_table(config, place)
            return identify(videos, video_folder(config.data.dataset, root))
    except UserError:
        return None


def _sha256(*columns: Iterable[str]) -> str:
    """Of a table's lines, in whatever order they are."""
    lines = sorted(map("\t".join, zip(*columns, strict=True)))
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def stop_at_loss(videos: pd.DataFrame, lost: Mapping[str, str], data: Data) -> None:
    """Raise UserError where a part has lost all its videos, or more than the share data.max_lost of them.

    `lost` maps paths to why they cannot be read.
    """
    for role, part in videos.groupby("role"):
        gone = part.path[part.path.isin(lost.keys())]
        if len(gone) == len(part) or len(gone) > data.max_lost * len(part):
            raise UserError(
                f"{len(gone)} of {len(part)} {role} videos cannot be read, more than data.max_lost={data.max_lost} "
                f"allows: {lost[gone.iloc[0]]}{' ...' * (len(gone) > 1)}; mend them, or take them out of the data"
            )


def describe_shortfall(videos: pd.DataFrame, official: bool = False) -> str:
    """Say in a line what of a data set is not there: listed videos not on disk, by part; empty where all is there.

    `videos` is from `read_videos`. `official`: the lists should be those of HMDB51, 51 classes of 70 training and 30
    test videos each.
    """
    parts = videos.role.replace("validation", "train")
    told = []
    for part, expected in OFFICIAL.items():
        listed, there = int((parts == part).sum()), int(((parts == part) & videos.present).sum())
        listed = max(listed, expected) if official else listed
        if there != listed or (official and listed != expected):
            told.append(f"{there:,} of {listed:,} {part} videos: {listed - there} missing")
    classes = videos.label[videos.present].nunique()
    wrong = official and classes != OFFICIAL_CLASSES
    return f"{classes} classes{f' of {OFFICIAL_CLASSES}' * wrong}, {', '.join(told)}" if told or wrong else ""


def choose_source(store: str, root: Path, videos: Videos, paths: list[str]) -> Source:
    """Choose what frames are read from, a frame store or the videos, and print it.

    `store` is config.yaml's data.store: none, a store's folder, or auto for the store of the right size that
    `python -m data_prep extract` makes in `root`, if it is there. What a store does not hold, or holds torn or stale,
    is read from the videos. Raises UserError when a store that was named has nothing of use.
    """
    height, width, antialias = videos.size
    command = f"python -m data_prep extract {root} --size {height} {width}" + " --no-antialias" * (not antialias)
    folder = root / store_name(videos.size) if store == "auto" else Path(store).expanduser()
    if store == "none" or (store == "auto" and not folder.is_dir()):
        tell(f"frames: decoded from {videos}" + (f"; this makes it faster:\n  {command}" if store == "auto" else ""))
        return videos
    if not folder.is_dir():
        raise UserError(f"data.store={store}: there is no such folder; {command} makes a frame store")
    frames = FrameStore(folder, videos.size, videos)
    missed = frames.look(paths, videos.folder)
    example = "".join(f"{path}: {reason}" for path, reason in list(missed.items())[:1])
    if len(missed) == len(paths):
        if store != "auto":
            raise UserError(f"data.store={store}: has none of the {len(paths)} videos for data.resize ({example})")
        print(f"frames: decoded from {videos}; {folder} has none that can be used ({example}); {command} mends it")
        return videos
    tell(
        f"frames: read from {frames}"
        + (f", but {len(missed)} of {len(paths)} from the videos ({example}); {command} mends it" if missed else "")
    )
    return frames


def _fault(path: Path, read: Callable[[Path], object]) -> str | None:
    """Tell why a file cannot be read."""
    try:
        read(path)
    except VideoError as error:
        return str(error)
    return None
