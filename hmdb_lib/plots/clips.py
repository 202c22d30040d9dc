"""Figures of frames: clips beside each other, before and after augmentation, and under a model's attention."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from hmdb_lib.plots.curves import COLOURS, PAGE, STYLE

HEAT = "magma"


@mpl.rc_context(STYLE)
def contact_sheet(clips: Mapping[str, np.ndarray]) -> Figure:
    """Draw clips as strips of pictures, one a row beside its name; each uint8 T H W C, all of one length and shape."""
    frames, height, width = next(iter(clips.values())).shape[:3]
    figure = Figure(figsize=(PAGE, PAGE / frames * height / width * len(clips)), layout="compressed")
    for axes, (name, clip) in zip(np.ravel(figure.subplots(len(clips), 1)), clips.items(), strict=True):
        _strip(axes, clip)
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


@mpl.rc_context(STYLE)
def attention_overlay(
    clip: np.ndarray, maps: np.ndarray, most: int = 8, times: Sequence[float] | np.ndarray = ()
) -> Figure:
    """Draw attention over a clip: the frames above; below, the same in grey under the heat, brighter for more.

    Places of little attention stay grey. One scale, beside the frames, holds for all of them.

    Args:
        clip: uint8 T H W C; at most `most` evenly spread frames are shown.
        maps: T' H' W', as `attention_maps` of a model gives it for one clip and one latent (or a mean over latents),
            laid over all of the frame and the clip.
        most: frames shown.
        times: seconds in the video at which the frames are shown (T,); without them the frames are numbered.

    """
    clip, maps = np.asarray(clip), np.asarray(maps, dtype=float)
    if clip.ndim != 4 or maps.ndim != 3:
        raise ValueError(f"clip {clip.shape}, maps {maps.shape}: expected T H W C and T' H' W'")
    shown = _spread(len(clip), most)
    slots = shown * len(maps) // len(clip)
    height, width = clip.shape[1:3]
    size = (PAGE, 2 * (PAGE - 0.7) / len(shown) * height / width + 0.35)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(2, len(shown), squeeze=False)
    highest = max(maps.max(), np.finfo(float).tiny)
    for above, below, frame, slot in zip(*panels, shown, slots, strict=True):
        above.imshow(clip[frame])
        above.set_title(f"{times[frame]:.2f} s" if len(times) else f"frame {frame}")
        below.imshow(clip[frame].mean(-1), cmap="gray", vmin=0, vmax=255)
        edges = (-0.5, width - 0.5, height - 0.5, -0.5)
        heat = below.imshow(
            maps[slot] / highest,
            extent=edges,
            interpolation="bilinear",
            cmap=HEAT,
            vmin=0,
            vmax=1,
            alpha=_opacity(maps[slot] / highest),
        )
        _bare(above)
        _bare(below)
    bar = figure.colorbar(heat, ax=panels, shrink=0.8, ticks=[0, 1], aspect=15)
    bar.set_ticklabels(["least", "most"])
    return figure


@mpl.rc_context(STYLE)
def attention_moment(clip: np.ndarray, maps: np.ndarray, times: np.ndarray, frame: int) -> Figure:
    """Draw one frame of a clip beside itself under the attention, and below how much of it each frame gets.

    `clip` uint8 T H W C, `maps` T H W and `times` (T,) in seconds. One scale holds for all frames.
    """
    figure = Figure(figsize=(PAGE, 0.5 * PAGE * clip.shape[1] / clip.shape[2] + 1.5), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(3, 1))
    above.imshow(overlay_frames(clip, maps)[frame])
    above.set_title(f"{times[frame]:.2f} s; brighter: read more", loc="left")
    _bare(above)
    shares = maps.sum((1, 2)) / max(maps.sum(), np.finfo(float).tiny)
    chosen = np.arange(len(clip)) == frame
    below.bar(range(len(clip)), shares, color=np.where(chosen, COLOURS[1], COLOURS[0]))
    below.axhline(1 / len(clip), color="black", linewidth=0.8, linestyle=":")
    below.set(xlabel="frame of the clip", ylabel="share read", xticks=range(len(clip)))
    return figure


@mpl.rc_context(STYLE)
def latent_sheet(maps: np.ndarray, most: int = 6) -> Figure:
    """Draw where each latent looks, a column a latent and a line a time slot, in multiples of an even weight.

    Args:
        maps: N T' H' W', each latent's weights over all places, as `attention_maps` of a model gives them for a clip.
        most: latents shown, from the first on.

    """
    maps = np.asarray(maps, dtype=float)
    if maps.ndim != 4:
        raise ValueError(f"maps {maps.shape}: expected N T' H' W'")
    shares = maps[:most] * maps[0].size / maps[:most].sum((1, 2, 3), keepdims=True)
    across, slots = shares.shape[:2]
    figure = Figure(figsize=(PAGE, 0.4 + 0.95 * slots), layout="constrained")
    panels = figure.subplots(slots, across, squeeze=False)
    for (slot, latent), axes in np.ndenumerate(panels):
        heat = axes.imshow(shares[latent, slot], cmap=HEAT, vmin=0, vmax=max(2.0, shares.max()))
        _bare(axes)
        axes.set_title(f"latent {latent}" if slot == 0 else "")
        axes.set_ylabel(f"slot {slot}" if latent == 0 else "")
    figure.colorbar(heat, ax=panels, label="1: even weight")
    return figure


def _opacity(heat: np.ndarray) -> np.ndarray:
    """Opacity of the heat, 0..1: the square root lets a half of the most be seen, and nothing of the least."""
    return 0.85 * np.sqrt(heat)


def overlay_frames(clip: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Draw attention into frames: a clip uint8 T H W C beside itself in grey under maps T H W; returns uint8 T H 2W C."""
    share = maps / max(maps.max(), np.finfo(float).tiny)
    heat, opacity = mpl.colormaps[HEAT](share)[..., :3] * 255, _opacity(share)[..., None]  # T H W C, T H W 1
    below = (1 - opacity) * clip.mean(-1, keepdims=True) + opacity * heat
    return np.concatenate([clip, below.round().astype(np.uint8)], axis=2)


