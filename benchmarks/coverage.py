"""`python -m benchmarks.coverage`: how often do intervals hold the truth, and how often does a p below 0.05 deceive?

Sources of 1 to 13 clips; the rates of the sources follow a beta distribution, so that clips of one source have the
correlation asked for. Printed as Markdown: intervals by method, accuracy and correlation; differences of two rows;
differences with a spread between runs; sizes of tests. The text above each table says what was simulated.
"""

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from hmdb_lib.results import intervals

ACCURACIES, CORRELATIONS = (0.1, 0.5, 0.95), (0.0, 0.3, 0.7)
PAIRS = ((0.1, 0.1), (0.2, 0.1), (0.5, 0.5), (0.6, 0.5), (0.95, 0.95), (0.95, 0.9))
CLIPS = 13  # of a source at most
RESAMPLES = 399
SPREADS, SEEDS = (0.0, 0.015, 0.04), (1, 3, 5)


class Sources(NamedTuple):
    """Hold sums, sums of squares and numbers of clips by repeat and source, (repeats, K)."""

    sums: np.ndarray
    squares: np.ndarray
    sizes: np.ndarray


Ends = tuple[np.ndarray, np.ndarray]


def draw(random: np.random.Generator, repeats: int, sources: int, accuracy: float, alike: float) -> Sources:
    """Draw right and wrong clips of sources whose clips have the correlation `alike`."""
    sizes = random.integers(1, CLIPS + 1, (repeats, sources))
    right = random.binomial(sizes, _rates(random.random(sizes.shape), accuracy, alike)).astype(float)
    return Sources(right, right, sizes.astype(float))


def draw_copies(random: np.random.Generator, repeats: int, sources: int, accuracy: float, alike: float) -> Sources:
    """Draw as `draw` does, but each clip copies the outcome of its source with probability sqrt(alike)."""
    sizes = random.integers(1, CLIPS + 1, (repeats, sources))
    copies = random.random((repeats, sources, CLIPS)) < np.sqrt(alike)
    whole = random.random((repeats, sources, 1)) < accuracy
    right = np.where(copies, whole, random.random(copies.shape) < accuracy) & _there(sizes)
    sums = right.sum(-1).astype(float)
    return Sources(sums, sums, sizes.astype(float))


def draw_rows(
    random: np.random.Generator,
    sizes: np.ndarray,
    accuracies: tuple[float, float],
    alike: float,
    spread: float = 0.0,
    seeds: int = 1,
) -> list[np.ndarray]:
    """Draw two rows' clips, (repeats, K, CLIPS, seeds) each: right, wrong, or nan where a source has no more clips.

    A source's difficulty is half shared by the rows (a Gaussian copula), and so is a clip's by the runs of a row. Each
    run's accuracy is moved by a normal number with the standard deviation `spread`.
    """
    shape = sizes.shape
    common, rows = random.standard_normal(shape), []
    for accuracy in accuracies:
        place = stats.norm.cdf((common + random.standard_normal(shape)) / np.sqrt(2))
        moved = np.clip(accuracy + spread * random.standard_normal((shape[0], 1, seeds)), 1e-3, 1 - 1e-3)
        rates = _rates(place[..., None], moved, alike)  # repeats, K, seeds
        clip = random.standard_normal((*shape, CLIPS, 1)) + random.standard_normal((*shape, CLIPS, seeds))
        right = stats.norm.cdf(clip / np.sqrt(2)) < rates[:, :, None]
        rows.append(np.where(_there(sizes)[..., None], right, np.nan))
    return rows


def difference(rows: list[np.ndarray], sizes: np.ndarray) -> Sources:
    """Add up what the first row has more right than the second, clip by clip, runs being averaged."""
    gain = rows[0].mean(-1) - rows[1].mean(-1)
    return Sources(np.nansum(gain, -1), np.nansum(gain**2, -1), sizes.astype(float))


