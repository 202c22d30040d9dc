"""Batch norm folded away for inference."""

import pytest
import timm
import torch
from helpers import architectures
from torch import nn

from hmdb_lib.models.fold import fold_batch_norm


@pytest.fixture(params=["r2plus1d", "hybrid"])
def model(request):
    """A model whose batch norms have seen something."""
    torch.manual_seed(0)
    model = architectures.build(request.param, classes=3, channels=0.25, blocks=3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


@torch.no_grad()
def test_a_folded_model_gives_the_same_logits_without_any_batch_norm(model):
    clips = torch.randn(2, 3, 8, 64, 64)
    folded = fold_batch_norm(model)
    torch.testing.assert_close(folded(clips), model(clips), rtol=1e-4, atol=1e-4)
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm3d)]


def test_folding_leaves_the_model_as_it_is(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fold_batch_norm(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_100", "resnetv2_50", "densenet121"])
def test_timms_norms_with_an_activation_are_folded_too(name):
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
    images, folded = torch.randn(2, 3, 64, 64), fold_batch_norm(network)
    torch.testing.assert_close(folded(images), network(images), rtol=1e-3, atol=1e-4)
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in some.modules()) for some in (network, folded)]
    assert norms[1] < norms[0] * 0.6


def test_a_transformer_has_nothing_to_fold():
    model = architectures.build("videomae", classes=3, variant="small", frames=2, size=32)
    assert fold_batch_norm(model).state_dict().keys() == model.state_dict().keys()
