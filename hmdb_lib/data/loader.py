"""Load clips for training and evaluation, in worker processes, as uint8, in an order that a seed fixes."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from hmdb_lib.config import Config
from hmdb_lib.data.sampling import ClipRule
from hmdb_lib.data.store import Source
from hmdb_lib.data.video import Size, Timeline, VideoError, read_frames, scan
from hmdb_lib.environment import cores
from hmdb_lib.errors import UserError
from hmdb_lib.files import report_refusals


class Videos:
    """Read frames by index from video files; each file's frame times are kept once they are known.

    A `manifest` (manifest.csv as `python -m data_prep` writes it) tells them for the files that it has counted and whose
    bytes, where it has them, are still as many.
    """

    def __init__(self, folder: Path, size: Size | tuple[int, int], manifest: Path | None = None) -> None:
        self.folder, self.size = Path(folder), Size.whole(size)
        self.timelines = _read_timelines(manifest, self.folder) if manifest and manifest.exists() else {}

    def __str__(self) -> str:
        return f"the video files in {self.folder}"

    def timeline(self, path: str) -> Timeline:
        """Return the video's frame times; a file that is not known yet is decoded. Raises VideoError."""
        if path not in self.timelines:
            self.timelines[path] = scan(self.folder / path)
        return self.timelines[path]

    def read(self, path: str, indices: np.ndarray) -> np.ndarray:
        """Read frames uint8 T H W C at `size`. Raises VideoError."""
        return read_frames(self.folder / path, indices, self.size)


@dataclass(frozen=True)
class Unreadable:
    """Name a video that cannot be read, in place of its clips."""

    path: str
    reason: str


class TrainClips(Dataset):
    """Read one random clip of each video. Indexed by (video number, draw in [0, 1)), so that the sampler alone decides."""

    def __init__(self, videos: pd.DataFrame, source: Source, rule: ClipRule) -> None:
        self.paths, self.labels = videos.path.tolist(), videos.target.tolist()
        self.source, self.rule = source, rule

    def __len__(self) -> int:
        """Count the videos."""
        return len(self.paths)

    def __getitem__(self, key: tuple[int, float]) -> tuple[int, int, np.ndarray] | Unreadable:
        """Video number, class number, clips uint8 (1, T, H, W, C)."""
        number, draw = key
        return self._item(number, lambda timeline: self.rule.random(timeline, draw)[None])

    def _item(self, number: int, cut: Callable[[Timeline], np.ndarray]) -> tuple[int, int, np.ndarray] | Unreadable:
        path, folder = self.paths[number], self.source.folder
        with report_refusals():
            try:
                indices = cut(self.source.timeline(path))  # clips, T
                frames = self.source.read(path, indices.ravel())
            except VideoError as error:
                if not folder.is_dir() or not any(folder.iterdir()):
                    raise UserError(f"{folder}: is gone or empty now; is its disk or Drive still mounted?") from error
                return Unreadable(path, str(error))
        return number, self.labels[number], frames.reshape(*indices.shape, *frames.shape[1:])


class EvaluationClips(TrainClips):
    """Read the clips that a video is judged by, the same each time. Indexed by video number.

    `clips` is a number of evenly spread ones, `all` for so many that every frame is seen, or `consecutive`.
    """

    def __init__(self, videos: pd.DataFrame, source: Source, rule: ClipRule, clips: int | str) -> None:
        super().__init__(videos, source, rule)
        self.clips = clips

    def __getitem__(self, number: int) -> tuple[int, int, np.ndarray] | Unreadable:
        """Video number, class number, clips uint8 (clips, T, H, W, C)."""
        return self._item(number, lambda timeline: self.rule.judging(timeline, self.clips))


class EpochSampler(Sampler[tuple[int, float]]):
    """Draw every video once an epoch, in random order, with the number that places its clip.

    Order and draws depend on seed and epoch alone: not on the workers, the batch size or the number of processes
    (each process takes its own part, all parts equally long). `epoch` is asked at the start of each pass, because
    after a resume Lightning starts the first one before it tells its samplers which epoch it is. With the videos'
    `classes` each class comes as often as another: as many videos an epoch are drawn, and some more than once.
    """

    def __init__(
        self,
        videos: int,
        seed: int,
        epoch: Callable[[], int],
        rank: int = 0,
        world: int = 1,
        classes: Sequence[int] | None = None,
    ) -> None:
        self.videos, self.seed, self.epoch, self.rank, self.world = videos, seed, epoch, rank, world
        self.chances = None
        if classes is not None:
            rarity = 1 / np.bincount(classes)[classes]
            self.chances = rarity / rarity.sum()

    def __len__(self) -> int:
        """Count the clips of an epoch on this process."""
        return self.videos // self.world if self.videos >= self.world else 1

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """(video number, draw) pairs of this process."""
        random = np.random.default_rng((self.seed, self.epoch()))
        if self.chances is None:
            order = random.permutation(self.videos)
        else:
            order = random.choice(self.videos, self.videos, p=self.chances)
        draws = random.random(self.videos)
        places = draws[order] if self.chances is None else draws  # a video drawn again gets another clip
        mine = slice(self.rank, None, self.world)
        for number, place in list(zip(order[mine], places[mine], strict=True))[: len(self)]:
            yield int(number), float(place)


