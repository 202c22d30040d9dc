"""Views for notebooks where moving something teaches; where nothing can be moved, the same call shows a still picture.

A saved notebook keeps the picture beside its widget, which is dead once the kernel is gone.

Widgets are shown inside a Jupyter kernel. Plain Python, and HMDB_WIDGETS=off in the environment (set it where a
notebook is run and nobody looks, as papermill and nbconvert do: a kernel cannot tell), give the still picture.
"""

import html
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
from IPython.display import HTML, display
from matplotlib.figure import Figure

from hmdb_lib.environment import place
from hmdb_lib.errors import UserError
from hmdb_lib.plots.classes import video_prediction
from hmdb_lib.plots.clips import contact_sheet
from hmdb_lib.plots.curves import compare_curves, overfitting_gap
from hmdb_lib.plots.pages import film, picture
from hmdb_lib.results.metrics import classes_of, correct, read_only
from hmdb_lib.results.runs import Run, list_runs

if TYPE_CHECKING:
    from hmdb_lib.data.loader import ClipData

Look = Figure | pd.DataFrame | str | Sequence[Figure | pd.DataFrame | str]  # a str is HTML
Shown = ipywidgets.Widget | HTML

MOST = 8  # runs in one figure, as many as can be told apart
# Where the kernel is gone JupyterLab writes a line of text in the widget's place, just before its copy.
NO_DEAD_WIDGETS = "<style>.jp-OutputArea-child:has(+ * .still) > :last-child:not(:has(*)) { display: none }</style>"


class View(ipywidgets.VBox):
    """Hold controls above a picture, and keep a copy of the picture in the saved notebook.

    The copy is hidden as long as the widget lives.
    """

    def __init__(self, controls: Sequence[ipywidgets.Widget], content: str = "") -> None:
        self.picture, self.copy = ipywidgets.HTML(), None
        super().__init__([*controls, self.picture])
        self.show(content)

    def show(self, content: str) -> None:
        """Show HTML in the picture's place, and in its copy."""
        self.content = content
        # The style of a widget holds for the whole page, and is gone with it.
        self.picture.value = f"{content}<style>.still-{self.model_id} {{ display: none }}</style>"
        if self.copy is not None:
            self.copy.update(self._still(), raw=True)

    def _ipython_display_(self) -> None:
        alive = {"model_id": self.model_id, "version_major": 2, "version_minor": 0}
        display({"application/vnd.jupyter.widget-view+json": alive, "text/plain": ""}, raw=True)
        self.copy = display(self._still(), raw=True, display_id=True)

    def _still(self) -> dict[str, str]:
        return {
            "text/html": f'{NO_DEAD_WIDGETS}<div class="still still-{self.model_id}">{self.content}</div>',
            "text/plain": "",
        }


def live() -> bool:
    """Tell whether widgets are shown, by the rule at the top of this file."""
    return os.environ.get("HMDB_WIDGETS") != "off" and hasattr(get_ipython(), "kernel")


