"""Batch norm folded into the convolution before it: the same outputs, one pass over the activations less."""

import copy
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy for inference alone, in evaluation mode; a model without such pairs comes back as it is.

    A pair is a 3D convolution, or a group of layers that ends in one, with a batch norm right behind it in an
    `nn.Sequential`.
    """
    model = copy.deepcopy(model).eval()
    for group in model.modules():
        if not isinstance(group, nn.Sequential):
            continue
        for number in range(len(group) - 1):
            if not isinstance(group[number + 1], nn.BatchNorm3d):
                continue
            owner: Any = group
            place, norm = number, group[number + 1]
            while isinstance(owner[place], nn.Sequential):  # R(2+1)D's convolution is two, the batch norm's the last
                owner, place = owner[place], len(owner[place]) - 1
            if isinstance(owner[place], nn.Conv3d):
                owner[place] = fuse_conv_bn_eval(owner[place], norm)  # pyright: ignore[reportArgumentType] - checked above
                group[number + 1] = nn.Identity()
    return model
