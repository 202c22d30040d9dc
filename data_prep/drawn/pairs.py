"""Draw any number of videos of two figures side by side, to learn from before the real videos.

A class is an unordered pair of the sample data set's actions, 36 in all, so a horizontal flip changes no label. Another
seed draws other videos. The folder holds class folders and an index.csv.
"""

import json
from itertools import combinations_with_replacement
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from data_prep.drawn.sample import ACTIONS, FPS, holds
from data_prep.drawn.scene import Take
from hmdb_lib.data.parallel import parallel_map
from hmdb_lib.data.video import write_video
from hmdb_lib.errors import UserError
from hmdb_lib.files import whole_file

PAIRS = tuple(combinations_with_replacement(ACTIONS, 2))
VERSION = 2  # raise it whenever the same seed gives other files


def make_pairs(
    root: Path | str, seed: int = 0, clips: int = 12, classes: int = len(PAIRS), workers: int | None = None
) -> Path:
    """Draw `clips` videos of each of the first `classes` pairs into the folder `root`, which is returned.

    A call that was cut off is continued. Three clips share their actors and backdrops, and their group in index.csv;
    of eight groups one tests and one validates. Raises UserError when `root` holds anything else.

    Example:
        >>> hl.make_pairs("data/pairs", clips=12, classes=36)

    """
    root = Path(root).absolute()
    asked = {"version": VERSION, "seed": seed, "clips": clips, "classes": classes}
    if clips < 7:
        raise UserError(f"pairs: clips is {clips}; test, validation and training need at least 7 a class")
    if not holds(root, "pairs", asked):
        root.mkdir(parents=True, exist_ok=True)
        (root / "pairs.json").write_text(json.dumps(asked))
    films = [_Film(root, pair, number, seed) for pair in PAIRS[:classes] for number in range(clips)]
    for _ in parallel_map(_Film.draw, [film for film in films if not film.file.exists()], workers, "drawing pairs"):
        pass
    parts = {0: "test", 1: "validation"}
    rows = [
        (f"{label}/{film.file.name}", label, f"{label}-{film.number // 3}", parts.get(film.number // 3 % 8, "train"))
        for film in films
        for label in [film.file.parent.name]
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "group", "split"])
    table.to_csv(root / "index.csv", index=False, lineterminator="\r\n")
    return root


class _Film(NamedTuple):
    root: Path
    pair: tuple[str, str]
    number: int
    seed: int

    @property
    def file(self) -> Path:
        return self.root / "+".join(self.pair) / f"pair{self.seed}_{self.number:04d}.avi"

    def draw(self) -> None:
        """Draw both actions and put their middle halves side by side, as long as the shorter one."""
        source, take = divmod(self.number, 3)
        stage = PAIRS.index(self.pair) * 1_000_000 + 2 * source  # no two figures of any class or side share a stage
        films = []
        for side, label in enumerate(self.pair):
            motion, backwards = ACTIONS[label]
            frames = Take(motion, stage + side, take, self.seed).draw(FPS)[0]
            films.append(frames[::-1] if backwards else frames)
        if np.random.default_rng([self.seed, stage, take]).random() < 0.5:
            films.reverse()
        length, width = min(map(len, films)), films[0].shape[2]
        halves = [film[:length, :, width // 4 : width // 4 + width // 2] for film in films]
        with whole_file(self.file, keep_suffix=True) as part:
            write_video(part, np.concatenate(halves, 2), FPS)
