"""One clip out of one video, by each library: 2 s from a random start, 16 frames, 128 x 171.

Every reader is made from the files once (an index, where the library keeps one, is not timed) and then called with a
file's number and a draw in [0, 1) that places the clip. Each peer is used in the fastest way that we found.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import functional as transforms

from hmdb_lib.data.sampling import ClipRule
from hmdb_lib.data.store import FrameStore, Source

SECONDS, FRAMES, SIZE, CROP = 2.0, 16, (128, 171), 112
RULE = ClipRule(FRAMES, SECONDS)
Reader = Callable[[int, float], object]


def ours(source: Source, paths: list[str]) -> Reader:
    """Our videos or frame store."""
    return lambda number, draw: source.read(paths[number], RULE.random(source.timeline(paths[number]), draw))


def store(folder: Path, paths: list[str], videos: Path) -> Reader:
    """Our frame store, opened as training opens it."""
    frames = FrameStore(folder, SIZE)
    frames.look(paths, videos)
    return ours(frames, paths)


def pytorchvideo(files: list[Path]) -> Reader:
    """Decode, subsample with its own function, resize."""
    clip, subsample = _pytorchvideo(files)

    def read(number: int, draw: float) -> Tensor:
        frames = subsample(clip(number, draw)).transpose(0, 1)  # T C H W, float 0 to 255
        return F.interpolate(frames, SIZE, mode="bilinear").byte()

    return read


def reference(files: list[Path]) -> Reader:
    """Decode, all frames of the window to 0..1 and normalised, then subsample, resize, crop: its own order."""
    clip, subsample = _pytorchvideo(files)
    mean, std = torch.tensor(0.45), torch.tensor(0.225)

    def read(number: int, draw: float) -> Tensor:
        frames = subsample((clip(number, draw) / 255 - mean) / std).transpose(0, 1)
        frames = F.interpolate(frames, SIZE, mode="bilinear")
        top, left = int(draw * (SIZE[0] - CROP)), int(draw * (SIZE[1] - CROP))
        return frames[:, :, top : top + CROP, left : left + CROP]

    return read


def torchvision(files: list[Path]) -> Reader:
    """Its clip index, which decodes through torchcodec, at 8 frames a second."""
    clips = import_module("torchvision.datasets.video_utils").VideoClips(
        [str(file) for file in files], FRAMES, frame_rate=FRAMES / SECONDS, output_format="TCHW"
    )
    first = [0, *clips.cumulative_sizes]

    def read(number: int, draw: float) -> Tensor:
        frames = clips.get_clip(first[number] + int(draw * (first[number + 1] - first[number])))[0]
        return transforms.resize(frames, SIZE)

    return read


def decord(files: list[Path]) -> Reader:
    """One thread, full size, then resized."""
    library = import_module("decord")

    def read(number: int, draw: float) -> Tensor:
        video = library.VideoReader(str(files[number]), num_threads=1)
        frames = video.get_batch(_indices(len(video), video.get_avg_fps(), draw)).asnumpy()
        return transforms.resize(torch.from_numpy(frames).permute(0, 3, 1, 2), SIZE)

    return read


def torchcodec(files: list[Path], seek_mode: str) -> Reader:
    """One thread, resized in the decoder."""
    library = import_module("torchcodec.decoders")
    resize = import_module("torchcodec.transforms").Resize(SIZE)

    def read(number: int, draw: float) -> Tensor:
        video = library.VideoDecoder(files[number], num_ffmpeg_threads=1, seek_mode=seek_mode, transforms=[resize])
        about = video.metadata
        # The header promises a frame too many, which approximate seeking believes.
        return video.get_frames_at(_indices(about.num_frames - 2, about.average_fps, draw).tolist()).data

    return read


def _indices(count: int, fps: float, draw: float) -> np.ndarray:
    window = min(round(SECONDS * fps), count)
    return (int(draw * (count - window)) + np.linspace(0, window - 1, FRAMES)).astype(int)


def _pytorchvideo(files: list[Path]) -> tuple[Callable[[int, float], Tensor], Callable[[Tensor], Tensor]]:
    # Its one import that newer versions of torchvision broke: a private module that is public now.
    sys.modules.setdefault(
        "torchvision.transforms.functional_tensor", import_module("torchvision.transforms.functional")
    )
    encoded = import_module("pytorchvideo.data.encoded_video").EncodedVideo

    def clip(number: int, draw: float) -> Tensor:
        video = encoded.from_path(str(files[number]), decode_audio=False)
        start = draw * max(0.0, float(video.duration) - SECONDS)
        return video.get_clip(start, start + SECONDS)["video"]

    return clip, import_module("pytorchvideo.transforms").UniformTemporalSubsample(FRAMES)
