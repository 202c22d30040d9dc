"""Activation checkpointing changes memory, not numbers."""

import copy

import pytest
import torch
from helpers import architectures

from hmdb_lib.models.recompute import recompute_activations

MODELS = {
    "r2plus1d": {"channels": 0.25, "blocks": 3},
    "hybrid": {"channels": 0.25, "blocks": 3, "latents": 8, "width": 64, "self_layers": 2, "frozen": 2},
    "bert": {"channels": 0.25, "blocks": 3, "frames": 8},
    "videomae": {"variant": "small", "frames": 4, "size": 32},
}


def step(model):
    """Gradients of a step in training mode, and all buffers after it."""
    torch.manual_seed(1)
    frames, size = (4, 32) if hasattr(model, "videomae") else (8, 64)
    model.train()(torch.randn(2, 3, frames, size, size)).square().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    return gradients | dict(model.named_buffers())


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_gradients_and_statistics_are_the_same(name):
    torch.manual_seed(0)
    plain = architectures.build(name, 3, **MODELS[name])
    lean = copy.deepcopy(plain)
    recompute_activations(lean)
    expected = step(plain)
    found = step(lean)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, msg=key)


def saved_bytes(model):
    """What the forward pass keeps for the backward pass."""
    sizes = {}

    def keep(tensor):
        sizes[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train()(torch.randn(1, 3, 8, 64, 64))
    return sum(sizes.values())


def test_less_is_kept_for_the_backward_pass():
    model = architectures.build("r2plus1d", 3, channels=0.25, blocks=3)
    before = saved_bytes(model)
    recompute_activations(model)
    assert saved_bytes(model) < before / 2
