"""A model that learns without labels: most of each clip is hidden (see `hmdb_lib.models.masked`). Lightning calls these."""

from typing import Any

import torch
from torch import Tensor

from hmdb_lib.data.transforms import even_crops, random_crop_flip
from hmdb_lib.models.masked import Masked
from hmdb_lib.training.learner import Learner


class MaskedModelling(Learner):
    """Wraps a `Masked` model; its loss is the mean squared error of normalised pixels, 1 for knowing nothing."""

    model: Masked

    def training_step(self, batch: dict[str, Any], number: int) -> Tensor | None:
        """Loss of a batch of random clips, other tubes each time."""
        self.note_unreadable(batch)
        if not len(batch["labels"]):
            return None
        clips = random_crop_flip(batch["clips"], self.config.data.crop, self.config.data.flip)
        loss = self.model(self.normalised(clips)).loss
        self.stop_at_nonsense(loss)
        self.log("train_loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(clips), sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """The same tubes after every epoch; training goes on with its own random numbers."""
        self.random = torch.random.get_rng_state()
        torch.manual_seed(self.config.seed)

    def validation_step(self, batch: dict[str, Any], number: int) -> None:
        """Loss of evenly spread clips."""
        self.note_unreadable(batch)
        if len(batch["labels"]):
            clips = even_crops(batch["clips"], self.config.data.crop, 1)
            loss = self.model(self.normalised(clips)).loss
            self.log("val_loss", loss, prog_bar=True, batch_size=len(clips), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """See `on_validation_epoch_start`."""
        torch.random.set_rng_state(self.random)

    def on_train_epoch_end(self) -> None:
        """The epoch's row: both losses."""
        told = self.trainer.callback_metrics
        self.write_epoch({"train_loss": told["train_loss_epoch"].item(), "val_loss": told["val_loss"].item()})
