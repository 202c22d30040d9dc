"""torchvision's video ResNets (arXiv 1711.11248), cut after any block: R(2+1)D, R3D and MC3."""

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.video import MC3_18_Weights, R2Plus1D_18_Weights, R3D_18_Weights
from torchvision.models.video.resnet import (
    BasicBlock,
    BasicStem,
    Conv2Plus1D,
    Conv3DNoTemporal,
    Conv3DSimple,
    R2Plus1dStem,
    VideoResNet,
)

from hmdb_lib.errors import UserError
from hmdb_lib.models.backbones.base import Backbone

LAYERS = {"r2plus1d_18": (2, 2, 2, 2), "r2plus1d_34": (3, 4, 6, 3), "r3d_18": (2, 2, 2, 2), "mc3_18": (2, 2, 2, 2)}
WEIGHTS = {"r2plus1d_18": R2Plus1D_18_Weights, "r3d_18": R3D_18_Weights, "mc3_18": MC3_18_Weights}


class TimeConv(nn.Conv3d):
    """Apply a (k, 1, 1) convolution, computed as a 2D one over (T, H W): a free view, the same weights, the same numbers.

    Not for speed: on CPUs with bf16, oneDNN (torch 2.15) returns garbage, NaN now and then, as the weight gradient of
    the 3D form where T is 2, which is R(2+1)D's last stage at 16 frames.
    """

    def forward(self, x: Tensor) -> Tensor:
        """B C T H W to B C' T' H W."""
        out = F.conv2d(x.flatten(3), self.weight.flatten(3), self.bias, self.stride[:2], self.padding[:2])
        return out.unflatten(3, x.shape[3:])  # B C' T' H W


class SpaceConv(nn.Conv3d):
    """Apply a (1, k, k) convolution, computed as a 2D one over H, W: a free view of channels-last memory, and a bit faster."""

    def forward(self, x: Tensor) -> Tensor:
        """B C T H W to B C' T H' W'."""
        frames = x.transpose(1, 2).flatten(0, 1)  # (B T) C H W
        out = F.conv2d(frames, self.weight.squeeze(2), self.bias, self.stride[1:], self.padding[1:])
        return out.unflatten(0, (len(x), -1)).transpose(1, 2)  # B C' T H' W'


class FactorisedConv(Conv2Plus1D):
    """torchvision's (2+1)D convolution, its halves as a `SpaceConv` and a `TimeConv`."""

    def __init__(self, in_planes: int, out_planes: int, midplanes: int, stride: int = 1, padding: int = 1) -> None:
        super().__init__(in_planes, out_planes, midplanes, stride, padding)
        space: Any = self[0]
        old: Any = self[3]
        self[0] = SpaceConv(in_planes, midplanes, space.kernel_size, space.stride, space.padding, bias=False)
        self[3] = TimeConv(midplanes, out_planes, old.kernel_size, old.stride, old.padding, bias=False)


class Narrow(VideoResNet):
    """A video ResNet with a share `narrow` of the channels in the stem and in every block."""

    def __init__(self, convolutions: Any, layers: list[int], stem: Any, narrow: float) -> None:
        self.narrow = narrow
        super().__init__(BasicBlock, convolutions, layers, stem)

    def _make_layer(self, block: Any, conv_builder: Any, planes: int, blocks: int, stride: int = 1) -> nn.Sequential:
        if planes == 64:  # the first layer: until here torchvision takes the stem to give 64
            self.inplanes = int(64 * self.narrow)
        return super()._make_layer(block, conv_builder, int(planes * self.narrow), blocks, stride)


def _narrow_stem(stem: type[nn.Sequential], narrow: float) -> nn.Sequential:
    """Build a stem of torchvision's with a share of its channels, rounded down; the three of RGB stay."""
    layers = list(stem())
    if narrow == 1:
        return nn.Sequential(*layers)
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.Conv3d):
            inputs = 3 if layer.in_channels == 3 else int(layer.in_channels * narrow)
            outputs: Any = int(layer.out_channels * narrow)
            kernel: Any = layer.kernel_size
            how: Any = {"stride": layer.stride, "padding": layer.padding, "bias": False}
            layers[number] = nn.Conv3d(inputs, outputs, kernel, **how)
        elif isinstance(layer, nn.BatchNorm3d):
            layers[number] = nn.BatchNorm3d(int(layer.num_features * narrow))
    return nn.Sequential(*layers)


