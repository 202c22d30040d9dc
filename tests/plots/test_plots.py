"""Every figure is drawn from a made table, and says what the table says."""

import numpy as np
import pandas as pd
import pytest
from helpers.made import CLASSES, ROWS, made_batch, made_clip, made_metrics, made_predictions, made_table
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hmdb_lib import config
from hmdb_lib.plots import architecture, classes as plots_classes, clips as plots_clips, curves as plots


def made_windows():
    return pd.DataFrame({"start": [0.0, 2.0], "end": [2.0, 3.5], "wave": [0.6, 0.2], "run": [0.4, 0.1]})


FIGURES = {
    "training_curves": lambda: plots.training_curves(made_metrics(5)),
    "training_curves_before_the_first_epoch": lambda: plots.training_curves(made_metrics(5)[["epoch"]].head(0)),
    "compare_curves": lambda: plots.compare_curves({row: made_metrics(30) for row in ROWS}),
    "compare_curves_of_one": lambda: plots.compare_curves({"baseline": made_metrics(1)}),
    "compare_curves_of_none": lambda: plots.compare_curves({}),
    "overfitting_gap": lambda: plots.overfitting_gap({row: made_metrics(30) for row in ROWS}),
    "overfitting_gap_of_none": lambda: plots.overfitting_gap({}),
    "gap_against_attention": lambda: plots.gap_against_attention(made_table()),
    "gap_against_attention_of_none": lambda: plots.gap_against_attention(made_table(0)),
    "accuracy_against_parameters": lambda: plots.accuracy_against(made_table()),
    "accuracy_against_flops": lambda: plots.accuracy_against(made_table(1), "flops"),
    "accuracy_against_parameters_of_none": lambda: plots.accuracy_against(made_table(0)),
    "confusion": lambda: plots_classes.confusion(made_predictions()),
    "confusion_of_none": lambda: plots_classes.confusion(made_predictions(0)),
    "class_change": lambda: plots_classes.class_change(made_predictions(), made_predictions(seed=1), ("a", "b")),
    "class_change_of_none": lambda: plots_classes.class_change(made_predictions(0), made_predictions(), ("a", "b")),
    "reliability": lambda: plots_classes.reliability(made_predictions()),
    "along_time": lambda: plots_classes.along_time(made_windows()),
    "reliability_of_none": lambda: plots_classes.reliability(made_predictions(0)),
    "video_prediction": lambda: plots_classes.video_prediction(made_predictions().iloc[0]),
    "contact_sheet": lambda: plots_clips.contact_sheet({"catch": made_clip(9), "chew": made_clip(9)}),
    "attention_overlay": lambda: plots_clips.attention_overlay(made_clip(), np.random.default_rng(0).random((2, 7, 7))),
    "attention_overlay_of_one_frame": lambda: plots_clips.attention_overlay(made_clip(1), np.ones((1, 4, 4))),
    "latent_sheet": lambda: plots_clips.latent_sheet(np.random.default_rng(0).random((8, 2, 7, 7))),
    "clip_to_classes": lambda: architecture.clip_to_classes({"clip": (3, 16, 112, 112), "CNN": (2, 7, 7, 512)}),
    "rows": lambda: architecture.rows({row: config.load(row) for row in config.tables()["compared"]["rows"]}),
    "batch_before_after": lambda: plots_clips.batch_before_after(*made_batch()),
    "batch_before_after_of_one": lambda: plots_clips.batch_before_after(*made_batch(1)),
}


def test_the_names_beside_strips_of_frames_are_whole():
    figure = plots_clips.contact_sheet({f"filled in {n}": np.zeros((8, 64, 64, 3), np.uint8) for n in range(6)})
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    left = [axes.yaxis.label.get_window_extent(canvas.get_renderer()).x0 for axes in figure.axes]
    assert min(left) >= 0


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_written_as_png_and_svg(name, tmp_path):
    figure = FIGURES[name]()
    assert figure.get_size_inches()[0] in (plots.COLUMN, plots.PAGE)
    files = plots.save(figure, tmp_path / "figures" / name, ["png", "svg"])
    assert [file.suffix for file in files] == [".png", ".svg"]
    assert all(file.stat().st_size > 1000 for file in files)


