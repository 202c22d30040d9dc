"""Find the learning rates at which a row learns: train while the rate rises, and watch the loss (arXiv 1506.01186)."""

import contextlib
from typing import Any

import lightning as L
import numpy as np
import pandas as pd

from hmdb_lib import config, environment
from hmdb_lib.errors import UserError
from hmdb_lib.results.runs import Run, write_whole
from hmdb_lib.studies.tune import without_test
from hmdb_lib.training import experiment as training
from hmdb_lib.training.modules import DivergedError

LOWEST, HIGHEST = 1e-3, 1e3  # of the row's own rates
TOO_HIGH = 4.0  # times the least loss so far, at which the test ends, as in Lightning's own


class Rising(L.Callback):
    """Raise all rates by the same factor a step, from `LOWEST` to `HIGHEST` of their own; keep factors and losses."""

    def __init__(self, steps: int) -> None:
        self.factors, self.losses = np.geomspace(LOWEST, HIGHEST, steps), []

    def on_train_batch_start(self, trainer: L.Trainer, *batch: Any) -> None:
        """Set the rates of this step in place of the schedule's."""
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * self.factors[len(self.losses)]

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *batch: Any) -> None:
        """Keep the loss; stop where it has risen, or after the last step."""
        self.losses.append(outputs["loss"].item())
        if len(self.losses) == len(self.factors) or self.losses[-1] > TOO_HIGH * min(self.losses):
            trainer.should_stop = True


def rate_range(experiment: config.Config, steps: int = 100) -> pd.DataFrame:
    """Train `steps` batches of an experiment while its rates rise from a thousandth to a thousand times their own.

    All rates keep their ratio to train.lr. Writes <results>/tuning/rates/runs/<row>/<data>-split<k>-seed<s>/rates.csv,
    which is returned: lr, loss, and smoothed, its running mean. Prints where the smoothed loss falls fastest and where it is
    lowest: a peak rate between the two is a good start. No test video is read. Raises UserError.
    """
    place = environment.place()
    run = Run.of(experiment, place.results / "tuning" / "rates")
    run.folder.mkdir(parents=True, exist_ok=True)
    rising = Rising(steps)
    # As many epochs as steps, each has one at least; final_fit: nothing is validated.
    endless = experiment.changed("train", epochs=steps, final_fit=True)
    resolved = training.Resolved(endless, place, run, steps)
    with contextlib.suppress(DivergedError):
        training.train_unrecorded(resolved, without_test(experiment, place), [rising])
    rates = experiment.train.lr * rising.factors[: len(rising.losses)]
    table = pd.DataFrame({"lr": rates, "loss": rising.losses})
    table["smoothed"] = table.loss.ewm(span=max(1, steps // 10)).mean()
    write_whole(run.folder / "rates.csv", table.to_csv(index=False))
    lowest = int(table.smoothed.argmin())
    if lowest < 2:
        raise UserError(f"{experiment.row}: the loss does not fall at any rate from {rates[0]:.1g} on: {run.folder}")
    steepest = int(np.gradient(table.smoothed[: lowest + 1], np.log(rates[: lowest + 1])).argmin())
    print(
        f"{experiment.row}: the loss falls fastest at train.lr={rates[steepest]:.1e} and is lowest at {rates[lowest]:.1e} "
        f"(now {experiment.train.lr:.1e}): {run.folder / 'rates.csv'}"
    )
    return table
