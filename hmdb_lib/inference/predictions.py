"""Hold the predictions of videos, whole and over time, and show them as a table or as text."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Prediction:
    """Hold the prediction of one video: `windows` (W, classes), window w from `starts[w]` to `ends[w]` seconds."""

    video: Path
    classes: list[str]
    starts: np.ndarray
    ends: np.ndarray
    windows: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """Of the whole video: the mean over its windows, (classes,)."""
        return self.windows.mean(0)

    def top(self, count: int = 5) -> dict[str, float]:
        """Return the most probable classes, best first."""
        return self._best(self.probabilities, count)

    def timeline(self, count: int = 5) -> list[tuple[float, float, dict[str, float]]]:
        """Return each window's start and end in seconds and its most probable classes."""
        rows = zip(self.starts.tolist(), self.ends.tolist(), self.windows, strict=True)
        return [(start, end, self._best(row, count)) for start, end, row in rows]

    def along(self, count: int = 5) -> pd.DataFrame:
        """Tabulate the `count` classes that are most probable in the whole, best first, over time.

        One row a window with its start and end in seconds, then a column a class.
        """
        names = list(self.top(count))
        table = pd.DataFrame(self.windows, columns=self.classes)[names]
        table.insert(0, "start", self.starts)
        table.insert(1, "end", self.ends)
        return table

    def _best(self, probabilities: np.ndarray, count: int) -> dict[str, float]:
        best = np.argsort(-probabilities, kind="stable")[:count]
        return {self.classes[number]: float(probabilities[number]) for number in best}


@dataclass(frozen=True)
class Predictions:
    """Hold the predictions of many videos in their order, and the files that could not be read, with the reason.

    `model` says what the model that made them is worth. A notebook shows them as a table.
    """

    videos: list[Prediction]
    skipped: dict[Path, str]
    model: str = ""

    def _repr_html_(self) -> str:
        shown = self.table()
        shown["video"] = [path.name for path in shown.video]
        shown = shown.rename(columns={"start": "from, s", "end": "to, s"})
        keys = ["video", "from, s", "to, s"]
        shown[keys] = shown[keys].mask(shown["rank"] > 1)  # told once
        form = {"from, s": "{:.1f}", "to, s": "{:.1f}", "probability": "{:.2f}"}
        styled = shown.style.hide(axis="index").format(form, na_rep="")  # pyright: ignore[reportArgumentType] - a form a column
        styled = styled.bar(["probability"], vmin=0, vmax=1, color="#9cc9e8")
        return f"<p>{html.escape(self.model)}</p>{styled.to_html()}"

    def table(self, count: int = 5) -> pd.DataFrame:
        """Tabulate one row a video and rank: video, start, end (seconds), rank, class, probability.

        A video of several windows has rows for the whole of it first, then for each window.
        """
        rows = []
        for video in self.videos:
            parts = [(float(video.starts[0]), float(video.ends[-1]), video.top(count))]
            parts += video.timeline(count) if len(video.windows) > 1 else []
            for start, end, top in parts:
                rows += [(video.video, start, end, rank, *best) for rank, best in enumerate(top.items(), start=1)]
        return pd.DataFrame(rows, columns=["video", "start", "end", "rank", "class", "probability"])

    def tree(self, count: int = 5) -> dict[str, Any]:
        """Return what JSON holds: under `videos` a list of video, top and windows (start, end, top); under `skipped` the reasons, under `model` what it is worth."""
        videos = [
            {
                "video": str(video.video),
                "top": video.top(count),
                "windows": [{"start": start, "end": end, "top": top} for start, end, top in video.timeline(count)],
            }
            for video in self.videos
        ]
        return {
            "model": self.model,
            "videos": videos,
            "skipped": {str(path): reason for path, reason in self.skipped.items()},
        }

    def text(self, count: int = 5) -> str:
        """Format for the terminal: a line a video, and below it one for each window where there are several."""
        lines = []
        for video in self.videos:
            lines.append(f"{video.video}: {_line(video.top(count))}")
            for start, end, top in video.timeline(count) if len(video.windows) > 1 else []:
                lines.append(f"  {start:7.1f} to {end:7.1f} s: {_line(top)}")
        return "\n".join([*lines, self.model] if self.model else lines)


def answer(top: Mapping[str, float], doubt: float) -> list[tuple[str, float]]:
    """Lines to write on a picture, each with the length of its bar; first `none of these` where all are below `doubt`."""
    lines = [(f"{name} {probability:.2f}", probability) for name, probability in top.items()]
    return [("none of these", 0.0)] * (max(top.values()) < doubt) + lines


def _line(top: dict[str, float]) -> str:
    return ", ".join(f"{name} {probability:.3f}" for name, probability in top.items())
