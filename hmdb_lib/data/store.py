"""Read frames from a store: a folder of decoded videos that `hmdb extract` writes.

A store holds one packed file a video, `<class>/<video>.frames`, or tar files of such files (shards). A packed file is
- the frames, one after the other: each a JPEG image, or uint8 H W C as it is (raw);
- its header: one line of JSON, then the frames' offsets (int64, one more than frames), then, only where the rate
  varies, their times (float64 seconds), all little-endian;
- 16 bytes: the header's length, its CRC-32, and the magic word with the version.
The header stands last so that frames go to disk while the video decodes, and a file that was cut off has none.
"""

import json
import struct
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import simplejpeg  # as libjpeg-turbo decodes; torchvision's JPEG functions are slower and deprecated
from PIL import Image

from hmdb_lib.data.video import Size, Timeline, VideoError
from hmdb_lib.files import is_gone, is_still

ENDING = ".frames"
MAGIC = b"HMDBFRM2"
TRAILER = struct.Struct("<II8s")


class Source(Protocol):
    """Give frames by index: of video files or of a frame store, in `folder`."""

    folder: Path

    def timeline(self, path: str) -> Timeline:
        """Return when the video's frames are shown. Raises VideoError."""
        ...

    def read(self, path: str, indices: np.ndarray) -> np.ndarray:
        """Read frames uint8 T H W C. Raises VideoError."""
        ...


@dataclass(frozen=True, eq=False)
class Packed:
    """Read one video's packed file. `start` and `size` are its place in bytes; in a shard that is a part of the file.

    `header`: `quality` (None: raw), `asked` (the size that was asked for), `antialias` (how it was resized; older files
    lack it: true), `height`, `width`, `frames`, `fps`, `even`
    (constant rate), `source` (the video, as `files.state_of` describes it), `crc32` (of all the frames' bytes).
    """

    file: Path
    start: int
    header: dict[str, Any]
    offsets: np.ndarray
    timeline: Timeline

    @classmethod
    def open(cls, file: Path, start: int = 0, size: int | None = None) -> "Packed":
        """Read the header. Raises VideoError for a file that is missing, torn, or something else."""
        try:
            size = file.stat().st_size if size is None else size
            with file.open("rb", buffering=0) as source:
                length, check, magic = TRAILER.unpack(_pread(source, start + size - TRAILER.size, TRAILER.size))
                if magic != MAGIC:
                    raise VideoError(f"{file}: torn, or not a packed file of this version")
                block = _pread(source, start + size - TRAILER.size - length, length)
        except (OSError, struct.error) as error:
            if is_gone(error):
                raise
            raise VideoError(f"{file}: torn or not there ({error})") from None
        if zlib.crc32(block) != check:
            raise VideoError(f"{file}: torn: its header does not fit its checksum")
        line, _, numbers = block.partition(b"\n")
        header = json.loads(line)
        count, fps = header["frames"], header["fps"]
        offsets = np.frombuffer(numbers, "<i8", count + 1)
        if header["even"]:
            timeline = Timeline.even(count, fps)
        else:
            timeline = Timeline(np.frombuffer(numbers, "<f8", count, offsets.nbytes), fps)
        return cls(file, start, header, offsets, timeline)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read frames by index, in any order, uint8 T H W C. Raises VideoError for an index that there is not."""
        wanted, places = np.unique(indices, return_inverse=True)
        if wanted[0] < 0 or wanted[-1] >= self.timeline.frames:
            raise VideoError(f"{self.file}: frame {wanted[-1]} was asked for, of {self.timeline.frames}")
        shape = self.header["height"], self.header["width"], 3
        # Not a memory map: reading what is wanted is several times as fast, warm and cold.
        with self.file.open("rb", buffering=0) as source:
            if self.header["quality"] is None:
                frames = np.empty((len(indices), *shape), np.uint8)
                for frame, index in zip(frames, indices, strict=True):
                    source.seek(self.start + int(self.offsets[index]))
                    if source.readinto(frame.data) != frame.nbytes:
                        raise VideoError(f"{self.file}: torn: frame {index} ends early")
                return frames
            first, last = int(self.offsets[wanted[0]]), int(self.offsets[wanted[-1] + 1])
            span = memoryview(_pread(source, self.start + first, last - first))  # in one piece, what lies between too
        images = [span[self.offsets[number] - first : self.offsets[number + 1] - first] for number in wanted]
        try:
            frames = decode(images, shape)
        except ValueError as error:
            raise VideoError(f"{self.file}: torn: a frame is not the JPEG image that it was ({error})") from None
        return frames if np.array_equal(wanted, indices) else frames[places]

    def whole(self) -> bool:
        """Check the frames' bytes against their checksum; reads them all."""
        with self.file.open("rb", buffering=0) as source:
            return zlib.crc32(_pread(source, self.start, int(self.offsets[-1]))) == self.header["crc32"]


