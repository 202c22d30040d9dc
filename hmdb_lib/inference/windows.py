"""Videos of any length cut into windows, each with the clips that it is judged by; memory stays that of a window."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from hmdb_lib.data.sampling import ClipRule
from hmdb_lib.data.video import Size, Timeline, VideoError, scan, stream_frames
from hmdb_lib.files import report_refusals


@dataclass(frozen=True, eq=False)
class Window:
    """Hold the clips of a stretch of a video, uint8 B T H W C, or why the video cannot be read."""

    number: int
    start: float = 0.0
    end: float = 0.0
    clips: Tensor | None = None
    error: str = ""


def window_bounds(timeline: Timeline, window: float) -> np.ndarray:
    """Cut a video into equal windows of at most so many seconds: the frames at which they begin, and the end."""
    count = max(1, math.ceil(timeline.duration / window - 1e-6))
    return np.linspace(0, timeline.frames, min(count, timeline.frames) + 1).astype(int)


class Windows(IterableDataset):
    """Yield the windows of many videos one after the other; each worker reads its own videos."""

    def __init__(self, paths: Sequence[Path], rule: ClipRule, size: Size, clips: int | str, window: float) -> None:
        self.paths, self.rule, self.size, self.clips, self.window = paths, rule, size, clips, window

    def __iter__(self) -> Iterator[Window]:
        """In each video's order of time."""
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for number in range(first, len(self.paths), step):
            try:
                with report_refusals():
                    yield from self._video(number)
            except VideoError as error:
                yield Window(number, error=str(error))

    def _video(self, number: int) -> Iterator[Window]:
        timeline = scan(self.paths[number])
        bounds = window_bounds(timeline, self.window)
        moments = np.append(timeline.times, max(timeline.duration, timeline.times[-1]))
        cuts = [
            first + self.rule.judging(Timeline(moments[first:last] - moments[first], timeline.fps), self.clips)
            for first, last in pairwise(bounds)
        ]  # clips, T each
        frames = stream_frames(self.paths[number], np.unique(np.concatenate([cut.ravel() for cut in cuts])), self.size)
        for cut, first, last in zip(cuts, bounds[:-1], bounds[1:], strict=True):
            wanted, places = np.unique(cut, return_inverse=True)
            pictures = list(islice(frames, len(wanted)))
            clips = np.stack([pictures[place] for place in places.ravel()])
            clips = torch.from_numpy(clips).unflatten(0, cut.shape)
            yield Window(number, float(moments[first]), float(moments[last]), clips)
