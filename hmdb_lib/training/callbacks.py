"""Tell what happens during training: a progress bar, a loader that is too slow, curves in a notebook."""

import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

from hmdb_lib.data.store import FrameStore
from hmdb_lib.errors import UserError
from hmdb_lib.features.load import FeatureData
from hmdb_lib.plots import curves
from hmdb_lib.progress import Bar
from hmdb_lib.results.runs import Run

LIMIT = 0.2  # share of the time
BATCHES = 10  # fewer say nothing: the first ones are ready before they are asked for


class Progress(L.Callback):
    """Show one bar over all batches of a run, validation included, and one over those of the test."""

    bar: Bar | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start at the epoch that a resumed run goes on from."""
        self._open(trainer, "training", trainer.current_epoch)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Name the epoch."""
        if self.bar is not None:
            self.bar.set_description(f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}", refresh=False)

    def on_train_batch_end(self, trainer: L.Trainer, *batch: Any, **more: Any) -> None:
        """Count a batch, one of validation or of the test too."""
        if self.bar is not None:
            told = {name: f"{value:.3f}" for name, value in trainer.progress_bar_metrics.items()}
            self.bar.set_postfix(told, refresh=False)
            self.bar.update()

    on_validation_batch_end = on_test_batch_end = on_train_batch_end

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the batches of validation to the whole; Lightning counts them when the first one starts."""
        if self.bar is not None and self.judged != sum(trainer.num_val_batches):
            self.judged = sum(trainer.num_val_batches)
            self.bar.total = (trainer.max_epochs or 0) * (int(trainer.num_training_batches) + int(self.judged))
            self.bar.n = self.bar.n + int(self.judged) * trainer.current_epoch

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the test's bar."""
        self._open(trainer, "testing", 0)

    def teardown(self, *given: Any, **more: Any) -> None:
        """Close the bar, after a fault too."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    on_exception = teardown

    def _open(self, trainer: L.Trainer, name: str, epoch: int) -> None:
        if not trainer.is_global_zero:
            return
        self.judged = 0
        batches = int(sum(trainer.num_test_batches) if name == "testing" else trainer.num_training_batches)
        total = batches if name == "testing" else batches * (trainer.max_epochs or 1)
        self.bar = Bar(desc=name, total=total, initial=batches * epoch, unit="batches")


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

    def on_train_batch_start(self, trainer: L.Trainer, *batch: Any) -> None:
        """Count the wait for this batch."""
        if self.end is not None:
            self.waited += time.perf_counter() - self.end

    def on_train_batch_end(self, trainer: L.Trainer, *batch: Any) -> None:
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


class LossScale(L.Callback):
    """Tell how many steps of fp16 overflowed, which are left out, and stop a run in which all do.

    Each such step halves the loss scale, and 2,000 good ones in a row double it.
    """

    scale, skipped = math.inf, 0

    def on_train_batch_end(self, trainer: L.Trainer, *batch: Any) -> None:
        """Look at the scale after a step. Raises UserError where it has fallen below 1."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is None:
            return
        before, self.scale = self.scale, scaler.get_scale()
        self.skipped += self.scale < before < math.inf
        if self.scale < 1:
            raise UserError(
                f"fp16 overflows at every step: the loss scale has fallen to {self.scale:g}; set train.precision=fp32, or a "
                "lower train.lr, under a new name=..."
            )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell the steps of this epoch that overflowed."""
        if self.skipped:
            print(f"fp16: {self.skipped} steps of this epoch overflowed and were left out; loss scale {self.scale:g}")
        self.skipped = 0


class LiveCurves(L.Callback):
    """Draw a run's curves in a notebook, after every epoch in the place of the drawing before."""

    def __init__(self, run: Run) -> None:
        from IPython.display import display  # noqa: PLC0415 - there where notebooks are

        self.run, self.display, self.shown = run, display, None
        self.chance = 1 / len(run.summary["classes"]) if run.finished and "classes" in run.summary else None

    def draw(self) -> None:
        """Draw the epochs that metrics.csv holds."""
        metrics = self.run.metrics
        if metrics.empty:
            return
        figure = curves.training_curves(metrics, self.run.folder.parent.name, self.chance, self.run.config.train.epochs)
        if self.shown is None:
            self.shown = self.display(figure, display_id=True)
        else:
            self.shown.update(figure)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw; the epoch before this one stands in metrics.csv by now."""
        data: Any = getattr(trainer, "datamodule", None)  # Lightning does not declare it
        self.chance = 1 / len(data.classes) if data else None
        if trainer.is_global_zero:
            self.draw()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the last epoch too."""
        if trainer.is_global_zero:
            self.draw()
