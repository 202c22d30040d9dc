"""What a model costs: parameters, FLOPs, tokens, time and memory, by component where that makes sense.

Every count of parameters exists twice, by adding up the built model and by a closed form that is arithmetic alone; a
test holds them equal. Models are told by a name and arguments, as `hmdb_lib.models.build` takes them.
"""

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hmdb_lib.models.backbones import Backbone, build_backbone
from hmdb_lib.models.backbones.resnets import LAYERS
from hmdb_lib.models.backbones.video_transformers import TUBELET, VIDEOMAE, VJEPA2, VideoMAE, VJEPA2Encoder
from hmdb_lib.models.build import build, resolve
from hmdb_lib.models.heads.perceiver import POSITION
from hmdb_lib.progress import Bar

PASSES = ("forward", "training")
COMPONENTS = ("cnn", "cross_attention", "self_attention", "classifier")

Row = tuple[str, Mapping[str, Any], int, int]  # name, its arguments, frames, size (H = W)


def count(model: Any) -> dict[str, int]:
    """Parameters of a built model by component, their `total`, and how many of them are `trainable`."""
    parts = {name: sum(p.numel() for p in parameters) for name, parameters in model.components().items()}
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return parts | {"total": sum(parts.values()), "trainable": trainable}


def closed_form(name: str, arguments: Mapping[str, Any], classes: int) -> dict[str, int]:
    """The same by component and in total, from a model's arguments alone; arguments not given have their defaults.

    A name and its arguments are those of `hmdb_lib.models.build`. Only the tokens' channels and time slots are asked
    of the backbone, which is built on the meta device.
    """
    design = resolve(name, arguments)
    backbone = _on_paper(design)
    slots = backbone.times(design.get("frames", 16))
    parts: dict[str, int] = dict.fromkeys(COMPONENTS, 0)
    own = _head(design["head"], design.get("head_options") or {}, slots, backbone.channels, classes)
    parts |= dict(zip(COMPONENTS[1:], own, strict=True))
    parts[backbone.component] += _backbone(backbone, design.get("backbone_options") or {})
    return parts | {"total": sum(parts.values())}


def _on_paper(design: Mapping[str, Any]) -> Backbone:
    with torch.device("meta"):
        backbone = build_backbone(design["backbone"], **design.get("backbone_options") or {})
    backbone.features = design.get("features", "tokens")
    return backbone


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _norm(width: int) -> int:
    return 2 * width


def _backbone(backbone: Backbone, options: Mapping[str, Any]) -> int:
    name = backbone.name
    if name in LAYERS:
        return _resnet(name, options.get("blocks") or sum(LAYERS[name]), options.get("width", 1))
    if name in VIDEOMAE:
        return _transformer(*VIDEOMAE[name][:2], 4 * VIDEOMAE[name][0])  # its keys have no bias
    if name in VJEPA2:
        width, layers, _, ratio, _ = VJEPA2[name]
        return _transformer(width, layers, int(width * ratio)) + layers * width + _norm(width)
    return sum(parameter.numel() for parameter in backbone.parameters())  # other libraries' networks are taken as built


def _transformer(width: int, layers: int, inner: int) -> int:
    patches = _linear(3 * math.prod(TUBELET), width)
    return patches + layers * (
        2 * _norm(width) + 4 * width**2 + 3 * width + _linear(width, inner) + _linear(inner, width)
    )


def _resnet(name: str, blocks: int, share: float) -> int:
    """Parameters of the stem and of so many blocks, with a share of the channels."""

    def convolution(inputs: int, outputs: int, first: int, layer: int) -> int:
        if not name.startswith("r2plus1d"):
            return inputs * outputs * (9 if name == "mc3_18" and layer else 27)
        middle = first * outputs * 27 // (first * 9 + 3 * outputs)  # as many parameters as a 3 x 3 x 3 would have
        return inputs * middle * 9 + _norm(middle) + middle * outputs * 3

    before, middle = int(64 * share), int(45 * share)
    factorised = 3 * middle * 49 + _norm(middle) + middle * before * 3
    total = (factorised if name.startswith("r2plus1d") else 3 * before * 3 * 49) + _norm(before)
    layers = [layer for layer, count in enumerate(LAYERS[name]) for _ in range(count)]
    for layer in layers[:blocks]:
        width = int(64 * share) * 2**layer
        for inputs, first in ((before, before), (width, width if name == "r2plus1d_34" else before)):
            total += convolution(inputs, width, first, layer) + _norm(width)
        if before != width:
            total += before * width + _norm(width)
        before = width
    return total


