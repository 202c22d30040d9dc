"""Decode every video once into a frame store that training then reads; the format stands in `hmdb_lib.data.store`.

Each file of the store is written beside its place and renamed, so that what has a name is whole. A call looks at what
is there: whole files that fit are kept, torn or stale ones done again, and so an interrupted call is simply repeated.
"""

import json
import tarfile
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout

from hmdb_lib.config import Config
from hmdb_lib.data.find import find_videos
from hmdb_lib.data.parallel import parallel_map
from hmdb_lib.data.store import ENDING, MAGIC, TRAILER, Packed, encode, shard_members, store_name
from hmdb_lib.data.video import Size, VideoError, scan
from hmdb_lib.environment import place
from hmdb_lib.errors import UserError
from hmdb_lib.files import is_still, parts_of, report_refusals, require_disk, state_of, whole_file
from hmdb_lib.progress import Bar

HMDB51_FRAMES = 629_238
FIRST = 16  # videos, spread over all, from which the size of the whole is told


@dataclass(frozen=True)
class Setting:
    """Say how frames are stored: the size or the shorter side in pixels; JPEG quality 1 to 100, None for raw."""

    size: Size | tuple[int, int] | int = (128, 171)
    quality: int | None = 90

    def __post_init__(self) -> None:
        sides = self.size[:2] if isinstance(self.size, tuple) else (self.size,)
        if min(sides) < 1:
            raise UserError(f"size {self.size}: pixels are at least 1")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UserError(f"quality {self.quality}: JPEG has 1 to 100")

    @property
    def folder(self) -> str:
        """Name the store's usual folder below the data set's root, where training looks for it."""
        return f"frames-short{self.size}" if isinstance(self.size, int) else store_name(self.size)

    @property
    def asked(self) -> list[int] | int:
        """The size as a packed file's header has it."""
        return self.size if isinstance(self.size, int) else list(self.size[:2])

    @property
    def antialias(self) -> bool:
        """Whether frames are resized with antialiasing."""
        return isinstance(self.size, int) or Size.whole(self.size).antialias

    def __str__(self) -> str:
        side = f"shorter side {self.size}" if isinstance(self.size, int) else "{}x{}".format(*self.size)
        how = "" if self.antialias else " without antialiasing"
        return f"{side}{how}, " + ("raw" if self.quality is None else f"JPEG quality {self.quality}")


