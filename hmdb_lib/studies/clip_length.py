"""Judge a trained model on clips of other lengths, without training it again."""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from hmdb_lib import environment
from hmdb_lib.inference.classifier import Classifier
from hmdb_lib.results.metrics import predictions_table
from hmdb_lib.results.runs import Run
from hmdb_lib.results.statistics import accuracy_interval, compare
from hmdb_lib.training import experiment as training


class Lengths(NamedTuple):
    """Hold what `judge_lengths` found: a table with a line a length, and every prediction."""

    table: pd.DataFrame
    predictions: pd.DataFrame

    def by_native_length(self, bins: int = 3) -> pd.DataFrame:
        """Compute accuracy with its interval by how long the videos are, in `bins` parts of as many videos each.

        One line a length and part: frames, shortest, longest, videos, accuracy.
        """
        lines = []
        first = self.predictions.drop_duplicates("video").set_index("video")
        ranks = first.native_frames.rank(method="first", pct=True)
        part_of = {video: min(math.ceil(rank * bins), bins) for video, rank in ranks.items()}
        for length, of_length in self.predictions.groupby("frames", sort=False):
            for _, part in of_length.groupby(of_length.video.map(part_of)):
                accuracy = accuracy_interval(part.drop(columns=["frames", "native_frames"]))
                lines.append(
                    {
                        **{"frames": length, "shortest": part.native_frames.min(), "longest": part.native_frames.max()},
                        **{"videos": len(part), "accuracy": accuracy.value},
                        **{"accuracy_low": accuracy.low, "accuracy_high": accuracy.high},
                    }
                )
        return pd.DataFrame(lines)


def judge_lengths(run: Run, lengths: Sequence[int | str], clips: int = 1) -> Lengths:
    """Judge a finished run's test videos by clips of so many frames, as many frames a second as the run's.

    A length is a number of frames, for `clips` clips spread over the video, or `all` for one clip from the video's
    first frame to its last. Returns a table with a line a length (accuracy with its interval, difference to the run's
    own length, seconds a video, reading included), and the predictions: columns as in predictions.csv, then `frames`
    (the length) and `native_frames` (of the video). Raises UserError where the run or its videos are not there.

    Example:
        >>> table, predictions = hl.judge_lengths(hl.find_run(), [16, 32, 64, "all"])

    """
    classifier, config = Classifier.load(run.folder), run.config
    data = training.read_data(config, environment.place())
    table, paths = data.tables["test"], data.files("test")
    own = config.data.frames
    judged, lines = {}, []
    for length in dict.fromkeys([own, *lengths]):
        start = time.perf_counter()
        if length == "all":
            found = classifier.whole_of_each(paths)
        else:
            found = classifier.predict(paths, window=math.inf, frames=int(length), clips=clips)
        seconds = (time.perf_counter() - start) / len(paths)
        known = {video.video: video.probabilities for video in found.videos}
        read = table[[path in known for path in paths]].reset_index(drop=True)
        judged[length] = predictions_table(read, np.stack(list(known.values())), classifier.classes)
        accuracy, versus = accuracy_interval(judged[length]), compare(judged[length], judged[own])
        lines.append(
            {
                **{"frames": length, "videos": len(read), "accuracy": accuracy.value},
                **{"accuracy_low": accuracy.low, "accuracy_high": accuracy.high, "difference": versus.difference},
                **{"difference_low": versus.low, "difference_high": versus.high, "seconds_a_video": seconds},
            }
        )
    native = {path: data.source.timeline(path).frames for path in table.path}
    predictions = pd.concat(
        [part.assign(frames=length, native_frames=part.video.map(native)) for length, part in judged.items()],
        ignore_index=True,
    )
    return Lengths(pd.DataFrame(lines), predictions)
