"""What every model in training does, whatever it learns: optimiser, seeds, what stands still at first. Lightning calls it."""

import time
from collections.abc import Collection
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hmdb_lib.config import Config
from hmdb_lib.data.transforms import normalise
from hmdb_lib.errors import UserError
from hmdb_lib.results.runs import Run
from hmdb_lib.training.optim import make_optimiser, make_schedule


class Learner(L.LightningModule):
    """A model, its experiment, and where its rows go.

    `loaded` names the parameters and buffers that came from elsewhere: for `train.frozen_epochs` they stand still.
    """

    def __init__(self, config: Config, model: nn.Module, run: Run | None = None, loaded: Collection[str] = ()) -> None:
        super().__init__()
        self.config, self.model, self.run = config, model, run
        self.resting = [p for name, p in model.named_parameters() if name in loaded and p.requires_grad]
        self.unreadable: dict[str, str] = {}

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
        self._rest(self.current_epoch < self.config.train.frozen_epochs)

    def _rest(self, still: bool) -> None:
        for parameter in self.resting:
            parameter.requires_grad_(not still)
        if self.resting:  # the statistics of a batch norm move without a gradient
            norms = (module for module in self.model.modules() if isinstance(module, nn.BatchNorm3d))
            resting = {id(parameter) for parameter in self.resting}
            for norm in norms:
                if id(norm.weight) in resting:
                    norm.train(not still)

    def stop_at_nonsense(self, loss: Tensor) -> None:
        """Raise UserError where a loss is not a finite number."""
        if not torch.isfinite(loss):
            raise UserError(
                f"epoch {self.current_epoch}: the loss is {loss.item()}; the last checkpoint is kept. "
                "Lower train.lr or set train.precision=fp32, under a new name=..."
            )

    def write_epoch(self, scores: dict[str, float | None]) -> None:
        """Write the epoch's row to metrics.csv and TensorBoard: the scores, the rates and the time."""
        if self.trainer.is_global_zero:
            rates = {group["name"]: group["lr"] for group in self.trainer.optimizers[0].param_groups}
            row: dict[str, Any] = {"epoch": self.current_epoch} | scores
            row |= {"lr": rates.get("new", rates.get("cnn")), "backbone_lr": rates.get("cnn")}
            row["seconds"] = time.perf_counter() - self.epoch_start
            self.run.write_epoch(row)
            self.logger.log_metrics({k: v for k, v in row.items() if v is not None}, step=self.current_epoch)

    def note_unreadable(self, batch: dict[str, Any]) -> None:
        """Name each video that could not be decoded once."""
        for path, reason in batch["unreadable"]:
            if path not in self.unreadable:
                self.unreadable[path] = reason
                print(f"\nskipped, cannot be read ({len(self.unreadable)} so far): {reason}")
