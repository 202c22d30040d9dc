"""Compute batch norm over the clips of all processes."""

from lightning.pytorch.plugins import LayerSync
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(LayerSync):
    """Replace a model's batch norms by synchronized ones while it is fitted; put the very layers back afterwards.

    Lightning's own would leave out the activations that batch norms of timm hold.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Called by Lightning before a fit."""
        from timm.layers.norm_act import convert_sync_batchnorm  # noqa: PLC0415 - takes a second, and one device does without

        self.layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)}
        return convert_sync_batchnorm(model)

    def revert(self, model: nn.Module) -> nn.Module:
        """Called by Lightning after a fit; the tensors are the same."""
        for name, layer in self.layers.items():
            model.set_submodule(name, layer)
        return model