def interactive(make: Callable[..., Look], *above: ipywidgets.Widget, **controls: Any) -> Shown:
    """Show controls and what `make` gives for their values, by name, redrawn after every change.

    A UserError is shown in the picture's place. Without widgets, what `make` gives for the first values. Controls
    `above` the others change these alone.
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
    view = View([*above, *controls.values()], draw())
    for control in controls.values():
        control.observe(lambda change: view.show(draw()), "value")
    return view


def to_html(look: Look) -> str:
    """Figures as embedded PNGs, tables with thousands apart; several below each other."""
    if isinstance(look, str):
        return look
    if isinstance(look, Figure):
        return picture(look)
    if isinstance(look, pd.DataFrame):
        return look.style.format(precision=0, thousands=" ", na_rep="").to_html()
    return "<br>".join(map(to_html, look))


def clip_browser(data: "ClipData") -> Shown:
    """Show a window of any video of the data set: its frames in a strip, and as a film at any speed."""
    table = pd.concat(data.tables.values()).sort_values("path")
    label, video = menus(dict(list(table.groupby("label").path)))

    if not live():
        return interactive(partial(clip_figure, data, video.value, 0.0, 2.0))

    def look(video: str, start: float, seconds: float, speed: float) -> Look:
        return [clip_film(data, video, start, seconds, speed), clip_figure(data, video, start, seconds)]

    controls = {
        "start": slider("start (s)", 0.0, 10.0, 0.0, 0.1),
        "seconds": slider("length (s)", 0.2, 4.0, 2.0, 0.1),
        "speed": slider("speed", 0.25, 4.0, 1.0, 0.25),
    }

    def fit(change: Any) -> None:
        with suppress(UserError):  # which the picture tells
            controls["start"].max = round(data.source.timeline(video.value).duration, 1)

    fit(None)
    video.observe(fit, "value")
    return interactive(look, label, video=video, **controls)


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


def clip_film(data: "ClipData", video: str, start: float, seconds: float, speed: float, frames: int = 24) -> str:
    """Make the same window into HTML of a film that loops, `speed` times as fast as life. Raises VideoError."""
    return film(*_read_window(data, video, start, seconds, frames), speed)


def model_sizer() -> Shown:
    """Show what the hybrid costs as its parts grow: parameters, FLOPs and tokens."""
    return interactive(
        size_table,
        blocks=slider("blocks", 1, 8, 8),
        cross=slider("cross", 0, 6, 1),
        self_layers=slider("self", 0, 12, 1),
        latents=slider("latents", 16, 512, 256, 16),
        frames=slider("frames", 8, 64, 16, 8),
    )


@lru_cache(256)
def size_table(blocks: int, cross: int, self_layers: int, latents: int, frames: int, size: int = 112) -> pd.DataFrame:
    """Parameters, and FLOPs of a clip, by component; the numbers that attention grows with, in total alone.

    For 51 classes and clips of `size` x `size` pixels. Raises UserError for layers that do not go together.
    """
    attention = {"cross": cross, "self_layers": self_layers, "latents": latents}
    import torch  # noqa: PLC0415 - views of results need no torch

    from hmdb_lib import models  # noqa: PLC0415 - as above
    from hmdb_lib.models import cost  # noqa: PLC0415 - as above

    with torch.device("meta"):
        model = models.build(
            "r2plus1d_18", 51, head="perceiver", backbone_options={"blocks": blocks}, head_options=attention
        )
    read = cost.attention_size(model, frames, size)
    rows = {
        "parameters": cost.count(model),
        "FLOPs of a clip": cost.flops(model, frames, size),
        "tokens from the CNN": {"total": read["tokens"]},
        "query-key pairs": {"total": read["pairs"]},
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*cost.COMPONENTS, "total"]).astype("Int64")


def run_comparer(results: Path | None = None) -> Shown:
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
    return interactive(lambda names: comparison({name: runs[name] for name in names}), names=choice)


def comparison(runs: dict[str, Run]) -> Look:
    """Draw the runs' curves, then their gaps between validation and training; of many runs the first ones."""
    if not runs:
        return "choose a run above; several with Ctrl or Shift"
    metrics = {name: run.metrics for name, run in list(runs.items())[:MOST]}
    told = f"the first {MOST} of the {len(runs)} runs that are chosen" if len(runs) > MOST else ""
    return [*filter(None, [told]), compare_curves(metrics), overfitting_gap(metrics)]


def prediction_viewer(run: Run, data: "ClipData | None" = None) -> Shown:
    """Show a finished run's prediction of each of its test videos, wrong ones first, the surest on top.

    With the run's `data` the video plays beside it.
    """
    if not run.finished:
        return HTML(html.escape(f"{run.folder}: not finished, so there are no predictions yet"))
    predictions = read_only(run.predictions).set_index("video", drop=False)
    rows = dict(predictions.iterrows())
    confidence = predictions[classes_of(predictions)].max(axis=1)
    wrong = confidence[~correct(predictions)].sort_values(ascending=False, kind="stable").index.to_series()
    label, video = menus({"wrong, the surest first": wrong} | dict(list(predictions.groupby("label").video)))

    def look(video: str | None) -> Look:
        if video is None:
            return "no video is taken for another class"
        figure = video_prediction(rows[video])
        if data is None:
            return figure
        timeline = data.source.timeline(video)
        return [clip_film(data, video, 0.0, timeline.duration, 1.0, 32), figure]

    return interactive(look, label, video=video)


def _read_window(
    data: "ClipData", video: str, start: float, seconds: float, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read frames uint8 T H W C and when they are shown; fewer than `frames` where the window holds fewer."""
    times = data.source.timeline(video).times
    moments = np.linspace(start, start + seconds, frames)
    indices = np.unique(np.searchsorted(times, moments + 1e-6, side="right") - 1)
    return data.source.read(video, indices), times[indices]


def menus(videos: dict[Any, pd.Series]) -> tuple[Any, Any]:
    """Make a menu of classes and one of the chosen class's videos."""
    videos = {name: paths for name, paths in videos.items() if len(paths)}
    label: Any = ipywidgets.Dropdown(description="class", options=list(videos))
    video = ipywidgets.Dropdown(description="video", options=videos[label.value].tolist())

    def fill(change: Any) -> None:
        video.options = videos[label.value].tolist()

    label.observe(fill, "value")
    return label, video


def slider(name: str, low: float, high: float, value: float, step: float = 1) -> Any:
    """Redraws when it is let go, not on the way."""
    kind = ipywidgets.IntSlider if isinstance(low, int) else ipywidgets.FloatSlider
    return kind(value, min=low, max=high, step=step, description=name, continuous_update=False)
