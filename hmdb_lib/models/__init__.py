"""Models that tell the classes of clips: a backbone and a head each, and where their weights start."""

from hmdb_lib.models.backbones import BACKBONES as BACKBONES, Backbone as Backbone, build_backbone as build_backbone
from hmdb_lib.models.build import VideoModel as VideoModel, build as build, channels_last as channels_last
from hmdb_lib.models.heads import HEADS as HEADS, Head as Head, build_head as build_head
from hmdb_lib.models.masked import mask as mask
from hmdb_lib.models.pretrained import load_pretrained as load_pretrained
