"""Draws the README's pictures, as notebook 00 does: `uv run python results/figures/draw.py`."""

from pathlib import Path

import pandas as pd

from hmdb_lib import config, environment
from hmdb_lib.plots import curves as plots
from hmdb_lib.training import experiment as training
from hmdb_lib.widgets import views as widgets

FIGURES = Path(__file__).parent


def main(folder: Path = FIGURES) -> None:
    """`first_run.csv` is the metrics.csv that the README's first command left."""
    data = training.read_data(config.load(overrides=["data=sample"]), environment.place())
    plots.save(widgets.class_sheet(data), folder / "sample_clips")
    metrics = pd.read_csv(FIGURES / "first_run.csv")
    plots.save(plots.training_curves(metrics, title="cross1_self1"), folder / "first_run")


if __name__ == "__main__":
    main()
