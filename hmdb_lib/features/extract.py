"""Compute the tokens of clips with a frozen backbone, once: what a head then trains on and is judged by."""

import hashlib
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hmdb_lib.config import Config
from hmdb_lib.data.loader import ClipData, EvaluationClips, TrainClips, Unreadable, collate
from hmdb_lib.data.transforms import even_crops, normalise
from hmdb_lib.environment import Place
from hmdb_lib.features.store import FeatureStore
from hmdb_lib.files import require_disk
from hmdb_lib.models.backbones import Backbone
from hmdb_lib.models.device import Device
from hmdb_lib.models.fold import fold_batch_norm
from hmdb_lib.progress import Bar

VERSION = 3  # raise it whenever the same settings cut or compute other clips


class Views(TrainClips):
    """Cut random views of each video: start, crop and mirroring drawn by the video's path, so always the same.

    View v does not depend on how many there are. Indexed by video number.
    """

    def __init__(self, data: ClipData, videos: pd.DataFrame, config: Config) -> None:
        super().__init__(videos, data.source, data.rule)
        self.count, self.crop, self.flip = config.train.views, config.data.crop, config.data.flip

    def __getitem__(self, number: int) -> tuple[int, int, np.ndarray] | Unreadable:
        """Video number, class number, clips uint8 (views, T, crop, crop, C)."""
        draws = np.random.default_rng(zlib.crc32(self.paths[number].encode())).random((self.count, 4))
        item = self._item(number, lambda timeline: np.stack([self.rule.random(timeline, draw) for draw in draws[:, 0]]))
        if isinstance(item, Unreadable):
            return item
        views = [self._cut(clip, *draw) for clip, draw in zip(item[2], draws[:, 1:], strict=True)]
        return *item[:2], np.stack(views)

    def _cut(self, clip: np.ndarray, down: float, right: float, mirror: float) -> np.ndarray:
        top, left = (int(s * (side - self.crop + 1)) for s, side in zip((down, right), clip.shape[1:3], strict=True))
        cut = clip[:, top : top + self.crop, left : left + self.crop]
        return cut[:, :, ::-1] if self.flip and mirror < 0.5 else cut


class Judged(EvaluationClips):
    """Cut the clips and crops that each video is judged by. Indexed by video number."""

    def __init__(self, data: ClipData, videos: pd.DataFrame, config: Config, clips: int | str, crops: int) -> None:
        super().__init__(videos, data.source, data.rule, clips)
        self.crop, self.crops = config.data.crop, crops

    def __getitem__(self, number: int) -> tuple[int, int, np.ndarray] | Unreadable:
        """Video number, class number, clips uint8 (clips crops, T, crop, crop, C)."""
        item = super().__getitem__(number)
        if isinstance(item, Unreadable):
            return item
        return *item[:2], even_crops(torch.from_numpy(item[2]), self.crop, self.crops).numpy()


@dataclass(frozen=True)
class Wanted:
    """Say which clips of which videos are wanted.

    Attributes:
        kind: names the clips in the store.
        videos: a part of `ClipData.tables`.
        cut: makes the data set of some of these videos.
        clips: of a video, where their number is the same for all.

    """

    kind: str
    videos: pd.DataFrame
    cut: Callable[[pd.DataFrame], Dataset]
    clips: int | None

    @classmethod
    def views(cls, data: ClipData, config: Config) -> "Wanted":
        """The random views that training sees."""
        count = config.train.views
        return cls(f"views{count}", data.tables["train"], lambda some: Views(data, some, config), count)

    @classmethod
    def judged(cls, data: ClipData, videos: pd.DataFrame, config: Config, clips: int | str, crops: int = 1) -> "Wanted":
        """The clips that videos are judged by."""
        count = clips * crops if isinstance(clips, int) else None
        return cls(f"clips{clips}x{crops}", videos, lambda some: Judged(data, some, config, clips, crops), count)


