"""How fast a step is, beside the reference's way: `python -m benchmarks.train_step [--json FILE] [--repeats N]`.

R(2+1)D-18 with 51 classes on clips of 16 x 112 x 112: forward, backward and optimiser step, and forward alone. All
variants take a turn in every repeat, and a variant's ratio is the median over repeats of the reference's time by its
own. The reference: torchvision's model in fp32, contiguous, on float clips that a worker has normalised. Ours starts
from uint8 clips: crop, flip and normalise are part of its time. `ours, hybrid` is the same with the proposed
architecture's head on it. On a GPU each variant's peak memory is told too: what it holds and what a step takes.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.video import r2plus1d_18
from tqdm.auto import tqdm

from hmdb_lib import config, models
from hmdb_lib.data.transforms import even_crops, normalise, random_crop_flip
from hmdb_lib.models import cost
from hmdb_lib.models.device import choose_device
from hmdb_lib.models.fold import fold_batch_norm
from hmdb_lib.training.optim import make_optimizer

CLASSES, FRAMES, STORED, CROP = 51, 16, (128, 171), 112
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last_3d}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

Step = Callable[[], object]


def main() -> int:
    """Measure, print the table, write it as JSON."""
    parser = argparse.ArgumentParser("python -m benchmarks.train_step", description="How fast a step is.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a list of {name, seconds, clips_per_s, ...}")
    parser.add_argument("--repeats", type=int, default=3, help="turns of every variant (default: %(default)s)")
    parser.add_argument("--batch", type=int, nargs="+", help="clips of a step (default: 4 on a CPU, 32 on a GPU)")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes minutes")
    arguments = parser.parse_args()
    device = choose_device()
    peaks = {name: matrix_peak(device.kind, dtype) for name, dtype in DTYPES.items()}
    told = ", ".join(f"{name} {peak / 1e9:.0f}" for name, peak in peaks.items())
    print(f"{device.name}; matrix peak in GFLOP/s: {told}")
    rows = []
    for batch in arguments.batch or ([32] if device.kind == "cuda" else [4]):
        rows += measure(device.kind, batch, arguments.repeats, arguments.compile, peaks)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(device: str, batch: int, repeats: int, compiled: bool, peaks: dict[str, float]) -> list[dict[str, object]]:
    """A row for each variant, printed."""
    plain, hybrid = (cost.flops(make(), FRAMES, CROP)["total"] * batch for make in (baseline, proposed))
    print(f"\nbatch {batch:<26}{'s':>8}{'clips/s':>10}{'ratio':>8}{'of peak':>9}{'first, s':>10}{'peak, GB':>10}")
    rows = []
    for passes, variants in ((3, training_steps(device, batch, compiled)), (1, inference_steps(device, batch))):
        turns = interleave(variants, repeats, device)
        base = turns[next(iter(variants))].seconds
        for name, turn in turns.items():
            middle = statistics.median(turn.seconds)
            dtype = "bf16" if "bf16" in name or name.startswith("ours") else "fp32"
            work = passes * (hybrid if "hybrid" in name else plain)
            row = {
                "name": name,
                "batch": batch,
                "seconds": middle,
                "clips_per_s": batch / middle,
                "ratio": statistics.median(slow / own for slow, own in zip(base, turn.seconds, strict=True)),
                "share_of_peak": work / middle / peaks[dtype],
                "first_seconds": turn.first,  # what compiling takes is in it
                "peak_bytes": turn.bytes,
            }
            rows.append(row)
            print(
                "{name:<32}{seconds:8.3f}{clips_per_s:10.2f}{ratio:8.2f}{share_of_peak:9.2f}".format(**row)
                + f"{turn.first:10.1f}"
                + (f"{turn.bytes / 1e9:10.2f}" if turn.bytes else "")
            )
        if passes == 3:
            whole, cnn = (turns[name].seconds for name in ("ours, hybrid", "ours"))
            share = statistics.median(1 - one / other for one, other in zip(cnn, whole, strict=True))
            print(f"the head's share of the hybrid's step: {share:.3f}")
    return rows


def baseline() -> nn.Module:
    """Our R(2+1)D-18."""
    return models.build("r2plus1d_18", CLASSES, head="pool")


def proposed() -> nn.Module:
    """The proposed architecture: the same CNN with one cross and one self attention."""
    return models.build("r2plus1d_18", CLASSES, head="perceiver")


def reference() -> nn.Module:
    """torchvision's own."""
    return r2plus1d_18(num_classes=CLASSES)


