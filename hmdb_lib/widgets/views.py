"""Views for notebooks where moving something teaches; where nothing can be moved, the same call shows a still picture.

Widgets are shown inside a Jupyter kernel. Plain Python, and HMDB_WIDGETS=off in the environment (set it where a
notebook is run and nobody looks, as papermill and nbconvert do: a kernel cannot tell), give the still picture.
"""

import base64
import html
import io
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
import pandas as pd
from IPython import get_ipython
from IPython.display import HTML
from matplotlib.figure import Figure
from PIL import Image

from hmdb_lib.config import Config
from hmdb_lib.environment import place
from hmdb_lib.errors import UserError
from hmdb_lib.plots.classes import video_prediction
from hmdb_lib.plots.clips import batch_before_after, contact_sheet
from hmdb_lib.plots.curves import compare_curves, overfitting_gap
from hmdb_lib.results.metrics import read_only
from hmdb_lib.results.runs import Run, list_runs

if TYPE_CHECKING:
    from hmdb_lib.data.loader import ClipData

Look = Figure | pd.DataFrame | str | Sequence[Figure | pd.DataFrame | str]  # a str is HTML
View = ipywidgets.Widget | HTML

DPI = 110


def live() -> bool:
    """Tell whether widgets are shown, by the rule at the top of this file."""
    return os.environ.get("HMDB_WIDGETS") != "off" and hasattr(get_ipython(), "kernel")


def interactive(make: Callable[..., Look], **controls: Any) -> View:
    """Show controls and what `make` gives for their values, by name, redrawn after every change.

    A UserError is shown in the picture's place. Without widgets, what `make` gives for the first values.
    """

    def draw() -> str:
        try:
            return to_html(make(**{name: control.value for name, control in controls.items()}))
        except UserError as error:
            return html.escape(str(error))

    if not live():
        return HTML(draw())
    # One HTML widget for figures and tables alike: unlike an Output its value is there without a browser, and is
    # replaced at once, without a flicker.
    picture = ipywidgets.HTML(draw())

    def redraw(change: Any) -> None:
        picture.value = draw()

    for control in controls.values():
        control.observe(redraw, "value")
    return ipywidgets.VBox([*controls.values(), picture])


def to_html(look: Look) -> str:
    """Figures as embedded PNGs, tables with thousands apart; several below each other."""
    if isinstance(look, str):
        return look
    if isinstance(look, Figure):
        file = io.BytesIO()
        look.savefig(file, format="png", dpi=DPI)
        return _embedded(file, "png")
    if isinstance(look, pd.DataFrame):
        return look.style.format(precision=0, thousands=" ", na_rep="").to_html()
    return "<br>".join(map(to_html, look))


def clip_browser(data: "ClipData") -> View:
    """Show a window of any video of the data set: its frames in a strip, and as a film at any speed."""
    table = pd.concat(data.tables.values()).sort_values("path")
    label, video = _menus(dict(list(table.groupby("label").path)))

    if not live():
        return interactive(partial(clip_figure, data, video.value, 0.0, 2.0))

    def look(video: str, start: float, seconds: float, speed: float) -> Look:
        return [clip_film(data, video, start, seconds, speed), clip_figure(data, video, start, seconds)]

    controls = {
        "start": _slider("start (s)", 0.0, 10.0, 0.0, 0.1),
        "seconds": _slider("length (s)", 0.2, 4.0, 2.0, 0.1),
        "speed": _slider("speed", 0.25, 4.0, 1.0, 0.25),
    }

    def fit(change: Any) -> None:
        with suppress(UserError):  # which the picture tells
            controls["start"].max = round(data.source.timeline(video.value).duration, 1)

    fit(None)
    video.observe(fit, "value")
    return ipywidgets.VBox([label, interactive(look, video=video, **controls)])


def clip_figure(data: "ClipData", video: str, start: float, seconds: float, frames: int = 8) -> Figure:
    """Draw a strip of evenly spread frames of a window of a video, a path of the data's tables.

    A window that begins behind the video's end is moved to its last frame. Raises VideoError.
    """
    clip, moments = _read_window(data, video, start, seconds, frames)
    figure = contact_sheet({"": clip})
    figure.set_figheight(figure.get_figheight() + 0.3)
    duration = data.source.timeline(video).duration
    figure.suptitle(f"{video}: {moments[0]:.2f} to {moments[-1]:.2f} s of {duration:.2f} s", size=8)
    return figure