def _head(name: str, options: Mapping[str, Any], slots: int, channels: int, classes: int) -> tuple[int, int, int]:
    """Parameters of cross attention, self attention and classifier."""
    get = options.get
    if name == "pool":
        return 0, 0, bool(get("norm")) * _norm(channels) + _linear(channels, classes)
    if name == "pool_change":
        return 0, 0, _linear(3 * channels, classes)
    if name == "gru":
        width, layers = get("width", 512), get("layers", 1)
        inputs = channels + (layers - 1) * width
        return 0, 0, 3 * (inputs * width + layers * (width**2 + 2 * width)) + _linear(width, classes)
    if name == "bert":
        block = 2 * _norm(channels) + 4 * _linear(channels, channels)
        block += _linear(channels, 4 * channels) + _linear(4 * channels, channels)
        return 0, (2 + slots) * channels + get("layers", 1) * block, _linear(channels, classes)
    cross, self_layers, width = get("cross", 1), get("self_layers", 1), get("width", 512)

    def layer(heads: int, context: int = 0) -> int:
        inner = 64 * heads
        attention = width * inner + 2 * (context or width) * inner + _linear(inner, width)
        feed_forward = _linear(width, 8 * width) + _linear(4 * width, width)
        return _norm(width) + _norm(context) + attention + _norm(width) + feed_forward

    arrays = min(cross, 1) if get("share_latents", True) else cross
    crossing = arrays * get("latents", 256) * width + cross * layer(1, channels + POSITION)
    attending = (self_layers > 0) * width + self_layers * layer(8)
    if not cross and channels != width:
        attending += _linear(channels, width)
    pooled = 3 * channels if get("residual_pool") == "change" else channels
    read = width * pooled + _linear(pooled, classes) if get("residual_pool") else _linear(width, classes)
    return crossing, attending, _norm(width) + read


def attention_size(name: str, arguments: Mapping[str, Any], frames: int, size: int) -> dict[str, int]:
    """Tokens M that the head reads, latents N, and query-key `pairs`.

    Pairs are what attention's cost grows with: N M for each cross attention and N^2 for each self-attention layer,
    so N M + L N^2 for one group of one cross and L self; L M^2 where there are no latents. Class token left out. A
    backbone of L plain transformer layers (VideoMAE, V-JEPA 2) adds its own L M^2, others add nothing.
    """
    design = resolve(name, arguments)
    head, get = design["head"], (design.get("head_options") or {}).get
    backbone = _on_paper(design)
    slots, *sides = backbone.grid(frames, size)
    layers = {VideoMAE: len(backbone.parts()) - 1, VJEPA2Encoder: len(backbone.parts()) - 2}.get(type(backbone), 0)
    own = layers * (slots * math.prod(sides)) ** 2
    places = math.prod(backbone.places(*sides))
    tokens = slots * places
    if head in ("bert", "gru"):
        return {"tokens": slots, "latents": 0, "pairs": own + (head == "bert") * get("layers", 1) * slots**2}
    if head != "perceiver":
        return {"tokens": tokens, "latents": 0, "pairs": own}
    tokens += bool(get("differences")) * (slots - 1) * places
    cross, self_layers = get("cross", 1), get("self_layers", 1)
    latents = get("latents", 256) if cross else 0
    attending = latents * slots if get("latents_over_time") else latents or tokens
    return {"tokens": tokens, "latents": latents, "pairs": own + cross * latents * tokens + self_layers * attending**2}


def flops(model: Any, frames: int, size: int) -> dict[str, int]:
    """FLOPs (2 x multiply-adds) of one forward pass of one clip, by component and in `total`.

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


def table(rows: Mapping[str, Row], classes: int = 51) -> pd.DataFrame:
    """One line a row: parameters by component, total, trainable, FLOPs (with a column a component) and tokens.

    Args:
        rows: row -> (name, its arguments, frames, size), the last two giving the clip that FLOPs are for.
        classes: number of classes.

    Models are built on the meta device, so nothing is allocated.

    """
    lines = {}
    for row, (name, arguments, frames, size) in Bar(rows.items(), "counting", unit="row"):
        with torch.device("meta"):
            model = build(name, classes, **arguments)
        work = flops(model, frames, size)
        lines[row] = (
            count(model)
            | {"flops": work.pop("total")}
            | attention_size(name, arguments, frames, size)
            | {f"flops_{part}": value for part, value in work.items()}
        )
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("row")


def measure(
    make: Callable[[], nn.Module], frames: int, size: int, *, repeats: int = 3, passes: Sequence[str] = PASSES
) -> dict[str, float]:
    """Seconds (median) and peak memory (bytes) of a forward pass, and of forward and backward together, on the CPU.

    The keys are seconds_forward, seconds_training, bytes_forward, bytes_training. A fresh process does the work in
    fp32, so that its peak is this model's alone: weights, activations, gradients, no optimizer. It is what the process
    grew by from before the model was built, the scratch memory of its libraries included; where /proc is missing (not
    Linux) it is nan.

    Args:
        make: builds the model; it must be picklable, as `functools.partial(models.build, "hybrid", 51)` is.
        frames, size: the clip.
        repeats: timed passes, after one that warms up.
        passes: `forward`, `training`, or both.

    """
    work = (make, (1, 3, frames, size, size), repeats, passes, torch.get_num_threads())
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
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
        seconds = []
        with torch.set_grad_enabled(training):
            for _ in range(1 + repeats):
                start = time.perf_counter()
                model.zero_grad()
                logits = model(clips)
                if training:
                    logits.sum().backward()
                seconds.append(time.perf_counter() - start)
        result[f"seconds_{name}"] = statistics.median(seconds[1:])
        result[f"bytes_{name}"] = _resident("VmHWM") - before
    return result


def _resident(field: str) -> float:
    """Resident memory of this process in bytes: VmRSS now, VmHWM at its highest."""
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    return next(int(line.split()[1]) * 1024.0 for line in status.read_text().splitlines() if line.startswith(field))