def luck(rows: list[np.ndarray], borrowed: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """Compute the variances that other runs would bring to a difference, each with its degrees of freedom.

    `borrowed`: to a difference of two other rows, with one run each; the rows' spreads are pooled.
    """
    seeds = rows[0].shape[-1]
    variances = [np.nanmean(row, (1, 2)).var(-1, ddof=1) for row in rows]  # (repeats,)
    if borrowed:
        shared = (variances[0] + variances[1]) / 2
        return [(2 * shared, np.full_like(shared, 2 * (seeds - 1)))]
    return [(variance / seeds, np.full_like(variance, seeds - 1)) for variance in variances]


def methods() -> dict[str, Callable[[Sources], Ends]]:
    """List the ways to an interval of an accuracy that are compared; the last one is the kit's."""
    return {
        "percentile bootstrap": percentile,
        "jackknife, t of K - 1": jackknife,
        "CR2, t of Bell and McCaffrey": cr2,
        "bootstrap-t": bootstrap_t,
        "wild bootstrap-t": partial(bootstrap_t, wild=True),
        "CR2, logit": logit,
        "CR2, Wilson": wilson,
        "CR2, Korn and Graubard": korn_graubard,
        "the kit's": lambda data: intervals.interval(*data),
    }


def percentile(data: Sources) -> Ends:
    """Draw whole sources with replacement; take the 2.5 and 97.5 percentiles of the means."""
    means = np.concatenate([_mean(part)[..., 0] for part in _resampled(data)], axis=1)
    low, high = np.percentile(means, (2.5, 97.5), axis=1)
    return low, high


def jackknife(data: Sources) -> Ends:
    """Leave out one source at a time; Student's t of K - 1."""
    count = data.sizes.shape[-1]
    total = data.sizes.sum(-1, keepdims=True)
    without = (data.sums.sum(-1, keepdims=True) - data.sums) / (total - data.sizes)
    variance = (count - 1) * without.var(-1)
    return _symmetric(data, np.sqrt(variance) * stats.t.ppf(0.975, count - 1))


def cr2(data: Sources) -> Ends:
    """Take the cluster-robust variance CR2 with Bell and McCaffrey's degrees of freedom."""
    variance, quantile = _robust(data)
    return _symmetric(data, np.sqrt(variance) * quantile)


def bootstrap_t(data: Sources, wild: bool = False) -> Ends:
    """Draw whole sources with replacement, or random signs of their errors (`wild`); studentize each mean."""
    mean, error = _mean(data), np.sqrt(_robust(data)[0])
    found = []
    random = np.random.default_rng(0)
    for part in _resampled(data):
        if wild:
            signs = random.integers(0, 2, part.sums.shape) * 2 - 1
            errors = signs * (data.sums - mean * data.sizes)[:, None]
            part = Sources(errors, errors, np.broadcast_to(data.sizes[:, None], errors.shape))
        own = np.sqrt(_robust(part)[0])
        away = _mean(part)[..., 0] - (0 if wild else mean)
        found.append(np.divide(away, own, out=np.zeros_like(away), where=own > 1e-9))
    low, high = np.percentile(np.concatenate(found, axis=1), (2.5, 97.5), axis=1)
    return mean[:, 0] - high * error, mean[:, 0] - low * error


def logit(data: Sources) -> Ends:
    """CR2's interval of the log odds."""
    variance, quantile = _robust(data)
    mean = np.clip(_mean(data)[..., 0], 1e-9, 1 - 1e-9)
    reach = np.sqrt(variance) * quantile / (mean * (1 - mean))
    odds = np.log(mean / (1 - mean))
    return 1 / (1 + np.exp(reach - odds)), 1 / (1 + np.exp(-reach - odds))


def wilson(data: Sources) -> Ends:
    """Wilson's interval for the number of independent clips that gives CR2's variance."""
    quantile = _robust(data)[1]
    mean, trials = _trials(data)
    centre = (mean + quantile**2 / 2 / trials) / (1 + quantile**2 / trials)
    reach = np.sqrt(mean * (1 - mean) / trials + (quantile / 2 / trials) ** 2) * quantile / (1 + quantile**2 / trials)
    return centre - reach, centre + reach


def korn_graubard(data: Sources) -> Ends:
    """Exact binomial ends for the number of independent clips that gives CR2's variance."""
    mean, trials = _trials(data)
    trials = trials * (1.96 / _robust(data)[1]) ** 2
    return (
        stats.beta.ppf(0.025, mean * trials, trials - mean * trials + 1),
        stats.beta.ppf(0.975, mean * trials + 1, trials - mean * trials),
    )


def held(ends: Ends, truth: float) -> float:
    """Compute the share of intervals that hold the truth."""
    low, high = ends
    return float(((low <= truth + 1e-12) & (high >= truth - 1e-12)).mean())


def accuracies(
    counts: Iterable[int], repeats: int, names: Iterable[str] | None = None, draw: Callable[..., Sources] = draw
) -> pd.DataFrame:
    """Measure the coverage of methods (none named: all), one line a method and number of sources, a column a case."""
    lines = {}
    for count in counts:
        for name in names or methods():
            random = np.random.default_rng(count)
            cases = {}
            for accuracy in ACCURACIES:
                for alike in CORRELATIONS:
                    data = draw(random, repeats, count, accuracy, alike)
                    ends = _all_equal_as_exact(data, methods()[name](data))
                    cases[f"{accuracy}, {alike}"] = held(ends, accuracy)
            lines[count, name] = cases
    return _worst(pd.DataFrame.from_dict(lines, orient="index").rename_axis(["sources", "method"]))


def differences(counts: Iterable[int], repeats: int) -> pd.DataFrame:
    """Measure the coverage of the kit's interval of a difference, one line a number of sources, a column a case."""
    lines = {}
    for count in counts:
        random = np.random.default_rng(count)
        cases = {}
        for pair in PAIRS:
            for alike in CORRELATIONS:
                sizes = random.integers(1, CLIPS + 1, (repeats, count))
                data = difference(draw_rows(random, sizes, pair, alike), sizes)
                cases[f"{pair[0]}-{pair[1]}, {alike}"] = held(intervals.interval(*data, (-1, 1)), pair[0] - pair[1])
        lines[count] = cases
    return _worst(pd.DataFrame.from_dict(lines, orient="index").rename_axis("sources"))


def runs(counts: Iterable[int], repeats: int, seeds: Iterable[int] = SEEDS) -> pd.DataFrame:
    """Measure the coverage of a difference of 0.6 and 0.5 (correlation 0.3) by seeds and the spread between runs.

    `without` leaves the spread between runs out, as must be where every row of a table has one run. Else the spread is
    that of the two rows; where they have one seed each, that of two other rows with three.
    """
    lines = {}
    for count in counts:
        for number in seeds:
            random = np.random.default_rng((count, number))
            line = {}
            for spread in SPREADS:
                sizes = random.integers(1, CLIPS + 1, (repeats, count))
                rows = draw_rows(random, sizes, (0.6, 0.5), 0.3, spread, number)
                data = difference(rows, sizes)
                line[f"{100 * spread:g} points, without"] = held(intervals.interval(*data, (-1, 1)), 0.1)
                of_rows = rows if number > 1 else draw_rows(random, sizes, (0.6, 0.5), 0.3, spread, 3)
                other_runs = luck(of_rows, borrowed=number == 1)
                line[f"{100 * spread:g} points"] = held(intervals.interval(*data, (-1, 1), other_runs), 0.1)
            lines[count, number] = line
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(["sources", "seeds"])


def tests(counts: Iterable[int], repeats: int) -> pd.DataFrame:
    """Measure how often p is at most 0.05 where two rows are equally good: sign flips over sources, and McNemar's."""
    lines = {}
    for count in counts:
        random = np.random.default_rng(count)
        for accuracy in ACCURACIES:
            for alike in CORRELATIONS:
                sizes = random.integers(1, CLIPS + 1, (repeats, count))
                rows = draw_rows(random, sizes, (accuracy, accuracy), alike)
                gain = np.nan_to_num(rows[0] - rows[1])[..., 0]
                won, lost = (gain > 0).sum((1, 2)), (gain < 0).sum((1, 2))
                mcnemar = np.minimum(1, 2 * stats.binom.cdf(np.minimum(won, lost), won + lost, 0.5))
                flips = np.array([intervals.flip_p(sums) for sums in gain.sum(-1)])
                lines[count, accuracy, alike] = {
                    "sign flips over sources": float((flips <= 0.05).mean()),
                    "McNemar's": float((mcnemar <= 0.05).mean()),
                }
    names = ["sources", "accuracy", "correlation"]
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(names)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000, help="simulated data sets a number; default: 2000")
    repeats = parser.parse_args().repeats
    few, more = range(intervals.FEWEST, 10), (10, 15, 20, 30, 60)
    kit = ["the kit's"]
    print("\nAccuracies, ways to an interval; columns: accuracy, correlation within a source.\n")
    print(_text(accuracies((4, 10, 30), repeats)))
    print("\nAccuracies, the kit's interval.\n")
    print(_text(accuracies((*few, *more), repeats, kit)))
    print(
        "\nThe same where a clip copies its source's outcome or is independent of it (harder: see results/README.md).\n"
    )
    print(_text(accuracies(more, repeats, kit, draw_copies)))
    print("\nDifferences; columns: accuracies of the two rows, correlation within a source.\n")
    print(_text(differences((*few, *more), repeats)))
    print("\nDifferences of rows with several seeds; columns: spread between runs.\n")
    print(_text(runs((10, 20, 30), repeats)))
    print("\nShare of p at most 0.05 where both rows are equally good.\n")
    print(_text(tests((6, 10, 20), repeats)))


