"""Judge a trained model on clips of other lengths, without training it again."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hmdb_lib import environment
from hmdb_lib.inference.classifier import Classifier
from hmdb_lib.results.metrics import mean_where_uneven, predictions_table
from hmdb_lib.results.runs import Run, write_predictions, write_whole
from hmdb_lib.results.statistics import accuracy_interval, compare
from hmdb_lib.training import experiment as training


class Lengths(NamedTuple):
    """Hold what `judge_lengths` found: a table with a line a length, and every prediction."""

    table: pd.DataFrame
    predictions: pd.DataFrame

    def by_native_length(self, bins: int = 3) -> pd.DataFrame:
        """Compute accuracy with its interval by how long the videos are, in `bins` parts of as many videos each.

        One line a length and part: frames, shortest, longest, videos, accuracy. Videos that could not be read are left
        out: nobody knows how long they are.
        """
        lines = []
        known = self.predictions[self.predictions.native_frames.notna()]
        first = known.drop_duplicates("video").set_index("video")
        ranks = first.native_frames.rank(method="first", pct=True)
        part_of = {video: min(math.ceil(rank * bins), bins) for video, rank in ranks.items()}
        for length, of_length in known.groupby("frames", sort=False):
            for _, part in of_length.groupby(of_length.video.map(part_of)):
                frames = part.native_frames.to_numpy(int)
                ends = {"shortest": frames.min(), "longest": frames.max()}
                lines.append({"frames": length} | ends | _measured(part))
        return pd.DataFrame(lines)

    def save(self, folder: Path) -> None:
        """Write lengths.csv, lengths_native.csv and the predictions behind them, one file, into a run's folder."""
        write_predictions(self.predictions, folder / "lengths-predictions.csv.gz")
        write_whole(folder / "lengths.csv", self.table.to_csv(index=False))
        write_whole(folder / "lengths_native.csv", self.by_native_length().to_csv(index=False))


def length_table(predictions: pd.DataFrame, own: int) -> pd.DataFrame:
    """Compute accuracy and the difference to the run's own length, a line a length, from `Lengths.predictions`."""
    judged = dict(list(predictions.groupby("frames", sort=False)))
    lines = []
    for length, of_length in judged.items():
        versus = compare(_plain(of_length), _plain(judged[str(own)]))
        line = {"frames": length if length == "all" else int(str(length))} | _measured(of_length)
        lines.append(line | versus.columns())
    return pd.DataFrame(lines)


def judge_lengths(run: Run, lengths: Sequence[int | str], clips: int = 1) -> Lengths:
    """Judge a finished run's test videos by clips of so many frames, as many frames a second as the run's.

    A length is a number of frames, for `clips` clips spread over the video, or `all` for one clip from the video's
    first frame to its last. Returns a table with a line a length (accuracy with its interval, difference to the run's
    own length, seconds a video, reading included), and the predictions: columns as in predictions.csv, then `frames`
    (the length) and `native_frames` (of the video). Raises UserError where the run or its videos are not there,
    or where the data are no longer those that it was trained on.

    Example:
        >>> table, predictions = hl.judge_lengths(hl.find_run(), [16, 32, 64, "all"])

    """
    classifier, config = Classifier.load(run.folder), run.config
    data = training.read_data(config, environment.place())
    run.keep_data(data.identity)
    table, paths = data.listed("test"), data.files("test")
    own = config.data.frames
    parts, seconds, native = [], [], {}
    for length in dict.fromkeys([own, *lengths]):
        start = time.perf_counter()
        if length == "all":
            found = classifier.whole_of_each(paths)
        else:
            found = classifier.predict(paths, window=math.inf, frames=int(length), clips=clips)
        seconds.append((time.perf_counter() - start) / len(paths))
        known = {video.video for video in found.videos}
        rows = [number for number, path in enumerate(paths) if path in known]
        native |= {path: data.source.timeline(path).frames for path in table.path[rows] if path not in native}
        probabilities = np.stack([video.probabilities for video in found.videos]).round(4)
        predictions = predictions_table(table, probabilities, classifier.classes, rows)
        parts.append(predictions.assign(frames=str(length), native_frames=predictions.video.map(native)))
    predictions = pd.concat(parts, ignore_index=True)
    return Lengths(length_table(predictions, own).assign(seconds_a_video=seconds), predictions)


def _measured(predictions: pd.DataFrame) -> dict[str, float]:
    plain = _plain(predictions)
    return {"videos": len(plain)} | accuracy_interval(plain).columns("test_sources") | mean_where_uneven(plain)


def _plain(predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions.drop(columns=["frames", "native_frames"])
