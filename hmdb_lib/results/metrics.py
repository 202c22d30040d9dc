"""Turn the probabilities of clips into one prediction a video, and predictions into accuracies. Needs no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

KEYS = ["video", "group", "label"]  # the first columns of predictions.csv; then each class's probability
# Columns that tables of predictions have or get: `pool` adds split and seed, a learning curve arm and sources,
# `judge_lengths` both frames, `rejudge` way.
RESERVED = (*KEYS, "split", "seed", "arm", "sources", "frames", "native_frames", "way")
UNSURE = 0.05  # share of right answers that may be given up for the wrong ones that go with them
UNEVEN = 2  # classes that differ in size by more have their mean accuracy beside the accuracy


def predictions_table(
    videos: pd.DataFrame, probabilities: np.ndarray, classes: Sequence[str], rows: Sequence[int] | np.ndarray
) -> pd.DataFrame:
    """Put predictions into the columns of predictions.csv.

    `videos` has the columns path, group and label, a row for each listed video; `probabilities` (read, classes) are
    those of the videos at `rows`. The others, which are missing or could not be read, get none. A class whose name is
    one of `RESERVED` has " (class)" behind it.
    """
    keys = videos.rename(columns={"path": "video"})[KEYS].reset_index(drop=True)
    keys["label"] = keys.label.map(column_of)
    return keys.join(pd.DataFrame(probabilities, index=pd.Index(rows), columns=list(map(column_of, classes))))


def column_of(name: str) -> str:
    """Name the column of a class, which is none of `RESERVED`."""
    return f"{name} (class)" if name.removesuffix(" (class)") in RESERVED else name


def up_to_date(predictions: pd.DataFrame) -> pd.DataFrame:
    """Rename classes of a run of an older release, which reserved fewer names."""
    renamed = {name: column_of(name) for name in classes_of(predictions) if name in RESERVED}
    return predictions.rename(columns=renamed).replace({"label": renamed}) if renamed else predictions


def classes_of(predictions: pd.DataFrame) -> list[str]:
    """List the classes of a predictions.csv, in order."""
    return [str(name) for name in predictions.columns if name not in KEYS]


class VideoScores:
    """Collects the probabilities of clips, in any order and batching, and makes one prediction a video.

    A video's probabilities are the mean of its clips'; with `majority` they are the shares of clips whose first
    choice a class is, as published. A tie goes to the lowest class number.
    """

    def __init__(self, classes: int, majority: bool = False) -> None:
        self.classes, self.majority = classes, majority
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, videos: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> None:
        """Add the clips of a batch: the video's number (B,), the true class (B,), the probabilities (B, classes)."""
        self.parts.append((videos, labels, probabilities))

    def clips(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return every clip so far: video, label, probabilities (clips, classes)."""
        if not self.parts:
            return np.zeros(0, int), np.zeros(0, int), np.zeros((0, self.classes), np.float32)
        videos, labels, probabilities = map(np.concatenate, zip(*self.parts, strict=True))
        return videos, labels, probabilities

    def videos(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return every video so far, by number: video, label, probabilities (videos, classes)."""
        videos, labels, probabilities = self.clips()
        if self.majority:
            probabilities = np.eye(self.classes)[probabilities.argmax(1)]
        return _means(videos, labels, probabilities)

    def summary(self) -> dict[str, float]:
        """Compute loss and accuracy per clip and per video; the losses are of probabilities, also where clips vote.

        Where the classes are uneven, the accuracy by video averaged over classes too. Where an answer by the mean of the
        clips is right, the probability that 19 of 20 right answers reach.
        """
        clips = self.clips()
        (_, clip_labels, probabilities), (_, labels, videos) = clips, self.videos()
        right, means = pd.Series(videos.argmax(1) == labels).groupby(labels), _means(*clips)[2]
        # Predictions are means, also of a model that was judged by votes.
        sure = means.max(1)[means.argmax(1) == labels]
        return {
            "clip_loss": nll(probabilities, clip_labels),
            "clip_accuracy": top_k(probabilities, clip_labels, 1),
            "video_loss": nll(means, labels),
            "video_accuracy": top_k(videos, labels, 1),
            **({"video_mean_class_accuracy": float(right.mean().mean())} if imbalance(labels) > UNEVEN else {}),
            **({"video_right_confidence": float(np.quantile(sure, UNSURE))} if len(sure) else {}),
        }


def _means(
    videos: np.ndarray, labels: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of one video become one row, their mean: in double precision, so that batching cannot change the digits."""
    numbers, first, inverse, counts = np.unique(videos, return_index=True, return_inverse=True, return_counts=True)
    sums = np.zeros((len(numbers), probabilities.shape[1]))
    np.add.at(sums, inverse, probabilities.astype(float))
    return numbers, labels[first], sums / counts[:, None]


def nll(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean negative log-likelihood of the true classes, in nats; not a number for no rows."""
    if not len(labels):
        return float("nan")
    return float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None), dtype=float).mean())


def smoothing_floor(smoothing: float, classes: int) -> float:
    """Compute the plain loss, in nats, of a model that learned the smoothed targets exactly: the least to hope for."""
    return float(-np.log(1 - smoothing + smoothing / classes))


