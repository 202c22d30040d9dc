"""Fold batch norm into the convolution before it: the same outputs, one pass over the activations less."""

import copy
from itertools import pairwise
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Copy a model for inference alone, in evaluation mode, without the batch norms that stand behind a convolution.

    A pair is a 3D convolution, or a group of layers that ends in one, with a batch norm right behind it in an
    `nn.Sequential`; or a 2D convolution with timm's norm-and-activation behind it.
    """
    model = copy.deepcopy(model).eval()
    for group in list(model.modules()):
        for (before, layer), (behind, norm) in pairwise(group.named_children()):
            if isinstance(group, nn.Sequential) and isinstance(norm, nn.BatchNorm3d):
                owner: Any = group
                while isinstance(layer, nn.Sequential):  # R(2+1)D's convolution is two, the batch norm's the last
                    owner, before, layer = layer, str(len(layer) - 1), layer[-1]
                if isinstance(layer, nn.Conv3d):
                    setattr(owner, before, fuse_conv_bn_eval(layer, norm))
                    setattr(group, behind, nn.Identity())
            elif isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and hasattr(norm, "act"):
                setattr(group, before, fuse_conv_bn_eval(layer, norm))
                setattr(group, behind, norm.act)
    return model
