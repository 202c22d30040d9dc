"""Intervals and comparisons with answers that are known beforehand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm

from hmdb_lib.errors import UserError
from hmdb_lib.results.statistics import accuracy_interval, compare, pool


def predictions(right, groups=None):
    """Videos of class a, each judged right or wrong."""
    right = np.asarray(right, bool)
    groups = np.arange(len(right)) if groups is None else groups
    return pd.DataFrame(
        {
            "video": [f"v{n}" for n in range(len(right))],
            "group": [f"g{n}" for n in groups],
            "label": "a",
            "a": np.where(right, 0.9, 0.1),
            "b": np.where(right, 0.1, 0.9),
        }
    )


def test_independent_videos_have_the_binomial_interval():
    found = accuracy_interval(predictions(np.arange(1500) < 1095))
    assert found.value == 0.73
    assert (found.low, found.high) == pytest.approx(binom.interval(0.95, 1500, 0.73) / np.array(1500), abs=0.002)


def test_the_interval_widens_by_the_design_effect_when_a_source_is_all_right_or_all_wrong():
    right = np.repeat(np.arange(300) < 210, 5)
    alone = accuracy_interval(predictions(right))
    clustered = accuracy_interval(predictions(right, np.repeat(np.arange(300), 5)))
    ratio = (clustered.high - clustered.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(np.sqrt(5), rel=0.05)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 4)
    held = 0
    for _ in range(200):
        rate = random.beta(2, 1, 60)  # each source has its own difficulty; the mean is 2 / 3
        found = accuracy_interval(predictions(random.random(240) < rate[groups], groups), resamples=499)
        held += found.low <= 2 / 3 <= found.high
    assert binom.ppf(0.001, 200, 0.94) <= held <= 200


def test_the_same_seed_gives_the_same_digits():
    table = predictions(np.arange(40) % 3 > 0)
    assert accuracy_interval(table) == accuracy_interval(table)


def test_all_right_is_not_taken_for_certain():
    found = accuracy_interval(predictions([True] * 20, np.repeat(np.arange(10), 2)))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 10))


@pytest.mark.parametrize("groups", [[0, 0, 0, 0], [0, 0, 1, 1]], ids=["one", "two"])
def test_so_few_sources_give_no_interval(groups):
    assert np.isnan(accuracy_interval(predictions([True, False, True, False], groups)).low)


def test_mcnemar_by_hand():
    # The first alone is right on 8 videos, the second alone on 2: twice the chance of at most 2 of 10 coins.
    first = predictions([1] * 8 + [0] * 2 + [1] * 20)
    second = predictions([0] * 8 + [1] * 2 + [1] * 20)
    found = compare(first, second)
    assert found.p == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert found.difference == pytest.approx(6 / 30)
    assert (found.difference, found.p) == (-compare(second, first).difference, compare(second, first).p)


def test_the_interval_of_a_difference_is_the_paired_one():
    random = np.random.default_rng(0)
    second = random.random(2000) < 0.7
    first = np.where(random.random(2000) < 0.1, ~second, second)
    found = compare(predictions(first), predictions(second))
    error = np.std(first.astype(int) - second) / np.sqrt(2000) * norm.ppf(0.975)
    assert (found.low, found.high) == pytest.approx((found.difference - error, found.difference + error), abs=0.001)


def test_identical_runs_differ_by_nothing_with_p_1_as_far_as_so_few_sources_can_tell():
    table = predictions(np.arange(30) % 2)
    found = compare(table, table)
    assert (found.difference, found.p, found.videos) == (0, 1, 30)
    assert (found.low, found.high) == pytest.approx((0.025 ** (1 / 30) - 1, 1 - 0.025 ** (1 / 30)))


def test_only_videos_that_both_judged_are_compared():
    table = predictions([1, 0, 1, 0])
    assert compare(table.iloc[1:], table.iloc[:3]).videos == 2
    with pytest.raises(UserError, match="no test video in common"):
        compare(table.iloc[:2], table.iloc[2:])


def test_pooled_folds_are_one_set_and_pooled_seeds_do_not_pass_for_more_sources():
    table = predictions(np.arange(40) % 4 > 0, np.arange(40) // 2)
    folds = pool({(1, 0): table.iloc[:20], (2, 0): table.iloc[20:]})
    assert accuracy_interval(folds) == accuracy_interval(table)
    seeds = pool({(1, 0): table, (1, 1): table, (1, 2): table})
    assert accuracy_interval(seeds) == accuracy_interval(table)
    assert np.isnan(compare(seeds, seeds).p)
    assert compare(folds, folds).p == 1
