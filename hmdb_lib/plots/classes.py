"""Figures of single classes and confidences, from a run's predictions.csv alone."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from hmdb_lib.plots.curves import COLOURS, COLUMN, PAGE, STYLE
from hmdb_lib.results.metrics import KEYS, calibration_error, classes_of, confusion_counts, correct, read_only
from hmdb_lib.results.statistics import Comparison, accuracy_interval, compare


@mpl.rc_context(STYLE)
def confusion(predictions: pd.DataFrame) -> Figure:
    """Draw the confusion matrix: shares of each true class (row), with the counts where they can be read.

    Videos that could not be read are left out.
    """
    counts = confusion_counts(predictions)
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    few = len(counts) <= 12
    size = COLUMN if few else PAGE
    figure = Figure(figsize=(size, 0.92 * size), layout="constrained")
    axes = figure.subplots()
    sns.heatmap(
        shares,
        ax=axes,
        norm=PowerNorm(0.5, 0, 1),  # so that a confusion of a few per cent can be seen
        cmap="Greys",
        annot=counts if few else None,
        fmt="d",
        square=True,
        linewidths=0.2,
        linecolor="0.85",
        xticklabels=True,
        yticklabels=True,
        cbar_kws={"label": "share of the true class", "shrink": 0.6},
    )
    axes.tick_params(labelsize=7 if few else 6, length=0)
    axes.tick_params(axis="x", rotation=90)
    axes.tick_params(axis="y", rotation=0)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


@mpl.rc_context(STYLE)
def class_change(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str], most: int = 20) -> Figure:
    """Draw the difference of two runs' accuracies, class by class, with 95 % intervals.

    The `most` classes with the largest changes are shown, on the videos that both judged. Classes of fewer than four
    sources have no interval.
    """
    changes = {
        label: compare(group, second[second.label == label], partial=True)
        for label, group in first.groupby("label")
        if group.video.isin(second.video).any()
    }
    table = pd.DataFrame.from_dict(changes, orient="index", columns=list(Comparison._fields), dtype=float)
    shown = table.loc[table.difference.abs().sort_values(kind="stable").index[-most:]].sort_values("difference") * 100
    figure = Figure(figsize=(COLUMN, 0.9 + 0.15 * len(shown)), layout="constrained")
    axes = figure.subplots()
    places, gain = np.arange(len(shown)), shown.difference >= 0
    for part, colour, hatch in ((gain, COLOURS[0], ""), (~gain, COLOURS[1], "////")):
        axes.barh(places[part], shown.difference[part], color=colour, hatch=hatch, edgecolor="white", zorder=2)
    errors = shown[["low", "high"]].sub(shown.difference, axis=0).abs().to_numpy().T
    axes.errorbar(shown.difference, places, xerr=errors, fmt="none", color="black", elinewidth=0.8, capsize=2)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(places, shown.index)
    axes.set(xlabel="points, 95 % interval")
    axes.margins(y=0.02)
    figure.suptitle(f"{names[0]} minus {names[1]}\n{len(shown)} of {len(table)} classes")
    return figure


@mpl.rc_context(STYLE)
def reliability(predictions: pd.DataFrame, bins: int = 15) -> Figure:
    """Draw accuracy against confidence, in equal bins with 95 % intervals, and the number of videos in each bin.

    Of several runs that judged the same videos each judgement counts, and the axis says so: one run is not as sure as
    the mean of several.

    Points below the diagonal are over-confident; hollow ones are of fewer than four sources, too few for an interval.
    Videos that could not be read are left out. The error in the title is the expected calibration error of these bins
    (arXiv 1706.04599).
    """
    predictions, classes = read_only(predictions), classes_of(predictions)
    probabilities = predictions[classes].to_numpy(float)
    confidence = pd.Series(probabilities.max(1), predictions.index)
    numbers = (confidence * bins).astype(int).clip(upper=bins - 1)
    figure = Figure(figsize=(COLUMN, 3.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], "--", color="0.5", linewidth=1, label="accuracy equals confidence")
    upper.plot([], [], "o", color=COLOURS[0], mfc="white", label="no interval: fewer than four sources")
    for number in sorted(set(numbers)):
        group = predictions[numbers == number]
        found = accuracy_interval(group)
        errors = np.clip([[found.value - found.low], [found.high - found.value]], 0, None)
        fill = "white" if np.isnan(found.low) else COLOURS[0]
        at = confidence[group.index].mean()
        upper.errorbar(at, found.value, errors, color=COLOURS[0], marker="o", mfc=fill, capsize=2)
        lower.bar((number + 0.5) / bins, len(group), width=0.9 / bins, color=COLOURS[0])
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    lower.set(xlabel="confidence", ylabel="videos" if predictions.video.is_unique else "judgements")
    figure.legend(loc="outside lower center")
    if len(predictions):
        labels = predictions.label.map({name: number for number, name in enumerate(classes)}).to_numpy()
        upper.set_title(
            f"accuracy {correct(predictions).mean():.2f}, mean confidence {confidence.mean():.2f},\n"
            f"calibration error {calibration_error(probabilities, labels, bins):.2f}",
            loc="left",
        )
    return figure


@mpl.rc_context(STYLE)
def sources_by_part(videos: pd.DataFrame) -> Figure:
    """Draw the clips of each part as a bar, a colour a source; hatched: sources that lie in more than one part.

    `videos` has the columns role and group.
    """
    figure = Figure(figsize=(PAGE, 1.8), layout="constrained")
    axes = figure.subplots()
    names = sorted(videos.group.unique())
    colours = dict(zip(names, sns.husl_palette(len(names)), strict=True))
    torn = videos.groupby("group").role.nunique() > 1
    parts = [part for part in ("train", "validation", "test") if part in set(videos.role)]
    for place, part in enumerate(parts):
        counts = videos[videos.role == part].groupby("group").size()
        starts = counts.cumsum() - counts
        for of, hatch in ((torn[counts.index], "////"), (~torn[counts.index], "")):
            look = {"color": [colours[name] for name in counts.index[of]], "hatch": hatch, "edgecolor": "white"}
            axes.barh(place, counts[of], left=starts[of], **look)
    axes.set_yticks(range(len(parts)), parts)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlabel("clips")
    axes.set_title(f"{len(names)} sources, {int(torn.sum())} of them in more than one part (hatched)", loc="left")
    return figure


@mpl.rc_context(STYLE)
def video_prediction(prediction: pd.Series, most: int = 5) -> Figure:
    """Draw the most probable classes of one video (a row of predictions.csv), and the true one at any rank.

    The true class is dark and plain, every other one light and hatched.
    """
    probabilities = prediction.drop(KEYS).astype(float).sort_values(ascending=False, kind="stable")
    rank = list(probabilities.index).index(prediction.label)
    shown = probabilities[(np.arange(len(probabilities)) < most) | (probabilities.index == prediction.label)]
    figure = Figure(figsize=(COLUMN, 0.8 + 0.22 * len(shown)), layout="constrained")
    axes = figure.subplots()
    places, true = np.arange(len(shown)), shown.index == prediction.label
    for part, colour, hatch in ((true, COLOURS[0], ""), (~true, COLOURS[1], "////")):
        axes.barh(places[part], shown[part], color=colour, hatch=hatch, edgecolor="white")
    for place, value in zip(places, shown, strict=True):
        axes.annotate(f"{value:.2f}", (value, place), (2, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(places, shown.index)
    axes.set(xlabel="probability", xlim=(0, 1.12), ylim=(len(shown) - 0.5, -0.5))
    axes.grid(False, axis="y")
    figure.suptitle(f"{prediction.video}\n{prediction.label}: rank {rank + 1} of {len(probabilities)}")
    return figure


@mpl.rc_context(STYLE)
def along_time(table: pd.DataFrame) -> Figure:
    """Draw probabilities of classes along a video: columns start, end (seconds), then the classes.

    One panel a class, over the seconds; of a single window a bar a class.
    """
    names = table.columns[2:]
    weights = table.end - table.start
    means = pd.Series({name: np.average(table[name], weights=weights) for name in names})
    if len(table) == 1:
        figure = Figure(figsize=(PAGE, 0.6 + 0.22 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(names)), means, color=COLOURS[0])
        axes.set_yticks(range(len(names)), [f"{name} {value:.2f}" for name, value in means.items()])
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xlabel=f"probability, over all {table.end.iloc[0]:.1f} s")
        return figure
    figure = Figure(figsize=(PAGE, 0.6 + 0.45 * len(names)), layout="constrained")
    panels = np.ravel(figure.subplots(len(names), 1, sharex=True, sharey=True, squeeze=False))
    highest = max(0.1, float(table[names].to_numpy().max()))
    for number, (axes, name) in enumerate(zip(panels, names, strict=True)):
        axes.bar(table.start, table[name], weights, align="edge", color=COLOURS[number % 10], edgecolor="white")
        axes.set(ylim=(0, 1.05 * highest), yticks=(0, round(highest, 2)))
        axes.set_ylabel(f"{name}\n{means[name]:.2f}", rotation=0, ha="right", va="center")
    panels[0].set_title("probability; beside the names its mean over the video", loc="left")
    panels[-1].set_xlabel("seconds")
    return figure
