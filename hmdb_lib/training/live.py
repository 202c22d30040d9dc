"""Curves that grow while a notebook trains."""

from typing import Any

import lightning as L
from IPython.display import display

from hmdb_lib.plots import curves as plots


class LiveCurves(L.Callback):
    """Draws the run's curves after every epoch, each time in the place of the drawing before."""

    def __init__(self) -> None:
        self.shown: Any = None

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """By now the epoch before this one stands in metrics.csv."""
        self._draw(trainer, module)

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """By now the last epoch does."""
        self._draw(trainer, module)

    def _draw(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        metrics = module.run.metrics
        if not trainer.is_global_zero or metrics.empty:
            return
        figure = plots.training_curves(metrics, title=module.run.folder.parent.name)
        if self.shown is None:
            self.shown = display(figure, display_id=True)
        else:
            self.shown.update(figure)