@dataclass
class Done:
    """Count what became of a piece of work, or of all of it. `again`: path -> why it was not kept as it stood."""

    videos: int = 0
    kept: int = 0
    frames: int = 0
    bytes: int = 0
    source_bytes: int = 0
    again: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def add(self, other: "Done") -> None:
        """Count another piece in."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) | value if name == "again" else getattr(self, name) + value)


def extract(
    root: Path,
    setting: Setting = Setting(),
    to: Path | None = None,
    workers: int | None = None,
    shards: int = 0,
    part: tuple[int, int] = (1, 1),
    dataset: str | None = None,
) -> Done:
    """Decode the videos of a data set into a frame store, under the paths by which training will ask for them.

    `dataset` is sample, hmdb51 or folder, as in `splits.video_folder`; None: hmdb51, whose videos lie below `videos/`,
    where `root` has HMDB51's lists in `splits/`, or no videos elsewhere, and no index.csv, else folder.

    The store is `root/frames-<height>x<width>` (or `frames-short<side>`, or with `-no-antialias` behind it) unless `to` names a folder. `workers`:
    processes, one a CPU by default. `shards`: that many tar files rather than a file a video. `part` (k, n): only the
    k-th of n equal parts of the files, for n machines that share the work at once. Prints what it finds and what the whole
    will take. Videos that cannot be decoded are named and left out. Raises UserError when none can be, there are none,
    or another process extracts the same part into the store, and DiskError before a disk would be full.
    """
    from hmdb_lib.data.splits import video_folder  # noqa: PLC0415 - processes that decode must not wait for pandas

    root = Path(root)
    videos = video_folder(dataset or _find_dataset(root), root)
    paths = find_videos(videos)
    if not paths:
        raise UserError(f"{root}: holds no videos, neither videos/<class>/<video> nor <class>/<video>")
    store = Path(to) if to else root / setting.folder
    jobs = _jobs(store, videos, paths, setting, shards)[part[0] - 1 :: part[1]]
    with report_refusals(store):
        store.mkdir(parents=True, exist_ok=True)
    print(f"{store}: {sum(len(job.paths) for job in jobs):,} videos, {setting}")
    # The first few come from all over the set, so that they stand for it.
    step = max(1, len(jobs) // FIRST)
    jobs = jobs[::step] + [job for number, job in enumerate(jobs) if number % step]
    total, reasons = Done(), set()
    with report_refusals(store), _lock(store, part):
        for number, done in enumerate(parallel_map(_Job.run, jobs, workers, "extract"), 1):
            total.add(done)
            for path, reason in done.again.items():
                if reason not in reasons:
                    reasons.add(reason)
                    Bar.write(f"{path}: {reason}; extracted again, and so is every other one of which this is true")
            if number == FIRST < len(jobs) and total.source_bytes:
                sources = sum((videos / path).stat().st_size for job in jobs for path in job.paths)
                whole = total.bytes / total.source_bytes * sources
                Bar.write(f"after {total.videos} videos: all together will take about {whole / 1e9:.3g} GB")
                there = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
                require_disk(store, whole - there, "the frame store")
    _tell(total)
    return total


def extract_frames(config: Config) -> Done:
    """Decode every video of an experiment once, at its `data.resize`, into the frame store where training looks for it.

    Example:
        >>> hl.extract_frames(hl.load_config("baseline"))

    """
    from hmdb_lib.data.load import data_root  # noqa: PLC0415 - processes that decode must not wait for torch to load

    data = config.data
    return extract(data_root(config, place()), Setting(Size.of(data)), dataset=data.dataset)


def _find_dataset(root: Path) -> str:
    if (root / "index.csv").exists() or not (root / "videos").is_dir():
        return "folder"
    listed = any((root / "splits").glob("*_test_split?.txt"))
    return "hmdb51" if listed or all(path.startswith("videos/") for path in find_videos(root)) else "folder"


def _lock(store: Path, part: tuple[int, int]) -> AcquireReturnProxy:
    name = ".lock" if part == (1, 1) else ".lock-{}-of-{}".format(*part)
    try:
        return FileLock(store / name).acquire(timeout=0)
    except Timeout:
        raise UserError(f"{store}: another process extracts into it now; wait for its end") from None


@dataclass(frozen=True)
class _Job:
    """Make one file of the store: a video's, or a shard's with many."""

    file: Path
    videos: Path
    paths: list[str]
    setting: Setting
    shard: bool

    def run(self) -> Done:
        """Keep the file if it stands and fits, else make it."""
        done, there = Done(), self.file.exists()
        if there:
            done.again, done.unreadable = self._look()
        if not there or done.again:
            done.unreadable = self._make()
        if self.file.exists():
            packed = self._open().values()
            done.videos, done.bytes = len(packed), self.file.stat().st_size
            done.kept = 0 if not there or done.again else len(packed)
            done.frames = sum(p.timeline.frames for p in packed)
            done.source_bytes = sum(p.header["source"]["bytes"] for p in packed)
        return done

    def _open(self) -> dict[str, Packed]:
        if not self.shard:
            return {self.paths[0]: Packed.open(self.file)}
        return {path: Packed.open(*place) for path, place in shard_members(self.file)}

    def _look(self) -> tuple[dict[str, str], list[str]]:
        """Path -> reason of what cannot be kept; reasons of the videos that a shard is rightly without."""
        try:
            packed = self._open()
        except VideoError:
            return {self.paths[0]: "torn"}, []
        again, unreadable = {}, []
        for path in self.paths:
            if path in packed:
                reason = _misfit(packed[path], self.videos / path, self.setting)
                again |= {path: reason} if reason else {}
                continue
            try:
                scan(self.videos / path)
            except VideoError as error:
                unreadable.append(str(error))
            else:
                again[path] = "missing from its shard"
        return again, unreadable

    def _make(self) -> list[str]:
        """Write the file; returns the reasons of videos that cannot be decoded."""
        for part in parts_of(self.file):  # of a call that was killed
            part.unlink()
        unreadable = []
        if not self.shard:
            try:
                with whole_file(self.file) as part, part.open("wb") as packed:
                    _pack(self.videos / self.paths[0], self.setting, packed)
            except VideoError as error:
                self.file.unlink(missing_ok=True)  # what an earlier video of this name left
                unreadable.append(str(error))
            return unreadable
        with whole_file(self.file) as part, tarfile.open(part, "w") as shard:
            for path in self.paths:
                with tempfile.TemporaryFile(dir=part.parent) as packed:
                    try:
                        _pack(self.videos / path, self.setting, packed)
                    except VideoError as error:
                        unreadable.append(str(error))
                        continue
                    member = tarfile.TarInfo(path + ENDING)
                    member.size = packed.tell()
                    packed.seek(0)
                    shard.addfile(member, packed)
        return unreadable


def _jobs(store: Path, videos: Path, paths: list[str], setting: Setting, shards: int) -> list[_Job]:
    if not shards:
        return [_Job(store / (path + ENDING), videos, [path], setting, False) for path in paths]
    shards = min(shards, len(paths))
    names = [f"shard-{number:05}-of-{shards:05}.tar" for number in range(1, shards + 1)]
    if others := {file.name for file in store.glob("[!.]*.tar")} - set(names):
        raise UserError(
            f"{store}: is cut into other shards ({min(others)}); remove it or name another folder with --to"
        )
    return [_Job(store / name, videos, paths[n::shards], setting, True) for n, name in enumerate(names)]


def _misfit(packed: Packed, video: Path, setting: Setting) -> str | None:
    """Why a packed file cannot stay."""
    header = packed.header
    asked, antialias = header["asked"], header.get("antialias", True)
    there = Setting(Size(asked[0], asked[1], antialias) if isinstance(asked, list) else asked, header["quality"])
    if (there.asked, there.antialias, there.quality) != (setting.asked, setting.antialias, setting.quality):
        return f"stale, made with {there}"
    if not is_still(video, packed.header["source"]):
        return "stale, the video has changed since"
    return None if packed.whole() else "torn"


def _pack(video: Path, setting: Setting, out: BinaryIO) -> None:
    """Decode a video into a packed file, open at its start. Raises VideoError."""
    source = state_of(video)
    offsets, check, shape = [0], 0, (0, 0)

    def write(frame: np.ndarray) -> None:
        nonlocal check, shape
        shape = frame.shape[:2]
        data = np.ascontiguousarray(frame).tobytes() if setting.quality is None else encode(frame, setting.quality)
        out.write(data)
        check = zlib.crc32(data, check)
        offsets.append(offsets[-1] + len(data))

    timeline = scan(video, write, setting.size)
    header = {
        **{"quality": setting.quality, "asked": setting.asked, "antialias": setting.antialias},
        **{"height": shape[0], "width": shape[1]},
        **{"frames": timeline.frames, "fps": timeline.fps, "even": timeline.is_even, "source": source, "crc32": check},
    }
    block = json.dumps(header).encode() + b"\n" + np.array(offsets, "<i8").tobytes()
    if not timeline.is_even:
        block += timeline.times.astype("<f8").tobytes()
    out.write(block + TRAILER.pack(len(block), zlib.crc32(block), MAGIC))


def _tell(total: Done) -> None:
    for reason in total.unreadable:
        print(f"left out, {reason}")
    if not total.frames:
        raise UserError("not one of the videos can be decoded")
    each = total.bytes / total.frames
    print(
        f"{total.videos:,} videos ({total.kept:,} were there), {total.frames:,} frames, {total.bytes / 1e9:.3g} GB: "
        f"{each:,.0f} bytes a frame, at which HMDB51's {HMDB51_FRAMES:,} frames take {each * HMDB51_FRAMES / 1e9:.2f} GB"
    )
