"""Try a trained model in a notebook on an uploaded video, or on one from the webcam."""

import html
import tempfile
from pathlib import Path

import ipywidgets

from hmdb_lib.errors import UserError
from hmdb_lib.inference.classifier import Classifier
from hmdb_lib.plots.classes import along_time
from hmdb_lib.widgets.camera import Camera
from hmdb_lib.widgets.views import Look, View, interactive, live, to_html


def try_out(classifier: Classifier, video: Path | str) -> View:
    """Buttons for an upload and for the webcam over what `look` gives for the newest video, at first for `video`."""
    video = Path(video)
    if not live():
        return interactive(lambda: look(classifier, video))
    upload = ipywidgets.FileUpload(accept="video/*", description="upload a video")
    camera, picture = Camera(), ipywidgets.HTML()

    def show(file: Path, name: str) -> None:
        try:
            picture.value = f"<p>{html.escape(name)}</p>{to_html(look(classifier, file))}"
        except UserError as error:
            picture.value = html.escape(str(error).replace(str(file), name))

    def take(content: bytes, name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"video{Path(name).suffix}"
            file.write_bytes(content)
            show(file, name)

    def uploaded(change: dict) -> None:
        if change["new"]:
            newest = change["new"][0]
            take(bytes(newest["content"]), newest["name"])

    upload.observe(uploaded, "value")
    camera.observe(lambda change: take(change["new"], "webcam.webm"), "file")
    show(video, video.name)
    return ipywidgets.VBox([ipywidgets.HBox([upload, camera]), picture])


def look(classifier: Classifier, video: Path) -> Look:
    """Draw the five most probable classes over time, and where the model looks in the middle clip.

    Attention rollout for the head perceiver, Grad-CAM for another. Raises UserError.
    """
    (predicted,) = classifier.predict(video, window=2.0).videos
    return [along_time(predicted.along()), classifier.attention(video)]
