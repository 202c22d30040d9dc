"""Checkpoint activations: less memory, more time. Blocks keep their input alone, and are computed again in the backward pass."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from hmdb_lib.models.backbones import Backbone
from hmdb_lib.models.heads.perceiver import AttentionLayer


def recompute_activations(model: nn.Module) -> None:
    """Checkpoint each part of the backbone and each attention layer in training; gradients and statistics stay the same."""
    parts = [part for module in model.modules() if isinstance(module, Backbone) for part in module.parts()]
    for module in [*parts, *(module for module in model.modules() if isinstance(module, AttentionLayer))]:
        module.forward = _Recomputed(module)


class _Recomputed:
    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, *inputs: Any, **named: Any) -> Tensor:
        forward = type(self.module).forward
        if not (self.module.training and torch.is_grad_enabled()):
            return forward(self.module, *inputs, **named)

        def contexts() -> tuple[Any, Any]:
            return nullcontext(), _statistics_kept(self.module)

        return checkpoint(forward, self.module, *inputs, use_reentrant=False, context_fn=contexts, **named)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch norm counts a batch once, not again when it is recomputed."""
    norms: list[Any] = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.training]
    before = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
