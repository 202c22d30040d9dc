"""Draw the pictures of the README, of results/README.md and of the notebooks: `uv run python results/figures/draw.py`.

`hmdb figures` draws those of the tables alone. Behind a run of the first command, `draw.py <run>` also draws where its
attention looked.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from hmdb_lib import config, environment
from hmdb_lib.inference.classifier import Classifier
from hmdb_lib.plots import architecture, curves as plots, figures
from hmdb_lib.plots.classes import sources_by_part
from hmdb_lib.results.intervals import interval
from hmdb_lib.results.runs import Run
from hmdb_lib.results.statistics import accuracy_interval
from hmdb_lib.results.tables import pool_runs
from hmdb_lib.training import experiment as training
from hmdb_lib.widgets import views as widgets

FIGURES = Path(__file__).parent
RUNS = FIGURES.parent / "runs"


def main(folder: Path = FIGURES, run: Path | None = None) -> None:
    """`first_run.csv` is the metrics.csv that the README's first command left, `sample_heads.csv` has three heads'."""
    data = training.read_data(config.load(overrides=["data=sample"]), environment.place())
    plots.save(widgets.class_sheet(data, frames=11), folder / "sample_clips")
    videos = pd.concat(data.tables.values(), ignore_index=True)
    dealt = videos.assign(role=np.random.default_rng(0).permutation(videos.role))
    plots.save(sources_by_part(dealt[dealt.label == "catch"]), folder / "sources")
    metrics = pd.read_csv(FIGURES / "first_run.csv")
    plots.save(plots.training_curves(metrics, "cross1_self1", chance=1 / 8), folder / "first_run")
    heads = dict(list(pd.read_csv(FIGURES / "sample_heads.csv").groupby("row", sort=False)))
    plots.save(plots.compare_curves(heads), folder / "sample_heads")
    if run:
        clip = data.folder / "catch" / "Figure12_catch_f_nm_np1_ri_med_2.avi"  # the average takes it for a throw
        plots.save(Classifier.load(run).attention(clip), folder / "attention_over_time")
    plots.save(fifty_intervals(), folder / "intervals")
    plots.save(two_cuts(), folder / "two_cuts")
    plots.save(architecture.clip_to_classes(shapes()), folder / "architecture")
    figures.draw(FIGURES.parent, folder)


def shapes() -> dict[str, tuple[int, ...]]:
    """Run a clip of the size of HMDB51's through the proposed model, without memory for its numbers."""
    with torch.device("meta"):
        model = training.build_model(config.load("cross1_self1", ["data.dataset=hmdb51"])).eval()
        clip = torch.empty(1, 3, 16, 112, 112)
        tokens = model.backbone(clip)
        latents = (model.head.latents.shape[-2], model.head.latents.shape[-1])
        return {
            "clip\nC T H W": clip.shape[1:],
            "CNN\nR(2+1)D-18": tokens.shape[1:],
            "tokens\nM C": (tokens.shape[1:4].numel(), tokens.shape[4]),
            "cross attention\nlatents read": latents,
            "self attention\nbetween latents": latents,
            "class token": latents[1:],
            "classes": model.head(tokens).shape[1:],
        }


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


def two_cuts() -> Figure:
    """Draw the accuracies of the recorded probes on J-HMDB clips, cut by source and cut by clip, with their intervals."""
    figure = Figure(figsize=(7, 2.2), layout="constrained")
    axes = figure.subplots()
    probes = {"logistic": "logistic regression", "neighbours": "nearest neighbours"}
    for cut, name, mark in (("cut_by_source", "sources", "o"), ("random_cut", "clips alone", "s")):
        for place, probe in enumerate(probes):
            runs = sorted((RUNS / f"{cut}-{probe}-frozen").glob("jhmdb_classes-split*"))
            found = accuracy_interval(pool_runs([Run(run) for run in runs]))
            colour = "tab:blue" if mark == "o" else "tab:red"
            label = f"folds keep {name} apart" if place == 0 else None
            axes.hlines(place, found.low, found.high, color=colour, linewidth=3, alpha=0.5)
            axes.scatter(found.value, place, color=colour, marker=mark, label=label, zorder=3)
    axes.set(xlabel="test accuracy, 95 % interval", xlim=(0, 1), ylim=(-0.6, 1.6))
    axes.set_yticks(range(len(probes)), list(probes.values()))
    axes.axvline(1 / 21, color="black", linewidth=1, linestyle=":", label="chance")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


if __name__ == "__main__":
    main(run=Path(sys.argv[1]) if sys.argv[1:] else None)