def class_sheet(data: "ClipData", frames: int = 9) -> Figure:
    """Evenly spread frames of the first training clip of each class. Raises VideoError."""
    clips = {}
    for label, path in data.tables["train"].groupby("label").path.first().items():
        length = data.source.timeline(path).frames
        clips[label] = data.source.read(path, np.arange(frames) * length // frames)
    return contact_sheet(clips)


def batch_sheet(data: "ClipData", config: Config) -> Figure:
    """Draw clips of a training batch before and after cropping, flipping and normalizing."""
    from hmdb_lib.data.transforms import random_crop_flip  # noqa: PLC0415 - views of results need no torch

    clips = next(iter(data.train_dataloader()))["clips"]
    cropped = random_crop_flip(clips, config.data.crop, config.data.flip)
    # The figure stretches each channel, so that any mean and deviation give the same picture.
    return batch_before_after(clips.numpy(), cropped.permute(0, 4, 1, 2, 3).numpy())


def clip_film(data: "ClipData", video: str, start: float, seconds: float, speed: float, frames: int = 24) -> str:
    """Make the same window into HTML of a film that loops, `speed` times as fast as life. Raises VideoError."""
    clip, moments = _read_window(data, video, start, seconds, frames)
    first, *others = map(Image.fromarray, clip)
    file = io.BytesIO()
    # Browsers slow down films of less than 20 ms a frame.
    pause = max(20, round(1000 * (moments[-1] - moments[0]) / max(len(clip) - 1, 1) / speed))
    first.save(file, "gif", save_all=True, append_images=others, duration=pause, loop=0)
    return _embedded(file, "gif")


def model_sizer() -> View:
    """Show what the hybrid costs as its parts grow: parameters, FLOPs and tokens."""
    return interactive(
        size_table,
        blocks=_slider("blocks", 1, 8, 8),
        cross=_slider("cross", 0, 6, 1),
        self_layers=_slider("self", 0, 12, 1),
        latents=_slider("latents", 16, 512, 256, 16),
        frames=_slider("frames", 8, 64, 16, 8),
    )


@lru_cache(256)
def size_table(blocks: int, cross: int, self_layers: int, latents: int, frames: int, size: int = 112) -> pd.DataFrame:
    """Parameters, and FLOPs of a clip, by component; the numbers that attention grows with, in total alone.

    For 51 classes and clips of `size` x `size` pixels. Raises UserError for layers that do not go together.
    """
    arguments = {"blocks": blocks, "cross": cross, "self_layers": self_layers, "latents": latents}
    import torch  # noqa: PLC0415 - views of results need no torch

    from hmdb_lib import models  # noqa: PLC0415 - as above
    from hmdb_lib.models import cost  # noqa: PLC0415 - as above

    with torch.device("meta"):
        model = models.build("hybrid", 51, **arguments)
    attention = cost.attention_size("hybrid", arguments, frames, size)
    rows = {
        "parameters": cost.closed_form("hybrid", arguments, 51),
        "FLOPs of a clip": cost.flops(model, frames, size),
        "tokens from the CNN": {"total": attention["tokens"]},
        "query-key pairs": {"total": attention["pairs"]},
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*cost.COMPONENTS, "total"]).astype("Int64")


def run_comparer(results: Path | None = None) -> View:
    """Show the curves of any runs of a results folder (None: this machine's), and how far they overfit."""
    runs = list_runs(results)
    if not runs:
        return HTML(
            html.escape(
                f"no run in {Path(results or place().results) / 'runs'} has an epoch behind it yet: train one first"
            )
        )
    choice = ipywidgets.SelectMultiple(options=list(runs), value=tuple(runs)[:4], rows=min(8, len(runs)))
    choice.layout.width = "100%"
    return interactive(lambda names: comparison_figures({name: runs[name] for name in names}), names=choice)


def comparison_figures(runs: dict[str, Run]) -> list[Figure]:
    """Draw the runs' curves, then their gaps between validation and training."""
    metrics = {name: run.metrics for name, run in runs.items()}
    return [compare_curves(metrics), overfitting_gap(metrics)]


def prediction_viewer(run: Run) -> View:
    """Show a finished run's prediction of each of its test videos."""
    if not run.finished:
        return HTML(html.escape(f"{run.folder}: not finished, so there are no predictions yet"))
    predictions = read_only(run.predictions).set_index("video", drop=False)
    label, video = _menus(dict(list(predictions.groupby("label").video)))
    view = interactive(lambda video: video_prediction(predictions.loc[video]), video=video)
    return ipywidgets.VBox([label, view]) if live() else view


def _read_window(
    data: "ClipData", video: str, start: float, seconds: float, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read frames uint8 T H W C and when they are shown; fewer than `frames` where the window holds fewer."""
    times = data.source.timeline(video).times
    moments = np.linspace(start, start + seconds, frames)
    indices = np.unique(np.searchsorted(times, moments + 1e-6, side="right") - 1)
    return data.source.read(video, indices), times[indices]


def _menus(videos: dict[Any, pd.Series]) -> tuple[Any, Any]:
    """Make a menu of classes and one of the chosen class's videos."""
    label: Any = ipywidgets.Dropdown(description="class", options=list(videos))
    video = ipywidgets.Dropdown(description="video", options=videos[label.value].tolist())

    def fill(change: Any) -> None:
        video.options = videos[label.value].tolist()

    label.observe(fill, "value")
    return label, video


def _slider(name: str, low: float, high: float, value: float, step: float = 1) -> Any:
    """Redraws when it is let go, not on the way."""
    kind = ipywidgets.IntSlider if isinstance(low, int) else ipywidgets.FloatSlider
    return kind(value, min=low, max=high, step=step, description=name, continuous_update=False)


def _embedded(file: io.BytesIO, kind: str) -> str:
    return f'<img src="data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"/>'
