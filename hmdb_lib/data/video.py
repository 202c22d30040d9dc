"""Read frames from a video file and write them. No other module uses PyAV.

Frames are counted in the decoder's output order, from 0, and that order is never changed: in HMDB51's clips (DivX 5
with B-frames) the presentation times are not monotone, and sorting by them puts most frames in the wrong place.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import av
import av.container
import av.error
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from hmdb_lib.errors import UserError
from hmdb_lib.files import is_gone

if TYPE_CHECKING:
    from hmdb_lib.config import Data

_PYAV = int(av.__version__.split(".")[0])
# swscale starts its threads anew for every frame, which doubles the time of a small one. Before PyAV 17 it had none.
_ONE_THREAD: dict[str, Any] = {"threads": 1} if _PYAV >= 17 else {}
# Some of HMDB51's metadata is not UTF-8. From PyAV 19 on that is no error, and there is no such option.
_ANY_METADATA: dict[str, Any] = {"metadata_errors": "ignore"} if _PYAV < 19 else {}

PLAYED = "libx264" if "libx264" in av.codecs_available else "mpeg4"  # browsers play the first

# libav counts quantisers in units of 118 (FF_QP2LAMBDA).
_QUALITY = {"flags": "+qscale", "global_quality": str(3 * 118)}
_REORDERED = 16  # places: H.264 and HEVC hold so many frames back at most
_LONG_GAP, _LONG_GAPS = 60, 1000  # seconds, and usual gaps; a recording of a screen that stands still may pause long


class VideoError(UserError):
    """Report a file that cannot be used as video: `<path>: <reason>`."""


class Size(NamedTuple):
    """Hold the pixels that frames are resized to, as displayed.

    With `antialias` false each new pixel is made of the four nearest old ones, however many lie between.
    """

    height: int
    width: int
    antialias: bool = True

    @classmethod
    def of(cls, data: "Data") -> "Size":
        """Take the size from a configuration's section `data`."""
        height, width = data.resize
        return cls(height, width, data.antialias)

    @classmethod
    def whole(cls, size: tuple[Any, ...]) -> "Size":
        """Take (height, width) for a size with antialiasing; a whole one stays."""
        return cls(*size)


@dataclass(frozen=True, eq=False)
class Timeline:
    """Hold the time at which each frame of a video is shown.

    `times`: float64 seconds, one for each frame that decodes (not for each one that the header promises), from 0.
    `fps`: the average rate. `width`, `height`: pixels as displayed, after rotation; pixels are taken as square, and
    0 stands for not known.
    """

    times: np.ndarray
    fps: float
    width: int = 0
    height: int = 0

    @classmethod
    def even(cls, frames: int, fps: float) -> "Timeline":
        """Make the timeline of a constant rate."""
        return cls(np.arange(frames) / fps, fps)

    @property
    def is_even(self) -> bool:
        """Tell whether the rate is constant, so that `frames` and `fps` tell all the times."""
        return np.array_equal(self.times, np.arange(self.frames) / self.fps)

    @property
    def frames(self) -> int:
        """Count the frames that decode."""
        return len(self.times)

    @property
    def duration(self) -> float:
        """Return the seconds, the last frame's included."""
        return self.frames / self.fps


def scan(
    path: Path | str,
    each: Callable[[np.ndarray], None] | None = None,
    size: Size | tuple[int, int] | int | None = None,
) -> Timeline:
    """Decode a whole file once, without converting a pixel, to learn what `read_frames` can give.

    `each` is called with every frame, converted as `read_frames` does it (uint8 H W C, RGB, at `size`), for whoever
    wants them all and could not hold them all.

    At a constant rate the times are evenly spaced. A rate counts as constant when no frame lies more than 1.5 frames
    off the even grid at the rate that the file states (HMDB51's own clips are up to one frame off); else the times
    are the presentation times, sorted, and the rate is measured. Presentation times that jump, as in files that were
    joined, tell only the rate, of an even grid: where sorting would move a frame by more than 16 places, the most that
    a codec reorders, or a gap is longer than a minute and than 1,000 usual ones.

    A truncated file has the frames that decode; an undecodable packet with decodable ones after it is an error.
    Damage that libav repairs or steps over without a word, as players do, is not seen. Raises VideoError.
    """
    with _open(path) as (container, stream):
        scaler, first, stamps = VideoReformatter(), None, []
        for frame in _decode(path, container, stream):
            first = first or _Picture.of(frame)
            stamps.append(frame.time)
            if each:
                each(first.rgb(frame, scaler, size))
        stated = float(stream.average_rate or stream.guessed_rate or 0)
    times, fps = _times(stamps, stated)
    if not fps:
        raise VideoError(f"{path}: neither its header nor its frames tell a frame rate")
    assert first  # `_decode` gives a frame or raises
    return Timeline(times, fps, first.width, first.height)


