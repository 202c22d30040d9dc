"""A video read in parts: the same as read whole, and no part outlives its turn."""

import gc
import weakref

import pytest
import torch
from helpers import architectures

from hmdb_lib.errors import UserError
from hmdb_lib.models.streaming import RunningAttention, classify_in_parts


def build(**arguments):
    torch.manual_seed(0)
    model = architectures.build(
        "hybrid", 3, **{"channels": 0.25, "blocks": 3, "latents": 8, "width": 64} | arguments
    ).eval()
    model.head.token_norm.running_mean.normal_()
    model.head.token_norm.running_var.uniform_(0.5, 2)
    return model


def clips_of(lengths, batch=2):
    torch.manual_seed(1)
    return [torch.randn(batch, 3, length, 64, 64) for length in lengths]


def test_attention_over_parts_is_attention_over_the_whole():
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 5, 8), 9 * torch.randn(2, 4, 30, 8), torch.randn(2, 4, 30, 8)
    running = RunningAttention(q)
    for part in (slice(0, 7), slice(7, 8), slice(8, 30)):
        running.add(k[:, :, part], v[:, :, part])
    whole = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(running.result(), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "shape",
    [
        {"cross": 1, "self_layers": 1},
        {"cross": 2, "self_layers": 2},
        {"cross": 2, "self_layers": 2, "share_latents": False},
        {"cross": 1, "self_layers": 0},
        {"cross": 1, "self_layers": 1, "residual_pool": True},
        {"cross": 1, "self_layers": 1, "differences": True},
    ],
    ids=str,
)
def test_a_video_in_parts_gives_the_logits_of_all_its_tokens_at_once(shape):
    model, clips = build(**shape), clips_of([8, 16, 9])
    if "residual_pool" in shape:
        torch.nn.init.normal_(model.head.gate.weight)
    with torch.no_grad():
        whole = model.head(torch.cat([model.backbone(part) for part in clips], 1))
    in_parts = classify_in_parts(model, lambda: clips, 33, batch=2)
    torch.testing.assert_close(in_parts, whole, atol=1e-5, rtol=0)


def test_one_part_is_the_model_itself():
    model, clips = build(), clips_of([16])
    with torch.no_grad():
        torch.testing.assert_close(classify_in_parts(model, lambda: clips, 16, batch=2), model(clips[0]))


@pytest.mark.slow
def test_no_part_is_kept():
    model, seen = build(), []

    def parts():
        for _ in range(4):
            gc.collect()
            assert sum(ref() is not None for ref in seen) <= 1, "an earlier part is still in memory"
            part = torch.randn(1, 3, 8, 64, 64)
            seen.append(weakref.ref(part))
            yield part
            del part

    classify_in_parts(model, parts, 32)
    assert len(seen) == 4


@pytest.mark.parametrize("shape", [{"cross": 0}, {"latents_over_time": True}], ids=str)
def test_a_model_whose_memory_would_grow_is_told(shape):
    with pytest.raises(UserError, match=r"only the head perceiver with cross attention"):
        classify_in_parts(build(**shape), lambda: clips_of([8]), 8)
