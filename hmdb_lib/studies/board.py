"""Tell how the runs of a study go: in a notebook by one table that fills, elsewhere by lines."""

import html
import time
from collections.abc import Sequence
from typing import Any

import pandas as pd

from hmdb_lib.progress import Spot, in_notebook
from hmdb_lib.studies.job import Job


class Board:
    """Hold the table's lines, one a run, and the newest line of text, which a notebook shows below them."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.spot = Spot() if in_notebook() else None
        self.lines = {str(job): _line(job) for job in jobs} if self.spot else {}
        self.text, self.since = "", time.monotonic()

    def tell(self, text: str) -> None:
        """Print a line, or show it in the place of the one before."""
        self.text, self.since = text, time.monotonic()
        if self.spot is None:
            print(text, flush=True)
        self._draw(text)

    def look_at(self, job: Job) -> None:
        """Read again how far a run is, and show for how long it runs."""
        if self.spot is not None:
            self.lines[str(job)] = _line(job)
            self._draw(f"{self.text}; running for {time.monotonic() - self.since:.0f} s")

    def end(self) -> None:
        """Leave the table alone."""
        self._draw("")

    def _draw(self, text: str) -> None:
        if self.spot is not None:
            table = pd.DataFrame(self.lines.values()).style.format(precision=1, na_rep="").hide(axis="index")
            self.spot.show(
                f'<div style="max-height: 30em; overflow: auto">{table.to_html()}</div><p>{html.escape(text)}</p>'
            )


def _line(job: Job) -> dict[str, Any]:
    epochs = job.run.metrics
    best = epochs["val_video_accuracy"].max() if "val_video_accuracy" in epochs else None
    test = job.run.summary.get("test", {}).get("accuracy") if job.run.finished else None
    shares = {f"best epoch on {job.config.train.choose_on}, %": best, "test, %": test}
    return {"run": str(job), "epochs done": f"{len(epochs)} of {job.config.train.epochs}"} | {
        name: None if share is None else 100 * share for name, share in shares.items()
    }
