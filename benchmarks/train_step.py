"""How fast a step is, beside the reference's way: `python -m benchmarks.train_step [--json FILE] [--repeats N]`.

R(2+1)D-18 with 51 classes on clips of 16 x 112 x 112: forward, backward and optimiser step, and forward alone. All
variants take a turn in every repeat, and a variant's ratio is the median over repeats of the reference's time by its
own. The reference: torchvision's model in fp32, contiguous, on float clips that a worker has normalised. Ours starts
from uint8 clips: crop, flip and normalise are part of its time.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.video import r2plus1d_18
from tqdm.auto import tqdm

from hmdb_lib import config, cost, environment, models
from hmdb_lib.models.fold import fold_batch_norm
from hmdb_lib.optimise import make_optimiser
from hmdb_lib.transforms import even_crops, normalise, random_crop_flip

CLASSES, FRAMES, STORED, CROP = 51, 16, (128, 171), 112
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last_3d}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

Step = Callable[[], object]


def main() -> int:
    """Measure, print the table, write it as JSON."""
    parser = argparse.ArgumentParser("python -m benchmarks.train_step", description="How fast a step is.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a list of {name, seconds, clips_per_s, ...}")
    parser.add_argument("--repeats", type=int, default=3, help="turns of every variant (default: %(default)s)")
    parser.add_argument("--batch", type=int, help="clips of a step (default: 4 on a CPU, 32 on a GPU)")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes minutes")
    arguments = parser.parse_args()
    device = environment.device()
    batch = arguments.batch or (32 if device.kind == "cuda" else 4)
    peaks = {name: matrix_peak(device.kind, dtype) for name, dtype in DTYPES.items()}
    told = ", ".join(f"{name} {peak / 1e9:.0f}" for name, peak in peaks.items())
    print(f"{device.name}, batch {batch}; matrix peak in GFLOP/s: {told}")
    work = cost.flops(models.build("r2plus1d", CLASSES), FRAMES, CROP)["total"] * batch
    rows = []
    for passes, steps in (
        (3, training_steps(device.kind, batch, arguments.compile)),
        (1, inference_steps(device.kind, batch)),
    ):
        seconds = interleave(steps, arguments.repeats, device.kind)
        reference = seconds[next(iter(steps))]
        for name, times in seconds.items():
            middle = statistics.median(times)
            dtype = "bf16" if "bf16" in name or name.startswith("ours") else "fp32"
            rows.append(
                {
                    "name": name,
                    "seconds": middle,
                    "clips_per_s": batch / middle,
                    "ratio": statistics.median(base / own for base, own in zip(reference, times, strict=True)),
                    "share_of_peak": passes * work / middle / peaks[dtype],
                }
            )
    print(f"{'name':<32}{'s':>8}{'clips/s':>10}{'ratio':>8}{'of peak':>9}")
    for row in rows:
        print("{name:<32}{seconds:8.3f}{clips_per_s:10.2f}{ratio:8.2f}{share_of_peak:9.2f}".format(**row))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


def training_steps(device: str, batch: int, compiled: bool) -> dict[str, Step]:
    """One optimiser step of each variant; the reference first, ours second."""
    ours, plain = models.build("r2plus1d", CLASSES), models.build("r2plus1d", CLASSES)
    steps = {
        "reference": training(r2plus1d_18(num_classes=CLASSES), device, batch, "fp32", "contiguous"),
        "ours": training(ours, device, batch, "bf16", "channels_last", from_uint8=True),
        "fp32 channels_last": training(r2plus1d_18(num_classes=CLASSES), device, batch, "fp32", "channels_last"),
        "bf16 contiguous": training(r2plus1d_18(num_classes=CLASSES), device, batch, "bf16", "contiguous"),
        "bf16 channels_last": training(r2plus1d_18(num_classes=CLASSES), device, batch, "bf16", "channels_last"),
        "bf16 channels_last, 2D views": training(plain, device, batch, "bf16", "channels_last"),
    }
    if compiled:
        model = torch.compile(models.build("r2plus1d", CLASSES))
        steps["bf16 channels_last, compiled"] = training(model, device, batch, "bf16", "channels_last")
    return steps


def training(model: nn.Module, device: str, batch: int, dtype: str, layout: str, *, from_uint8: bool = False) -> Step:
    """A step of AdamW on random clips."""
    model = model.to(device, memory_format=LAYOUTS[layout]).train()
    labels = torch.randint(CLASSES, (batch,), device=device)
    frames = torch.randint(256, (batch, FRAMES, *STORED, 3), dtype=torch.uint8, device=device)  # B T H W C
    floats = torch.randn(batch, 3, FRAMES, CROP, CROP, device=device).contiguous(memory_format=LAYOUTS[layout])
    if from_uint8:
        optimiser = make_optimiser(model, config.load("baseline", auto="hmdb51").train, fused=True)
    else:
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-4)

    def step() -> None:
        clips = floats
        if from_uint8:
            clips = normalise(random_crop_flip(frames, CROP, True), model.mean, model.std)
        with torch.autocast(device, DTYPES[dtype], enabled=dtype != "fp32"):
            loss = F.cross_entropy(model(clips).float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def inference_steps(device: str, batch: int) -> dict[str, Step]:
    """One forward pass of each variant; the reference first, ours second."""
    plain, model = r2plus1d_18(num_classes=CLASSES), models.build("r2plus1d", CLASSES)
    return {
        "reference, inference": inference(plain, device, batch, "fp32", "contiguous"),
        "ours, inference": inference(fold_batch_norm(model), device, batch, "bf16", "channels_last", model=model),
        "fp32 channels_last, inference": inference(plain, device, batch, "fp32", "channels_last"),
        "bf16 channels_last, inference": inference(model, device, batch, "bf16", "channels_last"),
    }


def inference(
    net: nn.Module, device: str, batch: int, dtype: str, layout: str, *, model: nn.Module | None = None
) -> Step:
    """A forward pass on random clips; with `model`, whose normalisation is used, from uint8."""
    net = copy.deepcopy(net).to(device, memory_format=LAYOUTS[layout]).eval()
    frames = torch.randint(256, (batch, FRAMES, *STORED, 3), dtype=torch.uint8, device=device)  # B T H W C
    floats = torch.randn(batch, 3, FRAMES, CROP, CROP, device=device).contiguous(memory_format=LAYOUTS[layout])

    @torch.inference_mode()
    def step() -> None:
        clips = floats if model is None else normalise(even_crops(frames, CROP, 1), model.mean, model.std)
        with torch.autocast(device, DTYPES[dtype], enabled=dtype != "fp32"):
            net(clips)

    return step


def interleave(steps: dict[str, Step], repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of each step in every repeat, all variants in turn, after one turn that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in tqdm(range(repeats + 1), "turns"):
        for name, step in steps.items():
            taken = timed(step, device)
            if repeat:
                seconds[name].append(taken)
    return seconds


def matrix_peak(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, the best of three sizes and ten turns each."""
    rates = []
    for side in (1024, 2048, 4096):
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        rates.append(2 * side**3 / min(timed(partial(torch.matmul, a, b), device) for _ in range(10)))
    return max(rates)


def timed(step: Step, device: str) -> float:
    """Seconds of a step, to the end of what the device computes."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
