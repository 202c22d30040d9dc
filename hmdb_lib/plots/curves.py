"""Figures from tables, nothing else: readable in greyscale and for the colour-blind, at the width of a paper's column.

What speaks of single classes or videos is in `hmdb_lib.plots.classes`, pictures of frames in `hmdb_lib.plots.clips`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hmdb_lib.results.metrics import best_epoch
from hmdb_lib.results.tables import marked

COLUMN, PAGE = 3.3, 6.8  # inches: one column of a paper, and both
# At these widths the figure goes into the paper unscaled, so these are the sizes that are printed.
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "savefig.dpi": 300,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
}
COLOURS = sns.color_palette("colorblind").as_hex()
MARKERS = "osD^vPX*<>"
STAR = "*: epoch chosen on the test part"


@mpl.rc_context(STYLE)
def training_curves(
    metrics: pd.DataFrame, title: str = "", chance: float | None = None, epochs: int | None = None
) -> Figure:
    """Draw loss and accuracy over the epochs of one run's metrics.csv; both panels are per video, losses not smoothed.

    Training counts one random clip a video; its loss and accuracy are measured while the weights still move. The epoch
    of the highest validation accuracy is marked. What was judged after each epoch has its name, the test part too, see
    `Run.metrics`. `chance`: the accuracy of guessing, a line; `epochs`: how many will
    be drawn, so that the axis does not grow. Where the classes of the validation part are uneven, its accuracy averaged
    over classes is drawn too.
    """
    part = "test part" if _on_test(metrics) else "validation"
    figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        _curves(axes, metrics, measure, "train", "--", label="training", color=COLOURS[1], marker="s", mfc="white")
        _curves(axes, metrics, measure, "val", "-", label=part, color=COLOURS[0], marker="o")
        if (best := best_epoch(metrics)) is not None:
            axes.axvline(best, color="0.6", linewidth=0.8, linestyle=":", label=f"best on {part}")
        axes.set_xlim(-0.3, max(epochs or 0, len(metrics), 2) - 0.7)
    if chance is not None:
        figure.axes[1].axhline(chance, color="black", linewidth=0.8, linestyle="-.", label="chance")
    if "val_video_mean_class_accuracy" in metrics:
        mean = {"label": f"{part}, mean over classes", "color": COLOURS[2], "marker": "^"}
        _curves(figure.axes[1], metrics, "mean_class_accuracy", "val", ":", **mean)
    figure.axes[1].legend()
    figure.suptitle(title)
    return figure


@mpl.rc_context(STYLE)
def compare_curves(metrics: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the curves of several runs, name -> metrics.csv: validation in full lines, training dashed and hollow.

    A ring is drawn round the epoch of the highest validation accuracy. Runs whose epoch was chosen on the test part,
    which then stands in for validation, have a star behind their names.
    """
    figure = Figure(figsize=(PAGE, 2.8 + 0.15 * len(metrics)), layout="constrained")
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for name, table, look in _looks(_starred(metrics)):
            _curves(axes, table, measure, "train", "--", mfc="white", alpha=0.8, **look)
            _curves(axes, table, measure, "val", "-", label=name, **look)
            at = table[table.epoch == best_epoch(table)].reindex(columns=["epoch", f"val_video_{measure}"])
            axes.plot(*at.to_numpy().T, "o", mfc="none", mec="black", markersize=9)
    title = "full: validation, dashed: training; ring: best on validation"
    figure.axes[0].set_title(title + f"\n{STAR}, not on validation" * any(map(_on_test, metrics.values())), loc="left")
    _legend(figure)
    return figure


@mpl.rc_context(STYLE)
def overfitting_gap(metrics: Mapping[str, pd.DataFrame]) -> Figure:
    """Validation loss minus training loss over the epochs of several runs, given as name -> metrics.csv.

    A star is that of `compare_curves`.
    """
    figure = Figure(figsize=(PAGE, 2.6 + 0.15 * len(metrics)), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="black", linewidth=0.8)
    for name, table, look in _looks(_starred(metrics)):
        table = table.reindex(columns=["epoch", "val_video_loss", "train_video_loss"])
        axes.plot(table.epoch, table.val_video_loss - table.train_video_loss, label=name, **look, **_thin(table))
    axes.set(xlabel="epoch, from 0", ylabel="validation - training loss (nats)")
    if any(map(_on_test, metrics.values())):
        axes.set_title(f"{STAR}, not on validation", loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure)
    return figure


@mpl.rc_context(STYLE)
def gap_against_attention(table: pd.DataFrame) -> Figure:
    """Validation loss minus training loss at the chosen epoch, against the parameters that are not the CNN's.

    `table` is one of `hmdb study`, with `row` as its index; rows without a finished run are left out.
    """
    table = _marked(table.dropna(subset=["train_loss", "validation_loss"]))
    points = table.assign(x=table.attention_parameters / 1e6, y=table.validation_loss - table.train_loss)
    return _points(points, "attention parameters (millions)", "validation - training loss (nats)")


@mpl.rc_context(STYLE)
def accuracy_against(table: pd.DataFrame, cost: str = "parameters") -> Figure:
    """Test accuracy with its 95 % interval against `parameters` or `flops`, from such a table.

    The row that validation would choose is named; a star is that of the table.
    """
    labels = {"parameters": "parameters (millions)", "flops": "GFLOP a clip"}
    if cost not in labels:
        raise ValueError(f"cost={cost!r}: expected one of {', '.join(labels)}")
    table = table.dropna(subset=["accuracy", "cnn_parameters"])  # runs averaged are no model of so many parameters
    table = _marked(table)
    if cost == "parameters":
        x = (table.cnn_parameters + table.attention_parameters) / 1e6
    else:
        x = table.flops / 1e9
    points = table.assign(
        x=x,
        y=100 * table.accuracy,
        # Never below zero by a rounding error, which matplotlib refuses.
        low=100 * (table.accuracy - table.accuracy_low).clip(lower=0),
        high=100 * (table.accuracy_high - table.accuracy).clip(lower=0),
    )
    return _points(points, labels[cost], "test accuracy (%), 95 % interval")


