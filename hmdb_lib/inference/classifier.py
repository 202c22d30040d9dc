"""Classify videos of any length with a trained model, as a whole and over time."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import DataLoader

from hmdb_lib import models
from hmdb_lib.data import find
from hmdb_lib.data.sampling import ClipRule
from hmdb_lib.data.transforms import even_crops, normalise
from hmdb_lib.data.video import Size, VideoError, read_frames, scan, stream_frames
from hmdb_lib.environment import cores
from hmdb_lib.errors import UserError
from hmdb_lib.inference import hub, overlay, trained as portable
from hmdb_lib.inference.predictions import Prediction, Predictions, answer
from hmdb_lib.inference.windows import Window, Windows
from hmdb_lib.models.device import Device, choose_device
from hmdb_lib.models.fold import fold_batch_norm
from hmdb_lib.models.streaming import classify_in_parts
from hmdb_lib.progress import Bar
from hmdb_lib.results.runs import Run


class Classifier:
    """Keep a trained model ready for many calls."""

    def __init__(self, trained: portable.Trained, device: Device) -> None:
        self.trained, self.device, self.classes = trained, device, trained.classes
        self.model: Any = models.channels_last(fold_batch_norm(trained.build())).to(device.kind)

    @property
    def rule(self) -> ClipRule:
        """Return how a clip is cut, as in training."""
        return ClipRule.of(self.trained.config.data)

    @classmethod
    def load(cls, run: Path | str, device: str = "auto", precision: str | None = None) -> "Classifier":
        """Load from a run's folder, its best.ckpt or a portable file, see `trained.read`. Raises UserError.

        `precision`: None for the run's own `train.precision`, where this device is fast in it.
        """
        trained, there = portable.read(run), choose_device(device, precision or "auto")
        own = trained.config.train.precision
        if precision is None and (own == "fp32" or there.kind == "cuda"):
            there = choose_device(there.kind, own)
        return cls(trained, there)

    def predict(
        self,
        videos: Path | str | Iterable[Path | str],
        *,
        window: float = 10.0,
        clips: int | str | None = None,
        frames: int | None = None,
        batch_size: int = 16,
        workers: int | str = "auto",
    ) -> Predictions:
        """Classify files, and the videos in folders (with a bar).

        A video of up to `window` seconds is judged as the run's test videos were, by `evaluate.clips` clips (or
        `clips`), of which the probabilities are averaged; a longer one is cut into windows of equal length, each
        judged like that. With `frames` the clips have so many of them, as many a second as the run's, and so span more or
        less of the video. `batch_size` clips, of however many videos, go through the model at once. Each of the
        `workers` processes holds a few windows' clips at a time, however long the video is.

        A file that cannot be read is skipped and told. Raises VideoError when none can be read, UserError for
        arguments that make no sense.
        """
        paths = find_videos([videos] if isinstance(videos, Path | str) else videos)
        config = self.trained.config
        clips = config.evaluate.clips if clips is None else clips
        known = clips > 0 if isinstance(clips, int) else clips in ("all", "consecutive")
        if not (window > 0 and batch_size > 0 and known):
            raise UserError(f"window={window}, clips={clips}, batch_size={batch_size}: all must be more than 0")
        if not isinstance(workers, int):
            workers = min(8, cores(), len(paths)) if len(paths) > 1 else 0
        if frames is not None and frames < 1:
            raise UserError(f"frames is {frames}: give 1 or more")
        rule = self.rule if frames is None else self.rule.longer(frames)
        loader = DataLoader(
            Windows(paths, rule, Size.of(config.data), clips, window),
            batch_size=max(1, batch_size // clips) if isinstance(clips, int) else 1,
            num_workers=workers,
            collate_fn=list,
        )
        found: dict[int, list[tuple[float, float, np.ndarray]]] = {}
        skipped: dict[int, str] = {}
        with Bar(total=len(paths), desc="videos", unit="video", disable=len(paths) == 1) as bar:
            for items in loader:
                for item in items:
                    if item.error:
                        skipped[item.number] = item.error
                        bar.write(f"skipped, cannot be read ({len(skipped)} so far): {item.error}", file=sys.stderr)
                windows = [item for item in items if not item.error]
                for item, probabilities in zip(windows, self._judge(windows, batch_size), strict=True):
                    found.setdefault(item.number, []).append((item.start, item.end, probabilities))
                bar.update(len(found.keys() | skipped.keys()) - bar.n)
        # A file that fails on the way is skipped whole: a mean over what came before would pass for the video's.
        predicted = [
            Prediction(paths[number], self.classes, *map(np.array, zip(*found[number], strict=True)))
            for number in sorted(found.keys() - skipped.keys())
        ]
        return self._told(predicted, {paths[number]: skipped[number] for number in sorted(skipped)})

    def whole_of_each(self, videos: Path | str | Iterable[Path | str]) -> Predictions:
        """`whole` of files, and of the videos in folders (with a bar); errors as `predict` tells them."""
        paths = find_videos([videos] if isinstance(videos, Path | str) else videos)
        predicted, skipped = [], {}
        for path in Bar(paths, "videos", unit="video", disable=len(paths) == 1):
            try:
                predicted.append(self.whole(path))
            except VideoError as error:
                skipped[path] = str(error)
                Bar.write(f"skipped, cannot be read ({len(skipped)} so far): {error}", file=sys.stderr)
        return self._told(predicted, skipped)

    @torch.inference_mode()
    def whole(self, video: Path | str) -> Prediction:
        """Classify a video by one clip that holds all of it, at the run's frames a second.

        The head perceiver with cross attention reads it in parts, in memory that does not grow with the video (see
        `hmdb_lib.models.streaming`); another model takes it in one piece. Raises VideoError.
        """
        timeline = scan(video)
        indices = self.rule.whole(timeline)
        backbone = self.model.backbone
        indices = indices[: len(indices) // backbone.multiples[0] * backbone.multiples[0]]
        crops = self.trained.config.evaluate.crops
        with self.device.autocast():
            if self.model.head.streams:
                step = backbone.step
                read = partial(self._parts, video, indices, max(step, self.trained.config.data.frames // step * step))
                logits = classify_in_parts(self.model, read, len(indices), batch=crops)
            else:
                logits = torch.cat([self.model(part) for part in self._parts(video, indices, len(indices))])
        probabilities = logits.float().softmax(1).mean(0).double().cpu().numpy()
        return Prediction(Path(video), self.classes, np.zeros(1), np.array([timeline.duration]), probabilities[None])

    def _parts(self, video: Path | str, indices: np.ndarray, size: int) -> Iterator[Tensor]:
        """Yield the frames at `indices` as normalized clips (crops, 3, T, H, W) of `size` frames each; the last may be longer."""
        data, crops = self.trained.config.data, self.trained.config.evaluate.crops
        if len(indices) <= data.frames:  # a short video's clip may loop
            shown = iter(read_frames(video, indices, Size.of(data)))
        else:
            wanted, counts = np.unique(indices, return_counts=True)
            frames = stream_frames(video, wanted, Size.of(data))
            shown = (frame for frame, count in zip(frames, counts, strict=True) for _ in range(count))
        left = len(indices)
        while left:
            # What would be too few frames for the backbone goes with those before.
            count = left if left < size + self.model.backbone.smallest[0] else size
            clip = torch.from_numpy(np.stack(list(islice(shown, count))))
            yield self.normalised(even_crops(clip[None], data.crop, crops))
            left -= count

    @torch.inference_mode()
    def probabilities(self, clips: Tensor) -> Tensor:
        """Turn clips uint8 B T H W C, resized but not cropped, into probabilities (B, classes), float32 on the CPU.

        The mean over the crops that the configuration asks for (`evaluate.crops`).
        """
        crops = self.trained.config.evaluate.crops
        clips = self.normalised(even_crops(clips, self.trained.config.data.crop, crops))
        with self.device.autocast():
            logits = self.model(clips)
        return logits.float().softmax(1).unflatten(0, (-1, crops)).mean(1).cpu()

    def answer(self, clip: np.ndarray, count: int = 3) -> list[tuple[str, float]]:
        """Judge one clip, uint8 T H W C at any size: lines as `predictions.answer` gives them."""
        judged = self.probabilities(torch.from_numpy(clip)[None]).double().numpy()
        whole = Prediction(Path(), self.classes, np.zeros(1), np.zeros(1), judged)
        return answer(whole.top(count), self.trained.doubt)

    def clip(self, video: Path | str) -> Tensor:
        """Read the middle clip of a video as the model sees it, uint8 T H W C, cropped. Raises VideoError."""
        data = self.trained.config.data
        indices = self.rule.spread(scan(video), 1)[0]
        frames = torch.from_numpy(read_frames(video, indices, Size.of(data)))
        return even_crops(frames[None], data.crop, 1)[0]

    def times(self, video: Path | str) -> np.ndarray:
        """Return when the frames of `clip` are shown, in seconds (T,). Raises VideoError."""
        timeline = scan(video)
        return timeline.times[self.rule.spread(timeline, 1)[0]]

    def attention(self, video: Path | str, latents: Sequence[int] = ()) -> Figure:
        """Draw where the model looks in the middle clip of a video, as `hmdb_lib.inference.overlay.maps` finds it.

        Raises UserError.
        """
        return overlay.figure(self, video, latents)

    def normalised(self, clips: Tensor) -> Tensor:
        """Cropped clips uint8 B T H W C to float B C T H W on the device, as the model's weights expect them."""
        return normalise(clips.to(self.device.kind), self.trained.mean, self.trained.std)

    def _judge(self, windows: list[Window], batch_size: int) -> list[np.ndarray]:
        """Compute the mean probabilities (classes,) of each window's clips, in double precision as the evaluation does."""
        if not windows:
            return []
        found = [window.clips for window in windows if window.clips is not None]
        clips = torch.cat(found)
        probabilities = torch.cat([self.probabilities(part) for part in clips.split(batch_size)]).double()
        return [part.mean(0).numpy() for part in probabilities.split([len(part) for part in found])]

    def _told(self, predicted: list[Prediction], skipped: dict[Path, str]) -> Predictions:
        if not predicted:
            first, *others = skipped.values()
            raise VideoError(first + (f" (and none of the other {len(others)} can be read)" if others else ""))
        return Predictions(predicted, skipped, self.trained.worth)


def load_model(source: Run | Path | str, device: str = "auto") -> Classifier:
    """Load a trained model from a run or its folder, its best.ckpt, a .safetensors file, or `user/name` on the hub.

    What lies on this disk is taken first. Raises UserError.

    Example:
        >>> hl.load_model("results/runs/baseline/hmdb51-split1-seed0").predict("video.mp4").table()

    """
    if isinstance(source, Run):
        source = source.folder
    if not Path(source).expanduser().exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        return Classifier.load(hub.pull(str(source)), device)
    return Classifier.load(source, device)


def find_videos(places: Iterable[Path | str]) -> list[Path]:
    """List files as they are named, and of folders the video files anywhere below. Raises UserError for none."""
    paths: list[Path] = []
    for place in (Path(place).expanduser() for place in places):
        below = [place / name for name in find.find_videos(place)] if place.is_dir() else [place]
        if not below:
            raise UserError(
                f"{place}: no video in this folder (files ending in {', '.join(sorted(find.VIDEO_ENDINGS))})"
            )
        paths += below
    if not paths:
        raise UserError("no video to predict: give files or folders")
    return paths
