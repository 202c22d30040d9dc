"""A model in training: loss, optimiser, and what an epoch's row says. Lightning calls these methods."""

import time
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from hmdb_lib.config import Config
from hmdb_lib.errors import UserError
from hmdb_lib.evaluation import VideoScores
from hmdb_lib.optimise import make_optimiser, make_schedule
from hmdb_lib.runs import Run
from hmdb_lib.transforms import erase, even_crops, mix, normalise, rand_augment, random_crop_flip


class VideoClassifier(L.LightningModule):
    """A model in training: its loss, its optimiser, and what an epoch's row says."""

    def __init__(self, config: Config, model: nn.Module, run: Run | None = None) -> None:
        super().__init__()
        self.config, self.model, self.run = config, model, run
        self.classes = model.classes
        self.scores = {part: self._no_scores() for part in ("train", "validation", "test")}
        self.unreadable: dict[str, str] = {}

    def forward(self, clips: Tensor) -> Tensor:
        """Cropped clips uint8 B T H W C to logits (B, classes)."""
        return self.model(self.normalised(clips))

    def normalised(self, clips: Tensor) -> Tensor:
        """Cropped clips uint8 B T H W C to float B C T H W, as the model's weights expect them."""
        if self.config.data.normalise == "published":
            return normalise(clips, (0.45,) * 3, (0.225,) * 3)
        return normalise(clips, self.model.mean, self.model.std)

    def configure_optimizers(self) -> dict[str, Any]:
        """Lightning asks for both here."""
        optimiser = make_optimiser(self.model, self.config.train, fused=self.trainer.precision != "16-mixed")
        train = self.config.train
        # A final fit stops before train.epochs, on the way of the rates that validation has judged.
        steps = self.trainer.estimated_stepping_batches * train.epochs // self.trainer.max_epochs
        schedule = make_schedule(optimiser, train, steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None, gradient_clip_algorithm: str | None
    ) -> None:
        """Shorten long gradients. Lightning's own way refuses any fused optimiser under mixed precision."""
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)

    def on_train_epoch_start(self) -> None:
        """Seed the epoch, so that one that is done again after an interruption is done alike."""
        state = np.random.SeedSequence((self.config.seed, self.current_epoch, self.global_rank)).generate_state(1)
        torch.manual_seed(int(state[0]))
        self.epoch_start = time.perf_counter()
        for part in ("train", "validation"):
            self.scores[part] = self._no_scores()

    def training_step(self, batch: dict[str, Any], number: int) -> Tensor | None:
        """Loss of a batch of random clips; a batch in which nothing could be read is passed over."""
        self._note_unreadable(batch)
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
        if not torch.isfinite(loss):
            raise UserError(
                f"epoch {self.current_epoch}: the loss is {loss.item()}; the last checkpoint is kept. "
                "Lower train.lr or set train.precision=fp32, under a new name=..."
            )
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
        """Write the epoch's row to metrics.csv and TensorBoard."""
        self._gather("train")
        if self.trainer.is_global_zero:
            row: dict[str, Any] = {"epoch": self.current_epoch}
            for part, short in (("train", "train"), ("validation", "val")):
                row |= {f"{short}_{name}": value for name, value in self.scores[part].summary().items()}
            rates = {group["name"]: group["lr"] for group in self.trainer.optimizers[0].param_groups}
            row |= {"lr": rates.get("new", rates.get("cnn")), "backbone_lr": rates.get("cnn")}
            row["seconds"] = time.perf_counter() - self.epoch_start
            self.run.write_epoch(row)
            self.logger.log_metrics({k: v for k, v in row.items() if v is not None}, step=self.current_epoch)

    def _no_scores(self) -> VideoScores:
        return VideoScores(self.classes, majority=self.config.evaluate.vote == "majority")

    def _evaluate(self, batch: dict[str, Any], part: str) -> None:
        self._note_unreadable(batch)
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

    def _note_unreadable(self, batch: dict[str, Any]) -> None:
        for path, reason in batch["unreadable"]:
            if path not in self.unreadable:
                self.unreadable[path] = reason
                print(f"\nskipped, cannot be read ({len(self.unreadable)} so far): {reason}")
