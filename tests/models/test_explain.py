"""Maps of where a model looks: known answers, shapes, and what is refused."""

import pytest
import torch
from helpers import architectures

from hmdb_lib.errors import UserError
from hmdb_lib.models.explain import attention_spread, grad_cam, latent_maps, rollout, to_frames

HYBRID = {"channels": 0.25, "blocks": 1, "latents": 8, "width": 64}


@pytest.fixture
def clips():
    return torch.randn(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))


def build(name, **arguments):
    torch.manual_seed(0)
    return architectures.build(name, 3, **arguments).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape",
    [
        {"cross": 1, "self_layers": 2},
        {"cross": 2, "self_layers": 2},
        {"cross": 0, "self_layers": 2, "blocks": 8},
        {"cross": 2, "self_layers": 0},
        {"cross": 1, "self_layers": 1, "latents_over_time": True},
    ],
    ids=str,
)
def test_rollout_shares_one_over_the_places_of_the_features(clips, shape):
    model = build("hybrid", **HYBRID | shape)
    maps = rollout(model, clips)
    assert maps.shape == (2, *model.backbone(clips).shape[1:4])
    torch.testing.assert_close(maps.sum((1, 2, 3)), torch.ones(2))
    assert (maps >= 0).all()


def test_rollout_of_one_layer_is_the_class_tokens_attention_to_the_latents_times_theirs(clips):
    model = build("hybrid", **HYBRID)
    seen = []
    model.head.layers[0].attention.register_forward_pre_hook(lambda layer, inputs: seen.append(layer.weights(*inputs)))
    maps = rollout(model, clips)
    to_latents = seen[0].mean(1)[:, 0, 1:]  # B N
    expected = torch.einsum("bn,bnthw->bthw", to_latents, model.attention_maps(clips)[0])
    torch.testing.assert_close(maps, expected / expected.sum((1, 2, 3), keepdim=True))


def test_rollout_over_time_slots_weighs_each_slot_as_its_latents_are_weighed(clips):
    model = build("hybrid", **HYBRID, latents_over_time=True)
    seen = []
    model.head.layers[0].attention.register_forward_pre_hook(lambda layer, inputs: seen.append(layer.weights(*inputs)))
    maps = rollout(model, clips)
    to_latents = seen[0].mean(1)[:, 0, 1:].unflatten(1, (-1, 8))  # B T' N
    expected = torch.einsum("btn,bnthw->bthw", to_latents, model.attention_maps(clips)[0])
    torch.testing.assert_close(maps, expected / expected.sum((1, 2, 3), keepdim=True))


def test_the_maps_of_the_latents_lie_on_the_frames(clips):
    model = build("hybrid", **HYBRID)
    assert latent_maps(model, clips).shape == (2, 8, 8, 64, 64)


def test_scaling_up_keeps_a_map_in_its_place(clips):
    maps = torch.zeros(2, 4, 8, 8)
    maps[:, 1, 2, 6] = 1
    large = to_frames(maps, clips)
    brightest = large[0].flatten().argmax()
    time, row, column = (int(i) for i in torch.unravel_index(brightest, large[0].shape))
    assert (time // 2, row // 8, column // 8) == (1, 2, 6)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [None, torch.tensor([2, 0])], ids=["best", "asked"])
def test_grad_cam_of_the_baseline_is_its_last_layer_before_the_pool(clips, classes):
    model = build("r2plus1d", blocks=1)
    with torch.no_grad():
        features = model.backbone(clips)
        chosen = model(clips).argmax(1) if classes is None else classes
        weights = model.head.fc.weight[chosen][:, None, None, None]
        expected = (features * weights).sum(4).relu() / features[0, ..., 0].numel()
    torch.testing.assert_close(grad_cam(model, clips, classes), expected)


def test_grad_cam_sees_through_a_frozen_backbone(clips):
    assert grad_cam(build("hybrid", **HYBRID, frozen=2), clips).shape == (2, 8, 32, 32)


def test_looking_leaves_no_hook_and_no_gradient(clips):
    model = build("hybrid", **HYBRID)
    before = model(clips)
    rollout(model, clips), grad_cam(model, clips)
    assert torch.equal(model(clips), before)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("look", [rollout, latent_maps])
def test_a_model_without_attention_is_told(clips, look):
    with pytest.raises(UserError, match="use grad_cam"):
        look(build("r2plus1d", blocks=1), clips)


@pytest.mark.parametrize("shape", [{"cross": 2, "self_layers": 2}, {"latents_over_time": True}], ids=str)
def test_latents_that_look_at_all_places_alike_have_the_largest_entropy_and_share_all(clips, shape):
    model = build("hybrid", **HYBRID | shape)
    for layer in model.head.cross:
        torch.nn.init.zeros_(layer.attention.q.weight)
    torch.testing.assert_close(attention_spread(model.head, model.backbone(clips)), torch.ones(2, 2))


def test_latents_that_look_at_one_place_each_have_no_entropy_and_share_none(clips):
    model = build("hybrid", **HYBRID)
    maps = torch.eye(8)[None, :, None, None].expand(2, -1, 1, 1, -1)  # B N T' H' W'
    model.head.attention_maps = lambda tokens: [maps]
    torch.testing.assert_close(attention_spread(model.head, model.backbone(clips)), torch.zeros(2, 2))


def test_the_class_tokens_attention_is_spread_over_the_tokens_where_there_are_no_latents(clips):
    model = build("hybrid", **HYBRID | {"cross": 0, "blocks": 8})
    entropy, shared = attention_spread(model.head, model.backbone(clips)).T
    assert ((entropy > 0.9) & (entropy <= 1)).all()
    assert shared.isnan().all()
