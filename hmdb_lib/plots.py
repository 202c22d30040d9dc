"""Figures from tables, nothing else: readable in greyscale and for the colour-blind, at the width of a paper's column."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

# Lines differ by dash and marker as well as by colour.
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "figure.dpi": 150,
    "savefig.bbox": "tight",
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
COLOURS = sns.color_palette("colorblind").as_hex()


def training_curves(metrics: pd.DataFrame, title: str = "") -> Figure:
    """Loss and accuracy over the epochs of one run's metrics.csv; both panels are per video, so they can be compared.

    Training counts one random clip a video; its loss and accuracy are measured while the weights still move.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, name, label in ((left, "video_loss", "loss (nats)"), (right, "video_accuracy", "accuracy")):
            axes.plot(metrics.epoch, metrics[f"train_{name}"], "-o", color=COLOURS[0], markersize=3, label="training")
            axes.plot(metrics.epoch, metrics[f"val_{name}"], "--s", color=COLOURS[1], markersize=3, label="validation")
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
        right.set_ylim(0, 1)
        left.legend()
        figure.suptitle(title)
    return figure


def save(figure: Figure, path: Path, endings: Sequence[str] = ("png",)) -> list[Path]:
    """Write a figure beside one path, one file an ending (png, svg, pdf)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f"{path.name}.{ending}") for ending in endings]
    for file in files:
        figure.savefig(file)
    return files
