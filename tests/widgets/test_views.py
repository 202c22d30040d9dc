"""Moving a control changes the picture; where nothing can be moved, the same call gives a still one."""

from types import SimpleNamespace

import pandas as pd
import pytest
from helpers.controls import parts
from helpers.made import made_metrics, made_predictions
from IPython.display import HTML

from hmdb_lib import environment
from hmdb_lib.errors import UserError
from hmdb_lib.results.metrics import classes_of, correct
from hmdb_lib.results.runs import Run
from hmdb_lib.training.experiment import resolve
from hmdb_lib.widgets import views as widgets


@pytest.fixture
def results(tmp_path):
    for row in ("baseline", "cross1_self1"):
        run = Run(tmp_path / "runs" / row / "tiny-split1-seed0")
        run.folder.mkdir(parents=True)
        made_metrics(3).to_csv(run.folder / "metrics.csv")
    return tmp_path


@pytest.fixture
def finished(tmp_path):
    run = Run(tmp_path / "runs" / "baseline" / "tiny-split1-seed0")
    run.folder.mkdir(parents=True)
    run.finish(made_predictions(), {"test": {"accuracy": 0.5}})
    return run


@pytest.mark.parametrize(
    ("control", "value"),
    [("video", "bright/2.avi"), ("start (s)", 0.2), ("length (s)", 0.2), ("speed", 4.0), ("class", "dark")],
)
def test_the_clip_browser_draws_anew(notebook, data, control, value):
    view = parts(widgets.clip_browser(data))
    before = view[""].value
    assert "data:image/gif" in before
    assert "data:image/png" in before
    view[control].value = value
    assert view[""].value != before


def test_choosing_a_class_offers_its_videos_alone(notebook, data):
    view = parts(widgets.clip_browser(data))
    view["class"].value = "dark"
    assert all(path.startswith("dark/") for path in view["video"].options)
    assert len(view["video"].options) == 8


def test_a_window_ends_with_the_video(data):
    title = widgets.clip_figure(data, "bright/0.avi", 0.3, 4.0).get_suptitle()
    assert title == "bright/0.avi: 0.30 to 0.37 s of 0.40 s"


def test_a_video_that_cannot_be_read_is_told_in_the_pictures_place(notebook, data, tmp_path, monkeypatch):
    monkeypatch.setattr(data.source, "folder", tmp_path)
    view = parts(widgets.clip_browser(data))
    assert "0.avi: no such file" in view[""].value
    assert "<img" not in view[""].value


@pytest.mark.parametrize(("control", "value"), [("blocks", 1), ("latents", 64), ("frames", 8)])
def test_the_model_sizer_counts_anew(notebook, control, value):
    view = parts(widgets.model_sizer())
    before = view[""].value
    view[control].value = value
    assert view[""].value != before


def test_layers_that_do_not_go_together_are_told_in_the_tables_place(notebook):
    view = parts(widgets.model_sizer())
    view["cross"].value = 2
    assert "cannot be split evenly" in view[""].value
    view["self"].value = 2
    assert "<table" in view[""].value


def test_latents_cost_parameters_where_they_are_and_queries_everywhere():
    few, many = (widgets.size_table(1, 1, 1, latents, 8, size=64) for latents in (16, 32))
    assert (many - few).loc["parameters"].tolist() == [0, 16 * 512, 0, 0, 16 * 512]
    assert many.total["FLOPs of a clip"] > few.total["FLOPs of a clip"]
    assert few.total["tokens from the CNN"] == 8 * 32 * 32


@pytest.mark.slow
def test_the_run_comparer_shows_the_runs_that_are_chosen(notebook, results):
    *controls, picture = widgets.run_comparer(results).children
    both = picture.value
    assert both.count("data:image/png") == 2
    controls[0].value = ("baseline/tiny-split1-seed0",)
    assert picture.value != both


def test_the_run_comparer_says_when_there_is_no_run(tmp_path):
    assert "no run in" in widgets.run_comparer(tmp_path).data


def test_the_prediction_viewer_shows_another_video(notebook, finished):
    view = parts(widgets.prediction_viewer(finished))
    before = view[""].value
    view["video"].value = view["video"].options[1]
    assert view[""].value != before


