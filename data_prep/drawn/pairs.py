"""As many drawn videos as one likes, to learn from before the real ones: two figures side by side, each with an action.

A class is a pair of the sample data set's actions, whichever stands on the left: 36 of them, so that a horizontal flip
changes no label. Another seed draws other videos, without end. The folder is class folders with an index.csv.
"""

import csv
import itertools
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from data_prep.drawn.sample import ACTIONS, FPS
from data_prep.drawn.scene import Take
from hmdb_lib.data.video import write_video
from hmdb_lib.errors import UserError
from hmdb_lib.files import whole_file

PAIRS = tuple(itertools.combinations_with_replacement(ACTIONS, 2))
VERSION = 1  # raise it whenever the same seed gives other files


def make_pairs(
    root: Path, seed: int = 0, clips: int = 12, classes: int = len(PAIRS), workers: int | None = None
) -> Path:
    """Make `clips` videos of the first `classes` pairs in the folder `root` and return it; goes on where it was cut off.

    Three clips share their actors and backdrops, and one group in index.csv; of eight groups one tests and one
    validates. `workers`: processes, one a CPU by default. Raises UserError when `root` holds anything else.
    """
    root = Path(root).absolute()
    asked = {"version": VERSION, "seed": seed, "clips": clips, "classes": classes}
    if clips < 7:
        raise UserError(f"pairs: clips is {clips}; test, validation and training need at least 7 a class")
    told = root / "pairs.json"
    if root.exists() and any(root.iterdir()) and not (told.is_file() and json.loads(told.read_text()) == asked):
        raise UserError(f"{root}: holds something else than the pairs asked for; remove it or name another folder")
    root.mkdir(parents=True, exist_ok=True)
    told.write_text(json.dumps(asked))
    jobs = [(root, pair, number, seed) for pair in PAIRS[:classes] for number in range(clips)]
    todo = [job for job in jobs if not _file(*job).exists()]
    if todo:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            list(tqdm(pool.map(_film, *zip(*todo, strict=True)), "drawing pairs", len(todo), unit="clip"))
    with (root / "index.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "group", "split"])
        for root_, pair, number, seed_ in jobs:
            path = _file(root_, pair, number, seed_).relative_to(root)
            source = number // 3
            part = {0: "test", 1: "validation"}.get(source % 8, "train")
            table.writerow([path.as_posix(), path.parent.name, f"{path.parent.name}-{source}", part])
    return root


def _file(root: Path, pair: tuple[str, str], number: int, seed: int) -> Path:
    return root / "+".join(pair) / f"pair{seed}_{number:04d}.avi"


def _film(root: Path, pair: tuple[str, str], number: int, seed: int) -> None:
    """Draw both actions and put their middle halves side by side, as long as the shorter one."""
    source, take = divmod(number, 3)
    stage = PAIRS.index(pair) * 1_000_000 + 2 * source  # no two figures of any class or side share a stage
    films = []
    for side, label in enumerate(pair):
        motion, backwards = ACTIONS[label]
        frames = Take(motion, stage + side, take, seed).draw(FPS)[0]
        films.append(frames[::-1] if backwards else frames)
    if np.random.default_rng([seed, stage, take]).random() < 0.5:
        films.reverse()
    length, width = min(map(len, films)), films[0].shape[2]
    halves = [film[:length, :, width // 4 : width // 4 + width // 2] for film in films]
    with whole_file(_file(root, pair, number, seed), keep_suffix=True) as part:
        write_video(part, np.concatenate(halves, 2), FPS)
