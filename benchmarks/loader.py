"""How fast clips are read, beside the peers: `python -m benchmarks.loader [--json FILE] [--repeats N]`.

One process, one thread; in every repeat all readers take their turn on the same clips, and a reader's ratio is the
median over repeats of pytorchvideo's time by its own. HMDB_REAL_DATA names a folder with real clips in
`hmdb51_mini/`; without it the sample clips are read. A library that cannot be used is left out, with the reason.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import readers
from benchmarks.pipeline import measure_pipeline
from data_prep.drawn.sample import make_sample
from data_prep.extract import HMDB51_FRAMES, Setting, extract, find_videos
from hmdb_lib.data.loader import Videos

REFERENCE = "pytorchvideo"
SHORTEST = 0.2  # seconds of a reader's turn; fast ones read the clips several times


def main() -> int:
    """Measure, print the tables, write the first one as JSON."""
    parser = argparse.ArgumentParser("python -m benchmarks.loader", description="How fast clips are read.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a list of {name, clips_per_s, ratio}")
    parser.add_argument("--repeats", type=int, default=5, help="turns of every reader (default: %(default)s)")
    parser.add_argument("--readers-only", action="store_true", help="leave out what needs several processes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        root = gather_clips(Path(folder))
        chosen, skipped = open_readers(root)
        rows = compare(*chosen, arguments.repeats)
        print(f"{'name':<24}{'clips/s':>9}{'ms':>9}{'ratio':>8}")
        for row in rows:
            ratio = f"{row['ratio']:8.2f}" if row["ratio"] else "       -"
            print(f"{row['name']:<24}{row['clips_per_s']:9.1f}{1e3 / row['clips_per_s']:9.2f}{ratio}")
        for line in skipped:
            print(line)
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        if not arguments.readers_only:
            measure_pipeline(root, arguments.repeats)
    return 0


def gather_videos(folder: Path) -> Path:
    """A data set in `folder` with the clips to read in videos/."""
    root, real = folder / "clips", Path(os.environ.get("HMDB_REAL_DATA", "")) / "hmdb51_mini"
    if real.is_dir():
        for path in find_videos(real):
            (root / "videos" / path).parent.mkdir(parents=True, exist_ok=True)
            (root / "videos" / path).symlink_to((real / path).resolve())
        print(f"{len(find_videos(root / 'videos'))} real HMDB51 clips")
    else:
        make_sample(root, clips=8, classes=["clap", "wave"])
        print("clips of the sample data set; HMDB_REAL_DATA names no folder with hmdb51_mini/")
    return root


def gather_clips(folder: Path) -> Path:
    """The same, and the two frame stores beside them."""
    root = gather_videos(folder)
    for setting, store in ((Setting(), None), (Setting(quality=None), root / "raw")):
        start = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            done = extract(root, setting, store, workers=1)
        rate = done.frames / (time.perf_counter() - start)
        size = done.bytes / done.frames * HMDB51_FRAMES / 1e9
        print(f"extraction ({setting}): {rate:.0f} frames/s a core; the whole of HMDB51 takes {size:.2f} GB")
    return root


def open_readers(root: Path) -> tuple[tuple[dict[str, readers.Reader], int], list[str]]:
    """The readers that can be used and the number of clips; a line for each library or clip that is left out.

    A clip that a library refuses is left out for all of them.
    """
    videos, skipped, refused = root / "videos", [], set()
    paths = find_videos(videos)
    for _ in range(2):  # the second time without the clips that one of them refused
        files = [videos / path for path in paths]
        makers = {
            "reference": partial(readers.reference, files),
            "pytorchvideo": partial(readers.pytorchvideo, files),
            "torchvision": partial(readers.torchvision, files),
            "decord": partial(readers.decord, files),
            "torchcodec_exact": partial(readers.torchcodec, files, "exact"),
            "torchcodec_approximate": partial(readers.torchcodec, files, "approximate"),
            "video": partial(readers.ours, Videos(videos, readers.SIZE), paths),
            "jpeg_store": partial(readers.store, root / Setting().folder, paths, videos),
            "raw_store": partial(readers.store, root / "raw", paths, videos),
        }
        usable, lines = {}, []
        for name, make in makers.items():
            reader, failures = _try(make, len(paths))
            if len(failures) == len(paths):
                lines.append(f"{name}: left out, {failures[0]}")
                continue
            usable[name] = reader
            for number, failure in failures.items():
                if paths[number] not in refused:
                    refused.add(paths[number])
                    skipped.append(f"{paths[number]}: left out for all, {name} refuses it: {failure}")
        if not refused & set(paths):
            break
        paths = [path for path in paths if path not in refused]
    return (usable, len(paths)), [*lines, *skipped, f"{len(paths)} clips"]


def compare(usable: dict[str, readers.Reader], clips: int, repeats: int) -> list[dict[str, object]]:
    """Interleaved turns; rows {name, clips_per_s, ratio}, both medians over the repeats."""
    rounds = {name: max(1, round(SHORTEST / _turn(reader, clips, [0.5]))) for name, reader in usable.items()}
    seconds: dict[str, list[float]] = {name: [] for name in usable}
    for repeat in range(repeats):
        random = np.random.default_rng(repeat)
        draws = random.random(max(rounds.values()))
        for name in random.permutation(list(usable)):
            seconds[name].append(_turn(usable[name], clips, draws[: rounds[name]]) / rounds[name] / clips)
    rows = []
    for name, times in seconds.items():
        ratio = None
        if REFERENCE in seconds:
            ratio = statistics.median(base / own for base, own in zip(seconds[REFERENCE], times, strict=True))
        rows.append({"name": name, "clips_per_s": 1 / statistics.median(times), "ratio": ratio})
    return rows


def _turn(reader: readers.Reader, clips: int, draws: list[float] | np.ndarray) -> float:
    start = time.perf_counter()
    for draw in draws:
        for number in range(clips):
            reader(number, draw)
    return time.perf_counter() - start


def _try(make: Callable[[], readers.Reader], clips: int) -> tuple[readers.Reader | None, dict[int, str]]:
    """The reader, and clip number -> what went wrong, whatever it was: it is another library's."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            reader = make()
    except Exception as error:
        return None, dict.fromkeys(range(clips), _line(error))
    failures = {}
    for number in range(clips):
        try:
            reader(number, 0.99)
        except Exception as error:
            failures[number] = _line(error)
    return reader, failures


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


if __name__ == "__main__":
    sys.exit(main())