def _rates(place: np.ndarray, accuracy: float | np.ndarray, alike: float) -> np.ndarray:
    """Rates at the quantiles `place` of the beta distribution of this mean and this correlation of two clips."""
    if not alike:
        return np.broadcast_to(accuracy, np.broadcast_shapes(place.shape, np.shape(accuracy)))
    scale = (1 - alike) / alike
    return stats.beta.ppf(place, accuracy * scale, (1 - np.asarray(accuracy)) * scale)


def _there(sizes: np.ndarray) -> np.ndarray:
    return np.arange(CLIPS) < sizes[..., None]


def _mean(data: Sources) -> np.ndarray:
    return data.sums.sum(-1, keepdims=True) / data.sizes.sum(-1, keepdims=True)


def _symmetric(data: Sources, reach: np.ndarray) -> Ends:
    mean = _mean(data)[..., 0]
    return mean - reach, mean + reach


def _robust(data: Sources) -> tuple[np.ndarray, np.ndarray]:
    """Compute CR2's variance and the quantile of t with Bell and McCaffrey's degrees of freedom."""
    share = data.sizes / data.sizes.sum(-1, keepdims=True)
    errors = (data.sums - _mean(data) * data.sizes) / data.sizes.sum(-1, keepdims=True)
    variance = (errors**2 / (1 - share)).sum(-1)
    if share.ndim > 2:  # resampled: the quantile is not needed
        return variance, np.ones_like(variance)
    return variance, stats.t.ppf(0.975, intervals.bell_mccaffrey(share))