def test_the_prediction_viewer_says_that_a_run_is_not_finished(results):
    run = Run(results / "runs" / "baseline" / "tiny-split1-seed0")
    assert "not finished" in widgets.prediction_viewer(run).data


@pytest.mark.parametrize("name", ["clip_browser", "run_comparer", "prediction_viewer"])
def test_without_widgets_there_is_a_still_picture(request, name):
    given = {"clip_browser": "data", "run_comparer": "results", "prediction_viewer": "finished"}[name]
    still = getattr(widgets, name)(request.getfixturevalue(given))
    assert isinstance(still, HTML)
    assert "data:image/png" in still.data


def test_without_widgets_there_is_a_table_of_the_proposed_model():
    assert "<table" in widgets.model_sizer().data


class Shell:
    kernel = "one"


@pytest.mark.parametrize(("shell", "setting", "shown"), [(Shell(), "", 1), (Shell(), "off", 0), (None, "", 0)])
def test_widgets_are_shown_in_a_kernel_unless_they_are_switched_off(monkeypatch, shell, setting, shown):
    monkeypatch.setattr(widgets, "get_ipython", lambda: shell)
    monkeypatch.setenv("HMDB_WIDGETS", setting)
    assert widgets.live() == bool(shown)


def test_a_run_tells_where_it_stands(tiny_config, tmp_path):
    config, place = tiny_config(), environment.Place("local", tmp_path, tmp_path)
    run = Run.of(config, tmp_path)
    assert str(resolve(config, place)) == f"not started: {run.folder}"
    Run.start(config, tmp_path).write_epoch({"epoch": 0})
    assert str(resolve(config, place)) == f"epoch 1 of 2 done: {run.folder}"
    run.finish(pd.DataFrame(), {"test": {"accuracy": 0.75, "videos": 4}})
    assert str(resolve(config, place)) == f"finished: test accuracy 0.750 on 4 videos: {run.folder}"


def test_another_experiments_run_is_not_taken_for_this_ones(tiny_config, tmp_path):
    Run.start(tiny_config(), tmp_path)
    with pytest.raises(UserError, match="holds another experiment"):
        resolve(tiny_config(train__lr=0.5), environment.Place("local", tmp_path, tmp_path))


def test_no_run_chosen_is_told_in_the_pictures_place(notebook, results):
    choice, picture = widgets.run_comparer(results).children
    choice.value = ()
    assert picture.value.startswith("choose a run above")


def test_of_many_runs_the_first_ones_are_drawn_and_it_is_told():
    run = SimpleNamespace(metrics=made_metrics(2))
    told, curves, _ = widgets.comparison({str(number): run for number in range(30)})
    assert told == "the first 8 of the 30 runs that are chosen"
    assert len(curves.legends[0].get_texts()) == 8


def test_the_videos_a_model_is_most_wrongly_sure_of_come_first(notebook, finished):
    view = parts(widgets.prediction_viewer(finished))
    predictions = finished.predictions.set_index("video")
    wrong = predictions[correct(predictions.reset_index()).to_numpy() == 0]
    surest = wrong[classes_of(predictions)].max(axis=1).idxmax() if "group" not in classes_of(predictions) else None
    assert view["class"].value == "wrong, the surest first"
    assert view["video"].value == surest


@pytest.mark.slow
def test_a_saved_notebook_keeps_the_newest_picture_beside_the_widget(notebook, results, monkeypatch):
    shown = []

    class Handle:
        def update(self, bundle, raw):
            shown.append(bundle)

    monkeypatch.setattr(widgets, "display", lambda bundle, **how: shown.append(bundle) or Handle())
    view = widgets.run_comparer(results)
    view._ipython_display_()
    widget, before = shown
    assert widget["text/plain"] == ""
    assert before["text/html"].count("data:image/png") == 2
    view.children[0].value = ("baseline/tiny-split1-seed0",)
    assert shown[-1]["text/html"] != before["text/html"]
    assert f"still-{view.model_id}" in view.children[1].value
