"""Build a model: a backbone and a head, any pair by name."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hmdb_lib.models.backbones import Backbone, build_backbone, find_backbone
from hmdb_lib.models.heads import Head, build_head


class VideoModel(nn.Module):
    """Join a backbone, which turns clips into tokens, and a head, which reads them.

    Attributes:
        mean, std: RGB in 0..1 that the backbone's weights expect.
        size: H, W of the crop that they expect.
        classes: number of classes.

    """

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.mean, self.std, self.size = backbone.mean, backbone.std, backbone.size
        self.classes = head.classes

    @property
    def name(self) -> str:
        """Return the name that errors use."""
        return f"{self.backbone.name} with the head {self.head.name}"

    def forward(self, clips: Tensor) -> Tensor:
        """Map normalized clips B 3 T H W to logits B classes."""
        return self.head(self.backbone(clips))

    def attention_maps(self, clips: Tensor) -> list[Tensor]:
        """See `Head.attention_maps`, for normalized clips B 3 T H W."""
        return self.head.attention_maps(self.backbone(clips))

    def components(self) -> dict[str, list[nn.Parameter]]:
        """List all parameters by cnn, cross_attention, self_attention and classifier."""
        parts = {"cnn": []} | self.head.components()
        parts[self.backbone.component] = [*self.backbone.parameters(), *parts[self.backbone.component]]
        return parts

    @property
    def cut(self) -> tuple[str, ...]:
        """Return how the names of those weights begin that others of this name have, and this model leaves out."""
        return tuple(f"backbone.{block}." for block in self.backbone.cut)

    @property
    def last_layer(self) -> int:
        """Return the head's number among the layers, see `layer_of`."""
        return len(self.backbone.parts())

    def layer_of(self, name: str) -> int:
        """Number the layer of a parameter, for layer-wise learning-rate decay: 0 the backbone's first part, then upwards."""
        path = name.removeprefix("backbone.")
        return self.last_layer if path == name else self.backbone.layer_of(path)


def build(
    backbone: str,
    classes: int,
    *,
    head: str,
    frames: int = 16,
    size: int | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    head_options: Mapping[str, Any] | None = None,
    features: str = "tokens",
) -> VideoModel:
    """Build a backbone and a head by name, with random weights.

    Args:
        backbone: a key of `BACKBONES`, or `timm:<name>`.
        classes: number of classes.
        head: a key of `HEADS`.
        frames, size: the clips, T and H = W; None: the crop that the backbone's weights expect.
        backbone_options, head_options: of their constructors; an unknown one is a TypeError.
        features: which of the backbone's tokens the head reads, see `Backbone`.

    An unknown name, clips that the backbone cannot take, and values that do not go together raise UserError.
    """
    options = dict(backbone_options or {})
    takes = inspect.signature(find_backbone(backbone)).parameters
    options |= {key: value for key, value in (("frames", frames), ("size", size)) if key in takes and value}
    built = build_backbone(backbone, **options)
    built.features = features
    built.check(frames, *((size, size) if size else built.size))
    return VideoModel(built, build_head(head, built.channels, built.times(frames), classes, **head_options or {}))


def channels_last(model: nn.Module) -> nn.Module:
    """Lay out the kernels of convolutions channels last, in place; return the model."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            module.to(memory_format=torch.channels_last if isinstance(module, nn.Conv2d) else torch.channels_last_3d)
    return model
