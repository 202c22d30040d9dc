"""From the probabilities of clips to one prediction a video, and from predictions to accuracies. Needs no torch."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


class VideoScores:
    """Collects the probabilities of clips, in any order and batching, and makes one prediction a video.

    A video's probabilities are the mean of its clips'; with `majority` they are the shares of clips whose first
    choice a class is, as published. A tie goes to the lowest class number.
    """

    def __init__(self, classes: int, majority: bool = False) -> None:
        self.classes, self.majority = classes, majority
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, videos: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> None:
        """Clips of a batch: the video's number (B,), the true class (B,), the probabilities (B, classes)."""
        self.parts.append((videos, labels, probabilities))

    def clips(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every clip so far: video, label, probabilities (clips, classes)."""
        if not self.parts:
            return np.zeros(0, int), np.zeros(0, int), np.zeros((0, self.classes), np.float32)
        return tuple(np.concatenate(column) for column in zip(*self.parts, strict=True))

    def videos(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every video so far, by number: video, label, probabilities (videos, classes)."""
        videos, labels, probabilities = self.clips()
        if self.majority:
            probabilities = np.eye(self.classes)[probabilities.argmax(1)]
        return _means(videos, labels, probabilities)

    def summary(self) -> dict[str, float]:
        """Loss and accuracy per clip and per video; the losses are of probabilities, also where clips vote."""
        clips = self.clips()
        (_, clip_labels, probabilities), (_, labels, videos) = clips, self.videos()
        return {
            "clip_loss": nll(probabilities, clip_labels),
            "clip_accuracy": top_k(probabilities, clip_labels, 1),
            "video_loss": nll(_means(*clips)[2], labels),
            "video_accuracy": top_k(videos, labels, 1),
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
    """Mean negative log-likelihood of the true classes, in nats; not a number for no rows."""
    if not len(labels):
        return float("nan")
    return float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None), dtype=float).mean())


def top_k(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of rows whose true class is among the k most probable."""
    if not len(labels):
        return float("nan")
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(1).mean())


def confusion_matrix(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts (classes, classes): row the true class, column the predicted one."""
    matrix = np.zeros((probabilities.shape[1],) * 2, int)
    np.add.at(matrix, (labels, probabilities.argmax(1)), 1)
    return matrix


def describe(predictions: pd.DataFrame, classes: Sequence[str]) -> dict[str, float]:
    """Everything a table wants to know of a run's predictions.csv: one row a video, a probability a class."""
    probabilities = predictions[list(classes)].to_numpy()
    labels = predictions["label"].map({name: number for number, name in enumerate(classes)}).to_numpy()
    matrix = confusion_matrix(probabilities, labels)
    seen = matrix.sum(1) > 0
    return {
        "videos": len(labels),
        "accuracy": top_k(probabilities, labels, 1),
        "top5": top_k(probabilities, labels, 5),
        "mean_class_accuracy": float((matrix.diagonal()[seen] / matrix.sum(1)[seen]).mean()),
        "loss": nll(probabilities, labels),
        "calibration_error": calibration_error(probabilities, labels),
    }


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (arXiv 1706.04599): the mean gap between confidence and accuracy in equal bins."""
    confidence = probabilities.max(1)
    gap = (probabilities.argmax(1) == labels) - confidence
    return float(
        np.abs(np.bincount(np.minimum((confidence * bins).astype(int), bins - 1), weights=gap)).sum() / len(gap)
    )