def read_frames(
    path: Path | str, indices: Sequence[int] | np.ndarray, size: Size | tuple[int, int] | int | None = None
) -> np.ndarray:
    """Read frames by their index in the decoder's output order, as `scan` counts them: uint8, T H W C, RGB.

    Indices may repeat and stand in any order, and there must be at least one. `size` is that of the frames, or the
    shorter side alone; without it all frames get the first one's. Decoding begins at the start (HMDB51's clips have no key frame to seek
    to) and ends at the last wanted frame, and only the wanted ones are converted. Raises VideoError as `scan` does,
    and for an index that the file does not have.
    """
    wanted, places = np.unique(indices, return_inverse=True)
    if not len(wanted):
        raise VideoError(f"{path}: no frames were asked for")
    pictures = list(stream_frames(path, wanted, size))
    return np.stack([pictures[place] for place in places])


def stream_frames(
    path: Path | str, wanted: np.ndarray, size: Size | tuple[int, int] | int | None = None
) -> Iterator[np.ndarray]:
    """Read frames as `read_frames` does, one by one, for videos too long to hold: uint8 H W C, at rising indices without repetition."""
    if wanted[0] < 0:
        raise VideoError(f"{path}: frame {wanted[0]} was asked for, but frames count from 0")
    scaler, given, first = VideoReformatter(), 0, None
    with _open(path) as (container, stream):
        for number, frame in enumerate(_decode(path, container, stream)):
            first = first or _Picture.of(frame)
            if number == wanted[given]:
                yield first.rgb(frame, scaler, size)
                given += 1
                if given == len(wanted):
                    return
    raise VideoError(f"{path}: frame {wanted[-1]} was asked for, but it has only frames 0 to {number}")


def write_video(path: Path | str, frames: Iterable[np.ndarray], fps: float, codec: str = "mpeg4") -> None:
    """Encode frames (uint8, H W C, RGB, all of one size) as YUV 4:2:0; the container follows the path's ending.

    The quality is high and constant (quantiser 3 where the codec has one), and the same frames give the same bytes
    as long as the libraries stay the same. Raises VideoError where the codec or the container refuses, as H.264
    does for odd sizes, and for a rate that is not above 0.
    """
    rate = Fraction(fps).limit_denominator(1001) if math.isfinite(fps) else 0
    if rate <= 0:
        raise VideoError(f"{path}: cannot be written at {fps} frames a second")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise VideoError(f"{path}: there are no frames to write")
    try:
        with av.open(f"file:{path}", "w") as container:
            stream: Any = container.add_stream(codec, rate=rate, options=_QUALITY)
            stream.height, stream.width = first.shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1
            scaler = VideoReformatter()
            for image in chain([first], frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                container.mux(stream.encode(scaler.reformat(frame, format="yuv420p", **_ONE_THREAD)))
            container.mux(stream.encode())
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: cannot be written with codec {codec} ({error.strerror})") from error


@dataclass(frozen=True)
class _Picture:
    """Hold how a video's frames are shown: size in pixels, after rows and columns are swapped, then mirrored."""

    width: int
    height: int
    swap: bool
    mirror_rows: bool
    mirror_columns: bool

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "_Picture":
        # Column x and row y are shown at column ax + cy and row bx + dy.
        matrix = frame.side_data.get("DISPLAYMATRIX")
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist() if matrix else (1, 0, 0, 0, 1)
        swap = abs(b) + abs(c) > abs(a) + abs(d)
        width, height = (frame.height, frame.width) if swap else (frame.width, frame.height)
        return cls(width, height, swap, mirror_rows=(b if swap else d) < 0, mirror_columns=(c if swap else a) < 0)

    def rgb(
        self, frame: av.VideoFrame, scaler: VideoReformatter, size: Size | tuple[int, int] | int | None
    ) -> np.ndarray:
        if isinstance(size, int):
            ratio = size / min(self.height, self.width)
            size = round(self.height * ratio), round(self.width * ratio)
        height, width, antialias = wanted = Size.whole(size or (self.height, self.width))
        if min(height, width) < 1:
            raise UserError(f"frames of {height} x {width} pixels were asked for; each side needs at least 1 pixel")
        if not antialias:
            return _sampled(self.rgb(frame, scaler, None), wanted)
        if self.swap:  # scaled as it is stored, turned after
            height, width = width, height
        # Planar RGB: swscale makes the same pixels in half the time that packed RGB takes it. But where it does not
        # scale, it leaves the last columns of some widths unwritten (88, 424; FFmpeg 8).
        form = "rgb24" if (width, height) == (frame.width, frame.height) else "gbrp"
        small = scaler.reformat(frame, width=width, height=height, format=form, **_ONE_THREAD)
        pixels = small.to_ndarray()  # H W C
        if self.swap:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.mirror_rows else 1, :: -1 if self.mirror_columns else 1]


