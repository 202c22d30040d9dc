"""How many parameters a model has, by arithmetic alone: what the count of a built one is held to."""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from helpers import architectures
from hmdb_lib.models.backbones import Backbone, build_backbone
from hmdb_lib.models.backbones.resnets import LAYERS
from hmdb_lib.models.backbones.video_transformers import TUBELET, VIDEOMAE, VJEPA2
from hmdb_lib.models.cost import COMPONENTS
from hmdb_lib.models.heads.perceiver import POSITION


def closed_form(name: str, arguments: Mapping[str, Any], classes: int) -> dict[str, int]:
    """Parameters by component and in total, from a model's arguments alone; arguments not given have their defaults.

    A name and its arguments are those of `helpers.architectures`. Only the tokens' channels and time slots are asked
    of the backbone, which is built on the meta device.
    """
    design = architectures.design(name, arguments)
    backbone = _on_paper(design["backbone"], frozenset((design.get("backbone_options") or {}).items()))
    slots = backbone.times(design.get("frames", 16))
    parts: dict[str, int] = dict.fromkeys(COMPONENTS, 0)
    own = _head(design["head"], design.get("head_options") or {}, slots, backbone.channels, classes)
    parts |= dict(zip(COMPONENTS[1:], own, strict=True))
    parts[backbone.component] += _backbone(backbone, design.get("backbone_options") or {})
    return parts | {"total": sum(parts.values())}


@cache
def _on_paper(name: str, options: frozenset[tuple[str, Any]]) -> Backbone:
    with torch.device("meta"):
        return build_backbone(name, **dict(options))


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