class ResNet3D(Backbone):
    """A video ResNet without pooling and fc, cut after its first `blocks` residual blocks.

    Parameter names are torchvision's (`stem.0.weight`, `layer1.0.conv1.0.0.weight`, ...), so its checkpoints fit.

    Args:
        name: a key of `LAYERS`. r2plus1d_34 is built as the IG-65M checkpoints need it (arXiv 1905.00561).
        blocks: residual blocks kept, 1 to 8, or to 16 of 34 layers; None: all.
        width: share of the channels, 1, 0.5 or 0.25; published weights fit 1 alone.

    """

    mean = (0.43216, 0.394666, 0.37645)
    std = (0.22803, 0.22145, 0.216989)
    size = (112, 112)
    smallest = (8, 64, 64)  # eight-fold in time and sixteen-fold in space, so that a few tokens are left
    prefix = ""
    left_out = ("fc.",)

    def __init__(self, name: str, *, blocks: int | None = None, frozen: int | str = 0, width: float = 1.0) -> None:
        super().__init__()
        total = sum(LAYERS[name])
        blocks = total if blocks is None else blocks
        if not 1 <= blocks <= total:
            raise UserError(f"model.blocks={blocks}: {name} has 1 to {total} blocks to keep")
        self.name = name
        if width not in (1.0, 0.5, 0.25):
            raise UserError(f"model.width={width}: is none of 1, 0.5 and 0.25")
        self.weights = {"kinetics400": WEIGHTS[name].KINETICS400_V1} if name in WEIGHTS and width == 1 else {}
        flat = name == "mc3_18"  # no convolution over time behind the first layer
        convolutions, stem = [Conv3DSimple] + [Conv3DNoTemporal if flat else Conv3DSimple] * 3, BasicStem
        if name.startswith("r2plus1d"):
            convolutions, stem = [FactorisedConv] * 4, R2Plus1dStem
        whole = Narrow(convolutions, list(LAYERS[name]), partial(_narrow_stem, stem, width), width)
        if name == "r2plus1d_34":
            _as_in_caffe2(whole)
        self.stem = whole.stem
        self.channels, layers = int(64 * width), 0
        for number in range(1, 5):
            layer = getattr(whole, f"layer{number}")
            kept = list(layer)[: max(0, blocks + 1 - len(self.parts()))]
            self.cut += tuple(f"layer{number}.{i}" for i in range(len(kept), len(layer)))
            if kept:
                self.add_module(f"layer{number}", nn.Sequential(*kept))
                self.channels, layers = kept[0].conv2[1].num_features, number
        # The stem halves space, each layer but the first time and space.
        self.shrinks = (1 if flat else 2 ** (layers - 1), 2**layers, 2**layers)
        self.freeze(frozen)

    def parts(self) -> list[nn.Module]:
        """List the stem, then each block."""
        stem, *layers = self.children()
        return [stem, *(block for layer in layers for block in layer.children())]

    def tokens(self, clips: Tensor) -> Tensor:
        """See `Backbone.tokens`: a view of channels-last features."""
        for part in self.children():
            clips = part(clips)
        return clips.permute(0, 2, 3, 4, 1)  # B T' H' W' C


def _as_in_caffe2(net: Any) -> None:
    """The two places in which the IG-65M weights differ from torchvision's layout: widths (vision#1265) and eps."""
    for layer in (net.layer2, net.layer3, net.layer4):
        planes = layer[0].conv2[1].num_features
        layer[0].conv2[0] = FactorisedConv(planes, planes, planes * planes * 27 // (planes * 9 + 3 * planes))
        for module in layer[0].conv2[0].modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3
