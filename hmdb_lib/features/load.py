"""Load stored tokens in place of clips."""

from collections.abc import Mapping

import pandas as pd
from torch import Tensor
from torch.utils.data import Dataset

from hmdb_lib.config import Config
from hmdb_lib.data.loader import ClipData, Unreadable
from hmdb_lib.features.extract import Tokens, Wanted


class StoredClips(Dataset):
    """Give the tokens of a video's clips, or of one drawn view: indexed as `EvaluationClips`, or as `TrainClips`."""

    def __init__(self, videos: pd.DataFrame, tokens: Mapping[str, Tensor], unreadable: Mapping[str, str]) -> None:
        self.paths, self.labels = videos.path.tolist(), videos.target.tolist()
        self.tokens, self.unreadable = tokens, unreadable

    def __len__(self) -> int:
        """Count the videos."""
        return len(self.paths)

    def __getitem__(self, key: int | tuple[int, float]) -> tuple[int, int, Tensor] | Unreadable:
        """Video number, class number, tokens (clips, T', H', W', C)."""
        number, draw = key if isinstance(key, tuple) else (key, None)
        path = self.paths[number]
        if path in self.unreadable:
            return Unreadable(path, self.unreadable[path])
        clips = self.tokens[path]
        if draw is not None:
            view = int(draw * len(clips))
            clips = clips[view : view + 1]
        return number, self.labels[number], clips


class FeatureData(ClipData):
    """Make the loaders of an experiment whose backbone is frozen: `clips` of a batch holds tokens, B T' H' W' C.

    Videos, parts, order and draws are those of the `clips` that it is made of. What the store lacks is computed first.
    """

    def __init__(self, clips: ClipData, config: Config, tokens: Tokens) -> None:
        vars(self).update(vars(clips))
        self.workers = 0  # a batch is a copy of mapped memory: to hand it over would cost more
        evaluate = config.evaluate
        self.stored = {"train": tokens.of(clips, Wanted.views(clips, config))}
        judged = [(self.choose_on, self.validation_clips, 1)] if config.validates else []
        if "test" in self.tables:  # `hmdb tune` takes it away
            judged.append(("test", self.test_clips, evaluate.crops))
        for role, count, crops in judged:
            wanted = Wanted.judged(clips, clips.tables[role], config, count, crops)
            self.stored[f"{role} {count} {crops}"] = tokens.of(clips, wanted)
        self.unreadable = tokens.unreadable

    def _training_clips(self) -> StoredClips:
        return StoredClips(self.tables["train"], self.stored["train"], self.unreadable)

    def _evaluation_clips(self, role: str, clips: int | str, crops: int) -> StoredClips:
        return StoredClips(self.tables[role], self.stored[f"{role} {clips} {crops}"], self.unreadable)
