"""Networks that turn normalized clips B 3 T H W into tokens B T' H' W' C."""

from collections.abc import Callable
from functools import partial

from hmdb_lib.errors import UserError, did_you_mean
from hmdb_lib.models.backbones.base import Backbone
from hmdb_lib.models.backbones.images import EfficientNetLite0, Images
from hmdb_lib.models.backbones.resnets import LAYERS, ResNet3D
from hmdb_lib.models.backbones.video_networks import SHAPES, VideoNetwork
from hmdb_lib.models.backbones.video_transformers import VIDEOMAE, VJEPA2, XCLIP, VideoMAE, VJEPA2Encoder, XCLIPVision

BACKBONES: dict[str, Callable[..., Backbone]] = {
    **{name: partial(ResNet3D, name) for name in LAYERS},
    **{name: partial(VideoNetwork, name) for name in SHAPES},
    **{name: partial(VideoMAE, name) for name in VIDEOMAE},
    **{name: partial(VJEPA2Encoder, name) for name in VJEPA2},
    **{name: partial(XCLIPVision, name) for name in XCLIP},
    "efficientnet_lite0": EfficientNetLite0,
}
TIMM = "timm:"


def find_backbone(name: str) -> Callable[..., Backbone]:
    """Find what builds a backbone: a name of `BACKBONES`, or `timm:<name>`. UserError names the nearest for others."""
    if name.startswith(TIMM):
        return partial(Images, name.removeprefix(TIMM))
    if name not in BACKBONES:
        known = ", ".join([*BACKBONES, f"{TIMM}<name>"])
        raise UserError(f"model.backbone={name}: no such backbone{did_you_mean(name, BACKBONES)} (there are {known})")
    return BACKBONES[name]


def build_backbone(name: str, **options: object) -> Backbone:
    """Build a backbone with random weights; `options` are its constructor's, an unknown one is a TypeError."""
    return find_backbone(name)(**options)
