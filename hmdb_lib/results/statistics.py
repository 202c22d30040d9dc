"""Compute intervals of accuracies and of differences from predictions, with source videos as the unit.

Clips of one source resemble each other, so they are drawn together: resampling single clips gives intervals that are
too narrow. An interval speaks of other videos, not of another seed; what a seed does shows in the spread over runs.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest, bootstrap

from hmdb_lib.errors import UserError
from hmdb_lib.results.metrics import classes_of, describe


class Interval(NamedTuple):
    """Hold a value and the ends of its 95 % interval; these are nan where the data cannot give one."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """Hold how much more accurate the first of two is, as a share from -1 to 1, with its 95 % interval and McNemar's p."""

    difference: float
    low: float
    high: float
    p: float
    videos: int


def correct(predictions: pd.DataFrame) -> pd.Series:
    """Tell whether the most probable class is the true one, for each row of a predictions.csv."""
    return predictions[classes_of(predictions)].idxmax(axis=1) == predictions.label


def measure_test(predictions: pd.DataFrame) -> dict[str, float]:
    """Compute what summary.json says under `test` that predictions.csv alone can tell."""
    accuracy = accuracy_interval(predictions)
    return describe(predictions) | {"accuracy_low": accuracy.low, "accuracy_high": accuracy.high}


def accuracy_interval(predictions: pd.DataFrame, resamples: int = 9999, seed: int = 0) -> Interval:
    """Compute the accuracy over the rows of a predictions.csv, or of several pooled with `pool`.

    The interval is the percentile bootstrap over `group` (whole source videos are drawn with replacement; Davison
    and Hinkley, Bootstrap Methods, 3.8): a little too narrow below some thirty groups. Where every row is right, or
    every row wrong, resampling sees no spread, and each group counts as one exact binomial trial instead. One group, or
    two, of which only three resamples can be drawn, give no interval.
    """
    right = correct(predictions).astype(int)
    low, high = _interval_of_mean(right, predictions.group, resamples, seed)
    return Interval(float(right.mean()), max(low, 0.0), min(high, 1.0))


def compare(first: pd.DataFrame, second: pd.DataFrame, resamples: int = 9999, seed: int = 0) -> Comparison:
    """Compare two runs, or two pools of runs, pair by pair on the videos (of the same split and seed) that both judged.

    The interval is that of `accuracy_interval`. `p` is McNemar's, exact: the binomial test of the videos that
    only one of the two gets right. It takes videos as independent, so within few or large sources believe the
    interval rather than it; and it is nan for pools in which a video is judged more than once, as with several seeds.
    Raises UserError when the two share no video.
    """
    first, second = (table[["video", "group"]].assign(right=correct(table)).reset_index() for table in (first, second))
    keys = ["video", *(name for name in ("split", "seed") if name in first)]
    pairs = first.merge(second[[*keys, "right"]], on=keys, suffixes=("_first", "_second"), validate="1:1")
    if pairs.empty:
        raise UserError("the two runs have no test video in common; compare runs of the same data and split")
    gain = pairs.right_first.astype(int) - pairs.right_second
    won, lost = int((gain > 0).sum()), int((gain < 0).sum())
    once = pairs.video.is_unique
    p = (binomtest(won, won + lost).pvalue if won + lost else 1.0) if once else float("nan")
    low, high = _interval_of_mean(gain, pairs.group, resamples, seed)
    return Comparison(float(gain.mean()), max(low, -1.0), min(high, 1.0), float(p), len(pairs))


def pool(predictions: dict[tuple[int, int], pd.DataFrame]) -> pd.DataFrame:
    """Put the predictions of a row's runs, by (split, seed), into one table with these as its index.

    For `accuracy_interval` a source is still one unit, however many folds and seeds it was judged in.
    """
    return pd.concat(predictions, names=["split", "seed"])


def _interval_of_mean(values: pd.Series, groups: pd.Series, resamples: int, seed: int) -> tuple[float, float]:
    """Ends of the 95 % interval of the mean over rows, whole groups resampled; nan below three groups."""
    if values.nunique() == 1:
        unseen = binomtest(0, groups.nunique()).proportion_ci().high  # share of groups that may be otherwise
        return values.iloc[0] - unseen, values.iloc[0] + unseen
    sums = values.groupby(groups.to_numpy()).agg(["sum", "size"]).to_numpy(float)
    if len(sums) < 3:
        return float("nan"), float("nan")
    found = bootstrap(
        (sums[:, 0], sums[:, 1]),
        lambda total, rows, axis: total.sum(axis) / rows.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=resamples,
        batch=1000,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