def test_uneven_classes_have_a_curve_of_the_mean_over_classes():
    metrics = made_metrics(4)
    before = len(plots.training_curves(metrics).axes[1].lines)
    uneven = metrics.assign(val_video_mean_class_accuracy=metrics.val_video_accuracy / 2)
    axes = plots.training_curves(uneven).axes[1]
    assert len(axes.lines) == before + 1
    assert np.allclose(axes.lines[-1].get_ydata(), metrics.val_video_accuracy / 2)
    assert "validation, mean over classes" in [label.get_text() for label in axes.get_legend().get_texts()]


def texts(figure):
    return [label.get_text() for label in figure.legends[0].get_texts()]


def test_rows_without_a_finished_run_are_left_out():
    assert texts(plots.accuracy_against(made_table())) == ROWS[:2]


def test_the_gap_is_validation_minus_training():
    metrics = made_metrics(4)
    line = plots.overfitting_gap({"run": metrics}).axes[0].lines[-1]
    assert np.allclose(line.get_ydata(), metrics.val_video_loss - metrics.train_video_loss)


def test_runs_differ_by_marker_for_who_sees_no_colour():
    figure = plots.overfitting_gap({str(n): made_metrics(3) for n in range(10)})
    assert len({line.get_marker() for line in figure.axes[0].lines[1:]}) == 10


def test_a_class_that_the_first_run_does_better_in_stands_right_of_zero():
    better, worse = made_predictions(), made_predictions()
    chewing = better.label == "chew"
    better.loc[chewing, CLASSES] = [0.0, 0.0, 0.0, 1.0]
    worse.loc[chewing, CLASSES] = [1.0, 0.0, 0.0, 0.0]
    axes = plots_classes.class_change(better, worse, ("better", "worse"), most=1).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["chew"]
    assert [bar.get_width() for bar in axes.patches] == [100]


def test_the_true_class_is_shown_however_low_it_ranks():
    video = made_predictions().iloc[0].copy()
    video[CLASSES] = [0.01, 0.5, 0.3, 0.19]
    axes = plots_classes.video_prediction(video, most=2).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cartwheel", "catch", "brush_hair"]


def test_bars_stand_in_the_order_of_rank_whichever_class_is_true():
    video = made_predictions().iloc[0].copy()
    video[CLASSES] = [0.3, 0.4, 0.2, 0.1]
    axes = plots_classes.video_prediction(video).axes[0]
    assert video.label == "brush_hair"
    widths = [bar.get_width() for bar in sorted(axes.patches, key=lambda bar: bar.get_y())]
    assert widths == [0.4, 0.3, 0.2, 0.1]


def test_classes_stand_in_the_order_of_their_change():
    first, second = made_predictions(), made_predictions(seed=1)
    axes = plots_classes.class_change(first, second, ("a", "b")).axes[0]
    bars = sorted((bar for bar in axes.patches), key=lambda bar: bar.get_y())
    widths = [bar.get_width() for bar in bars]
    assert widths == sorted(widths)


def test_a_bin_of_too_few_sources_for_an_interval_is_hollow():
    predictions = made_predictions()
    predictions["group"] = "one"
    upper = plots_classes.reliability(predictions).axes[0]
    assert {line.get_markerfacecolor() for line in upper.lines if line.get_marker() == "o"} == {"white"}


@pytest.mark.parametrize(("runs", "counted"), [(1, "videos"), (2, "judgements")])
def test_the_reliability_of_several_runs_counts_judgements_not_videos(runs, counted):
    assert plots_classes.reliability(pd.concat([made_predictions()] * runs)).axes[1].get_ylabel() == counted


def test_the_best_epoch_on_validation_is_marked():
    metrics = made_metrics(5)
    metrics["val_video_accuracy"] = [0.1, 0.3, 0.3, 0.2, 0.2]
    metrics["val_video_loss"] = [2.0, 1.9, 1.8, 1.9, 2.0]
    assert plots.best_epoch(metrics) == 2
    rings = [line for line in plots.compare_curves({"run": metrics}).axes[1].lines if line.get_markersize() == 9]
    assert [line.get_xydata().tolist() for line in rings] == [[[2.0, 0.3]]]


@pytest.fixture
def of_test():
    """Metrics of a run whose epoch was chosen on the test part, as `Run.metrics` has them."""
    metrics = made_metrics(6)
    metrics.attrs["part"] = "test"
    return metrics


def test_curves_of_the_test_part_are_not_called_validation(of_test):
    names = [text.get_text() for text in plots.training_curves(of_test).axes[1].get_legend().get_texts()]
    assert names == ["training", "test part", "best on test part"]


