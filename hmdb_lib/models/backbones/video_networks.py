"""torchvision's other video networks: S3D (arXiv 1712.04851), MViTv2-S (2112.01526) and Swin3D-T (2106.13230)."""

from typing import Any

from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from hmdb_lib.models.backbones.base import Backbone

SHAPES = {  # name -> channels, by how much T, H and W shrink, what its parameters count as
    "s3d": (1024, (8, 32, 32), "cnn"),
    "mvit_v2_s": (768, (2, 32, 32), "self_attention"),
    "swin3d_t": (768, (2, 32, 32), "self_attention"),
}


class VideoNetwork(Backbone):
    """The last feature map of a network that torchvision publishes, without a class token.

    MViT's relative positions are interpolated for clips of another size than 16 frames of 224 x 224.

    Args:
        name: a key of `SHAPES`.

    """

    def __init__(self, name: str, *, frozen: int | str = 0) -> None:
        super().__init__()
        self.name = name
        self.channels, self.shrinks, self.component = SHAPES[name]
        self.smallest = (self.shrinks[0], 64, 64)
        self.weights = {"kinetics400": get_model_weights(name)["KINETICS400_V1"]}
        expected = self.weights["kinetics400"].transforms()
        self.mean, self.std, self.size = tuple(expected.mean), tuple(expected.std), tuple(expected.crop_size * 2)[:2]
        self.net: Any = get_model(name, weights=None)
        last = "classifier" if name == "s3d" else "head"
        delattr(self.net, last)
        self.left_out = (f"{last}.",)
        self.freeze(frozen)

    def parts(self) -> list[nn.Module]:
        """List its stages and blocks; of S3D those that learn, which leaves out its pools."""
        net = self.net
        if self.name == "mvit_v2_s":
            return [net.conv_proj, net.pos_encoding, *net.blocks, net.norm]
        if self.name == "s3d":
            return [part for part in net.features if next(part.parameters(), None) is not None]
        return [net.patch_embed, *net.features, net.norm]

    def times(self, frames: int) -> int:
        """See `Backbone.times`; the last pool of S3D rounds down."""
        return -(-frames // 4) // 2 if self.name == "s3d" else super().times(frames)

    def grid(self, frames: int, size: int) -> tuple[int, int, int]:
        """See `Backbone.grid`; the last pool of S3D rounds down."""
        side = -(-size // 16) // 2 if self.name == "s3d" else -(-size // 32)
        return self.times(frames), side, side

    def tokens(self, clips: Tensor) -> Tensor:
        """See `Backbone.tokens`."""
        net = self.net
        if self.name == "s3d":
            return net.features(clips).permute(0, 2, 3, 4, 1)  # B T' H' W' C
        if self.name == "swin3d_t":
            return net.norm(net.features(net.patch_embed(clips)))  # B T' H' W' C
        x = net.conv_proj(clips)  # B C T' H/4 W/4
        grid = tuple(x.shape[2:])
        x = net.pos_encoding(x.flatten(2).transpose(1, 2))  # B 1+M C
        for block in net.blocks:
            x, grid = block(x, grid)
        return net.norm(x)[:, 1:].unflatten(1, grid)  # B T' H' W' C