def training_steps(device: str, batch: int, compiled: bool) -> dict[str, Callable[[], Step]]:
    """Makers of one optimiser step of each variant; the reference first, ours second."""
    bf16 = {"device": device, "batch": batch, "dtype": "bf16", "layout": "channels_last"}
    fp32 = bf16 | {"dtype": "fp32"}
    variants = {
        "reference": partial(training, reference, **fp32 | {"layout": "contiguous"}),
        "ours": partial(training, baseline, **bf16, from_uint8=True),
        "ours, hybrid": partial(training, proposed, **bf16, from_uint8=True),
        "fp32 channels_last": partial(training, reference, **fp32),
        "bf16 contiguous": partial(training, reference, **bf16 | {"layout": "contiguous"}),
        "bf16 channels_last": partial(training, reference, **bf16),
        "bf16 channels_last, 2D views": partial(training, baseline, **bf16),
        "bf16, 2D views, fused AdamW": partial(training, baseline, **bf16, fused=True),
    }
    if compiled:
        variants["bf16, 2D views, compiled"] = partial(training, baseline, **bf16, compiled="default")
        if device == "cuda":
            variants["bf16, 2D views, compiled, CUDA graphs"] = partial(
                training, baseline, **bf16, compiled="reduce-overhead"
            )
    return variants


def training(
    make: Callable[[], nn.Module],
    device: str,
    batch: int,
    dtype: str,
    layout: str,
    *,
    from_uint8: bool = False,
    fused: bool = False,
    compiled: str | None = None,
) -> Step:
    """A step of AdamW on random clips; `compiled` is a mode of torch.compile."""
    model = make().to(device, memory_format=LAYOUTS[layout]).train()
    labels = torch.randint(CLASSES, (batch,), device=device)
    frames = torch.randint(256, (batch, FRAMES, *STORED, 3), dtype=torch.uint8, device=device)  # B T H W C
    floats = torch.randn(batch, 3, FRAMES, CROP, CROP, device=device).contiguous(memory_format=LAYOUTS[layout])
    if from_uint8:
        optimiser = make_optimizer(model, config.load("baseline", ["data=hmdb51"]).train, fused=True)
    else:
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=fused or None)
    net = torch.compile(model, mode=compiled) if compiled else model

    def step() -> None:
        clips = floats
        if from_uint8:
            clips = normalise(random_crop_flip(frames, CROP, True), model.mean, model.std)
        with torch.autocast(device, DTYPES[dtype], enabled=dtype != "fp32"):
            loss = F.cross_entropy(net(clips).float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def inference_steps(device: str, batch: int) -> dict[str, Callable[[], Step]]:
    """Makers of one forward pass of each variant; the reference first, ours second."""
    plain, model = reference(), baseline()
    ours = fold_batch_norm(model)
    return {
        "reference, inference": partial(inference, plain, device, batch, "fp32", "contiguous"),
        "ours, inference": partial(inference, ours, device, batch, "bf16", "channels_last", model=model),
        "fp32 channels_last, inference": partial(inference, plain, device, batch, "fp32", "channels_last"),
        "bf16 channels_last, inference": partial(inference, model, device, batch, "bf16", "channels_last"),
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


@dataclass
class Turns:
    """What a variant's turns took: seconds of the first, of the others, and on a GPU bytes at the peak, else None."""

    first: float
    seconds: list[float]
    bytes: int | None


def interleave(variants: dict[str, Callable[[], Step]], repeats: int, device: str) -> dict[str, Turns]:
    """Every variant's step in turn, `repeats` times, after one turn that warms up."""
    on_gpu = device == "cuda"
    steps, held, turns = {}, {}, {}
    for name, make in tqdm(variants.items(), "first turn"):
        before = torch.cuda.memory_allocated() if on_gpu else 0
        steps[name] = make()
        turns[name] = Turns(timed(steps[name], device), [], None)
        held[name] = torch.cuda.memory_allocated() - before if on_gpu else 0
    for _ in tqdm(range(repeats), "turns"):
        for name, step in steps.items():
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            turns[name].seconds.append(timed(step, device))
            if on_gpu:
                turns[name].bytes = held[name] + torch.cuda.max_memory_allocated() - before
    return turns


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
