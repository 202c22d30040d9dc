"""The architectures of the study by name, and where their weights start."""

import difflib

from torch import nn

from hmdb_lib.errors import UserError
from hmdb_lib.models.backbones.resnets import Backbone, R2Plus1D
from hmdb_lib.models.backbones.video_transformers import VideoMAE
from hmdb_lib.models.heads.bert import Bert3D
from hmdb_lib.models.heads.perceiver import Hybrid
from hmdb_lib.models.masked import mask
from hmdb_lib.models.pretrained import load_pretrained

ARCHITECTURES: dict[str, type[nn.Module]] = {
    "hybrid": Hybrid,
    "r2plus1d": R2Plus1D,
    "bert": Bert3D,
    "videomae": VideoMAE,
}

__all__ = ["ARCHITECTURES", "Backbone", "build", "load_pretrained", "mask"]


def build(name: str, classes: int, **arguments: object) -> nn.Module:
    """Build an architecture by name, with random weights; `arguments` are its constructor's.

    Every model takes normalised clips B 3 T H W and returns logits B classes. It has the attributes `mean`, `std`
    (RGB in 0..1, what its pretrained weights expect), `size` (their crop, H W) and `classes`, and `components()`:
    its parameters by cnn, cross_attention, self_attention and classifier. An unknown name, or values that do not go
    together, raise UserError; an unknown argument is a TypeError.
    """
    if name not in ARCHITECTURES:
        nearest = difflib.get_close_matches(name, ARCHITECTURES, n=1, cutoff=0)[0]
        raise UserError(
            f"model={name}: no such architecture, did you mean {nearest}? (there are {', '.join(ARCHITECTURES)})"
        )
    return ARCHITECTURES[name](classes=classes, **arguments)
