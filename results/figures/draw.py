"""Draw the pictures of the README, of results/README.md and of the notebooks: `uv run python results/figures/draw.py`.

`hmdb figures` draws those of the tables alone.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hmdb_lib import config, environment
from hmdb_lib.plots import curves as plots
from hmdb_lib.plots import figures
from hmdb_lib.results.intervals import interval
from hmdb_lib.training import experiment as training
from hmdb_lib.widgets import views as widgets

FIGURES = Path(__file__).parent


def main(folder: Path = FIGURES) -> None:
    """`first_run.csv` is the metrics.csv that the README's first command left."""
    data = training.read_data(config.load(overrides=["data=sample"]), environment.place())
    plots.save(widgets.class_sheet(data), folder / "sample_clips")
    metrics = pd.read_csv(FIGURES / "first_run.csv")
    plots.save(plots.training_curves(metrics, "cross1_self1", chance=1 / 8), folder / "first_run")
    plots.save(fifty_intervals(), folder / "intervals")
    figures.draw(FIGURES.parent, folder)


def fifty_intervals(accuracy: float = 0.6, sources: int = 20) -> Figure:
    """Draw the 95 % intervals of 50 simulated test sets, the clips of a source being alike (correlation 0.3)."""
    random = np.random.default_rng(0)
    sizes = random.integers(1, 14, (50, sources))
    scale = (1 - 0.3) / 0.3
    rates = random.beta(accuracy * scale, (1 - accuracy) * scale, sizes.shape)
    right = random.binomial(sizes, rates).astype(float)
    low, high = interval(right, right, sizes.astype(float))
    missed = (low > accuracy) | (high < accuracy)
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    colours = np.where(missed, "tab:red", "tab:blue").tolist()
    axes.vlines(range(1, 51), low, high, colors=colours, linewidth=2)
    axes.scatter(range(1, 51), right.sum(1) / sizes.sum(1), s=12, c=colours, zorder=3)
    axes.axhline(accuracy, color="black", linewidth=1)
    axes.set(xlabel="simulated test set", ylabel="accuracy", ylim=(0, 1))
    axes.set_title(
        f"{missed.sum()} of 50 intervals miss the accuracy of {accuracy} ({sources} sources each)", fontsize=10
    )
    return figure


if __name__ == "__main__":
    main()
