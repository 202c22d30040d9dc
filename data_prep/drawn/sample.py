"""Draw the sample data set: acting figures in real encoded files, laid out as HMDB51.

It has eight of HMDB51's classes. `stand` is `sit` and `catch` is `throw` played backwards, so the two classes of such a
pair hold the same frames in opposite order. Figures face left or right at random: a horizontal flip changes no label.
"""

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from data_prep.drawn.scene import Take
from hmdb_lib.data.parallel import parallel_map
from hmdb_lib.data.sources import source_group
from hmdb_lib.data.video import write_video
from hmdb_lib.errors import UserError

# class -> (motion, played backwards)
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
VERSION = 2  # raise it whenever the same seed gives other files
FPS = 15


def make_sample(
    root: Path | str, seed: int = 0, clips: int = 128, classes: Sequence[str] = CLASSES, workers: int | None = None
) -> Path:
    """Make the sample data set in the folder `root`, unless it is there already; return `root`.

    `root` gets `videos/<class>/`, `splits/` (lists of splits 1 to 3), `manifest.csv`, `boxes.npz` (see `figure_boxes`)
    and `sample.json`. `clips` a class (at least 8) come from sources of 2 or 3 clips: of 128, each split trains on 80,
    tests on 32 and leaves 16 unused. `workers`: processes; their number changes no file. Raises UserError when `root`
    holds anything else.

    Example:
        >>> hl.make_sample("data/sample")

    """
    root = Path(root).absolute()
    asked = {"version": VERSION, "seed": seed, "clips": clips, "classes": sorted(classes)}
    if unknown := set(classes) - set(CLASSES):
        raise UserError(f"sample: no class {sorted(unknown)[0]!r}; there are {', '.join(CLASSES)}")
    if clips < 8:
        raise UserError(f"sample: clips is {clips}; three splits need at least 8 clips a class")
    if not holds(root, "sample", asked):
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(root.name + ".lock")):  # each process of a run on several GPUs asks for it
            if not holds(root, "sample", asked):
                _draw(root, asked, workers)
    return root


def figure_boxes(root: Path, path: str) -> np.ndarray:
    """Read the figure's box in each frame of a clip: int16 (T, 4), pixels x0 y0 x1 y1; `path` as in the manifest."""
    with np.load(Path(root) / "boxes.npz") as boxes:
        return boxes[path]


def holds(root: Path, kind: str, asked: dict[str, Any]) -> bool:
    """Check whether `root` holds the drawn data that `<kind>.json` describes. Raises UserError where it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    file = root / f"{kind}.json"
    if file.is_file() and json.loads(file.read_text()) == asked:
        return True
    raise UserError(f"{root}: holds something else than the {kind} asked for; remove it or name another folder")


def _draw(root: Path, asked: dict[str, Any], workers: int | None) -> None:
    unfinished = root.with_name(root.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    for label in asked["classes"]:
        (unfinished / "videos" / label).mkdir(parents=True)
    takes = [
        Take(motion, *_source_and_take(number), asked["seed"])
        for motion in sorted({ACTIONS[label][0] for label in asked["classes"]})
        for number in range(asked["clips"])
    ]
    film = partial(_film, asked["classes"], unfinished / "videos")
    made = parallel_map(film, takes, workers, "drawing the sample data set", "take")
    clips = pd.DataFrame([clip for cuts in made for clip in cuts], columns=["class", "source", "name", "box"])
    clips = clips.sort_values(["class", "name"])
    clips["path"] = clips["class"] + "/" + clips.name
    manifest = clips.assign(group=clips.name.map(source_group), frames=clips.box.map(len), fps=FPS)
    columns = ["path", "class", "group", "frames", "fps"]
    manifest[columns].to_csv(unfinished / "manifest.csv", index=False, lineterminator="\r\n")
    np.savez_compressed(unfinished / "boxes.npz", **dict(zip(clips.path, clips.box, strict=True)))
    (unfinished / "splits").mkdir()
    for split in (1, 2, 3):
        for label, part in clips.groupby("class"):
            # The official lists end their lines in a blank, too.
            lines = [f"{name} {_role(source, split)} \n" for name, source in zip(part.name, part.source, strict=True)]
            (unfinished / "splits" / f"{label}_test_split{split}.txt").write_text("".join(lines), "utf-8", newline="\n")
    (unfinished / "sample.json").write_text(json.dumps(asked, indent=2) + "\n")
    if root.exists():
        root.rmdir()  # empty, as `holds` has checked
    unfinished.rename(root)


def _source_and_take(number: int) -> tuple[int, int]:
    """Sources of 3, 3, 2, 3, 3, 2 ... takes."""
    eights, place = divmod(number, 8)
    return 3 * eights + place // 3, place % 3


def _role(source: int, split: int) -> int:
    """HMDB51's 0 unused, 1 train, 2 test. Of four parts, split k tests on part k; small sources of two go unused."""
    part, small = source % 4, source % 3 == 2
    return 2 if part == split - 1 else 0 if small and part in (split % 3, 3) else 1


def _film(classes: list[str], videos: Path, take: Take) -> list[tuple[str, int, str, np.ndarray]]:
    """Draw a take and write it for each class that shows it; returns class, source, file name and boxes."""
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