class FrameStore:
    """Read frames by index from a store, with the methods of `loader.Videos`.

    `size` is that of what `read` gives; frames stored larger are made smaller, with antialiasing alone. What the store does not
    have is read from `otherwise`, so that a store which is not finished is of use.
    """

    def __init__(
        self, folder: Path, size: Size | tuple[int, int] | None = None, otherwise: Source | None = None
    ) -> None:
        self.folder, self.size, self.otherwise = Path(folder), size and Size.whole(size), otherwise
        self.shards = dict(entry for file in sorted(self.folder.glob("[!.]*.tar")) for entry in shard_members(file))
        self.opened: dict[str, Packed] = {}
        self.passed_over: dict[str, str] = {}

    def __str__(self) -> str:
        kinds = {packed.header["quality"] for packed in self.opened.values()}
        how = ", ".join("raw" if kind is None else f"JPEG, quality {kind}" for kind in kinds)
        return f"frame store {self.folder} ({how})"

    def timeline(self, path: str) -> Timeline:
        """Return the video's frame times, as its own file gives them. Raises VideoError."""
        source = self._source(path)
        return source.timeline if isinstance(source, Packed) else source.timeline(path)

    def read(self, path: str, indices: np.ndarray) -> np.ndarray:
        """Read frames uint8 T H W C. Raises VideoError."""
        source = self._source(path)
        if not isinstance(source, Packed):
            return source.read(path, indices)
        frames = source.read(indices)
        if self.size and frames.shape[1:3] != self.size[:2]:
            height, width, _ = self.size
            small = (Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR) for frame in frames)
            frames = np.stack([np.asarray(frame) for frame in small])
        return frames

    def look(self, paths: Iterable[str], videos: Path) -> dict[str, str]:
        """Open every video's packed file, so that no worker has to; returns path -> reason of what is passed over.

        Reasons: there is none, it is torn, its frames are smaller than `size` or were resized another way, or the file
        in `videos` is not the one that was extracted. No video is decoded, and only one with a new date is read.
        """
        for path in paths:
            try:
                packed = self.open(path)
            except VideoError as error:
                self.passed_over[path] = "torn" if "torn" in str(error) else str(error)
                continue
            height, width = packed.header["height"], packed.header["width"]
            video = Path(videos) / path
            if self.size and (height < self.size[0] or width < self.size[1]):
                self.passed_over[path] = f"too small: {height}x{width}"
            elif self.size and packed.header.get("antialias", True) != self.size.antialias:
                self.passed_over[path] = f"made {'without' if self.size.antialias else 'with'} antialiasing"
            elif self.size and not self.size.antialias and (height, width) != self.size[:2]:
                self.passed_over[path] = f"of another size: {height}x{width}"
            elif video.exists() and not is_still(video, packed.header["source"]):
                self.passed_over[path] = "stale: the video has changed"
            else:
                self.opened[path] = packed
        return self.passed_over

    def open(self, path: str) -> Packed:
        """Open the packed file of a video. Raises VideoError."""
        return Packed.open(*self.shards.get(path, (self.folder / (path + ENDING), 0, None)))

    def _source(self, path: str) -> "Packed | Source":
        if path not in self.opened:
            if self.otherwise is not None and path in self.passed_over:
                return self.otherwise
            self.opened[path] = self.open(path)
        return self.opened[path]


def store_name(size: Size | tuple[int, int]) -> str:
    """Name the usual folder, below a data set's root, of the store of this size."""
    height, width, antialias = Size.whole(size)
    return f"frames-{height}x{width}" + "-no-antialias" * (not antialias)


def shard_members(file: Path) -> list[tuple[str, tuple[Path, int, int]]]:
    """List what a shard holds: (video's path, (shard, first byte, bytes)). Raises VideoError."""
    try:
        with tarfile.open(file, "r:") as shard:
            return [(m.name.removesuffix(ENDING), (file, m.offset_data, m.size)) for m in shard]
    except (tarfile.TarError, OSError) as error:
        if is_gone(error):
            raise
        raise VideoError(f"{file}: torn, or not a shard ({error})") from None


def _pread(file: Any, start: int, size: int) -> bytes:
    file.seek(start)
    data = file.read(size)
    if len(data) != size:
        raise VideoError(f"{file.name}: torn: it ends early")
    return data


def encode(frame: np.ndarray, quality: int) -> bytes:
    """Encode a frame (uint8 H W C, RGB) as a JPEG image with 4:2:0 colour."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality, colorsubsampling="420", fastdct=False)


def decode(images: list[memoryview], shape: tuple[int, int, int]) -> np.ndarray:
    """Decode JPEG images, all of one shape (H, W, C), to uint8 T H W C. Raises ValueError."""
    frames = np.empty((len(images), *shape), np.uint8)
    for image, frame in zip(images, frames, strict=True):
        simplejpeg.decode_jpeg(image, buffer=frame)
    return frames
