"""A classifier in training: its loss, and what an epoch's row says. Lightning calls these methods."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmdb_lib.config import Config
from hmdb_lib.data.transforms import erase, even_crops, mix, rand_augment, random_crop_flip
from hmdb_lib.results.metrics import VideoScores
from hmdb_lib.results.runs import Run
from hmdb_lib.training.learner import Learner


class VideoClassifier(Learner):
    """A model that learns classes."""

    def __init__(self, config: Config, model: nn.Module, run: Run | None = None, loaded: Collection[str] = ()) -> None:
        super().__init__(config, model, run, loaded)
        self.classes = model.classes
        self.scores = {part: self._no_scores() for part in ("train", "validation", "test")}

    def forward(self, clips: Tensor) -> Tensor:
        """Cropped clips uint8 B T H W C to logits (B, classes)."""
        return self.model(self.normalised(clips))

    def on_train_epoch_start(self) -> None:
        """A clean sheet."""
        super().on_train_epoch_start()
        for part in ("train", "validation"):
            self.scores[part] = self._no_scores()

    def training_step(self, batch: dict[str, Any], number: int) -> Tensor | None:
        """Loss of a batch of random clips; a batch in which nothing could be read is passed over."""
        self.note_unreadable(batch)
        if not len(batch["labels"]):
            return None
        train, data = self.config.train, self.config.data
        clips = random_crop_flip(batch["clips"], data.crop, data.flip)
        if train.randaugment:
            clips = rand_augment(clips)
        clips = erase(self.normalised(clips), train.erasing)
        clips, targets = mix(clips, batch["labels"], self.classes, train.mixup, train.cutmix)
        logits = self.model(clips)
        self._note("train", batch["videos"], batch["labels"], logits)
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=train.label_smoothing)
        self.log("train_step_loss", loss, prog_bar=True)
        self.stop_at_nonsense(loss)
        return loss

    def validation_step(self, batch: dict[str, Any], number: int) -> None:
        """Logits of evenly spread clips."""
        self._evaluate(batch, "validation")

    def test_step(self, batch: dict[str, Any], number: int) -> None:
        """Logits of evenly spread clips."""
        self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """What the best epoch is chosen by."""
        self._gather("validation")
        summary = self.scores["validation"].summary()
        self.log("val_video_accuracy", summary["video_accuracy"], prog_bar=True)
        # The epoch is chosen by accuracy; between equal ones, frequent with few videos, the loss decides. Its weight
        # is below one video of thousands, and above what a float32, which Lightning keeps, can tell apart.
        self.log("val_choice", summary["video_accuracy"] - 1e-4 * summary["video_loss"])

    def on_test_epoch_end(self) -> None:
        """Bring the parts of all processes together."""
        self._gather("test")

    def on_train_epoch_end(self) -> None:
        """The epoch's row: losses and accuracies of both parts."""
        self._gather("train")
        parts = (("train", "train"), ("validation", "val"))
        self.write_epoch(
            {f"{short}_{name}": value for part, short in parts for name, value in self.scores[part].summary().items()}
        )

    def _no_scores(self) -> VideoScores:
        return VideoScores(self.classes, majority=self.config.evaluate.vote == "majority")

    def _evaluate(self, batch: dict[str, Any], part: str) -> None:
        self.note_unreadable(batch)
        if len(batch["labels"]):
            crops = self.config.evaluate.crops if part == "test" else 1
            logits = self(even_crops(batch["clips"], self.config.data.crop, crops))
            videos, labels = (batch[name].repeat_interleave(crops) for name in ("videos", "labels"))
            self._note(part, videos, labels, logits)

    def _note(self, part: str, videos: Tensor, labels: Tensor, logits: Tensor) -> None:
        probabilities = logits.detach().float().softmax(1)
        self.scores[part].add(*(column.cpu().numpy() for column in (videos, labels, probabilities)))

    def _gather(self, part: str) -> None:
        if self.trainer.world_size > 1:
            everyone: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(everyone, self.scores[part].parts)
            self.scores[part].parts = [clips for process in everyone for clips in process]