def _sampled(image: np.ndarray, size: Size) -> np.ndarray:
    """Resize as torchvision resizes tensors with antialias=False; uint8 H W C."""
    import torch  # noqa: PLC0415 - processes that extract with antialiasing must not wait for it

    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(pixels, (size.height, size.width), mode="bilinear", align_corners=False)
    return small[0].permute(1, 2, 0).round().byte().numpy()


@contextmanager
def _open(path: Path | str) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    file = Path(path)
    if not file.exists():
        raise VideoError(f"{path}: no such file")
    if file.is_dir():
        raise VideoError(f"{path}: is a folder, not a video file")
    if file.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty")
    try:
        # `file:` keeps libav from reading a protocol into a name.
        container = av.open(f"file:{path}", **_ANY_METADATA)
    except (av.error.FFmpegError, OSError) as error:
        if is_gone(error):
            raise
        raise VideoError(f"{path}: is not a video file, or a damaged one ({error.strerror})") from error
    with container:
        stream = container.streams.best("video")
        if stream is not None and _is_cover(stream):
            stream = next((other for other in container.streams.video if not _is_cover(other)), None)
            if stream is None:
                raise VideoError(f"{path}: holds no video stream, only sound and a cover picture")
        if stream is None or stream.codec_context is None:
            raise VideoError(f"{path}: holds no video stream that libav can decode")
        stream.codec_context.thread_count = 1  # the workers of the data loader are the parallelism
        try:
            yield container, stream
        except av.error.FFmpegError as error:
            if is_gone(error):
                raise
            raise VideoError(f"{path}: its frames cannot be turned into pixels ({error.strerror})") from error


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _decode(
    path: Path | str, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    """All frames in output order: at least one, or VideoError. The rule for damage stands in `scan`."""
    number, broken = 0, None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.InvalidDataError:
            packet = None  # the rest of the file cannot be read: a truncated one ends here
        except (av.error.FFmpegError, OSError) as error:
            if is_gone(error):
                raise
            raise VideoError(f"{path}: cannot be read from frame {number} on ({error.strerror})") from error
        if packet is None:
            break
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            broken = broken or error
            continue
        if frames and broken and packet.size:  # an empty packet only asks for what the decoder still holds
            raise VideoError(f"{path}: is damaged before frame {number} ({broken.strerror})") from broken
        for frame in frames:
            yield frame
            number += 1
    if not number:
        raise VideoError(f"{path}: not one frame in it decodes" + (f" ({broken.strerror})" if broken else ""))


def _times(stamps: list[float | None], stated: float) -> tuple[np.ndarray, float]:
    """Compute the seconds of each frame and the frames a second; `stated` is 0 where the header tells no rate."""
    even = np.arange(len(stamps)) / (stated or 1)
    if None in stamps:
        return even, stated
    given = np.asarray(stamps, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    times = given[order] - given[order[0]]
    if stated and np.abs(times - even).max() <= 1.5 / stated:
        return even, stated
    gaps = np.diff(given)
    gaps = gaps[gaps > 0]
    if len(gaps):
        usual = gaps[gaps <= max(_LONG_GAP, _LONG_GAPS * np.median(gaps))]
        if len(usual) < len(gaps) or np.abs(order - np.arange(len(order))).max() > _REORDERED:
            rate = float(1 / usual.mean())
            return np.arange(len(times)) / rate, rate
    measured = (len(times) - 1) / times[-1] if times[-1] > 0 else stated
    return times, measured