@pytest.mark.parametrize("draw", [plots.compare_curves, plots.overfitting_gap])
def test_a_run_chosen_on_the_test_part_has_a_star_among_others(of_test, draw):
    figure = draw({"chosen": of_test, "other": made_metrics(6)})
    assert texts(figure) == ["chosen*", "other"]
    assert "*: epoch chosen on the test part" in figure.axes[0].get_title(loc="left")


def test_a_row_chosen_on_the_test_part_has_the_star_of_the_table():
    told = {"chosen_on": ["test", "validation"], "best_on_validation": [False, True], "seen_test_videos": 0}
    figure = plots.accuracy_against(made_table(2).assign(**told))
    assert texts(figure) == [f"{ROWS[0]}*", f"{ROWS[1]} (best on validation)"]


def test_the_axis_of_a_run_that_goes_on_is_as_long_as_the_run():
    figure = plots.training_curves(made_metrics(1), chance=0.25, epochs=30)
    assert figure.axes[0].get_xlim()[1] > 29
    assert "chance" in [text.get_text() for text in figure.axes[1].get_legend().get_texts()]


@pytest.mark.slow
@pytest.mark.parametrize("runs", [4, 30])
def test_a_legend_of_long_names_is_whole(runs):
    names = [f"efficientnet_lite0_pool_change-frozen/ut_interaction-split{n}-seed0" for n in range(runs)]
    figure = plots.compare_curves({name: made_metrics(3) for name in names})
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = figure.legends[0].get_window_extent(canvas.get_renderer())
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_a_video_of_one_window_has_a_bar_a_class():
    table = pd.DataFrame({"start": [0.0], "end": [1.6], "wave": [0.6], "run": [0.4]})
    (axes,) = plots_classes.along_time(table).axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.6, 0.4])


def test_lengths_of_clips_stand_in_their_order_whatever_the_tables():
    table = pd.DataFrame({"frames": [16, 8, 32, "all"], "accuracy": [0.6, 0.5, 0.7, 0.8]})
    (axes,) = plots.accuracy_by_frames(table.assign(accuracy_low=0.4, accuracy_high=0.9)).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "16", "32", "all"]
    assert axes.containers[0].lines[0].get_ydata().tolist() == [50, 60, 70, 80]


def test_each_frame_lies_under_the_heat_of_its_own_time():
    maps = np.stack([np.zeros((4, 4)), np.ones((4, 4))])
    heat = [axes.images[1] for axes in plots_clips.attention_overlay(made_clip(8), maps).axes if len(axes.images) == 2]
    assert [image.get_array().max() for image in heat] == [0] * 4 + [1] * 4


def test_the_heat_covers_the_whole_frame():
    figure = plots_clips.attention_overlay(made_clip(8), np.ones((1, 4, 4)))
    below = next(axes for axes in figure.axes if len(axes.images) == 2)
    assert below.images[1].get_extent() == list(below.images[0].get_extent())


def test_clips_are_undone_of_their_normalisation_before_they_are_shown():
    before, after = made_batch()
    left, right = plots_clips.batch_before_after(before, after, frames=1).axes[:2]
    shown = right.images[0].get_array()
    assert np.abs(shown - left.images[0].get_array()[:40, :40] / 255).max() < 0.01


def test_maps_of_a_whole_batch_are_refused_with_the_shapes_named():
    with pytest.raises(ValueError, match=r"expected T H W C and T' H' W'"):
        plots_clips.attention_overlay(made_clip(), np.ones((2, 1, 4, 4)))


def test_a_latents_weights_are_told_in_multiples_of_an_even_one():
    maps = np.full((2, 1, 2, 2), 0.25)
    maps[1] = [[[1.0, 0.0], [0.0, 0.0]]]
    even, one = (axes.images[0].get_array() for axes in plots_clips.latent_sheet(maps).axes[:2])
    assert even.tolist() == [[1, 1], [1, 1]]
    assert one.tolist() == [[4, 0], [0, 0]]


def test_a_row_shows_the_blocks_that_are_kept_and_its_layers_in_order():
    axes = architecture.rows({"row": config.load("blocks4_cross2_self12")}).axes[0]
    colours = [patch.get_facecolor()[:3] for patch in axes.patches[:8]]
    assert [colour != (1.0, 1.0, 1.0) for colour in colours] == [True] * 4 + [False] * 4
    assert "".join(text.get_text() for text in axes.texts if len(text.get_text()) == 1) == 2 * "CSSSSSS"
