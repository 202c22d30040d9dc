"""One run of a table, as a study plans it."""

from dataclasses import dataclass

from hmdb_lib.config import Config
from hmdb_lib.results.runs import Run


@dataclass(frozen=True)
class Job:
    """Hold one run of a table: the words for train.py, the configuration they give, and the run's folder."""

    arguments: list[str]
    config: Config
    run: Run

    def __str__(self) -> str:
        return f"{self.config.name or self.config.row} split {self.config.data.split} seed {self.config.seed}"
