"""Compute intervals of accuracies and of differences from predictions, with source videos as the unit.

Clips of one source resemble each other, so they count together: single clips as units give intervals that are too
narrow. An interval speaks of other source videos; of other seeds too where the spread between runs is given.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from hmdb_lib.errors import UserError
from hmdb_lib.results.intervals import COVERS, Spread, flip_p, interval
from hmdb_lib.results.metrics import KEYS, classes_of, correct, describe

ENOUGH_SHARED = 0.9  # of the videos of two runs that are compared
ENOUGH_FREEDOM = 2  # of a row's own spread between runs
K = TypeVar("K")


class Interval(NamedTuple):
    """Hold a value and the ends of its 95 % interval, nan below four sources; `sources` is their number."""

    value: float
    low: float
    high: float
    sources: int

    def columns(self, sources: str = "sources") -> dict[str, float]:
        """Return it as columns of a table; `sources`: what their number is called there."""
        return {sources: self.sources, "accuracy": self.value, "accuracy_low": self.low, "accuracy_high": self.high}


class Comparison(NamedTuple):
    """Hold how much more accurate the first of two is, as a share from -1 to 1, with its 95 % interval and p.

    `videos` is the number that both judged, of `of` that either did; `sources` is the number of their sources.
    """

    difference: float
    low: float
    high: float
    p: float
    videos: int
    of: int
    sources: int

    def columns(self) -> dict[str, float]:
        """Return the difference with its interval and p as columns of a table."""
        return {"difference": self.difference, "difference_low": self.low, "difference_high": self.high, "p": self.p}


def measure_test(predictions: pd.DataFrame) -> dict[str, float]:
    """Compute what summary.json says under `test` that predictions.csv alone can tell."""
    return accuracy_interval(predictions).columns() | describe(predictions)


def accuracy_interval(predictions: pd.DataFrame, spread: Spread | None = None) -> Interval:
    """Compute the accuracy over the rows of a predictions.csv, or of several pooled with `pool`, with its interval.

    The unit is `group`, the source video, however many folds and seeds it was judged in; see `intervals.interval`. With
    the `spread` between runs the interval speaks of other seeds too.
    """
    units = _units(predictions)
    low, high = _interval(units.right, units.group, (0, 1), [_luck(predictions, spread)])
    return Interval(float(units.right.mean()), low, high, units.group.nunique())


def compare(
    first: pd.DataFrame,
    second: pd.DataFrame,
    spreads: tuple[Spread | None, Spread | None] = (None, None),
    *,
    partial: bool = False,
) -> Comparison:
    """Compare two runs, or two pools of runs, video by video on those that both judged in the same split.

    Folds that are cut otherwise, each video being judged once in them, are paired by the video alone. Sources are those
    of the side that has fewer: a cut that takes each file for its own source knows none. Seeds are averaged first, so
    that the two may have different ones. The interval is that of `accuracy_interval`. `p` is that of random signs of the
    sources' differences, see `intervals.flip_p`: it speaks of these runs, without the spread between runs. Raises
    UserError when the two share less than nine tenths of their videos (`partial`: no video).
    """
    sides = one, other = _units(first), _units(second)
    keys = ["video", *(name for name in ("split",) if name in one and name in other)]
    if "split" in keys and set(one.split) == set(other.split) and all(side.video.is_unique for side in sides):
        keys = ["video"]
    pairs = one.merge(other, on=keys, suffixes=("_first", "_second"), validate="1:1")
    of = len(one) + len(other) - len(pairs)
    if pairs.empty:
        raise UserError("the two runs have no test video in common; compare runs of the same data and split")
    if len(pairs) < ENOUGH_SHARED * of and not partial:
        raise UserError(
            f"the two runs share {len(pairs)} of {of} test videos, less than nine tenths; compare runs of the same data "
            "and split, or pass partial=True"
        )
    gain = pairs.right_first - pairs.right_second
    groups = min(pairs.group_first, pairs.group_second, key=lambda side: side.nunique())
    luck = [
        _luck(table, spread, pairs.get(f"split_{name}", pairs.get("split")))
        for table, spread, name in zip((first, second), spreads, ("first", "second"), strict=True)
    ]
    low, high = _interval(gain, groups, (-1, 1), luck)
    p = flip_p(gain.groupby(groups.to_numpy()).sum().round(9).to_numpy())
    return Comparison(float(gain.mean()), low, high, p, len(pairs), of, groups.nunique())


def videos_text(test: Mapping[str, float]) -> str:
    """Write how many videos a summary's accuracy is over, and what of them was missing or could not be read."""
    videos = int(test["videos"])
    read, present = int(test.get("read", videos)), int(test.get("present", videos))
    if read == videos:
        return f"{videos} videos"
    return (
        f"{videos} listed videos, of which {present} were there and {read} read ({test['accuracy_read']:.3f} of these)"
    )


