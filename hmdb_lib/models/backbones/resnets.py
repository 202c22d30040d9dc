"""R(2+1)D (arXiv 1711.11248): the CNN under every row of the study, and the baseline that it is measured against."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.video import R2Plus1D_18_Weights
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, R2Plus1dStem, VideoResNet

from hmdb_lib.errors import UserError

LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
SMALLEST = (8, 64, 64)  # T H W: eight-fold in time and sixteen-fold in space, so that a few tokens are left


class TimeConv(nn.Conv3d):
    """A (k, 1, 1) convolution, computed as a 2D one over (T, H W): a free view, the same weights, the same numbers.

    Not for speed: on CPUs with bf16, oneDNN (torch 2.15) returns garbage, NaN now and then, as the weight gradient of
    the 3D form where T is 2, which is R(2+1)D's last stage at 16 frames.
    """

    def forward(self, x: Tensor) -> Tensor:
        """B C T H W to B C' T' H W."""
        out = F.conv2d(x.flatten(3), self.weight.flatten(3), self.bias, self.stride[:2], self.padding[:2])
        return out.unflatten(3, x.shape[3:])  # B C' T' H W


class SpaceConv(nn.Conv3d):
    """A (1, k, k) convolution, computed as a 2D one over H, W: a free view of channels-last memory, and a bit faster."""

    def forward(self, x: Tensor) -> Tensor:
        """B C T H W to B C' T H' W'."""
        frames = x.transpose(1, 2).flatten(0, 1)  # (B T) C H W
        out = F.conv2d(frames, self.weight.squeeze(2), self.bias, self.stride[1:], self.padding[1:])
        return out.unflatten(0, (len(x), -1)).transpose(1, 2)  # B C' T H' W'


class FactorisedConv(Conv2Plus1D):
    """torchvision's (2+1)D convolution, its halves as a `SpaceConv` and a `TimeConv`."""

    def __init__(self, in_planes: int, out_planes: int, midplanes: int, stride: int = 1, padding: int = 1) -> None:
        super().__init__(in_planes, out_planes, midplanes, stride, padding)
        space, old = self[0], self[3]
        self[0] = SpaceConv(in_planes, midplanes, space.kernel_size, space.stride, space.padding, bias=False)
        self[3] = TimeConv(midplanes, out_planes, old.kernel_size, old.stride, old.padding, bias=False)


class Backbone(nn.Module):
    """R(2+1)D without pooling and fc, cut after its first `blocks` residual blocks.

    Parameter names are torchvision's (`stem.0.weight`, `layer1.0.conv1.0.0.weight`, ...), so its checkpoints fit.

    Args:
        blocks: residual blocks kept: 1 to 8 at depth 18, 1 to 16 at depth 34.
        depth: 18 as torchvision builds it, or 34 as the IG-65M checkpoints need it (arXiv 1905.00561).
        frozen: leading parts that do not train, the stem being the first and each block one more. Their batch norm
            keeps its running statistics even in training mode.

    Attributes:
        channels: C of the features that come out.
        cut: names of the blocks that were left out (`layer4.1`, ...).

    """

    def __init__(self, *, blocks: int = 8, depth: int = 18, frozen: int = 0) -> None:
        super().__init__()
        if depth not in LAYERS:
            raise UserError(f"model.depth={depth}: R(2+1)D comes in {' and '.join(map(str, LAYERS))} layers")
        total = sum(LAYERS[depth])
        if not 1 <= blocks <= total:
            raise UserError(f"model.blocks={blocks}: R(2+1)D-{depth} has 1 to {total} blocks to keep")
        if not 0 <= frozen <= blocks + 1:
            raise UserError(
                f"model.frozen={frozen}: there are {blocks + 1} parts to freeze, the stem and {blocks} blocks"
            )

        whole = VideoResNet(BasicBlock, [FactorisedConv] * 4, list(LAYERS[depth]), R2Plus1dStem)
        if depth == 34:
            _as_in_caffe2(whole)
        self.stem = whole.stem
        self.cut: list[str] = []
        self.channels = 64
        parts: list[nn.Module] = [self.stem]
        for number in range(1, 5):
            layer = getattr(whole, f"layer{number}")
            kept = list(layer)[: max(0, blocks + 1 - len(parts))]
            self.cut += [f"layer{number}.{i}" for i in range(len(kept), len(layer))]
            if kept:
                self.add_module(f"layer{number}", nn.Sequential(*kept))
                self.channels = kept[0].conv2[1].num_features
                parts += kept

        self._frozen = parts[:frozen]  # a list, so that no parameter is registered twice
        for part in self._frozen:
            part.requires_grad_(False)
        self.train()  # Lightning fits a model in the mode that it was built in

    def train(self, mode: bool = True) -> "Backbone":
        """Switch to training mode, the frozen parts excepted."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    @property
    def shrinks(self) -> tuple[int, int, int]:
        """By how much T, H and W shrink: the stem halves space, each layer but the first time and space."""
        halvings = sum(name.startswith("layer") for name, _ in self.named_children()) - 1
        return 2**halvings, 2 ** (halvings + 1), 2 ** (halvings + 1)

    def times(self, frames: int) -> int:
        """T', the time slots that are left of so many frames, rounded up."""
        return -(-frames // self.shrinks[0])

    def grid(self, frames: int, size: int) -> tuple[int, int, int]:
        """T', H', W' of the features of a clip of H = W = `size`."""
        side = -(-size // self.shrinks[1])
        return self.times(frames), side, side

    def forward(self, clips: Tensor) -> Tensor:
        """Clips B 3 T H W to features B C T' H' W'; clips below 8 frames or 64 x 64 pixels raise UserError."""
        if any(size < least for size, least in zip(clips.shape[2:], SMALLEST, strict=True)):
            frames, height, width = clips.shape[2:]
            raise UserError(
                f"clips of {frames} frames at {height} x {width} pixels are too small: R(2+1)D shrinks time eight-fold "
                "and space sixteen-fold, give at least 8 frames of 64 x 64"
            )
        features = clips
        for part in self.children():
            features = part(features)
        return features  # B C T' H' W'


def _as_in_caffe2(net: VideoResNet) -> None:
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


class R2Plus1DFamily(nn.Module):
    """What all models on an R(2+1)D backbone share: the backbone, its pretrained weights and their normalisation."""

    mean = (0.43216, 0.394666, 0.37645)
    std = (0.22803, 0.22145, 0.216989)
    size = (112, 112)
    weights: ClassVar = {"kinetics400": R2Plus1D_18_Weights.KINETICS400_V1}

    def __init__(self, *, classes: int, blocks: int, depth: int, frozen: int) -> None:
        super().__init__()
        self.classes = classes
        self.backbone = Backbone(blocks=blocks, depth=depth, frozen=frozen)


class R2Plus1D(R2Plus1DFamily):
    """The baseline: average pool over all places and times, then one linear layer.

    Args:
        classes: number of classes.
        blocks, depth, frozen: see `Backbone`.

    """

    def __init__(self, *, classes: int, blocks: int = 8, depth: int = 18, frozen: int = 0) -> None:
        super().__init__(classes=classes, blocks=blocks, depth=depth, frozen=frozen)
        self.fc = nn.Linear(self.backbone.channels, classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised clips B 3 T H W to logits B classes."""
        return self.fc(self.backbone(clips).mean((2, 3, 4)))

    def components(self) -> dict[str, list[nn.Parameter]]:
        """All parameters by the part of the network that they belong to."""
        return {
            "cnn": list(self.backbone.parameters()),
            "cross_attention": [],
            "self_attention": [],
            "classifier": list(self.fc.parameters()),
        }