def write_on(frame: np.ndarray, lines: Sequence[tuple[str, float]]) -> np.ndarray:
    """Write lines onto a frame, uint8 H W C, each over a bar that is so much of the frame's width."""
    image, height = Image.fromarray(frame), max(12, len(frame) // 14)
    draw, font = ImageDraw.Draw(image, "RGBA"), ImageFont.truetype(findfont("DejaVu Sans"), 0.75 * height)
    for number, (text, share) in enumerate(lines):
        top = number * height
        draw.rectangle((0, top, share * image.width, top + height - 2), fill=(0, 90, 180, 160))
        draw.text((4, top), text, "white", font, stroke_width=1, stroke_fill="black")
    return np.asarray(image)


@mpl.rc_context(STYLE)
def batch_before_after(before: np.ndarray, after: np.ndarray, most: int = 4, frames: int = 4) -> Figure:
    """Draw the clips of a batch as read (left) and as the model gets them (right), one a row.

    Args:
        before: uint8 B T H W C.
        after: the same clips as float B C T H W, normalised; each channel is stretched from its darkest to its
            brightest value in the batch, since normalised numbers are no colours.
        most: clips shown, from the first on.
        frames: evenly spread frames shown of each.

    """
    before, after = np.asarray(before)[:most], np.asarray(after, dtype=float)[:most]
    if before.ndim != 5 or after.ndim != 5 or len(before) != len(after):
        raise ValueError(f"before {before.shape}, after {after.shape}: expected B T H W C and B C T H W of equal B")
    after = np.moveaxis(after, 1, -1)
    low, high = after.min(axis=(0, 1, 2, 3)), after.max(axis=(0, 1, 2, 3))
    after = (after - low) / np.maximum(high - low, 1e-9)
    height, width = before.shape[2:4]
    size = (PAGE, PAGE / 2 / frames * height / width * len(before) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    for row, clips in zip(figure.subplots(len(before), 2, squeeze=False), zip(before, after, strict=True), strict=True):
        for axes, clip in zip(row, clips, strict=True):
            _strip(axes, clip[_spread(len(clip), frames)])
    figure.axes[0].set_title("as read")
    figure.axes[1].set_title("as the model gets them")
    return figure


def _spread(length: int, most: int) -> np.ndarray:
    return np.linspace(0, length - 1, min(length, most)).round().astype(int)


def _strip(axes: Axes, clip: np.ndarray) -> None:
    axes.imshow(np.concatenate(list(clip), axis=1))  # H, T W, C
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(False)
