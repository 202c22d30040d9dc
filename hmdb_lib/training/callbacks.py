"""Tells when the loader, not the model, sets the pace of training, and what to change."""

import time
from typing import Any

import lightning as L

from hmdb_lib.data.store import FrameStore

LIMIT = 0.2  # share of the time
BATCHES = 10  # fewer say nothing: the first ones are ready before they are asked for


class Waiting(L.Callback):
    """Measures the share of the first epoch spent waiting for batches; one line after it where that is large.

    The wait lies between the end of one batch and the start of the next. A batch ends when its logits have come back
    to the CPU, so work that a GPU has not done yet is not taken for it.
    """

    told = False

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start anew; validation lies between two epochs."""
        self.first = self.end = None
        self.waited, self.batches = 0.0, 0

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, number: int) -> None:
        """A batch has come."""
        if self.end is not None:
            self.waited += time.perf_counter() - self.end

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, number: int
    ) -> None:
        """Now the next one is waited for; the first one, which starts the workers, is not counted."""
        self.end = time.perf_counter()
        self.first = self.end if self.first is None else self.first
        self.batches += 1

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Say it once."""
        if self.told or self.batches < BATCHES:
            return
        self.told = True
        share = self.waited / (self.end - self.first)
        if share > LIMIT and trainer.is_global_zero:
            print(
                f"\nthe loader is the limit: {share:.0%} of the epoch was spent waiting for clips; {_advice(trainer)}"
            )


def _advice(trainer: L.Trainer) -> str:
    workers = f"raise data.workers (now {trainer.datamodule.workers})"
    if isinstance(trainer.datamodule.source, FrameStore):
        return f"{workers}, or store frames uncompressed with python -m data_prep extract --raw"
    return f"extract frames once with python -m data_prep extract, or {workers}"
