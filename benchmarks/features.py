"""What stored tokens save: `python -m benchmarks.features [--json FILE] [--repeats N]`.

A step of 16 clips with the frozen r2plus1d_18 in the loop (16 x 112 x 112, uint8 clips in memory: no decoding), beside
the same head's step on a feature store of the same clips, reading included. Steps take turns; an epoch is as many steps
either way, so `ratio`, the median over turns, is that of the epochs. `loader`: the share of the time on features that
reading takes. Then `cross1_self1` on 392 tokens of 1,280 channels (8 frames of 7 x 7 from an image network), and what a
store takes on paper.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.train_step import STORED, matrix_peak
from hmdb_lib import config, models
from hmdb_lib.data.loader import collate
from hmdb_lib.data.transforms import normalise, random_crop_flip
from hmdb_lib.features.load import StoredClips
from hmdb_lib.features.store import FeatureStore
from hmdb_lib.models import cost
from hmdb_lib.models.device import Device, choose_device
from hmdb_lib.training.modules import HeadClassifier

CLASSES, BATCH = 51, 16
TO_REACH = {"cross1_self1": 12, "latents16": 100, "baseline": 1000}
T4_PEAK = 65e12  # FLOP/s of fp16 matrices, NVIDIA's data sheet
SETS = {"HMDB51": 6_766, "Kinetics-700": 650_000}  # videos

Step = Callable[[], object]


def main() -> int:
    """Measure, print the tables, write them as JSON."""
    parser = argparse.ArgumentParser("python -m benchmarks.features", description="What stored tokens save.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a list of {name, loop_seconds, ...}")
    parser.add_argument("--repeats", type=int, default=3, help="turns of every variant (default: %(default)s)")
    arguments = parser.parse_args()
    device = choose_device()
    print(f"{device.reason}, {torch.get_num_threads()} threads; batch {BATCH}")
    rows = epochs(device, arguments.repeats) + [on_frames(device, precision) for precision in ("bf16", "fp32")]
    print_paper()
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


def epochs(device: Device, repeats: int) -> list[dict[str, Any]]:
    """Time each head's step in the loop and on features, in turns."""
    frames = torch.randint(256, (BATCH, 16, *STORED, 3), dtype=torch.uint8)  # B T H W C
    print(f"\n{'head':<16}{'in the loop, s':>15}{'on features, s':>16}{'ratio':>8}{'to reach':>10}{'loader':>8}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        modules = {row: head_of(row) for row in TO_REACH}
        grid = next(iter(modules.values())).model.backbone.grid(16, 112)
        store = made_store(Path(folder), (*grid, 512), videos=16 * BATCH)
        for row, module in modules.items():
            loop, (stored, reading) = in_the_loop(module, frames, device), on_features(module, store, device)
            few = 1 if row == "cross1_self1" else 20  # steps of a turn on features
            for step in (loop, stored):
                step()  # warms up
            turns = []
            for _ in range(repeats):
                reading.clear()
                slow, fast = timed(loop), timed(stored, few)
                turns.append((slow, fast, sum(reading) / few / fast))
            slow, fast, share = (statistics.median(column) for column in zip(*turns, strict=True))
            ratio = statistics.median(slow / fast for slow, fast, _ in turns)
            rows.append({"name": row, "loop_seconds": slow, "feature_seconds": fast, "ratio": ratio, "loader": share})
            print(f"{row:<16}{slow:15.3f}{fast:16.5f}{ratio:8.0f}{TO_REACH[row]:10}{share:8.2f}")
    return rows


def head_of(row: str) -> HeadClassifier:
    """Build a row with random weights and everything but its head frozen."""
    experiment = config.load(row, ["data=hmdb51", "model.pretrained=none", "model.frozen=all"])
    return HeadClassifier(experiment, models.build(classes=CLASSES, **experiment.architecture()).train())


def made_store(folder: Path, shape: tuple[int, ...], videos: int) -> StoredClips:
    """Write random tokens as a feature store does, and open them."""
    store, files = FeatureStore(folder, "made"), {f"{number}.avi": folder / f"{number}.avi" for number in range(videos)}
    folder.mkdir(parents=True, exist_ok=True)
    for file in files.values():
        file.touch()
    store.write("views1", ((path, file, torch.randn(1, *shape)) for path, file in files.items()))
    table = pd.DataFrame({"path": list(files), "target": [number % CLASSES for number in range(videos)]})
    return StoredClips(table, store.read("views1", files), {})


def in_the_loop(module: HeadClassifier, frames: torch.Tensor, device: Device) -> Step:
    """A training step in which the frozen backbone computes the tokens."""
    model, labels = models.channels_last(module.model).to(device.kind), torch.arange(BATCH, device=device.kind)
    optimizer = module.make_optimizer(fused=True)
    crop = module.config.data.crop

    def step() -> None:
        clips = normalise(random_crop_flip(frames.to(device.kind), crop, True), model.mean, model.std)  # B C T H W
        with device.autocast():
            loss = F.cross_entropy(model(clips).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.kind == "cuda":
            torch.cuda.synchronize()

    return step


def on_features(module: HeadClassifier, store: StoredClips, device: Device) -> tuple[Step, list[float]]:
    """A training step on stored tokens, and the list to which it adds the seconds that reading took."""
    optimizer, reading = module.make_optimizer(fused=True), []
    batches = endless(DataLoader(store, BATCH, sampler=range(len(store)), collate_fn=collate))

    def step() -> None:
        start = time.perf_counter()
        batch = next(batches)
        reading.append(time.perf_counter() - start)
        batch = {name: batch[name].to(device.kind) for name in ("clips", "labels")}
        with device.autocast():
            logits, labels = module.predict_training(batch)
            loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.kind == "cuda":
            torch.cuda.synchronize()

    return step, reading


def endless(loader: DataLoader) -> Iterator[dict[str, Any]]:
    """Give the batches of one epoch after another."""
    return itertools.chain.from_iterable(itertools.repeat(loader))


def timed(step: Step, times: int = 1) -> float:
    """Seconds of one of `times` steps."""
    start = time.perf_counter()
    for _ in range(times):
        step()
    return (time.perf_counter() - start) / times


def on_frames(device: Device, precision: str) -> dict[str, Any]:
    """Train the head of cross1_self1 on 392 tokens of 1,280 channels: clips/s, and the share of the matrix peak."""
    device = choose_device(device.kind, precision)
    head = models.HEADS["perceiver"](1280, 8, CLASSES).to(device.kind)
    tokens = torch.randn(BATCH, 8, 7, 7, 1280, device=device.kind)
    labels = torch.arange(BATCH, device=device.kind)
    optimizer = torch.optim.AdamW(head.parameters(), fused=True)

    def step() -> None:
        with device.autocast():
            loss = F.cross_entropy(head(tokens).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.kind == "cuda":
            torch.cuda.synchronize()

    step()
    seconds = statistics.median(timed(step) for _ in range(5))
    work = 3 * BATCH * head_flops(head, tokens[:1])
    share = work / seconds / matrix_peak(device.kind, device.dtype)
    print(f"\ncross1_self1 on 392 tokens of 1,280, {precision}: {BATCH / seconds:.1f} clips/s, {share:.2f} of the peak")
    return {"name": f"392 tokens, {precision}", "feature_seconds": seconds, "share_of_peak": share}


def head_flops(head: torch.nn.Module, tokens: torch.Tensor) -> float:
    """Count the floating point operations of one clip's forward pass."""
    with FlopCounterMode(display=False) as counter:
        head(tokens)
    return counter.get_total_flops()


def print_paper() -> None:
    """Print what a store takes: videos x clips x tokens x channels x 2 bytes, and clips x FLOP of the backbone.

    Nothing of it was measured: a T4 is taken at 35 % of its fp16 peak, which is what this kit aims for.
    """
    print("\non paper: 2 bytes a number, 4 views and 10 + 2 evaluation clips of each video, a T4 at 35 % of 65 TFLOP/s")
    print(f"{'set':<14}{'backbone':<22}{'kept':<8}{'KB a clip':>10}{'GB':>10}{'hours':>8}")
    backbones = {"r2plus1d_18": ("baseline", 16, 112), "efficientnet_lite0": ("efficientnet_lite0_pool", 8, 224)}
    for backbone, (row, frames, size) in backbones.items():
        experiment = config.load(row, ["data=hmdb51", "model.pretrained=none", f"data.frames={frames}"])
        model = models.build(classes=CLASSES, **experiment.architecture())
        work = cost.flops(model, frames, size)["total"]
        slots, height, width = model.backbone.grid(frames, size)
        for name, videos in SETS.items():
            for kept, places in {"tokens": height * width, "4x4": min(16, height * width), "pooled": 1}.items():
                clip = slots * places * model.backbone.channels * 2
                clips = videos * (4 + 10 + 2)
                print(
                    f"{name:<14}{backbone:<22}{kept:<8}{clip / 1e3:10.0f}{clips * clip / 1e9:10.1f}"
                    f"{clips * work / (0.35 * T4_PEAK) / 3600:8.2f}"
                )


if __name__ == "__main__":
    sys.exit(main())
