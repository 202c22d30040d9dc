"""How attention starts: it reads what differs from clip to clip, at no cost in parameters, and old weights still fit."""

import pytest
import torch
from helpers import architectures
from torch.nn import functional as F

from hmdb_lib.models.heads import build_head
from hmdb_lib.models.pretrained import fill

SMALL = {"channels": 0.25, "blocks": 1, "latents": 8, "width": 64}


def build(**arguments):
    torch.manual_seed(0)
    return architectures.build("hybrid", 3, **SMALL | arguments)


@pytest.mark.parametrize("shape", [{"cross": 1}, {"cross": 0, "blocks": 8}, {"residual_pool": True}], ids=str)
def test_both_starts_have_the_same_parameters(shape):
    names = [
        {name: value.shape for name, value in build(start=start, **shape).named_parameters()}
        for start in ("centred", "published")
    ]
    assert names[0] == names[1]


def test_weights_of_before_fit_and_give_the_same_logits_until_they_train():
    old, new = build(start="published").eval(), build().eval()
    torch.manual_seed(1)
    for parameter in old.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    assert not any("token_norm" in name for name in old.state_dict())
    fill(new, old.state_dict(), "old.ckpt")
    clips = torch.randn(2, 3, 8, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(new(clips), old(clips), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [{"cross": 1}, {"cross": 0}], ids=str)
def test_what_all_tokens_share_does_not_reach_the_centred_head_in_training(shape):
    torch.manual_seed(0)
    head = build_head("perceiver", 32, 2, 3, latents=8, width=64, **shape).train()
    tokens = torch.randn(4, 2, 3, 3, 32)
    torch.testing.assert_close(head(tokens + 5 * torch.randn(32)), head(tokens), atol=1e-4, rtol=1e-4)


def losses(start, steps=40):
    """Of a head on tokens that have a class's direction beside twenty times as much that all share."""
    torch.manual_seed(0)
    shared, classes = 20 * torch.randn(64), torch.randn(4, 64)
    head = build_head("perceiver", 64, 2, 4, latents=8, width=128, start=start).train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    for _ in range(steps):
        labels = torch.randint(0, 4, (8,))
        tokens = shared + classes[labels][:, None, None, None] + torch.randn(8, 2, 2, 2, 64)
        loss = F.cross_entropy(head(tokens), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


@pytest.mark.slow
def test_tokens_that_differ_little_beside_what_they_share_are_told_apart_from_the_start():
    assert sum(list(losses("centred"))[-10:]) / 10 < 0.3
    assert sum(list(losses("published"))[-10:]) / 10 > 1
