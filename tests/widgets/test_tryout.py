"""A trained model tried on one's own video: uploaded, recorded, or given."""

from datetime import datetime

import pytest
from helpers.finished_run import write_finished_run
from IPython.display import HTML
from matplotlib.figure import Figure

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


def test_an_uploaded_video_is_shown_under_its_own_name(view, tiny_videos):
    buttons, picture = view.children
    content = (tiny_videos / "bright" / "0.avi").read_bytes()
    file = {"name": "mine.avi", "type": "video/avi", "size": len(content), "content": content}
    buttons.children[0].value = (file | {"last_modified": datetime.now()},)
    assert picture.value.startswith("<p>mine.avi</p>")
    assert picture.value.count("data:image/png") == 2
    assert "data:image/gif" in picture.value


def test_a_recording_from_the_webcam_is_shown(view, tiny_videos):
    buttons, picture = view.children
    buttons.children[1].set_state(
        {"file": memoryview((tiny_videos / "bright" / "0.avi").read_bytes())}
    )  # as from a browser
    assert picture.value.startswith("<p>webcam.webm</p>")


def test_a_file_that_is_no_video_is_told_in_the_pictures_place(view):
    buttons, picture = view.children
    buttons.children[1].file = b"this is not a video"
    assert picture.value.startswith("webcam.webm: ")
    assert "<img" not in picture.value


def test_without_widgets_the_given_video_is_shown(classifier, tiny_videos):
    still = tryout.try_out(classifier, tiny_videos / "dark" / "1.avi")
    assert isinstance(still, HTML)
    assert "data:image/png" in still.data