def top_k(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Compute the share of rows whose true class is among the k most probable; a class without any share is none."""
    if not len(labels):
        return float("nan")
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    # Votes leave most classes without a share, and their order then is the alphabet's.
    has_share = probabilities[np.arange(len(labels)), labels] > 0
    return float(((best == labels[:, None]).any(1) & has_share).mean())


def read_only(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the videos that were read: the others have no probabilities."""
    return predictions.dropna(subset=classes_of(predictions))


def correct(predictions: pd.DataFrame) -> pd.Series:
    """Tell whether the most probable class is the true one, for each row; a video that was not read counts as wrong."""
    probabilities = predictions[classes_of(predictions)]
    return (probabilities.fillna(-1.0).idxmax(axis=1) == predictions.label) & probabilities.notna().all(axis=1)


def describe(predictions: pd.DataFrame) -> dict[str, float]:
    """Count videos and measure accuracy (top 1, top 5, mean over classes), loss and calibration of predictions.

    A video that was not read counts as wrong, but for `accuracy_read`, the loss and the calibration.
    """
    classes, read = classes_of(predictions), read_only(predictions)
    probabilities = read[classes].to_numpy()
    labels = np.array([classes.index(label) for label in read.label], int)
    share = len(read) / len(predictions)
    return {
        "videos": len(predictions),
        "read": len(read),
        "accuracy": share * top_k(probabilities, labels, 1) if share else 0.0,
        "accuracy_read": top_k(probabilities, labels, 1),
        "top5": share * top_k(probabilities, labels, 5) if share else 0.0,
        "mean_class_accuracy": mean_class_accuracy(predictions),
        "loss": nll(probabilities, labels),
        "calibration_error": calibration_error(probabilities, labels),
    }


def variance_share(logits: np.ndarray, without: np.ndarray) -> float:
    """Compute the share of the variance of logits over clips that comes with a part of them: 0 to 1.

    `logits` and `without` that part are (clips, classes). The variances of both parts are added up over the classes, each
    clip's mean over classes left out, which no probability depends on.
    """
    part, rest = (
        (values - values.mean(1, keepdims=True)).var(0, dtype=float).sum() for values in (logits - without, without)
    )
    return float(part / (part + rest)) if part + rest else float("nan")


def confusion_counts(predictions: pd.DataFrame) -> pd.DataFrame:
    """Count the videos that were read: a line each true class, a column each class they were taken for."""
    predictions, classes = read_only(predictions), classes_of(predictions)
    predicted = predictions[classes].idxmax(axis=1) if len(predictions) else predictions.label
    return pd.crosstab(predictions.label, predicted).reindex(index=classes, columns=classes, fill_value=0)


def mean_class_accuracy(predictions: pd.DataFrame) -> float:
    """Compute the accuracy averaged over classes instead of videos."""
    return float(correct(predictions).groupby(predictions.label.to_numpy()).mean().mean())


def mean_where_uneven(predictions: pd.DataFrame) -> dict[str, float]:
    """Compute the accuracy averaged over classes, under its column's name, where classes are uneven; else nothing."""
    uneven = imbalance(predictions.label) > UNEVEN
    return {"mean_class_accuracy": mean_class_accuracy(predictions)} if uneven else {}


def imbalance(labels: pd.Series | np.ndarray) -> float:
    """Divide the size of the largest class by that of the smallest; 1 for no labels."""
    sizes = pd.Series(labels).value_counts()
    return float(sizes.max() / sizes.min()) if len(sizes) else 1.0


def class_sizes(train: pd.Series, test: pd.Series) -> dict[str, float]:
    """Tell how uneven the classes are, and the test accuracy of always saying the commonest class of training."""
    return {
        "imbalance": max(imbalance(train), imbalance(test)),
        "commonest_class": float((test == train.value_counts().index[0]).mean()),
    }


def mean_beside(summary: Mapping[str, Any], form: str = ".3f") -> str:
    """Text of the accuracy averaged over classes, to stand behind the accuracy where classes are uneven."""
    uneven = summary.get("imbalance", 1) > UNEVEN
    return f", mean over classes {summary['test']['mean_class_accuracy']:{form}}," if uneven else ""


def best_epoch(metrics: pd.DataFrame) -> int | None:
    """Find the epoch of the highest validation accuracy, of equals the one with the lowest loss; None without any."""
    told = metrics.reindex(columns=["epoch", "val_video_accuracy", "val_video_loss"]).dropna()
    order = ["val_video_accuracy", "val_video_loss"]
    return None if told.empty else int(told.sort_values(order, ascending=[False, True]).epoch.iloc[0])


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (arXiv 1706.04599): the mean gap between confidence and accuracy in equal bins."""
    if not len(labels):
        return float("nan")
    confidence = probabilities.max(1)
    gap = (probabilities.argmax(1) == labels) - confidence
    return float(
        np.abs(np.bincount(np.minimum((confidence * bins).astype(int), bins - 1), weights=gap)).sum() / len(gap)
    )