def _trials(data: Sources) -> tuple[np.ndarray, np.ndarray]:
    mean = np.clip(_mean(data)[..., 0], 1e-9, 1 - 1e-9)
    return mean, np.minimum(mean * (1 - mean) / np.maximum(_robust(data)[0], 1e-12), data.sizes.sum(-1))


def _resampled(data: Sources) -> Iterable[Sources]:
    """Draw sources with replacement, in parts of about 50 resamples: (repeats, resamples, K)."""
    random = np.random.default_rng(0)
    repeats, count = data.sizes.shape
    rows = np.arange(repeats)[:, None, None]
    for _ in range(RESAMPLES // 57):
        taken = random.integers(0, count, (repeats, 57, count))
        yield Sources(*(values[rows, taken] for values in data))


def _all_equal_as_exact(data: Sources, ends: Ends) -> Ends:
    """Give every method the kit's interval where all clips are right, or all wrong, and resampling sees no spread."""
    mean = _mean(data)[..., 0]
    same = (mean == 0) | (mean == 1)
    return tuple(np.where(same, exact, own) for exact, own in zip(intervals.interval(*data), ends, strict=True))


def _worst(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(worst=table.min(axis=1))


def _text(table: pd.DataFrame) -> str:
    texts = table.map("{:.3f}".format).reset_index().astype(str)
    return texts.to_markdown(index=False, disable_numparse=True)


if __name__ == "__main__":
    main()
