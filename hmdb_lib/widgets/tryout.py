"""Try a trained model in a notebook on an uploaded video, or on the webcam while it runs."""

import html
import tempfile
from pathlib import Path

import ipywidgets
import numpy as np

from hmdb_lib.data.video import Size, read_frames, scan, write_video
from hmdb_lib.errors import UserError
from hmdb_lib.inference.classifier import Classifier
from hmdb_lib.plots.classes import along_time
from hmdb_lib.plots.pages import film
from hmdb_lib.widgets.camera import Camera
from hmdb_lib.widgets.views import Look, Shown, View, interactive, live, to_html


def try_out(classifier: Classifier, video: Path | str) -> Shown:
    """Buttons for an upload and for the webcam over what `look` gives for the newest video, at first for `video`.

    The webcam's answers run on until it is stopped; then its last clip is the newest video.
    """
    video = Path(video)
    if not live():
        return interactive(lambda: look(classifier, video))
    upload = ipywidgets.FileUpload(accept="video/*", description="upload a video")
    upload.layout.width = "auto"
    rule, data = classifier.rule, classifier.trained.config.data
    seconds = rule.seconds(fps=30)
    view = View([upload])

    def show(file: Path, name: str) -> None:
        view.show(f"<p>judging {html.escape(name)} ...</p>")
        try:
            view.show(f"<p>{html.escape(name)}</p>{to_html(look(classifier, file))}")
        except UserError as error:
            view.show(html.escape(str(error).replace(str(file), name)))

    def uploaded(change: dict) -> None:
        if change["new"]:
            newest = change["new"][0]
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / f"video{Path(newest['name']).suffix}"
                file.write_bytes(newest["content"])
                show(file, newest["name"])

    def stopped(clip: np.ndarray) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_video(Path(folder) / "webcam.avi", clip, len(clip) / seconds)
            show(Path(folder) / "webcam.avi", "the webcam's last clip")

    upload.observe(uploaded, "value")
    camera = Camera(
        classifier.answer, stopped, frames=rule.frames, seconds=seconds, size=(data.resize[0], data.resize[1])
    )
    view.children = [upload, camera, view.picture]
    show(video, video.name)
    return view


def look(classifier: Classifier, video: Path, frames: int = 32) -> Look:
    """Show the video as a film, what the model is worth, its five most probable classes, and where it looks.

    Where it looks: in the middle clip, attention rollout for the head perceiver, Grad-CAM for another. Raises
    UserError.
    """
    (predicted,) = classifier.predict(video, window=2.0).videos
    timeline = scan(video)
    shown = np.linspace(0, timeline.frames - 1, min(frames, timeline.frames)).astype(int)
    return [
        film(read_frames(video, shown, Size.of(classifier.trained.config.data)), timeline.times[shown]),
        f"<p>{html.escape(classifier.trained.worth)}</p>",
        along_time(predicted.along()),
        classifier.attention(video),
    ]
