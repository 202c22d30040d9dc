"""Show over a video's frames where a trained model looks, as maps, a figure or a video file, and what it answers."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from hmdb_lib.data.sampling import ClipRule
from hmdb_lib.data.transforms import even_crops
from hmdb_lib.data.video import PLAYED, Size, VideoError, scan, stream_frames, write_video
from hmdb_lib.errors import UserError
from hmdb_lib.files import whole_file
from hmdb_lib.inference.predictions import Prediction, answer
from hmdb_lib.inference.windows import Windows, window_bounds
from hmdb_lib.models.explain import latent_maps, overview, to_frames
from hmdb_lib.plots.clips import attention_overlay, overlay_frames, write_on

if TYPE_CHECKING:
    from hmdb_lib.inference.classifier import Classifier

FIGURES, VIDEOS = (".png", ".svg", ".pdf"), (".mp4", ".avi", ".mkv", ".mov")
HEIGHT = 224  # pixels, at least, of a written video: whole multiples of the small frames that a model sees


def maps(classifier: "Classifier", clip: Tensor, latents: Sequence[int] = ()) -> np.ndarray:
    """Map where the model looks in one cropped clip, uint8 T H W C: T H W, not negative.

    The cross attention of `latents`, their mean; without any, attention rollout for the head perceiver and Grad-CAM of
    the most probable class for another head. Raises UserError for latents that the model has not.
    """
    model, clips = classifier.model, classifier.normalised(clip[None])
    found = latent_maps(model, clips, latents).mean(1) if latents else to_frames(overview(model, clips), clips)
    return found[0].float().cpu().numpy()


def figure(classifier: "Classifier", video: Path | str, latents: Sequence[int] = ()) -> Figure:
    """Draw the maps over the middle clip of a video. Raises UserError."""
    clip = classifier.clip(video)
    return attention_overlay(clip.numpy(), maps(classifier, clip, latents), times=classifier.times(video))


def write(classifier: "Classifier", video: Path | str, file: Path | str, latents: Sequence[int] = ()) -> None:
    """Write the maps over a video: a figure of its middle clip, or a video file of all of it, as the ending says.

    The video file shows the video in windows as long as a clip, or a little shorter, at its own speed and as the model
    sees it: each frame of a clip, and beside it the same in grey under the heat, whose scale is each window's own. Where
    the clip fills its window (segments, or a video too short that is stretched), there are as many frames a window.
    Raises UserError.
    """
    file = _checked(file, FIGURES + VIDEOS, video)
    with whole_file(file, keep_suffix=True) as part:
        if file.suffix in FIGURES:
            figure(classifier, video, latents).savefig(part)
        else:
            rule, timeline = classifier.rule, scan(video)
            seconds = rule.seconds(timeline.fps)
            windows = len(window_bounds(timeline, seconds)) - 1
            lasts = timeline.duration / windows if _fills_window(rule) else seconds
            _write(part, _pictures(classifier, Path(video), seconds, latents), rule.frames / lasts)


def write_labelled(classifier: "Classifier", prediction: Prediction, file: Path | str, count: int = 3) -> None:
    """Write a predicted video, without its sound, with the `count` most probable classes of each window on it.

    A small one is made larger, so that the names can be read. Raises UserError.
    """
    file, timeline = _checked(file, VIDEOS, prediction.video), scan(prediction.video)
    times = max(1, HEIGHT / min(timeline.height, timeline.width))
    size = (round(timeline.height * times / 2) * 2, round(timeline.width * times / 2) * 2)  # even, as codecs ask
    lines = [answer(top, classifier.trained.doubt) for *_, top in prediction.timeline(count)]
    windows = np.searchsorted(prediction.starts, timeline.times + 1e-6, side="right") - 1
    frames = stream_frames(prediction.video, np.arange(timeline.frames), size)
    with whole_file(file, keep_suffix=True) as part:
        written = (write_on(frame, lines[window]) for frame, window in zip(frames, windows, strict=True))
        _write(part, written, timeline.fps)


def _write(file: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    """Encode as H.264, which browsers play, where the container and the build of FFmpeg have it."""
    write_video(file, frames, fps, "mpeg4" if file.suffix == ".avi" else PLAYED)


def _checked(file: Path | str, known: tuple[str, ...], video: Path | str) -> Path:
    file = Path(file).expanduser()
    if file.suffix not in known:
        raise UserError(f"{file}: its ending is none of {', '.join(known)}")
    if file.exists() and Path(video).exists() and file.samefile(video):
        raise UserError(f"{file}: is the video itself, which would be lost; give another file to write to")
    return file


def _fills_window(rule: ClipRule) -> bool:
    """Tell whether the frames of a clip spread over all of a window that is shorter than a clip."""
    return rule.sampling == "segments" or rule.short == "stretch"


def _pictures(classifier: "Classifier", video: Path, seconds: float, latents: Sequence[int]) -> Iterator[np.ndarray]:
    """uint8 H 2W C, of a clip for each window of at most so many seconds."""
    data = classifier.trained.config.data
    for item in Windows([video], classifier.rule, Size.of(data), 1, seconds):
        if item.error:
            raise VideoError(item.error)
        assert item.clips is not None
        (clip,) = even_crops(item.clips, data.crop, 1)
        # In a window shorter than a clip that does not fill it, the clip's end only starts over.
        share = 1 if _fills_window(classifier.rule) else min(1, (item.end - item.start) / seconds)
        new = math.ceil(len(clip) * share)
        pictures = overlay_frames(clip.numpy(), maps(classifier, clip, latents))[:new, : data.crop // 2 * 2]  # even
        times = math.ceil(HEIGHT / data.crop)
        yield from pictures.repeat(times, axis=1).repeat(times, axis=2)
