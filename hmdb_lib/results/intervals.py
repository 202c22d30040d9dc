"""Compute intervals and p-values of a mean whose values come in unequal groups, by arrays: leading axes are repeats.

`benchmarks/coverage.py` measures what they cover, beside other methods; results/README.md has the table.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

FEWEST = 4  # sources that an interval needs
# Share of the simulated intervals that held the truth, in the worst case of `python -m benchmarks.coverage`.
COVERS = {4: 0.99, 5: 0.98, 6: 0.97, 7: 0.95, 8: 0.95, 9: 0.96}
EXACT = 20  # sources up to which all sign flips are counted
FLIPS = 100_000  # that are drawn above
BLOCK = 1000  # of them that are held at once; a multiple of 4, which is what numpy draws at once


class Spread(NamedTuple):
    """Hold the variance between runs that differ in nothing but their seed, and its degrees of freedom."""

    variance: float
    freedom: float


def interval(
    sums: np.ndarray,
    squares: np.ndarray,
    sizes: np.ndarray,
    bounds: tuple[float, float] = (0.0, 1.0),
    luck: Sequence[tuple[np.ndarray | float, np.ndarray | float]] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the ends of the 95 % interval of the mean of all values, which lie within `bounds`.

    The variance is the larger of two: the cluster-robust one, CR2, with the degrees of freedom of Bell and McCaffrey
    (Survey Methodology 28, 2002; those of sources that are alike within), and the one of a model with one correlation
    within all sources, which a few lucky sources cannot make small (Franco, Little, Louis and Slud, Journal of Survey
    Statistics and Methodology 7, 2019). The ends are those of Korn and Graubard (Survey Methodology 24, 1998): exact
    binomial ones for as many independent trials as give this variance, so that they are not symmetric near a bound.
    Where all values are equal, each source is one exact binomial trial. Below `FEWEST` sources the ends are nan.

    Args:
        sums, squares, sizes: (..., K), of each source: sum of its values, of their squares, and their number.
        bounds: of a single value: 0 and 1 for accuracies, -1 and 1 for differences.
        luck: variances to add that other runs would bring, each with its degrees of freedom (Satterthwaite's sum).

    """
    count, (least, most) = sums.shape[-1], bounds
    total = sizes.sum(-1)
    mean = sums.sum(-1) / total
    if count < FEWEST:
        return np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    share = sizes / total[..., None]
    errors = (sums - mean[..., None] * sizes) / total[..., None]
    robust = (errors**2 / (1 - share)).sum(-1)
    variance = np.maximum(robust, _modelled(sums, squares, sizes))
    freedom = bell_mccaffrey(share)
    same = squares.sum(-1) / total - mean**2 < 1e-9
    unseen = 1 - 0.025 ** (1 / count)  # the share of sources that may be otherwise though none was seen
    unseen = unseen * np.maximum(mean - least, most - mean) / stats.t.ppf(0.975, freedom)
    variance = np.where(same, unseen**2, variance)
    summed = variance + sum(of_runs for of_runs, _ in luck)
    freedom = summed**2 / (variance**2 / freedom + sum(of_runs**2 / its for of_runs, its in luck))
    quantile = stats.t.ppf(0.975, freedom)
    reach = quantile * np.sqrt(summed)
    centre = np.clip((mean - least) / (most - least), 1e-12, 1 - 1e-12)
    trials = centre * (1 - centre) * (most - least) ** 2 / summed
    trials = trials * (stats.t.ppf(0.975, np.maximum(total - 1, 1)) / quantile) ** 2
    low = stats.beta.ppf(0.025, centre * trials, (1 - centre) * trials + 1)
    high = stats.beta.ppf(0.975, centre * trials + 1, (1 - centre) * trials)
    low, high = least + (most - least) * low, least + (most - least) * high
    return (
        np.where(same, np.maximum(mean - reach, least), low),
        np.where(same, np.minimum(mean + reach, most), high),
    )


def flip_p(sums: np.ndarray, seed: int = 0) -> float:
    """Test whether the sums (K,) of sources are as likely to have the opposite sign; returns the two-sided p.

    Every sum keeps its size and gets a random sign; p is the share of the choices of signs whose total is farther from
    zero than the one seen, plus half of those that are equally far (the mid-p value: median unbiased where totals tie).
    All choices are counted up to `EXACT` sources that are not zero, `FLIPS` are drawn above. No such source: 1.
    """
    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    if len(sums) <= EXACT:
        totals = np.zeros(1)
        for value in sums:
            totals = np.concatenate([totals + value, totals - value])
    else:
        random, blocks = np.random.default_rng(seed), (min(BLOCK, FLIPS - first) for first in range(1, FLIPS, BLOCK))
        drawn = [(random.integers(0, 2, (block, len(sums)), dtype=np.int8) * 2.0 - 1) @ sums for block in blocks]
        totals = np.append(np.concatenate(drawn), sums.sum())
    beyond = np.abs(totals) - abs(sums.sum())
    return float((beyond > 1e-9).mean() + (np.abs(beyond) <= 1e-9).mean() / 2)


def holm(p: np.ndarray, planned: int) -> np.ndarray:
    """Adjust p-values for `planned` comparisons, of which those not made yet count as the largest (Holm 1979)."""
    order = np.argsort(p)
    adjusted = np.minimum(1, np.maximum.accumulate(p[order] * (planned - np.arange(len(p)))))
    return adjusted[np.argsort(order)]


def resolution(sizes: np.ndarray, disagreement: float, alike: float) -> float:
    """Compute half the width of the planned 95 % interval of the difference of two rows.

    Args:
        sizes: test videos of each source.
        disagreement: share of the videos that one row alone judges rightly, in a table in which rows are about equal.
        alike: correlation of the differences within a source.

    """
    variance = disagreement * (sizes * (1 + (sizes - 1) * alike)).sum() / sizes.sum() ** 2
    return float(stats.t.ppf(0.975, max(1, len(sizes) - 1)) * np.sqrt(variance))


def _modelled(sums: np.ndarray, squares: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Variance of the mean if one correlation, estimated by an analysis of variance, holds within all sources."""
    count, total = sums.shape[-1], sizes.sum(-1)
    mean = sums.sum(-1) / total
    between = (sizes * (sums / sizes - mean[..., None]) ** 2).sum(-1) / (count - 1)
    within = (squares - sums**2 / sizes).sum(-1) / np.maximum(total - count, 1)
    size = (total - (sizes**2).sum(-1) / total) / (count - 1)
    whole = between + (size - 1) * within
    alike = np.divide(between - within, whole, out=np.ones_like(whole), where=whole > 0)
    alike = np.where(total > count, np.clip(alike, 0, 1), 0)
    single = squares.sum(-1) / total - mean**2
    return single * (sizes * (1 + (sizes - 1) * alike[..., None])).sum(-1) / total**2


def bell_mccaffrey(share: np.ndarray) -> np.ndarray:
    """Bell and McCaffrey's degrees of freedom of the CR2 variance of a mean, values being equal within a source.

    Trace squared by sum of squares of the K x K matrix of their formula, without that matrix: `own` is its diagonal.
    """
    whole = (share**2).sum(-1, keepdims=True)
    weight, left = share**2 / (1 - share), whole - share
    own = weight * (1 + left - share)
    pairs = ((weight * left**2).sum(-1) + (weight * share**2).sum(-1)) * weight.sum(-1)
    pairs = pairs - 2 * (weight * left).sum(-1) * (weight * share).sum(-1) - (weight**2 * (left - share) ** 2).sum(-1)
    return own.sum(-1) ** 2 / (pairs + (own**2).sum(-1))
