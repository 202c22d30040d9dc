"""Draw what a model is made of: the way of a clip with its shapes, and what differs between rows of a table."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from hmdb_lib.config import CUT, Config
from hmdb_lib.plots.curves import COLOURS, PAGE, STYLE

BLOCKS = 8  # of a ResNet of 18 layers


@mpl.rc_context(STYLE)
def clip_to_classes(shapes: Mapping[str, Sequence[int]]) -> Figure:
    """Draw the steps from a clip to its classes as boxes, each with the shape that leaves it.

    `shapes`: a step's name, of any lines, to a shape, in order; the first is what goes in.
    """
    figure = Figure(figsize=(PAGE, 1.35), layout="constrained")
    axes = figure.subplots()
    for number, (name, shape) in enumerate(shapes.items()):
        colour = ("0.92", *COLOURS[:1], *[COLOURS[1]] * 9)[number]
        box = FancyBboxPatch((number, 0), 0.74, 0.7, "round,pad=0.03", fc=colour, ec="black", alpha=0.45, lw=0.8)
        axes.add_patch(box)
        axes.text(number + 0.37, 0.35, name, ha="center", va="center", fontsize=7)
        axes.text(number + 0.37, -0.2, " x ".join(map(str, shape)), ha="center", va="center", fontsize=7, weight="bold")
        if number:
            axes.annotate("", (number - 0.02, 0.35), (number - 0.21, 0.35), arrowprops={"arrowstyle": "->", "lw": 0.9})
    axes.set(xlim=(-0.1, len(shapes) - 0.15), ylim=(-0.4, 0.85))
    axes.axis("off")
    return figure


@mpl.rc_context(STYLE)
def rows(configs: Mapping[str, Config]) -> Figure:
    """Draw each row as its parts in their order: blocks of the CNN, cross attentions C, self attentions S, what pools.

    Blocks that are cut off are empty; another backbone or head has its name.
    """
    figure = Figure(figsize=(PAGE, 0.5 + 0.28 * len(configs)), layout="constrained")
    axes = figure.subplots()
    for place, config in enumerate(configs.values()):
        end = _backbone(axes, config, place)
        _head(axes, config, end + 0.6, place)
    axes.set_yticks(range(len(configs)), list(configs))
    axes.set(xlim=(-0.6, 26), ylim=(len(configs) - 0.4, -0.6), xticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.set_title("blue: CNN blocks; C: cross attention; S: self attention; then the classifier", loc="left")
    return figure


def _backbone(axes: Axes, config: Config, place: int) -> float:
    if config.model.backbone not in CUT:
        axes.text(0, place, config.model.backbone, va="center", fontsize=7)
        return 8.0
    for block in range(BLOCKS):
        kept = block < (config.model.blocks or BLOCKS)
        _square(axes, block, place, COLOURS[0] if kept else "white")
    return float(BLOCKS)


def _head(axes: Axes, config: Config, start: float, place: int) -> None:
    end = start
    if config.model.head == "perceiver":
        perceiver = config.perceiver
        groups = perceiver.cross or 1
        for group in range(groups):
            parts = "C" * min(perceiver.cross, 1) + "S" * (perceiver.self_layers // groups)
            for number, letter in enumerate(parts):
                _square(axes, end + number, place, COLOURS[1] if letter == "C" else COLOURS[2], letter)
            end += len(parts) + 0.2 * (group < groups - 1)
    read = "class token" if config.perceiver.self_layers else "mean of the latents"
    pooled = {"perceiver": read, "pool": "average of all places", "bert": "BERT over time"}
    told = [pooled.get(config.model.head, config.model.head)]
    if config.model.head == "perceiver" and config.perceiver.cross:
        told.append(f"{config.perceiver.latents} latents")
    if config.data.frames != 16:
        told.append(f"{config.data.frames} frames")
    axes.text(end + 0.2, place, ", ".join(told), va="center", fontsize=7)


def _square(axes: Axes, x: float, y: float, colour: str, letter: str = "") -> None:
    axes.add_patch(Rectangle((x, y - 0.33), 0.86, 0.66, fc=colour, ec="0.3", lw=0.6, alpha=0.8))
    axes.text(x + 0.43, y + 0.02, letter, ha="center", va="center", fontsize=6.5)