class Tokens:
    """Give the stored tokens of a configuration's clips; compute what the store lacks.

    The store lies in `<data folder>/features/<backbone>-<key>`, and holds videos of any split: what another split,
    seed or head has computed is there already. Frames may come from videos or from a frame store, which is not part of
    the key, as it is not of a run's.

    Args:
        config: the experiment.
        backbone: with its weights, which the key holds.
        device: computes, in its precision.
        place: has the data folder.
        dtype: of the stored tokens.

    """

    def __init__(
        self, config: Config, backbone: Backbone, device: Device, place: Place, dtype: torch.dtype = torch.float16
    ) -> None:
        self.config, self.backbone, self.device = config, backbone, device
        self.unreadable: dict[str, str] = {}
        key = settings(config, backbone) | {"precision": device.precision, "dtype": str(dtype)}
        short = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
        name = re.sub(r"[^\w.-]+", "-", config.model.backbone)
        self.store = FeatureStore(place.data / "features" / f"{name}-{short}", json.dumps(key), dtype)

    def of(self, data: ClipData, wanted: Wanted) -> dict[str, Tensor]:
        """Path -> tokens (clips, T', H', W', C); videos that cannot be read are left out and in `unreadable`."""
        files = {path: data.folder / path for path in wanted.videos.path if path not in self.unreadable}
        found = self.store.read(wanted.kind, files)
        if found.keys() >= files.keys():
            return found
        with self.store.lock():
            found = self.store.read(wanted.kind, files)  # another process may have computed it meanwhile
            missing = wanted.videos[wanted.videos.path.isin(files.keys() - found.keys())].reset_index(drop=True)
            if len(missing):
                self._check_disk(wanted.clips or 1, len(missing))
                computed = self._compute(data, wanted, missing)
                self.store.write(wanted.kind, ((path, files[path], tokens) for path, tokens in computed))
        return self.store.read(wanted.kind, files)

    def _check_disk(self, clips: int, videos: int) -> None:
        data, backbone = self.config.data, self.backbone
        slots, *sides = backbone.grid(data.frames, data.crop)
        numbers = videos * clips * slots * math.prod(backbone.places(*sides)) * backbone.channels
        kept = f"data.features={data.features} of {videos} videos (4x4 and pooled take less)"
        require_disk(self.store.folder, numbers * self.store.dtype.itemsize, kept)

    @torch.no_grad()
    def _compute(self, data: ClipData, wanted: Wanted, videos: pd.DataFrame) -> Iterator[tuple[str, Tensor]]:
        config, backbone = self.config, fold_batch_norm(self.backbone).to(self.device.kind)
        mean_std = config.data.mean_std(backbone)
        at_once = config.train.batch_size if isinstance(config.train.batch_size, int) else 8
        batch_size = max(1, at_once // (wanted.clips or at_once))
        loader = DataLoader(wanted.cut(videos), batch_size, num_workers=data.workers, collate_fn=collate)
        with Bar(total=len(videos), desc=f"features, {wanted.kind}", unit="video") as bar:
            for batch in loader:
                self.unreadable |= dict(batch["unreadable"])
                with self.device.autocast():
                    parts = [
                        backbone(normalise(clips.to(self.device.kind), *mean_std))
                        for clips in batch["clips"].split(at_once)
                        if len(clips)
                    ]
                numbers, counts = batch["videos"].unique_consecutive(return_counts=True)
                if parts:
                    yield from zip(videos.path[numbers.numpy()], torch.cat(parts).split(counts.tolist()), strict=True)
                bar.update(len(numbers) + len(batch["unreadable"]))


def settings(config: Config, backbone: Backbone) -> dict[str, Any]:
    """List what changes a number in a store, but for the videos themselves, whose state stands beside their tokens."""
    data, model = config.data, config.model
    digest = hashlib.sha256()
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    sampling = ("frames", "clip_seconds", "frame_step", "short", "resize", "crop", "flip", "features")
    return {
        "version": VERSION,
        "data": data.name,
        "backbone": model.backbone,
        "blocks": model.blocks,
        "weights": digest.hexdigest(),
        "mean_std": data.mean_std(backbone),
        **{key: getattr(data, key) for key in sampling},
        **({} if data.sampling == "window" else {"sampling": data.sampling}),  # stores of before keep their key
        **({} if data.antialias else {"antialias": False}),
    }
