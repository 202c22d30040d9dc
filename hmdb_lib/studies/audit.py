"""Find near-duplicates by content: clips that a name does not show to be cut from one video."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from hmdb_lib import environment
from hmdb_lib.config import Config
from hmdb_lib.data.sampling import ClipRule
from hmdb_lib.data.video import VideoError, read_frames, scan
from hmdb_lib.errors import UserError
from hmdb_lib.plots import curves
from hmdb_lib.plots.clips import contact_sheet
from hmdb_lib.progress import Bar
from hmdb_lib.results.runs import Run, write_whole
from hmdb_lib.results.statistics import accuracy_interval
from hmdb_lib.training import experiment as training

FRAMES, SIZE = 8, (18, 24)  # of a thumbnail: frames evenly over the video, pixels H, W
DRAWN = 12  # pairs in the picture, the most alike first
COLUMNS = ["part", "video", "class", "other_part", "other_video", "other_class", "correlation"]


def audit(config: Config, above: float = 0.95) -> pd.DataFrame:
    """List pairs of clips in two parts, and of one class in one part, whose thumbnails nearly agree.

    Writes <results>/audits/<data>-split<k>.csv, and .png with the most alike side by side, and prints how many test
    clips have such a pair in training or validation. Where the experiment has a finished run, its accuracy without
    them is printed beside the plain one.

    Args:
        config: of the data and the split; clips that cannot be read are left out, and counted.
        above: correlation of two thumbnails' grey values (8 frames of 18 x 24 pixels) from which a pair is listed.

    Returns a line a pair, the most alike first. Raises UserError, where no clip can be read too.

    Example:
        >>> hl.audit(hl.load_config(**{"data": "folder", "data.root": "my_videos"}))

    """
    place = environment.place()
    data = training.read_data(config, place)
    videos = pd.concat(data.tables.values(), ignore_index=True)
    with ThreadPoolExecutor(environment.cores()) as pool:
        found = list(Bar(pool.map(_thumbnail, (data.folder / path for path in videos.path)), "thumbnails", len(videos)))
    lost = videos.path[[clip is None for clip in found]]
    if len(lost):
        told = f"{len(lost)} of {len(videos)} clips cannot be read, such as {data.folder / lost.iloc[0]}"
        if len(lost) == len(videos):
            raise UserError(f"{told}: nothing is left to compare; mend them")
        print(f"{told}, and were not compared")
    videos = videos.drop(lost.index).reset_index(drop=True)
    thumbnails = np.stack([clip for clip in found if clip is not None])  # N T H W C
    pairs = near_pairs(videos, thumbnails, above)
    stem = place.results / "audits" / f"{config.data.name}-split{config.data.split}"
    file = stem.with_name(f"{stem.name}.csv")  # a folder's name may hold dots
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, pairs.to_csv(index=False))
    if len(pairs):
        _draw(pairs, dict(zip(videos.path, thumbnails, strict=True)), stem)
    suspects = suspects_of(pairs)
    tested = int((videos.role == "test").sum())
    print(
        f"{len(suspects)} of {tested} test clips nearly agree with a training or validation clip, {len(pairs)} pairs in all"
    )
    _tell_accuracy(config, place.results, suspects)
    print(f"table: {file}")
    return pairs


def near_pairs(videos: pd.DataFrame, thumbnails: np.ndarray, above: float) -> pd.DataFrame:
    """Compare all thumbnails uint8 N T H W C of `videos` (path, label, role); returns the pairs, see `audit`."""
    grey = thumbnails.mean(-1).reshape(len(thumbnails), -1)  # N T*H*W
    grey = grey - grey.mean(1, keepdims=True)
    grey = (grey / np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6)).astype(np.float32)
    rows = []
    for first in range(0, len(grey), 1000):  # in blocks: all at once are N x N numbers
        alike = grey[first : first + 1000] @ grey.T
        for one, other in np.argwhere(alike > above):
            if other > first + one:
                rows.append((first + one, other, float(alike[one, other])))
    pairs = pd.DataFrame(rows, columns=["one", "other", "correlation"])
    one, other = (videos.iloc[pairs[side].astype(int)].reset_index(drop=True) for side in ("one", "other"))
    table = pd.concat([one[["role", "path", "label"]], other[["role", "path", "label"]], pairs.correlation], axis=1)
    table.columns = COLUMNS
    kept = table[(one.role != other.role) | (one.label == other.label)]
    return kept.sort_values("correlation", ascending=False, ignore_index=True)


def suspects_of(pairs: pd.DataFrame) -> set[str]:
    """Name the test videos that are in a pair with one of another part."""
    torn = pairs[pairs.part != pairs.other_part]
    return set(torn.video[torn.part == "test"]) | set(torn.other_video[torn.other_part == "test"])


def _thumbnail(file: Path) -> np.ndarray | None:
    try:
        return read_frames(file, ClipRule(FRAMES, sampling="segments").spread(scan(file), 1)[0], SIZE)
    except VideoError:
        return None


def _draw(pairs: pd.DataFrame, thumbnails: dict[str, np.ndarray], stem: Path) -> None:
    strips = {}
    for number, pair in enumerate(pairs.head(DRAWN).to_dict("records"), 1):
        for part, video in ((pair["part"], pair["video"]), (pair["other_part"], pair["other_video"])):
            strips[f"{number}, {pair['correlation']:.3f}, {part}: {Path(video).stem[:24]}"] = thumbnails[video]
    curves.save(contact_sheet(strips), stem)


def _tell_accuracy(config: Config, results: Path, suspects: Sequence[str] | set[str]) -> None:
    run = Run.of(config, results)
    try:
        if not suspects or not (run.holds(config) and run.finished and "test" in run.summary):
            return
    except UserError as error:  # the pairs are found all the same
        print(error)
        return
    predictions = run.predictions
    without = predictions[~predictions.video.isin(suspects)]
    if len(without):
        plain, rest = accuracy_interval(predictions), accuracy_interval(without)
        print(
            f"{run.folder}: test accuracy {plain.value:.3f} [{plain.low:.3f}, {plain.high:.3f}], without the suspects "
            f"{rest.value:.3f} [{rest.low:.3f}, {rest.high:.3f}] on {len(without)} videos"
        )