class ClipData(L.LightningDataModule):
    """Make the loaders of one experiment. A batch is a dict.

    `clips` uint8 (B, T, H, W, C), `labels` and `videos` int64 (B,) with the number of each clip's video in its part's
    table, `unreadable` a list of (path, reason): a video that cannot be decoded is named, never a blank clip.
    `batch_size` counts the clips of all processes.
    """

    def __init__(
        self,
        videos: pd.DataFrame,
        source: Source,
        config: Config,
        *,
        folder: Path = Path(),
        identity: dict[str, Any] | None = None,
        absent: pd.DataFrame | None = None,
        shortfall: str = "",
    ) -> None:
        super().__init__()
        self.identity = identity or {}  # see `load.identify`
        self.shortfall = shortfall  # what is not there, in words
        self.absent = videos.head(0) if absent is None else absent  # listed, but not on disk
        self.folder = folder  # where the paths of `videos` start
        for name in videos.path:
            if os.fsencode(name).decode(errors="replace") != name:
                raise UserError(f"{folder}: the name {os.fsencode(name)!r} is not UTF-8; rename it, as convmv does")
        self.classes = sorted(videos.label.unique())
        numbers = {label: number for number, label in enumerate(self.classes)}
        videos = videos.assign(target=videos.label.map(numbers))
        self.tables = {role: part.reset_index(drop=True) for role, part in videos.groupby("role")}
        train, evaluate, workers = config.train, config.evaluate, config.data.workers
        self.source, self.rule, self.seed = source, ClipRule.of(config.data), config.seed
        self.batch_size = train.batch_size if isinstance(train.batch_size, int) else 1  # auto: not found yet
        self.test_clips, self.validation_clips, self.choose_on = (
            evaluate.clips,
            evaluate.validation_clips,
            train.choose_on,
        )
        self.test_crops = evaluate.crops
        self.balanced = train.sampler == "balanced"  # training draws each class as often
        self.workers = workers if isinstance(workers, int) else min(8, cores())

    def listed(self, part: str) -> pd.DataFrame:
        """List the videos of a part: those of `tables`, then those that are not on disk."""
        return pd.concat([self.tables[part], self.absent[self.absent.role == part]], ignore_index=True)

    def files(self, part: str) -> list[Path]:
        """List the video files of a part: train, validation or test."""
        return [self.folder / path for path in self.tables[part].path]

    def train_dataloader(self) -> DataLoader:
        """Load random clips; a last batch that is not full is left out (its videos come in another epoch)."""
        dataset = self._training_clips()
        classes = self.tables["train"].target.tolist() if self.balanced else None
        sampler = EpochSampler(len(dataset), self.seed, self._epoch, *self._share(), classes)
        full = len(sampler) >= self._own_batch()
        return self._loader(dataset, sampler=sampler, batch_size=self._own_batch(), drop_last=full)

    def val_dataloader(self) -> DataLoader:
        """Load a few clips of each video of the part that chooses the epoch."""
        return self._evaluation_loader(self.choose_on, self.validation_clips, crops=1)

    def test_dataloader(self) -> DataLoader:
        """Load all the clips that each test video is judged by."""
        return self._evaluation_loader("test", self.test_clips, self.test_crops)

    def _evaluation_loader(self, role: str, clips: int | str, crops: int) -> DataLoader:
        dataset = self._evaluation_clips(role, clips, crops)
        rank, world = self._share()
        videos_at_once = max(1, self._own_batch() // clips) if isinstance(clips, int) else 1
        return self._loader(dataset, sampler=range(rank, len(dataset), world), batch_size=videos_at_once)

    def _training_clips(self) -> Any:
        return TrainClips(self.tables["train"], self.source, self.rule)

    def _evaluation_clips(self, role: str, clips: int | str, crops: int) -> Any:  # the crops of clips are cut later
        return EvaluationClips(self.tables[role], self.source, self.rule, clips)

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    def _share(self) -> tuple[int, int]:
        """Return this process's number and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _own_batch(self) -> int:
        """Return this process's share of a batch."""
        return self.batch_size // self._share()[1]

    def _loader(self, dataset: Dataset, **how: Any) -> DataLoader:
        return DataLoader(
            dataset,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.workers > 0,
            # Of its own: a loader draws a number whenever it starts, which a resumed run does at another moment.
            generator=torch.Generator().manual_seed(self.seed),
            **how,
        )


def _read_timelines(manifest: Path, folder: Path) -> dict[str, Timeline]:
    def unchanged(row: dict[str, str]) -> bool:
        file, size = folder / row["path"], row.get("bytes")
        return not size or (file.is_file() and file.stat().st_size == int(size))

    try:
        with manifest.open(newline="", encoding="utf-8") as file:
            counted = [row for row in csv.DictReader(file) if row["frames"] and row["fps"] and unchanged(row)]
        return {row["path"]: Timeline.even(int(row["frames"]), float(row["fps"])) for row in counted}
    except (KeyError, ValueError, csv.Error) as error:
        raise UserError(
            f"{manifest}: is not a manifest ({error!r}); python -m data_prep verify writes it anew"
        ) from None


def collate(items: list[tuple[int, int, np.ndarray] | Unreadable]) -> dict[str, Any]:
    """Make a batch of videos' clips, as `ClipData` describes it."""
    unreadable = [item for item in items if isinstance(item, Unreadable)]
    read = [item for item in items if not isinstance(item, Unreadable)]
    numbers, labels, clips = zip(*read, strict=True) if read else ((), (), ())
    counts = torch.tensor([len(c) for c in clips], dtype=torch.int64)
    return {
        # default_collate builds the batch in the memory that the worker shares, without a copy on the way.
        "clips": default_collate([clip for c in clips for clip in c]) if clips else torch.empty(0, dtype=torch.uint8),
        "labels": torch.tensor(labels, dtype=torch.int64).repeat_interleave(counts),
        "videos": torch.tensor(numbers, dtype=torch.int64).repeat_interleave(counts),
        "unreadable": [(item.path, item.reason) for item in unreadable],
    }
