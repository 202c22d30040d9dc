"""Compute what a model costs: parameters, FLOPs, tokens, time and memory, by component where that makes sense."""

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hmdb_lib.environment import Processes
from hmdb_lib.models.backbones.video_transformers import VideoMAE, VJEPA2Encoder
from hmdb_lib.models.build import build
from hmdb_lib.progress import Bar

PASSES = ("forward", "training")
COMPONENTS = ("cnn", "cross_attention", "self_attention", "classifier")


def count(model: Any) -> dict[str, int]:
    """Count the parameters of a built model by component, their `total`, and those that are `trainable`."""
    parts = {name: sum(p.numel() for p in parameters) for name, parameters in model.components().items()}
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return parts | {"total": sum(parts.values()), "trainable": trainable}


def attention_size(model: Any, frames: int, size: int) -> dict[str, int]:
    """Count the tokens M that the head reads, the latents N, and query-key `pairs`.

    Pairs are what attention's cost grows with: N M for each cross attention and N^2 for each self-attention layer,
    so N M + L N^2 for one group of one cross and L self; L M^2 where there are no latents. Class token left out. A
    backbone of L plain transformer layers (VideoMAE, V-JEPA 2) adds its own L M^2, others add nothing.
    """
    backbone, head = model.backbone, model.head
    slots, *sides = backbone.grid(frames, size)
    layers = {VideoMAE: len(backbone.parts()) - 1, VJEPA2Encoder: len(backbone.parts()) - 2}.get(type(backbone), 0)
    own = layers * (slots * math.prod(sides)) ** 2
    places = math.prod(backbone.places(*sides))
    tokens = slots * places
    if head.name in ("bert", "gru"):
        return {
            "tokens": slots,
            "latents": 0,
            "pairs": own + (len(head.layers) * slots**2 if head.name == "bert" else 0),
        }
    if head.name != "perceiver":
        return {"tokens": tokens, "latents": 0, "pairs": own}
    tokens += head.differences * (slots - 1) * places
    cross, self_layers = len(head.cross), len(head.layers)
    latents = head.latents.shape[1] if cross else 0
    attending = latents * slots if head.over_time else latents or tokens
    return {"tokens": tokens, "latents": latents, "pairs": own + cross * latents * tokens + self_layers * attending**2}


def flops(model: Any, frames: int, size: int) -> dict[str, int]:
    """Count the FLOPs (2 x multiply-adds) of one forward pass of one clip, by component and in `total`.

    Convolutions and matrix products are counted, as torch's counter does; norms, activations and the pool are not.
    Nothing is computed: the model is copied to the meta device.
    """
    model = copy.deepcopy(model).to("meta").eval()
    # With gradients on, nn.MultiheadAttention takes the path that the counter can see into.
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        model.requires_grad_(True)(torch.zeros(1, 3, frames, size, size, device="meta"))
    counted = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    part_of = {id(p): part for part, parameters in model.components().items() for p in parameters}
    result = dict.fromkeys(COMPONENTS, 0)

    def add(module: nn.Module, name: str) -> None:
        parts = {part_of[id(p)] for p in module.parameters()}
        if len(parts) == 1 and name in counted:
            result[parts.pop()] += counted[name]
        else:
            for child_name, child in module.named_children():
                add(child, f"{name}.{child_name}")

    add(model, type(model).__name__)
    return result | {"total": counter.get_total_flops()}


def table(rows: Mapping[str, Mapping[str, Any]], classes: int = 51) -> pd.DataFrame:
    """Tabulate the rows: parameters by component, total, trainable, FLOPs (with a column a component) and tokens.

    Args:
        rows: row -> arguments of `build`; its frames and size are the clip that FLOPs are for.
        classes: number of classes.

    Models are built on the meta device, so nothing is allocated.

    """
    lines = {}
    for row, arguments in Bar(rows.items(), "counting", unit="row"):
        frames, size = arguments["frames"], arguments["size"]
        with torch.device("meta"):
            model = build(classes=classes, **arguments)
        work = flops(model, frames, size)
        lines[row] = (
            count(model)
            | {"flops": work.pop("total")}
            | attention_size(model, frames, size)
            | {f"flops_{part}": value for part, value in work.items()}
        )
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("row")


def measure(
    make: Callable[[], nn.Module], frames: int, size: int, *, repeats: int = 3, passes: Sequence[str] = PASSES
) -> dict[str, float]:
    """Measure seconds (median) and peak memory (bytes) of a forward pass, and of forward and backward together, on the CPU.

    The keys are seconds_forward, seconds_training, bytes_forward, bytes_training. A fresh process does the work in
    fp32, so that its peak is this model's alone: weights, activations, gradients, no optimizer. It is what the process
    grew by from before the model was built, the scratch memory of its libraries included; where /proc is missing (not
    Linux) it is nan.

    Args:
        make: builds the model; it must be picklable, as `functools.partial(models.build, "s3d", 51, head="pool")` is.
        frames, size: the clip.
        repeats: timed passes, after one that warms up.
        passes: `forward`, `training`, or both.

    """
    work = (make, (1, 3, frames, size, size), repeats, passes, torch.get_num_threads())
    with Processes(1) as pool:
        return pool.submit(_measure, *work).result()


def _measure(
    make: Callable[[], nn.Module], shape: tuple[int, ...], repeats: int, passes: Sequence[str], threads: int
) -> dict[str, float]:
    torch.set_num_threads(threads)
    before = _resident("VmRSS")
    model = make().to(memory_format=torch.channels_last_3d)
    clips = torch.randn(shape).to(memory_format=torch.channels_last_3d)
    result = {}
    for name in passes:
        training = name == "training"
        model.train(training)

        def step(training: bool = training) -> None:
            model.zero_grad()
            logits = model(clips)
            if training:
                logits.sum().backward()

        with torch.set_grad_enabled(training):
            result[f"seconds_{name}"] = seconds(step, repeats)
        result[f"bytes_{name}"] = _resident("VmHWM") - before
    return result


def seconds(step: Callable[[], object], repeats: int) -> float:
    """Time a step, until the device has done it: the median of `repeats`, after one that warms up."""
    taken = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if torch.backends.mps.is_available():  # Apple's, which launches and goes on as well
            torch.mps.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def _resident(field: str) -> float:
    """Resident memory of this process in bytes: VmRSS now, VmHWM at its highest."""
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    return next(int(line.split()[1]) * 1024.0 for line in status.read_text().splitlines() if line.startswith(field))
