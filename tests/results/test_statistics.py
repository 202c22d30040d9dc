"""Intervals and comparisons with answers that are known beforehand."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from helpers.made import made_predictions
from scipy.stats import binom, norm, permutation_test

from hmdb_lib.errors import UserError
from hmdb_lib.results import intervals
from hmdb_lib.results.intervals import Spread, bell_mccaffrey, flip_p, holm
from hmdb_lib.results.metrics import correct, describe
from hmdb_lib.results.statistics import (
    accuracy_interval,
    average_runs,
    average_videos,
    compare,
    measure_test,
    pool,
    range_text,
    run_spreads,
    videos_text,
)


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


def test_independent_videos_have_nearly_the_binomial_interval():
    found = accuracy_interval(predictions(np.arange(1500) < 1095))
    assert found.value == 0.73
    assert (found.low, found.high) == pytest.approx(binom.interval(0.95, 1500, 0.73) / np.array(1500), abs=0.002)


def test_the_interval_widens_by_the_design_effect_when_a_source_is_all_right_or_all_wrong():
    right = np.repeat(np.arange(300) < 210, 5)
    alone = accuracy_interval(predictions(right))
    clustered = accuracy_interval(predictions(right, np.repeat(np.arange(300), 5)))
    ratio = (clustered.high - clustered.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(np.sqrt(5), rel=0.05)


def test_the_robust_part_of_the_interval_is_that_of_bell_and_mccaffrey_by_hand():
    sizes = np.array([2.0, 3, 5, 4])
    share = sizes / sizes.sum()
    # All values of a source equal, independent sources: squares of normal numbers through (I - H)' A (I - H).
    apart = np.eye(4) - np.outer(np.ones(4), share)  # source means minus the whole's
    form = apart.T @ np.diag(share**2 / (1 - share)) @ apart
    expected = np.trace(form) ** 2 / np.trace(form @ form)
    assert bell_mccaffrey(share) == pytest.approx(expected)


@pytest.mark.parametrize("sources", [2, 3, 10, 57, 300])
def test_degrees_of_freedom_are_those_of_the_whole_matrix(sources):
    sizes = np.random.default_rng(sources).integers(1, 40, (3, 5, sources))
    share = sizes / sizes.sum(-1, keepdims=True)
    apart = np.eye(sources) - np.ones((sources, 1)) * share[..., None, :]
    weight = share**2 / (1 - share)
    form = np.swapaxes(apart, -1, -2) @ (weight[..., :, None] * apart)
    expected = np.trace(form, axis1=-2, axis2=-1) ** 2 / (form**2).sum((-2, -1))
    assert bell_mccaffrey(share) == pytest.approx(expected, rel=1e-9)


def peak(compute):
    """Bytes that a function holds at most."""
    tracemalloc.start()
    compute()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return held


def test_an_interval_of_many_sources_needs_no_memory_for_pairs_of_them():
    sizes = np.ones(5000)
    assert peak(lambda: intervals.interval(np.arange(5000) % 2, np.arange(5000) % 2, sizes)) < 5e6


def test_p_of_many_sources_needs_no_memory_for_all_signs():
    assert peak(lambda: flip_p(np.random.default_rng(0).normal(0, 1, 500))) < 2e7


@pytest.mark.parametrize("sources", [21, 57, 410])
def test_p_is_that_of_signs_drawn_at_once(sources):
    sums = np.random.default_rng(sources).normal(0.1, 1, sources)
    signs = np.random.default_rng(0).integers(0, 2, (intervals.FLIPS - 1, sources), dtype=np.int8) * 2.0 - 1
    beyond = np.abs(np.append(signs @ sums, sums.sum())) - abs(sums.sum())
    assert flip_p(sums) == (beyond > 1e-9).mean() + (np.abs(beyond) <= 1e-9).mean() / 2


def test_near_its_bound_an_interval_is_not_symmetric_and_stays_within():
    found = accuracy_interval(predictions(np.arange(60) > 1, np.arange(60) // 5))
    assert found.high < 1
    assert found.value - found.low > 2 * (found.high - found.value)


def test_all_right_is_not_taken_for_certain():
    found = accuracy_interval(predictions([True] * 20, np.repeat(np.arange(10), 2)))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 10))


@pytest.mark.parametrize("sources", [1, 2, 3])
def test_so_few_sources_give_no_interval(sources):
    found = accuracy_interval(predictions([True, False] * 6, np.arange(12) % sources))
    assert np.isnan([found.low, found.high]).all()
    assert range_text(found.low, found.high, found.sources, ".2f") == "[no interval: fewer than four sources]"


def test_an_interval_of_few_sources_says_what_so_few_cover():
    assert range_text(0.1, 0.5, 6, ".2f") == "[0.10, 0.50; 6 sources, covers 0.97]"
    assert range_text(0.1, 0.5, 10, ".2f") == "[0.10, 0.50]"


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


def test_p_by_hand_counts_sign_choices_and_half_of_the_ties():
    # Totals of +-3 +-1 +-1: 5 or -5 in 2 of 8 choices, equally far as the one seen; nothing is farther.
    assert flip_p(np.array([3.0, 1, 1])) == pytest.approx((0 + 2 / 2) / 8)
    # Seen 3: farther are 5 and -5 (2 of 8); 3 and -3 come up four times.
    assert flip_p(np.array([3.0, 1, -1])) == pytest.approx((2 + 4 / 2) / 8)


def test_p_is_that_of_a_permutation_test_of_scipy():
    random = np.random.default_rng(0)
    sums = random.normal(0.5, 1, 12)  # no ties, so that the mid-p value differs by half of the two equal totals
    peer = permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert flip_p(sums) == pytest.approx(peer.pvalue - 1 / 2**12)


def test_drawn_signs_come_near_to_all_signs(monkeypatch):
    sums = np.random.default_rng(1).normal(0.4, 1, 18)
    exact = flip_p(sums)
    monkeypatch.setattr(intervals, "EXACT", 10)
    assert flip_p(sums) == pytest.approx(exact, abs=0.005)
    assert flip_p(sums) == flip_p(sums)


def test_clips_of_few_sources_do_not_pass_for_independent_ones():
    first, second = predictions([1] * 40, np.arange(40) // 10), predictions([0] * 40, np.arange(40) // 10)
    assert compare(first, second).p == pytest.approx(1 / 16)  # McNemar's exact p is 2e-12


def test_holm_by_hand_for_more_comparisons_than_are_made_yet():
    assert holm(np.array([0.03, 0.01, 0.04]), planned=4) == pytest.approx([0.09, 0.04, 0.09])


def test_runs_that_share_less_than_nine_tenths_of_their_videos_are_refused_unless_asked():
    table = predictions([1, 0] * 10)
    assert compare(table, table.iloc[:18]).videos == 18
    with pytest.raises(UserError, match=r"share 17 of 20 test videos"):
        compare(table, table.iloc[:17])
    found = compare(table, table.iloc[:17], partial=True)
    assert (found.videos, found.of) == (17, 20)
    with pytest.raises(UserError, match="no test video in common"):
        compare(table.iloc[:2], table.iloc[2:], partial=True)


def test_pooled_folds_are_one_set_and_pooled_seeds_do_not_pass_for_more_sources():
    table = predictions(np.arange(40) % 4 > 0, np.arange(40) // 2)
    folds = pool({(1, 0): table.iloc[:20], (2, 0): table.iloc[20:]})
    assert accuracy_interval(folds) == accuracy_interval(table)
    seeds = pool({(1, 0): table, (1, 1): table, (1, 2): table})
    assert accuracy_interval(seeds) == accuracy_interval(table)
    assert compare(seeds, folds.iloc[::-1], partial=True).p == 1


def test_folds_cut_otherwise_are_paired_by_the_video_and_count_the_sources_that_one_of_them_knows():
    by_source, by_clip = predictions(np.arange(40) % 4 > 0, np.arange(40) // 2), predictions(np.arange(40) % 5 > 0)
    halves = pool({(1, 0): by_source.iloc[:20], (2, 0): by_source.iloc[20:]})
    found = compare(pool({(1, 0): by_clip.iloc[::2], (2, 0): by_clip.iloc[1::2]}), halves)
    assert (found.videos, found.of, found.sources) == (40, 40, 20)
    assert found == compare(by_clip.assign(group=by_source.group), by_source)


def runs_of(*shares):
    """A pool of runs on the same 100 videos, run s right on the first so many of a hundred."""
    return pool({(1, seed): predictions(np.arange(100) < share) for seed, share in enumerate(shares)})


def test_rows_of_different_seeds_are_compared_by_their_means():
    found = compare(runs_of(60, 62, 64), runs_of(50))
    assert (found.difference, found.videos) == (pytest.approx(0.12), 100)


def test_a_row_with_three_runs_has_its_own_spread_and_one_with_one_run_that_of_the_table():
    spreads = run_spreads({"three": runs_of(60, 62, 64), "two": runs_of(50, 52), "one": runs_of(55)})
    own, told = spreads["three"]
    assert (own.variance, own.freedom, told) == (pytest.approx(0.0004), 2, "in the intervals")
    shared, told = spreads["one"]
    assert (shared.variance, shared.freedom) == (pytest.approx((2 * 0.0004 + 0.0002) / 3), 3)
    assert told == "in the intervals, from three, two (3 degrees of freedom)"
    assert spreads["two"] == spreads["one"]


def test_where_every_row_has_one_run_the_table_says_what_is_missing():
    spreads = run_spreads({"a": runs_of(60), "b": runs_of(50)})
    assert spreads["a"] == (None, "one run each: the spread between runs is not in the intervals")


def test_the_spread_between_runs_widens_an_interval_by_its_variance_over_the_number_of_runs():
    pool_of_four = runs_of(50, 50, 50, 50)
    alone, wider = accuracy_interval(pool_of_four), accuracy_interval(pool_of_four, Spread(0.04**2, 1e9))
    errors = [(found.high - found.low) / 2 / norm.ppf(0.975) for found in (alone, wider)]
    assert errors[1] ** 2 - errors[0] ** 2 == pytest.approx(0.04**2 / 4, rel=0.1)


def test_videos_that_could_not_be_read_count_as_wrong_and_are_told():
    table = predictions([1] * 16 + [0] * 4)
    table.loc[:0, ["a", "b"]] = np.nan
    test = measure_test(table)
    assert (test["videos"], test["read"]) == (20, 19)
    assert (test["accuracy"], test["accuracy_read"]) == (pytest.approx(15 / 20), pytest.approx(15 / 19))
    assert test["mean_class_accuracy"] == pytest.approx(15 / 20)
    assert (
        videos_text(test | {"present": 19}) == "20 listed videos, of which 19 were there and 19 read (0.789 of these)"
    )


def test_the_read_videos_alone_make_loss_and_calibration():
    table = predictions([1, 0, 1, 1])
    unread = pd.concat([table, table.assign(a=np.nan, b=np.nan)])
    whole, part = describe(table), describe(unread)
    assert (part["loss"], part["calibration_error"]) == (whole["loss"], whole["calibration_error"])
    assert (part["accuracy"], part["top5"]) == (whole["accuracy"] / 2, whole["top5"] / 2)


def test_runs_averaged_are_judged_by_the_mean_of_their_probabilities():
    table = predictions([1, 1, 0])
    first, second = (
        table.assign(a=[0.9, 0.4, 0.1], b=[0.1, 0.6, 0.9]),
        table.assign(a=[0.2, 0.9, 0.4], b=[0.8, 0.1, 0.6]),
    )
    averaged = average_runs(pool({(1, 0): first, (1, 1): second}))
    assert averaged.a.tolist() == pytest.approx([0.55, 0.65, 0.25])
    assert correct(averaged).tolist() == [True, True, False]
    assert average_runs(pool({(1, 0): first})) is None


def test_every_split_is_averaged_over_as_many_seeds():
    right, wrong = predictions([1, 1]), predictions([0, 0])
    averaged = average_runs(pool({(1, 0): right, (1, 1): right, (1, 2): wrong, (2, 0): wrong, (2, 1): wrong}))
    assert averaged.a.tolist() == pytest.approx([0.9, 0.9, 0.1, 0.1])


def test_a_video_that_several_runs_judged_counts_once_by_their_mean():
    right, wrong = predictions([1, 1]), predictions([0, 0])
    once = average_videos(pool({(1, 0): right, (1, 1): wrong, (2, 0): wrong}))
    assert (once.video.tolist(), once.a.tolist()) == (["v0", "v1"], pytest.approx([1.1 / 3] * 2))


def test_runs_of_one_row_that_know_other_sources_are_not_pooled():
    table = made_predictions(8)
    other = table.assign(group=table.video)
    with pytest.raises(UserError, match=r"know other sources of the same videos \(v0 is of 'g0' in one, of 'v0' in"):
        pool({(1, 0): table, (1, 1): other})
