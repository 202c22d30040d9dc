"""Views that explain: each change of a control changes what is shown; without widgets there is a still picture."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.controls import parts
from helpers.finished_run import write_finished_run
from helpers.made import made_metrics
from IPython.display import HTML

from hmdb_lib.plots.classes import sources_by_part
from hmdb_lib.plots.clips import attention_moment
from hmdb_lib.results.metrics import predictions_table
from hmdb_lib.studies.audit import COLUMNS
from hmdb_lib.training.optim import make_schedule
from hmdb_lib.widgets import explore


@pytest.fixture
def judged(tiny_config, data, tmp_path):
    """A function that writes a finished run which takes the test videos for these classes."""

    def judge(row, *predicted, **small):
        experiment = tiny_config(row, **small)
        run = write_finished_run(
            experiment, tmp_path / "results" / "runs" / row / f"{experiment.data.name}-split1-seed0"
        )
        listed = data.tables["test"]
        chosen = np.array([data.classes.index(name) for name in predicted])
        table = predictions_table(listed, np.eye(2)[chosen] * 0.6 + 0.2, data.classes, np.arange(len(listed)))
        table.to_csv(run.folder / "predictions.csv", index=False)
        made_metrics(1).to_csv(run.folder / "metrics.csv", index=False)
        return run

    return judge


HYBRID = {"model__blocks": 1, "perceiver__latents": 4, "perceiver__width": 64}


def test_a_source_whose_clips_lie_in_two_parts_is_told_and_hatched():
    videos = pd.DataFrame({"role": ["train", "train", "test", "test"], "group": ["a", "b", "b", "c"]})
    axes = sources_by_part(videos).axes[0]
    assert axes.get_title(loc="left") == "3 sources, 1 of them in more than one part (hatched)"
    assert sorted(bar.get_hatch() for bar in axes.patches) == ["", "", "////", "////"]


def test_clips_dealt_at_random_share_sources_and_clips_cut_by_source_do_not(notebook, data):
    for table in data.tables.values():
        table["group"] = table.role + table.label  # each part has a source of its own for each class
    view = parts(explore.split_explorer(data))
    assert "0% of all 4 test clips" in view[""].value
    view["cut"].value = "single clips dealt at random"
    assert "0% of all 4 test clips" not in view[""].value


@pytest.mark.slow
@pytest.mark.parametrize(("control", "value"), [("draw", 3), ("erasing", 0.9), ("mixup", 1.0)])
def test_another_augmentation_changes_the_batch(notebook, data, tiny_config, control, value):
    view = parts(explore.augmentation_preview(data, tiny_config()))
    before = view[""].value
    view[control].value = value
    assert view[""].value != before


def test_a_batch_is_drawn_as_read_and_as_the_model_gets_it(data, tiny_config, monkeypatch):
    drawn = []
    monkeypatch.setattr(explore, "batch_before_after", lambda *clips: drawn.extend(clip.shape for clip in clips) or "")
    explore.augmentation_preview(data, tiny_config())
    assert drawn == [(4, 8, 66, 88, 3), (4, 3, 8, 64, 64)]


def test_the_rates_drawn_are_those_that_training_sets(tiny_config):
    train = tiny_config(train__epochs=4, train__warmup_epochs=1, train__lr=0.1).train
    (line,) = explore.schedule_figure(train, 5).axes[0].get_lines()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule, told = make_schedule(optimizer, train, 20), []
    for _ in range(20):
        told += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    assert line.get_ydata() == pytest.approx(told)


@pytest.mark.parametrize(("control", "value"), [("schedule", "constant"), ("lr", 1e-2), ("epochs", 7)])
def test_another_schedule_changes_the_curve(notebook, tiny_config, control, value):
    view = parts(explore.schedule_preview(tiny_config()))
    before = view[""].value
    view[control].value = value
    assert view[""].value != before


def test_a_pair_plays_side_by_side_with_its_parts(notebook, data):
    rows = [
        ("train", "bright/0.avi", "bright", "test", other, "bright", 0.99) for other in ("bright/6.avi", "dark/7.avi")
    ]
    view = parts(explore.pair_viewer(pd.DataFrame(rows, columns=COLUMNS), data))
    assert view[""].value.count("data:image/gif") == 2
    assert "test, bright: bright/6.avi" in view[""].value
    view["pair"].value = "2: 0.990"
    assert "dark/7.avi" in view[""].value


def test_without_a_pair_it_is_told(data):
    assert "no pair" in explore.pair_viewer(pd.DataFrame(columns=COLUMNS), data).data


@pytest.mark.slow
def test_the_clips_of_the_cell_that_is_clicked_play(notebook, data, judged):
    labels = data.tables["test"].label.tolist()
    swapped = ["dark" if label == "bright" else "bright" for label in labels]
    view = explore.confusion_player(judged("baseline", swapped[0], *labels[1:]), data)
    matrix, picture = view.children
    assert f"{labels[0]} taken for {swapped[0]}: 1 of 2" in picture.value
    assert picture.value.count("data:image/gif") == 1
    matrix.value = [0, 0] if labels[0] == "dark" else [1, 1]
    assert "taken for" in picture.value
    assert picture.value.count("data:image/gif") == 2


@pytest.mark.slow
def test_clips_that_the_average_gets_wrong_come_first_with_the_attention_in_them(notebook, data, judged):
    labels = data.tables["test"].label.tolist()
    judged("baseline", *["bright"] * 4)
    view = parts(explore.attention_viewer(judged("cross1_self1", *labels, **HYBRID), data))
    assert view["class"].value == "the average is wrong, this is right"
    assert all(video.startswith("dark/") for video in view["video"].options)
    before = view[""].value
    view["frame"].value = (view["frame"].value + 1) % 8
    first = view[""].value
    view["read by"].value = 2
    assert len({before, first, view[""].value}) == 3


def test_each_frame_has_its_share_of_the_attention():
    maps = np.zeros((4, 2, 2))
    maps[1], maps[3] = 1, 3
    _, below = attention_moment(np.zeros((4, 2, 2, 3), np.uint8), maps, np.arange(4.0), 1).axes
    assert [bar.get_height() for bar in below.patches] == [0, 0.25, 0, 0.75]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["split_explorer", "augmentation_preview", "confusion_player", "attention_viewer"])
def test_without_widgets_there_is_a_still_picture(name, data, judged, tiny_config):
    run = judged("baseline", "bright", "dark", "bright", "bright")
    given = {"split_explorer": (data,), "augmentation_preview": (data, tiny_config())}.get(name, (run, data))
    still = getattr(explore, name)(*given)
    assert isinstance(still, HTML)
    assert "data:image" in still.data
