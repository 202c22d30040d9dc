"""Batch norm over the clips of several GPUs."""

import pytest
import torch

from hmdb_lib import models
from hmdb_lib.training.batch_norm import SyncBatchNorm

SMALL = {"latents": 4, "width": 64}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "head", "options"),
    [("r2plus1d_18", "perceiver", SMALL), ("efficientnet_lite0", "pool", {})],
)
def test_synchronising_batch_norm_and_back_keeps_what_a_model_computes(backbone, head, options):
    torch.manual_seed(0)
    model = models.build(backbone, 3, head=head, frames=8, size=64, head_options=options).eval()
    clips, sync = torch.randn(2, 3, 8, 64, 64), SyncBatchNorm()
    with torch.no_grad():
        before = model(clips)
        synchronised = sync.apply(model)(clips)
        back = sync.revert(model)(clips)
    torch.testing.assert_close([synchronised, back], [before, before])


def test_after_training_the_layers_are_those_of_before_with_the_statistics_of_training():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
    layer, sync = model[0], SyncBatchNorm()
    sync.apply(model)[0].running_mean += 1
    assert sync.revert(model)[0] is layer
    assert layer.running_mean.tolist() == [1, 1]


@pytest.mark.slow
def test_a_frozen_batch_norm_stays_frozen_when_it_is_synchronised():
    model = models.build("efficientnet_lite0", 3, head="pool", backbone_options={"frozen": 2})
    model = SyncBatchNorm().apply(model).train()
    assert not model.backbone.net.bn1.training
