"""Choose which parameters train, at which rate, and how the rate changes over a run."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hmdb_lib.config import Train


def parameter_groups(model: Any, train: Train) -> list[dict]:
    """Group the parameters that train by rate and decay; each group's `name` is cnn (any backbone), attention or new.

    The head's attention is a group of its own only with a rate of its own. Tensors of one axis (biases, norms) decay only
    with `decay_all`. The rates are those for `lr_clips`, times the clips of a step. With `layer_decay` below 1 a model
    that has `layer_of` trains each layer at so much of the rate of the layer above (arXiv 2203.12602, as BEiT does).
    """
    whole = getattr(model, "encoder", model)  # of masked modelling
    parts = whole.head.components()
    backbone = {id(parameter) for parameter in whole.backbone.parameters()}
    attention = {id(parameter) for parameter in parts["cross_attention"] + parts["self_attention"]}
    groups: dict[tuple, dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in backbone:
            part, rate = "cnn", train.backbone_lr
        elif id(parameter) in attention and train.attention_lr is not None:
            part, rate = "attention", train.attention_lr
        else:
            part, rate = "new", train.lr
        if train.layer_decay < 1 and hasattr(model, "layer_of"):
            rate *= train.layer_decay ** (model.last_layer - model.layer_of(name))
        rate *= train.rate_factor
        decay = train.weight_decay if parameter.ndim > 1 or train.decay_all else 0.0
        group = groups.setdefault((part, rate, decay), {"name": part, "lr": rate, "weight_decay": decay, "params": []})
        group["params"].append(parameter)
    return list(groups.values())


def make_optimizer(
    model: nn.Module, train: Train, betas: tuple[float, float] = (0.9, 0.999), *, fused: bool
) -> Optimizer:
    """Make the configured optimizer over `parameter_groups`; `betas` are Adam's.

    Weight decay is taken off the weights by AdamW, and added to the gradient (L2) by Adam and SGD.
    `fused`: one pass over the weights a step. Not for fp16, whose scaled gradients a fused step would take as they are.
    """
    groups = parameter_groups(model, train)
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=train.lr, momentum=0.9, fused=fused)
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=train.lr, betas=betas, fused=fused)


def make_schedule(optimizer: Optimizer, train: Train, steps: int) -> LambdaLR:
    """Warm up linearly to the peak rate, then follow a cosine to zero, fall by steps or stay; one call a step.

    `steps`: of all epochs. By steps the rate is multiplied by `step_factor` after every `step_epochs` epochs.
    """
    warmup = train.warmup_epochs / train.epochs * steps

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if train.schedule == "constant":
            return 1.0
        if train.schedule == "steps":
            return train.step_factor ** (step * train.epochs // steps // train.step_epochs)
        return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(1.0, steps - warmup))

    return LambdaLR(optimizer, share)
