"""What results/README.md claims of intervals and p-values holds in simulations with a seed."""

import pytest

from benchmarks import coverage
from hmdb_lib.results.intervals import COVERS, FEWEST

pytestmark = pytest.mark.slow
KIT = ["the kit's"]


def test_intervals_of_accuracies_hold_the_truth_in_93_of_100_from_ten_sources_on():
    assert coverage.accuracies((10, 20, 30), 2000, KIT).worst.min() >= 0.93


def test_intervals_of_differences_hold_the_truth_in_93_of_100_from_ten_sources_on():
    assert coverage.differences((10, 20, 30), 2000).worst.min() >= 0.93


def test_fewer_sources_cover_what_is_printed_beside_the_interval():
    few = range(FEWEST, 10)
    accuracies = coverage.accuracies(few, 2000, KIT).worst.droplevel("method")
    worst = accuracies.combine(coverage.differences(few, 2000).worst, min)
    assert list(COVERS) == list(few)
    assert worst.to_numpy() == pytest.approx(list(COVERS.values()), abs=0.01)


def test_the_percentile_bootstrap_and_the_jackknife_do_not():
    found = coverage.accuracies((10,), 1000, ["percentile bootstrap", "jackknife, t of K - 1"])
    assert (found.worst < 0.9).all()


def test_with_three_seeds_and_more_a_difference_holds_the_spread_between_runs():
    found = coverage.runs((10, 30), 1000)
    held = found[["0 points", "1.5 points", "4 points"]]
    assert held.min().min() >= 0.93
    assert found["4 points, without"].loc[30, 1] < 0.93


def test_sign_flips_deceive_in_six_of_100_at_most_where_mcnemar_does_more_often():
    found = coverage.tests((6, 10, 20), 1000)
    assert found["sign flips over sources"].max() <= 0.06
    alike = found[found.index.get_level_values("correlation") > 0]
    assert (alike.xs(0.5, level="accuracy")["McNemar's"] > 0.12).all()
