"""Point a trained model at videos of any length: what is in them, as a whole and along their time."""

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm.auto import tqdm

from hmdb_lib import environment, portable
from hmdb_lib.clips import ClipRule
from hmdb_lib.errors import UserError
from hmdb_lib.hmdb51 import VIDEO_ENDINGS
from hmdb_lib.models.fold import fold_batch_norm
from hmdb_lib.transforms import even_crops, normalise
from hmdb_lib.video import Timeline, VideoError, read_frames, scan, stream_frames

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one video: `windows` (W, classes), window w from `starts[w]` to `ends[w]` seconds."""

    video: Path
    classes: list[str]
    starts: np.ndarray
    ends: np.ndarray
    windows: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """Of the whole video: the mean over its windows, (classes,)."""
        return self.windows.mean(0)

    def top(self, count: int = 5) -> dict[str, float]:
        """The most probable classes, best first."""
        return self._best(self.probabilities, count)

    def timeline(self, count: int = 5) -> list[tuple[float, float, dict[str, float]]]:
        """For each window its start and end in seconds and its most probable classes."""
        rows = zip(self.starts.tolist(), self.ends.tolist(), self.windows, strict=True)
        return [(start, end, self._best(row, count)) for start, end, row in rows]

    def along(self, count: int = 5) -> pd.DataFrame:
        """The `count` classes that are most probable in the whole, best first, over time.

        One row a window with its start and end in seconds, then a column a class.
        """
        names = list(self.top(count))
        table = pd.DataFrame(self.windows, columns=self.classes)[names]
        table.insert(0, "start", self.starts)
        table.insert(1, "end", self.ends)
        return table

    def _best(self, probabilities: np.ndarray, count: int) -> dict[str, float]:
        best = np.argsort(-probabilities, kind="stable")[:count]
        return {self.classes[number]: float(probabilities[number]) for number in best}


@dataclass(frozen=True)
class Predictions:
    """The predictions of many videos in the order they were given, and the files that could not be read, with why."""

    videos: list[Prediction]
    skipped: dict[Path, str]

    def table(self, count: int = 5) -> pd.DataFrame:
        """One row a video and rank: video, start, end (seconds), rank, class, probability.

        A video of several windows has rows for the whole of it first, then for each window.
        """
        rows = []
        for video in self.videos:
            parts = [(float(video.starts[0]), float(video.ends[-1]), video.top(count))]
            parts += video.timeline(count) if len(video.windows) > 1 else []
            for start, end, top in parts:
                rows += [(video.video, start, end, rank, *best) for rank, best in enumerate(top.items(), start=1)]
        return pd.DataFrame(rows, columns=["video", "start", "end", "rank", "class", "probability"])

    def tree(self, count: int = 5) -> dict[str, Any]:
        """For JSON: under `videos` a list of video, top and windows (start, end, top); under `skipped` the reasons."""
        videos = [
            {
                "video": str(video.video),
                "top": video.top(count),
                "windows": [{"start": start, "end": end, "top": top} for start, end, top in video.timeline(count)],
            }
            for video in self.videos
        ]
        return {"videos": videos, "skipped": {str(path): reason for path, reason in self.skipped.items()}}

    def text(self, count: int = 5) -> str:
        """For people: a line a video, and below it one for each window where there are several."""
        lines = []
        for video in self.videos:
            lines.append(f"{video.video}: {_line(video.top(count))}")
            for start, end, top in video.timeline(count) if len(video.windows) > 1 else []:
                lines.append(f"  {start:7.1f} to {end:7.1f} s: {_line(top)}")
        return "\n".join(lines)


def _line(top: dict[str, float]) -> str:
    return ", ".join(f"{name} {probability:.3f}" for name, probability in top.items())


class Classifier:
    """A trained model, kept ready for many calls."""

    def __init__(self, trained: portable.Trained, device: environment.Device) -> None:
        self.trained, self.device, self.classes = trained, device, trained.classes
        self.model = fold_batch_norm(trained.build()).to(device.kind, memory_format=torch.channels_last_3d)

    @classmethod
    def load(cls, run: Path | str, device: str = "auto", precision: str = "auto") -> "Classifier":
        """From a run's folder, its best.ckpt or a portable file, see `portable.read`. Raises UserError."""
        return cls(portable.read(run), environment.device(device, precision))

    def predict(
        self,
        videos: Path | str | Iterable[Path | str],
        *,
        window: float = 10.0,
        clips: int | str | None = None,
        batch_size: int = 16,
        workers: int | str = "auto",
    ) -> Predictions:
        """Classify files, and the videos in folders (with a bar).

        A video of up to `window` seconds is judged as the run's test videos were, by `evaluate.clips` clips (or
        `clips`), of which the probabilities are averaged; a longer one is cut into windows of equal length, each
        judged like that. `batch_size` clips, of however many videos, go through the model at once. Each of the
        `workers` processes holds a few windows' clips at a time, however long the video is.

        A file that cannot be read is skipped and told. Raises VideoError when none can be read, UserError for
        arguments that make no sense.
        """
        paths = find_videos([videos] if isinstance(videos, Path | str) else videos)
        config = self.trained.config
        clips = config.evaluate.clips if clips is None else clips
        if window <= 0 or batch_size < 1 or (isinstance(clips, int) and clips < 1):
            raise UserError(f"window={window}, clips={clips}, batch_size={batch_size}: all must be more than 0")
        if workers == "auto":
            workers = min(8, environment.cores(), len(paths)) if len(paths) > 1 else 0
        rule = ClipRule(config.data.frames, config.data.clip_seconds, config.data.frame_step, config.data.short)
        loader = DataLoader(
            Windows(paths, rule, tuple(config.data.resize), clips, window),
            batch_size=max(1, batch_size // clips) if isinstance(clips, int) else 1,
            num_workers=workers,
            collate_fn=list,
        )
        found: dict[int, list[tuple[float, float, np.ndarray]]] = {}
        skipped: dict[int, str] = {}
        with tqdm(total=len(paths), desc="videos", unit="video", disable=len(paths) == 1) as bar:
            for items in loader:
                for item in items:
                    if item.error:
                        skipped[item.number] = item.error
                        bar.write(f"skipped, cannot be read ({len(skipped)} so far): {item.error}", file=sys.stderr)
                windows = [item for item in items if not item.error]
                for item, probabilities in zip(windows, self._judge(windows, batch_size), strict=True):
                    found.setdefault(item.number, []).append((item.start, item.end, probabilities))
                bar.update(len(found.keys() | skipped.keys()) - bar.n)
        if len(skipped) == len(paths):
            more = f" (and none of the other {len(paths) - 1} can be read)" if len(paths) > 1 else ""
            raise VideoError(skipped[0] + more)
        # A file that fails on the way is skipped whole: a mean over what came before would pass for the video's.
        predicted = [
            Prediction(paths[number], self.classes, *map(np.array, zip(*found[number], strict=True)))
            for number in sorted(found.keys() - skipped.keys())
        ]
        return Predictions(predicted, {paths[number]: skipped[number] for number in sorted(skipped)})

    @torch.inference_mode()
    def probabilities(self, clips: Tensor) -> Tensor:
        """Clips uint8 B T H W C, resized but not cropped, to probabilities (B, classes), float32 on the CPU.

        The mean over the crops that the configuration asks for (`evaluate.crops`).
        """
        crops = self.trained.config.evaluate.crops
        clips = self.normalised(even_crops(clips, self.trained.config.data.crop, crops))
        dtype = DTYPES[self.device.precision]
        with torch.autocast(self.device.kind, dtype, enabled=dtype != torch.float32):
            logits = self.model(clips)
        return logits.float().softmax(1).unflatten(0, (-1, crops)).mean(1).cpu()

    def clip(self, video: Path | str) -> Tensor:
        """The middle clip of a video as the model sees it, uint8 T H W C, cropped. Raises VideoError."""
        data = self.trained.config.data
        rule = ClipRule(data.frames, data.clip_seconds, data.frame_step, data.short)
        indices = rule.spread(scan(video), 1)[0]
        frames = torch.from_numpy(read_frames(video, indices, tuple(data.resize)))
        return even_crops(frames[None], data.crop, 1)[0]

    def normalised(self, clips: Tensor) -> Tensor:
        """Cropped clips uint8 B T H W C to float B C T H W on the device, as the model's weights expect them."""
        return normalise(clips.to(self.device.kind), self.trained.mean, self.trained.std)

    def _judge(self, windows: list["Window"], batch_size: int) -> list[np.ndarray]:
        """The mean probabilities (classes,) of each window's clips, in double precision as the evaluation takes it."""
        if not windows:
            return []
        clips = torch.cat([window.clips for window in windows])
        probabilities = torch.cat([self.probabilities(part) for part in clips.split(batch_size)]).double()
        return [part.mean(0).numpy() for part in probabilities.split([len(window.clips) for window in windows])]


def predict(videos: Path | str | Iterable[Path | str], checkpoint: Path | str, *, window: float = 10.0) -> Predictions:
    """One call for one look: `Classifier.load(checkpoint).predict(videos)`. Raises UserError."""
    return Classifier.load(checkpoint).predict(videos, window=window)


def find_videos(places: Iterable[Path | str]) -> list[Path]:
    """Files as they are named, folders as the video files anywhere below them. Raises UserError when that is none."""
    paths: list[Path] = []
    for place in (Path(place).expanduser() for place in places):
        below = sorted(file for file in place.rglob("*") if file.suffix.lower() in VIDEO_ENDINGS and file.is_file())
        if place.is_dir() and not below:
            raise UserError(f"{place}: no video in this folder (files ending in {', '.join(sorted(VIDEO_ENDINGS))})")
        paths += below if place.is_dir() else [place]
    if not paths:
        raise UserError("no video to predict: give files or folders")
    return paths


@dataclass(frozen=True, eq=False)
class Window:
    """The clips of a stretch of a video, uint8 B T H W C, or why the video cannot be read."""

    number: int
    start: float = 0.0
    end: float = 0.0
    clips: Tensor | None = None
    error: str = ""


class Windows(IterableDataset):
    """The windows of many videos one after the other; each worker takes its own videos and streams through each."""

    def __init__(
        self, paths: Sequence[Path], rule: ClipRule, size: tuple[int, int], clips: int | str, window: float
    ) -> None:
        self.paths, self.rule, self.size, self.clips, self.window = paths, rule, size, clips, window

    def __iter__(self) -> Iterator[Window]:
        """In each video's order of time."""
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for number in range(first, len(self.paths), step):
            try:
                yield from self._video(number)
            except VideoError as error:
                yield Window(number, error=str(error))

    def _video(self, number: int) -> Iterator[Window]:
        timeline = scan(self.paths[number])
        count = max(1, math.ceil(timeline.duration / self.window - 1e-6))
        bounds = np.linspace(0, timeline.frames, min(count, timeline.frames) + 1).astype(int)
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
