"""From clips to videos to accuracies."""

import numpy as np
import pandas as pd
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from hmdb_lib.results.metrics import (
    RESERVED,
    VideoScores,
    calibration_error,
    column_of,
    correct,
    describe,
    nll,
    predictions_table,
    top_k,
    variance_share,
)
from hmdb_lib.results.runs import Run
from hmdb_lib.results.statistics import average_runs, measure_test, pool
from hmdb_lib.studies.learning_curve import curve_table


def test_a_video_is_judged_by_the_mean_probability_of_its_clips():
    scores = VideoScores(2)
    # Two clips narrowly for class 0, one surely for class 1: the mean says 1, a majority vote would say 0.
    probabilities = np.array([[0.52, 0.48], [0.52, 0.48], [0.01, 0.99]])
    scores.add(np.array([7, 7, 7]), np.array([1, 1, 1]), probabilities)
    numbers, labels, means = scores.videos()
    assert (numbers.tolist(), labels.tolist()) == ([7], [1])
    assert np.allclose(means, probabilities.mean(0))
    assert scores.summary()["video_accuracy"] == 1
    assert scores.summary()["clip_accuracy"] == pytest.approx(1 / 3)


def test_a_majority_vote_counts_first_choices_and_ties_go_to_the_lowest_class():
    scores = VideoScores(3, majority=True)
    probabilities = np.array([[0.5, 0.2, 0.3], [0.5, 0.2, 0.3], [0.0, 0.0, 1.0], [0.1, 0.4, 0.5], [0.3, 0.5, 0.2]])
    scores.add(np.array([0, 0, 0, 1, 1]), np.array([2, 2, 2, 2, 2]), probabilities)
    _, _, videos = scores.videos()
    assert videos.argmax(1).tolist() == [0, 1]
    assert scores.summary()["video_loss"] == pytest.approx(-np.log([1.6 / 3, 0.35]).mean())


def test_batching_does_not_change_a_digit():
    videos = np.arange(60) // 3
    labels = videos % 5
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), 60).astype(np.float32)
    whole, parts = VideoScores(5), VideoScores(5)
    whole.add(videos, labels, probabilities)
    for start in range(0, 60, 7):
        part = slice(start, start + 7)
        parts.add(videos[part], labels[part], probabilities[part])
    assert whole.summary() == parts.summary()


def test_top_k_and_loss_by_hand():
    probabilities, labels = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), np.array([1, 2])
    assert (top_k(probabilities, labels, 1), top_k(probabilities, labels, 2)) == (0.5, 1.0)
    assert nll(probabilities, labels) == pytest.approx(-(np.log(0.3) + np.log(0.7)) / 2)


def test_mean_class_accuracy_counts_classes_not_videos():
    table = pd.DataFrame({"label": ["a", "a", "a", "b"], "a": [0.9, 0.9, 0.9, 0.9], "b": [0.1] * 4})
    told = describe(table)
    assert (told["accuracy"], told["mean_class_accuracy"]) == (0.75, 0.5)


def test_scores_of_uneven_classes_have_their_mean_over_classes_and_those_of_even_ones_have_none():
    scores = VideoScores(2)
    scores.add(np.arange(4), np.array([0, 0, 0, 1]), np.array([[0.9, 0.1]] * 4))
    assert scores.summary()["video_mean_class_accuracy"] == 0.5
    scores.add(np.array([4]), np.array([1]), np.array([[0.9, 0.1]]))
    assert "video_mean_class_accuracy" not in scores.summary()


def test_the_calibration_error_is_the_one_of_torchmetrics():
    random = np.random.default_rng(0)
    probabilities, labels = random.dirichlet(np.ones(4), 300), random.integers(0, 4, 300)
    peer = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(labels), 4, n_bins=15)
    assert calibration_error(probabilities, labels) == pytest.approx(peer.item(), abs=1e-6)


@pytest.mark.parametrize("names", [["video", "None"], ["NA", "group"], ["label", "label (class)"], ["null", "nan"]])
def test_a_class_may_have_any_name_and_its_accuracy_comes_back_from_the_file(tmp_path, names):
    videos = pd.DataFrame({"path": ["NA", "b", "c", "d"], "group": ["null", "b", "c", "d"], "label": names * 2})
    run = Run(tmp_path)
    written = predictions_table(videos, np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]]), names, range(4))
    run.finish(written, {})
    pd.testing.assert_frame_equal(run.predictions, written, check_dtype=False)
    assert measure_test(run.predictions)["accuracy"] == 0.75


@pytest.fixture
def reserved(tmp_path):
    """A function that leaves the run of a data set with two classes, the first of them of a given name."""

    def write(name, rename=True):
        videos = pd.DataFrame({"path": ["p", "q"], "group": ["p", "q"], "label": [name, "other"]})
        table = predictions_table(videos, np.array([[0.9, 0.1], [0.2, 0.8]]), [name, "other"], range(2))
        old = {column_of(name): name}
        run = Run(tmp_path)
        run.finish(table if rename else table.rename(columns=old).replace({"label": old}), {})
        return run

    return write


@pytest.mark.parametrize("name", RESERVED)
def test_seeds_are_averaged_whatever_a_class_is_called(reserved, name):
    runs = {(1, seed): reserved(name).predictions for seed in (0, 1)}
    assert correct(average_runs(pool(runs))).all()


@pytest.mark.parametrize("name", RESERVED)
def test_a_learning_curve_counts_rightly_whatever_a_class_is_called(reserved, name):
    predictions = reserved(name).predictions.assign(split=1, seed=0, arm="one", sources=4)
    asked = pd.DataFrame({"arm": ["one"], "sources": [4], "reference": [None]})
    assert curve_table(asked, predictions).accuracy.tolist() == [1.0]


@pytest.mark.parametrize("name", ["split", "seed", "arm", "sources"])
def test_a_run_from_before_its_classs_name_was_reserved_is_read_as_one_of_today(reserved, name):
    today = reserved(name).predictions
    pd.testing.assert_frame_equal(reserved(name, rename=False).predictions, today)


def test_the_share_of_variance_is_that_of_a_part_which_differs_between_clips_and_classes():
    random = np.random.default_rng(0)
    rest, part = random.normal(size=(5000, 4)), 2 * random.normal(size=(5000, 4))
    assert variance_share(rest + part, rest) == pytest.approx(0.8, abs=0.01)
    assert variance_share(rest, rest) == 0
    assert variance_share(rest + random.normal(size=(5000, 1)), rest) == pytest.approx(0)  # every class alike
    assert variance_share(rest + np.array([1, 2, 3, 4]), rest) == pytest.approx(0)  # every clip alike


def test_a_class_that_no_clip_voted_for_is_not_among_the_first_five():
    scores = VideoScores(20, majority=True)
    scores.add(np.arange(20), np.arange(20), np.eye(20)[[0] * 20])  # one clip a video, all for class 0
    _, labels, shares = scores.videos()
    assert top_k(shares, labels, 5) == 1 / 20


def test_the_confidence_of_right_answers_is_that_of_means_also_where_clips_vote():
    probabilities, labels = np.array([[0.7, 0.3], [0.6, 0.4], [0.4, 0.6]]), np.array([0, 0, 1])
    confidences = []
    for majority in (False, True):
        scores = VideoScores(2, majority=majority)
        scores.add(np.arange(3), labels, probabilities)
        confidences.append(scores.summary()["video_right_confidence"])
    assert confidences[0] == confidences[1] < 0.7
