"""The embedded sample data set: drawn figures in real encoded files, in HMDB51's layout, made on the spot.

Eight of HMDB51's classes. `stand` is `sit` and `catch` is `throw` played backwards, frame by frame: the two classes
of a pair hold the same pictures, and nothing but their order tells them apart. Which way a figure faces is drawn by
lot, so that a horizontal flip changes no label.
"""

import argparse
import csv
import json
import multiprocessing
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

from data_prep.drawn.scene import Take
from hmdb_lib.data.hmdb51 import source_group
from hmdb_lib.data.video import write_video
from hmdb_lib.environment import cores
from hmdb_lib.errors import UserError

# class -> the motion it shows, and whether it is played backwards
ACTIONS = {
    "catch": ("throw", True),
    "clap": ("clap", False),
    "jump": ("jump", False),
    "kick": ("kick", False),
    "sit": ("sit", False),
    "stand": ("sit", True),
    "throw": ("throw", False),
    "wave": ("wave", False),
}
CLASSES = tuple(ACTIONS)
VERSION = 1  # raise it whenever the same seed gives other files
FPS = 30


def make_sample(
    root: Path, seed: int = 0, clips: int = 32, classes: Sequence[str] = CLASSES, workers: int | None = None
) -> Path:
    """Make the sample data set in the folder `root` and return `root`; at once where it is already there.

    `clips` a class (at least 8), cut from sources of 2 or 3 clips: of 32 each split trains on 20, tests on 8 and leaves
    4 unused. `workers`: processes, one a CPU by default; the files are the same for any number. In `root`: `videos/<class>/`,
    `splits/` with the lists of splits 1 to 3, `manifest.csv`, `boxes.npz` (see `figure_boxes`) and `sample.json`.
    Raises UserError when `root` holds anything else.
    """
    root = Path(root).absolute()
    asked = {"version": VERSION, "seed": seed, "clips": clips, "classes": sorted(classes)}
    if unknown := set(classes) - set(CLASSES):
        raise UserError(f"sample: no class {sorted(unknown)[0]!r}; there are {', '.join(CLASSES)}")
    if clips < 8:
        raise UserError(f"sample: clips is {clips}; three splits need at least 8 clips a class")
    if not _is_there(root, asked):
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(root.name + ".lock")):  # several GPUs: every process of a run asks for it
            if not _is_there(root, asked):
                _draw(root, asked, workers)
    return root


def figure_boxes(root: Path, path: str) -> np.ndarray:
    """Where the figure is in each frame of a clip: int16, T 4, pixels x0, y0, x1, y1; `path` as in the manifest."""
    with np.load(Path(root) / "boxes.npz") as boxes:
        return boxes[path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m data_prep sample`."""
    parser.add_argument("root", type=Path, help="folder to make, with videos/, splits/ and manifest.csv")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other videos (default: 0)")
    parser.add_argument("--clips", type=int, default=32, help="videos of each class, at least 8 (default: 32)")
    parser.add_argument("--workers", type=int, help="processes that draw (default: one a CPU)")


def main(arguments: argparse.Namespace) -> int:
    """Returns the exit code; what goes wrong is raised as UserError."""
    make_sample(arguments.root, arguments.seed, arguments.clips, workers=arguments.workers)
    return 0


def _is_there(root: Path, asked: dict[str, Any]) -> bool:
    """Whether `root` holds the sample asked for; raises UserError where it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    if (root / "sample.json").is_file() and json.loads((root / "sample.json").read_text()) == asked:
        return True
    raise UserError(f"{root}: holds something else than the sample asked for; remove it or name another folder")


def _draw(root: Path, asked: dict[str, Any], workers: int | None) -> None:
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for label in asked["classes"]:
        (partial / "videos" / label).mkdir(parents=True)
    takes = [
        Take(motion, *_source_and_take(number), asked["seed"])
        for motion in sorted({ACTIONS[label][0] for label in asked["classes"]})
        for number in range(asked["clips"])
    ]
    clips_made = []  # (class, source, file name, boxes)
    with ProcessPoolExecutor(workers or cores(), multiprocessing.get_context("spawn")) as pool:
        made = pool.map(_film, takes, [asked["classes"]] * len(takes), [partial / "videos"] * len(takes))
        for cuts in tqdm(made, "drawing the sample data set", len(takes), unit="take"):
            clips_made += cuts
    clips_made.sort(key=lambda clip: (clip[0], clip[2]))
    with (partial / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "class", "group", "frames", "fps"])
        table.writerows(
            [f"{label}/{name}", label, source_group(name), len(box), FPS] for label, _, name, box in clips_made
        )
    np.savez_compressed(partial / "boxes.npz", **{f"{label}/{name}": box for label, _, name, box in clips_made})
    _write_splits(partial / "splits", clips_made)
    (partial / "sample.json").write_text(json.dumps(asked, indent=2) + "\n")
    if root.exists():
        root.rmdir()  # empty, as checked above
    partial.rename(root)


def _source_and_take(number: int) -> tuple[int, int]:
    """Sources of 3, 3, 2, 3, 3, 2 ... takes."""
    eights, place = divmod(number, 8)
    return 3 * eights + place // 3, place % 3


def _write_splits(folder: Path, clips: list[tuple[str, int, str, np.ndarray]]) -> None:
    """Sources are dealt to four parts; split k tests on part k, and leaves the small sources of two others unused."""
    folder.mkdir()
    for split in (1, 2, 3):
        for label, source, name, _ in clips:
            part, small = source % 4, source % 3 == 2
            role = 2 if part == split - 1 else 0 if small and part in (split % 3, 3) else 1
            with (folder / f"{label}_test_split{split}.txt").open("a", encoding="utf-8", newline="\n") as file:
                file.write(f"{name} {role} \n")  # the official lists, too, end their lines in a blank


def _film(take: Take, classes: list[str], videos: Path) -> list[tuple[str, int, str, np.ndarray]]:
    """Draw one take and write it for every class that shows it, forwards or backwards."""
    frames, boxes, signs = take.draw(FPS)
    clips = []
    for label in classes:
        motion, backwards = ACTIONS[label]
        if motion == take.motion:
            step = -1 if backwards else 1
            name = f"Figure{take.source:02d}_{label}_f_{signs}_{take.take}.avi"
            write_video(videos / label / name, frames[::step], FPS)
            clips.append((label, take.source, name, boxes[::step]))
    return clips
