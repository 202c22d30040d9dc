"""Models that tell the classes of clips: a backbone and a head each, and where their weights start."""

from hmdb_lib.models.backbones import BACKBONES, Backbone, build_backbone
from hmdb_lib.models.build import VideoModel, build, channels_last
from hmdb_lib.models.heads import HEADS, Head, build_head
from hmdb_lib.models.masked import mask
from hmdb_lib.models.pretrained import load_pretrained

__all__ = [
    "BACKBONES",
    "HEADS",
    "Backbone",
    "Head",
    "VideoModel",
    "build",
    "build_backbone",
    "build_head",
    "channels_last",
    "load_pretrained",
    "mask",
]
