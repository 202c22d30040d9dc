"""A trained model tried on one's own video: uploaded, recorded, or given."""

import io
from base64 import b64encode
from datetime import datetime

import numpy as np
import pytest
from helpers.finished_run import write_finished_run
from IPython.display import HTML
from matplotlib.figure import Figure
from PIL import Image

from hmdb_lib.inference.classifier import Classifier
from hmdb_lib.widgets import tryout


@pytest.fixture(scope="module")
def classifier(hybrid_run):
    return Classifier.load(hybrid_run.folder, "cpu", "fp32")


@pytest.fixture
def view(classifier, tiny_videos, monkeypatch):
    monkeypatch.setattr(tryout, "live", lambda: True)
    return tryout.try_out(classifier, tiny_videos / "dark" / "1.avi")


@pytest.fixture(scope="module")
def baseline(tiny_experiment, tmp_path_factory):
    run = write_finished_run(tiny_experiment(model__blocks=1), tmp_path_factory.mktemp("baseline") / "run")
    return Classifier.load(run.folder, "cpu", "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["classifier", "baseline"])
def test_a_look_is_the_classes_over_time_and_the_attention_over_the_frames(tiny_videos, request, model):
    classifier = request.getfixturevalue(model)
    film, worth, classes, attention = tryout.look(classifier, tiny_videos / "dark" / "1.avi")
    assert "data:image/gif" in film
    assert "guessing names 50.0 %" in worth
    assert [label.get_text().split()[0] for label in classes.axes[0].get_yticklabels()] == list(
        classifier.predict(tiny_videos / "dark" / "1.avi").videos[0].top(2)
    )
    assert isinstance(attention, Figure)


@pytest.mark.slow
def test_an_uploaded_video_is_shown_under_its_own_name(view, tiny_videos):
    upload, _, picture = view.children
    content = (tiny_videos / "bright" / "0.avi").read_bytes()
    file = {"name": "mine.avi", "type": "video/avi", "size": len(content), "content": content}
    upload.value = (file | {"last_modified": datetime.now()},)
    assert picture.value.startswith("<p>mine.avi</p>")
    assert picture.value.count("data:image/png") == 2
    assert "data:image/gif" in picture.value


@pytest.fixture
def seen(view, monkeypatch):
    """A function that sends a message as the browser does, frames as JPEGs in base 64; it returns what is answered."""
    camera, told = view.children[1], []
    monkeypatch.setattr(camera, "send", told.append)

    def send(kind, frames=()):
        files = [io.BytesIO() for _ in frames]
        for frame, file in zip(frames, files, strict=True):
            Image.fromarray(frame).save(file, "jpeg")
        camera._handle_custom_msg({"kind": kind, "frames": [b64encode(file.getvalue()).decode() for file in files]}, [])
        return told

    return send


CLIP = np.full((8, 66, 88, 3), 200, np.uint8)


@pytest.mark.slow
def test_the_webcams_clips_are_answered_one_after_the_other(seen):
    seen("clip", CLIP)
    lines = seen("clip", CLIP // 4)[1]["lines"]
    assert len(lines) == 2
    assert sum(share for _, share in lines) == pytest.approx(1)
    assert lines[0][0].split()[0] in ("bright", "dark")


@pytest.mark.slow
def test_an_answer_below_what_validation_asks_for_is_none_of_the_classes(seen, classifier, monkeypatch):
    monkeypatch.setitem(classifier.trained.facts, "best_epoch", {"val_video_right_confidence": 0.9})
    (answer,) = seen("clip", CLIP)
    assert answer["lines"][0] == ("none of these", 0.0)
    assert "19 of 20 have a probability of 0.90 or more" in classifier.trained.worth


@pytest.mark.slow
def test_the_webcams_last_clip_is_shown_when_it_stops(seen, view):
    seen("clip", CLIP)
    seen("stop")
    assert view.picture.value.startswith("<p>the webcam&#x27;s last clip</p>")
    assert "data:image/gif" in view.picture.value


@pytest.mark.slow
def test_a_webcam_that_is_stopped_at_once_changes_nothing(seen, view):
    before = view.picture.value
    seen("stop")
    assert view.picture.value == before


@pytest.mark.slow
def test_a_file_that_is_no_video_is_told_in_the_pictures_place(view):
    upload, _, picture = view.children
    file = {"name": "mine.avi", "type": "video/avi", "size": 4, "content": b"text", "last_modified": datetime.now()}
    upload.value = (file,)
    assert picture.value.startswith("mine.avi: ")
    assert "<img" not in picture.value


@pytest.mark.slow
def test_without_widgets_the_given_video_is_shown(classifier, tiny_videos):
    still = tryout.try_out(classifier, tiny_videos / "dark" / "1.avi")
    assert isinstance(still, HTML)
    assert "data:image/png" in still.data
