"""Tell what happens during training: a progress bar, a loader that is too slow, curves in a notebook."""

import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, TQDMProgressBar

from hmdb_lib.data.store import FrameStore
from hmdb_lib.features.load import FeatureData
from hmdb_lib.plots import curves
from hmdb_lib.results.runs import Run

LIMIT = 0.2  # share of the time
BATCHES = 10  # fewer say nothing: the first ones are ready before they are asked for


class Progress(TQDMProgressBar):
    """Show the bar without the logger's version, which is the same for every run."""

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Name what the bar shows beside its counts."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class Waiting(L.Callback):
    """Measure the share of the first epoch spent waiting for batches, and print a line where it is large.

    The wait lies between the end of one batch and the start of the next. A batch ends when its logits have come back
    to the CPU, so work that a GPU has not done yet is not counted.
    """

    told = False

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reset the clock; validation lies between two epochs."""
        self.first = self.end = None
        self.waited, self.batches = 0.0, 0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the wait for this batch."""
        if self.end is not None:
            self.waited += time.perf_counter() - self.end

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start to wait; the first batch, which starts the workers, is not counted."""
        self.end = time.perf_counter()
        self.first = self.end if self.first is None else self.first
        self.batches += 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the line once."""
        if self.told or self.batches < BATCHES or self.end is None or self.first is None:
            return
        self.told = True
        share = self.waited / (self.end - self.first)
        if share > LIMIT and trainer.is_global_zero:
            data: Any = getattr(trainer, "datamodule")  # noqa: B009 - Lightning does not declare it
            advice = f"raise data.workers (now {data.workers})"
            if isinstance(data, FeatureData):
                advice = "set data.features=4x4, which has less to read, under a new name=..."
            elif isinstance(data.source, FrameStore):
                advice += ", or store frames uncompressed with hmdb extract --raw"
            else:
                advice = f"extract frames once with hmdb extract, or {advice}"
            print(f"\nthe loader is the limit: {share:.0%} of the epoch was spent waiting for clips; {advice}")


class Patience(EarlyStopping):
    """Stop training after so many epochs without a better value of the metric that chooses the epoch."""

    def __init__(self, monitor: str | None, epochs: int) -> None:
        super().__init__(monitor or "", patience=epochs, mode="max")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop at once where a run is resumed that had stopped."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class Deadline(L.Callback):
    """Stop training at an epoch's end where what comes next would end after `until`, in the system's seconds (`time.time`).

    After the last epoch that is the test, taken to last `test_share` times as long as a validation.
    """

    def __init__(self, until: float = math.inf, test_share: float = 0.0) -> None:
        self.until, self.test_share = until, test_share
        self.reached, self.judging = False, 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self.start = time.time()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start validation's clock."""
        self.judged_from = time.time()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep how long validation took."""
        self.judging = time.time() - self.judged_from

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop where another epoch like this one, or the test, would end too late."""
        now = time.time()
        is_last = trainer.current_epoch + 1 == trainer.max_epochs
        needed = self.judging * self.test_share if is_last else now - self.start
        if needed and now + needed > self.until:
            self.reached = trainer.should_stop = True


class LiveCurves(L.Callback):
    """Draw a run's curves in a notebook, after every epoch in the place of the drawing before."""

    def __init__(self, run: Run) -> None:
        from IPython.display import display  # noqa: PLC0415 - there where notebooks are

        self.run, self.display, self.shown = run, display, None

    def draw(self) -> None:
        """Draw the epochs that metrics.csv holds."""
        metrics = self.run.metrics
        if metrics.empty:
            return
        figure = curves.training_curves(metrics, title=self.run.folder.parent.name)
        if self.shown is None:
            self.shown = self.display(figure, display_id=True)
        else:
            self.shown.update(figure)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw; the epoch before this one stands in metrics.csv by now."""
        if trainer.is_global_zero:
            self.draw()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the last epoch too."""
        if trainer.is_global_zero:
            self.draw()
