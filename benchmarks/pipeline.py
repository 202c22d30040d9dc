"""The whole path from files to batches: workers, start-up, memory, and what is left to do after decoding."""

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.readers import CROP, RULE, SIZE
from data_prep.extract import Setting, find_videos
from hmdb_lib import config
from hmdb_lib.data.load import choose_source
from hmdb_lib.data.loader import ClipData, Videos
from hmdb_lib.data.splits import read_videos
from hmdb_lib.data.store import FrameStore, Source
from hmdb_lib.data.transforms import normalise, random_crop_flip

BATCH, VIDEOS, CLASSES = 16, 6766, 51


def measure_pipeline(root: Path, repeats: int) -> None:
    """Print what two workers gain, how long the index takes to start, how memory grows, what a worker does besides."""
    videos = root / "videos"
    stores = {"videos": None, "jpeg_store": root / Setting().folder, "raw_store": root / "raw"}
    paths = find_videos(videos)
    print("\nDataLoader, clips/s      1 worker  2 workers   gain")
    for name, folder in stores.items():
        files = Videos(videos, SIZE)
        source = files if folder is None else FrameStore(folder, SIZE, files)
        for path in paths:
            source.timeline(path)
        rates = measure_workers(source, paths, repeats, batches=12 if folder is None else 60)
        gain = statistics.median(two / one for one, two in zip(*rates.values(), strict=True))
        one, two = (statistics.median(rate) for rate in rates.values())
        print(f"{name:<24}{one:9.1f}{two:11.1f}{gain:7.2f}")
    print(f"\nstart-up on {VIDEOS:,} videos, s")
    for name, seconds in measure_start(videos / paths[0], root / Setting().folder / (paths[0] + ".frames")).items():
        print(f"{name:<24}{seconds:9.2f}")
    print("\nafter decoding, ms a clip")
    for name, milliseconds in measure_rest().items():
        print(f"{name:<40}{milliseconds:8.3f}")
    source = FrameStore(root / Setting().folder, SIZE, Videos(videos, SIZE))
    memory = measure_memory(source, paths)
    print("\nmemory of loader and two workers after epochs 1 to 5, MB: " + ", ".join(f"{m:.0f}" for m in memory))


def measure_workers(source: Source, paths: list[str], repeats: int, batches: int) -> dict[int, list[float]]:
    """Clips a second with 1 and with 2 workers, in turns, both already running."""
    loaders = {workers: _data(source, paths, batches * BATCH, workers).train_dataloader() for workers in (1, 2)}
    for loader in loaders.values():
        _pass(loader)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for workers, loader in loaders.items():
            rates[workers].append(batches * BATCH / _pass(loader))
    return rates


def measure_start(video: Path, packed: Path) -> dict[str, float]:
    """Seconds from nothing to a training loader, on made data sets as large as HMDB51: no video is decoded."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _make_whole(root)
        seconds["videos, empty files"] = _start(root)
        for path in find_videos(root / "videos"):
            file, store = root / "videos" / path, root / Setting().folder / f"{path}.frames"
            file.unlink()
            file.symlink_to(video.resolve())
            store.parent.mkdir(parents=True, exist_ok=True)
            store.write_bytes(packed.read_bytes())
        seconds["frame store"] = _start(root)
    return seconds


def measure_rest() -> dict[str, float]:
    """Milliseconds a clip on one thread: what is done beside decoding, in the worker and after it."""
    clips = torch.randint(0, 256, (BATCH, RULE.frames, *SIZE, 3), dtype=torch.uint8)
    items = [(0, 0, clip.numpy()[None]) for clip in clips]
    collate = _data(None, ["a"], BATCH, 0).train_dataloader().collate_fn
    cut = random_crop_flip(clips, CROP, True)
    work = {
        "worker: collate to a batch": lambda: collate(items),
        "crop and flip, uint8": lambda: random_crop_flip(clips, CROP, True),
        "normalise (on the device in training)": lambda: normalise(cut, (0.45,) * 3, (0.225,) * 3),
    }
    return {name: statistics.median(_time(do) for _ in range(15)) / BATCH * 1e3 for name, do in work.items()}


def measure_memory(source: Source, paths: list[str]) -> list[float]:
    """Megabytes held by this process and its two workers after each of five epochs (Linux; shared pages by share)."""
    if not Path("/proc/self/smaps_rollup").exists():
        return []
    loader = _data(source, paths, 40 * BATCH, 2).train_dataloader()
    memory = []
    for _ in range(5):
        workers = iter(loader)
        for _ in workers:
            pass
        processes = ["self", *(worker.pid for worker in workers._workers)]
        memory.append(sum(_megabytes(process) for process in processes))
    return memory


def _data(source: Source, paths: list[str], count: int, workers: int) -> ClipData:
    table = pd.DataFrame({"path": np.resize(paths, count), "label": "a", "group": "a", "role": "train"})
    return ClipData(table, source, _config(workers))


def _config(workers: int | str = "auto") -> config.Config:
    clips = [f"data.frames={RULE.frames}", f"data.clip_seconds={RULE.clip_seconds}", f"data.workers={workers}"]
    return config.load(overrides=["data=hmdb51", *clips, f"train.batch_size={BATCH}"])


def _pass(loader: torch.utils.data.DataLoader) -> float:
    return _time(lambda: [None for _ in loader])


def _time(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _make_whole(root: Path) -> None:
    names = [(f"class{n % CLASSES}", f"source{n // 5}_f_cm_np1_fr_med_{n}.avi") for n in range(VIDEOS)]
    rows = ["path,frames,fps"]
    lists: dict[str, list[str]] = {}
    for label, name in names:
        (root / "videos" / label).mkdir(parents=True, exist_ok=True)
        (root / "videos" / label / name).touch()
        rows.append(f"{label}/{name},93,30.0")
        lines = lists.setdefault(label, [])
        lines.append(f"{name} {1 if len(lines) < 70 else 2 if len(lines) < 100 else 0} ")
    (root / "splits").mkdir()
    for label, lines in lists.items():
        (root / "splits" / f"{label}_test_split1.txt").write_text("\n".join(lines))
    (root / "manifest.csv").write_text("\n".join(rows))


def _start(root: Path) -> float:
    def start() -> None:
        table = read_videos("hmdb51", root, 1, 0.1, 0)
        files = Videos(root / "videos", SIZE, root / "manifest.csv")
        source = choose_source("auto", root, files, find_videos(root / "videos"))
        ClipData(table, source, _config()).train_dataloader()

    with contextlib.redirect_stdout(io.StringIO()):
        return _time(start)


def _megabytes(process: str | int) -> float:
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1e3