@mpl.rc_context(STYLE)
def learning_curve(table: pd.DataFrame) -> Figure:
    """Test accuracy with its 95 % interval against the number of source videos, a line an arm.

    `table` is the CSV of `hmdb_lib.studies.learning_curve.learning_curve`; points without a finished run are left out.
    """
    return _lines(table.dropna(subset=["accuracy"]), "arm", "sources", "source videos in training")


@mpl.rc_context(STYLE)
def accuracy_by_frames(table: pd.DataFrame) -> Figure:
    """Test accuracy with its 95 % interval against the frames of a clip, from `hmdb_lib.studies.clip_length`.

    With columns shortest and longest, a line for each part of the videos. The length `all` stands at the right end.
    """
    table = table.assign(frames=table.frames.astype(str))
    if "longest" in table:
        table["part"] = [
            f"videos of {low} to {high} frames" for low, high in zip(table.shortest, table.longest, strict=True)
        ]
    else:
        table["part"] = "all videos"
    return _lines(table, "part", "frames", "frames of a clip")


@mpl.rc_context(STYLE)
def rates(epochs: Any, values: Any) -> Figure:
    """Draw the learning rate over the epochs, a value a step."""
    figure = Figure(figsize=(PAGE, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(epochs, values, color=COLOURS[0])
    axes.set(xlabel="epoch, from 0", ylabel="learning rate", ylim=(0, None))
    return figure


def save(figure: Figure, path: Path, endings: Sequence[str] = ("png",)) -> list[Path]:
    """Write a figure beside one path, one file an ending (png, svg, pdf)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f"{path.name}.{ending}") for ending in endings]
    for file in files:
        figure.savefig(file)
    return files


def _curves(axes: Any, metrics: pd.DataFrame, measure: str, part: str, line: str, **look: Any) -> None:
    column = f"{part}_video_{measure}"
    table = metrics.reindex(columns=["epoch", column])
    axes.plot(table.epoch, table[column], **(look | {"linestyle": line}), **_thin(table))
    axes.set(xlabel="epoch, from 0", ylabel="plain cross entropy (nats)" if measure == "loss" else "accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if measure != "loss":
        axes.set_ylim(0, 1.02)


def _points(points: pd.DataFrame, x: str, y: str) -> Figure:
    figure = Figure(figsize=(COLUMN, 2.6 + 0.08 * len(points)), layout="constrained")
    axes = figure.subplots()
    for name, point, look in _looks(dict(points.iterrows())):
        look |= {"label": name, "linestyle": ""}
        errors = [[point.low], [point.high]] if "low" in point else None
        axes.errorbar(point.x, point.y, errors, capsize=2, elinewidth=0.8, **look)
    axes.set(xlabel=x, ylabel=y, title=STAR * any("*" in name for name in points.index))
    axes.margins(0.1)
    _legend(figure)
    return figure


def _lines(table: pd.DataFrame, kind: str, x: str, label: str) -> Figure:
    """Draw a line of accuracies with their intervals for each `kind`; the places of x are evenly spaced, numbers in their order."""
    table = table.sort_values(x, key=lambda values: pd.to_numeric(values, errors="coerce"), kind="stable")  # words last
    places = {value: place for place, value in enumerate(dict.fromkeys(table[x]))}
    figure = Figure(figsize=(COLUMN, 2.6 + 0.08 * len(set(table[kind]))), layout="constrained")
    axes = figure.subplots()
    parts = dict(list(table.groupby(kind, sort=False)))
    for number, (name, part, look) in enumerate(_looks(parts)):
        # Beside each other, so that intervals can be read.
        shifted = part[x].map(places) + 0.06 * (number - (len(parts) - 1) / 2)
        errors = [(part.accuracy - part.accuracy_low).clip(lower=0), (part.accuracy_high - part.accuracy).clip(lower=0)]
        axes.errorbar(shifted, 100 * part.accuracy, [100 * error for error in errors], label=name, capsize=2, **look)
    axes.set_xticks(list(places.values()), [str(value) for value in places])
    axes.set(xlabel=label, ylabel="test accuracy (%), 95 % interval")
    _legend(figure)
    return figure


def _marked(table: pd.DataFrame) -> pd.DataFrame:
    """Name the rows as the table does; one of an older release says nothing of them."""
    return table.set_axis(marked(table)) if "best_on_validation" in table else table


def _on_test(metrics: pd.DataFrame) -> bool:
    return metrics.attrs.get("part") == "test"


def _starred(metrics: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {f"{name}{'*' * _on_test(table)}": table for name, table in metrics.items()}


def _looks(named: Mapping[Any, Any]) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Each thing with its own colour and marker: the marker alone tells them apart in grey."""
    for number, (name, thing) in enumerate(named.items()):
        yield name, thing, {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def _thin(table: pd.DataFrame) -> dict[str, Any]:
    """Put a marker on about ten epochs of a long run."""
    return {"markevery": max(1, len(table) // 10)}


def _legend(figure: Figure) -> None:
    """Put the legend below, as many columns as the names leave room for."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        letters = figure.get_figwidth() * 72 / (0.55 * mpl.rcParams["legend.fontsize"])
        columns = max(1, min(3, int(letters / (max(map(len, labels)) + 6))))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)