def range_text(low: float, high: float, sources: float | None, form: str) -> str:
    """Write an interval; of few sources with what simulated intervals of so many cover."""
    if pd.isna(low):
        return "[no interval: fewer than four sources]"
    held = COVERS.get(int(sources)) if sources else None
    return f"[{low:{form}}, {high:{form}}{f'; {sources:.0f} sources, covers {held:.2f}' if held else ''}]"


def pool(predictions: dict[tuple[int, int], pd.DataFrame]) -> pd.DataFrame:
    """Put the predictions of a row's runs, by (split, seed), into one table with these as its index.

    Raises UserError where a video has another source in one run than in another: no interval could be computed.
    """
    table = pd.concat(predictions, names=["split", "seed"])
    sources = table[["video", "group"]].drop_duplicates()
    if (twice := sources[sources.video.duplicated()]).size:
        video = twice.video.iloc[0]
        first, second = sources.group[sources.video == video].iloc[:2]
        raise UserError(
            f"runs of one row know other sources of the same videos ({video} is of {first!r} in one, of {second!r} in "
            "another); train those from before the change anew, under another name=..."
        )
    return table


def seeds_of(predictions: pd.DataFrame) -> int:
    """Count the seeds that every split of a pool has."""
    return int(predictions.reset_index().groupby("split").seed.nunique().min())


def average_runs(predictions: pd.DataFrame) -> pd.DataFrame | None:
    """Average the probabilities of a pool's seeds, video by video in each split; None where a split has one run.

    Of a split with more seeds than another the first ones are taken, so that all are averages of as many.
    """
    count = seeds_of(predictions)
    if count < 2:
        return None
    keys = ["split", "video", "group", "label"]
    table = predictions.reset_index(["split", "seed"])
    table = table[table.groupby("split").seed.rank("dense") <= count]
    return table.groupby(keys, sort=False)[classes_of(predictions)].mean().reset_index().set_index("split")


def average_videos(predictions: pd.DataFrame) -> pd.DataFrame:
    """Average the probabilities of each video over all runs of a pool that judged it, so that it counts once."""
    return predictions.groupby(KEYS, sort=False)[classes_of(predictions)].mean().reset_index()


def run_spreads(pools: Mapping[K, pd.DataFrame]) -> dict[K, tuple[Spread | None, str]]:
    """Compute the spread between runs for each row of a table, and say in words where it is from.

    It is that of the row's own runs that share a split, from three on; else that of all rows of the table with several,
    pooled. With one run each there is none.
    """
    own = {row: spread for row, predictions in pools.items() if (spread := _run_spread(predictions))}
    freedom = sum(spread.freedom for spread in own.values())
    if not freedom:
        return dict.fromkeys(pools, (None, "one run each: the spread between runs is not in the intervals"))
    shared = Spread(sum(of.variance * of.freedom for of in own.values()) / freedom, freedom)
    from_rows = f"in the intervals, from {', '.join(map(str, own))} ({freedom} degrees of freedom)"
    enough = {row for row, spread in own.items() if spread.freedom >= ENOUGH_FREEDOM}
    return {row: (own[row], "in the intervals") if row in enough else (shared, from_rows) for row in pools}


def _run_spread(predictions: pd.DataFrame) -> Spread | None:
    runs = correct(predictions).groupby(level=["split", "seed"]).mean().groupby(level="split")
    freedom = int((runs.size() - 1).sum())
    return Spread(float((runs.var(ddof=0) * runs.size()).sum() / freedom), freedom) if freedom else None


def _units(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row a video and split: video, group, [split,] right, the mean over seeds."""
    table = predictions[["video", "group"]].assign(right=correct(predictions).astype(float)).reset_index()
    keys = ["video", "group", *(name for name in ("split",) if name in table)]
    return table.groupby(keys, sort=False)["right"].mean().reset_index()


def _luck(predictions: pd.DataFrame, spread: Spread | None, kept: pd.Series | None = None) -> tuple[float, float]:
    """Variance that other runs would bring to the mean over the units, and its degrees of freedom.

    `kept`: the split of each unit that is kept, all by default.
    """
    if not spread:
        return 0.0, np.inf
    runs = predictions.reset_index()[["split", "seed"]].drop_duplicates().split.value_counts()
    units = predictions.reset_index()[["video", "split"]].drop_duplicates().split if kept is None else kept
    shares = units.value_counts(normalize=True)
    return spread.variance * float((shares**2 / runs.reindex(shares.index)).sum()), spread.freedom


def _interval(
    values: pd.Series, groups: pd.Series, bounds: tuple[float, float], luck: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    by_source = pd.DataFrame({"sums": values, "squares": values**2}).groupby(groups.to_numpy())
    sums, sizes = by_source.sum(), by_source.size()
    low, high = interval(sums.sums.to_numpy(), sums.squares.to_numpy(), sizes.to_numpy(float), bounds, luck)
    return float(low), float(high)
