"""Every architecture: its exact size, that it trains whole, and that each option does what it says."""

import io
import subprocess
import sys

import pytest
import torch
from helpers import architectures
from helpers.architectures import CLASSES, KINDS, ROWS, STUDY
from torch import Tensor, nn

from hmdb_lib import models
from hmdb_lib.errors import UserError
from hmdb_lib.models.backbones.resnets import TimeConv
from hmdb_lib.models.heads.perceiver import AttentionLayer


def build(architecture: str, arguments: dict) -> nn.Module:
    torch.manual_seed(0)
    return architectures.build(architecture, CLASSES, **arguments)


def make_clips(batch: int = 2, frames: int = 8, height: int = 64, width: int = 64) -> Tensor:
    return torch.randn(batch, 3, frames, height, width, generator=torch.Generator().manual_seed(1))


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Of a loss that weighs every logit differently, in training mode, with dropout under a fixed seed."""
    model.train().zero_grad()
    torch.manual_seed(2)
    logits = model(make_clips(1))
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return build(*ROWS[request.param])


@pytest.mark.parametrize("row", STUDY)
def test_each_row_has_exactly_the_published_architectures_size(row: str) -> None:
    architecture, arguments, cnn, rest = STUDY[row]
    with torch.device("meta"):
        model = build(architecture, arguments)
    counts = {part: sum(p.numel() for p in parameters) for part, parameters in model.components().items()}
    assert counts.pop("cnn") == cnn
    assert sum(counts.values()) == rest


@pytest.mark.slow
def test_components_hold_every_parameter_once(model: nn.Module) -> None:
    parts = model.components()
    assert list(parts) == ["cnn", "cross_attention", "self_attention", "classifier"]
    assert sorted(id(p) for part in parts.values() for p in part) == sorted(id(p) for p in model.parameters())


@pytest.mark.slow
def test_every_trainable_tensor_gets_a_finite_gradient_and_no_other_does(model: nn.Module) -> None:
    found = gradients(model)
    assert sorted(found) == sorted(name for name, p in model.named_parameters() if p.requires_grad)
    assert all(gradient.isfinite().all() for gradient in found.values())


@pytest.mark.slow
def test_a_saved_state_comes_back_bit_for_bit(model: nn.Module, request: pytest.FixtureRequest) -> None:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    architecture, arguments = ROWS[request.node.callspec.params["model"]]
    with torch.device("meta"):
        fresh = architectures.build(architecture, CLASSES, **arguments)
    state = torch.load(file, weights_only=True)
    assert list(fresh.state_dict()) == list(state)
    fresh.to_empty(device="cpu").load_state_dict(state)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in fresh.state_dict().items())


@pytest.mark.slow
def test_a_batch_of_one_gives_what_it_gives_in_a_batch_of_two(model: nn.Module) -> None:
    clips = make_clips()
    with torch.no_grad():
        both, one = model.eval()(clips), model(clips[1:])
    assert one.shape == (1, CLASSES)
    torch.testing.assert_close(one[0], both[1], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("row", ["latents_over_time_twice", "regularised", "bert_of_4_blocks", "videomae_small"])
def test_the_same_seed_gives_the_same_weights_and_gradients(row: str) -> None:
    first, second = build(*ROWS[row]), build(*ROWS[row])
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    one, other = gradients(first), gradients(second)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", ["cross1_self1", "self1_of_6_blocks", "residual_pool", "latents_over_time_twice", "bert_of_4_blocks"]
)
def test_odd_sizes_work(row: str) -> None:
    with torch.no_grad():
        assert build(*ROWS[row]).eval()(make_clips(1, 9, 65, 70)).isfinite().all()


@pytest.mark.parametrize("shape", [(7, 64, 64), (8, 63, 64), (8, 64, 48)])
@pytest.mark.parametrize("row", ["cross1_self1", "baseline", "bert_32"])
def test_clips_that_leave_no_tokens_are_refused_with_the_reason(row: str, shape: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        model = build(*ROWS[row])
    with pytest.raises(UserError, match=f"{shape[0]} frames at {shape[1]} x {shape[2]} pixels are too small"):
        model(torch.zeros(1, 3, *shape, device="meta"))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(9, 64, 64), (8, 65, 64), (8, 64, 70)])
def test_videomae_refuses_sizes_that_its_patches_do_not_divide(shape: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        model = build("videomae", {"variant": "small"})
    with pytest.raises(UserError, match="would lose what is left over"):
        model(torch.zeros(1, 3, *shape, device="meta"))


@pytest.mark.slow
@pytest.mark.parametrize("row", ["residual_pool", "regularised", "bert_of_4_blocks", "videomae_small"])
def test_it_runs_in_bfloat16_and_in_channels_last_memory(row: str) -> None:
    model = build(*ROWS[row]).to(memory_format=torch.channels_last_3d)
    clips = make_clips().to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(clips)
    assert logits.dtype == torch.bfloat16
    logits.float().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("row", ["blocks4_cross2_self12", "self1", "latents_over_time", "bert_32"])
def test_it_is_one_graph_for_the_compiler(row: str) -> None:
    with torch.device("meta"):
        model = build(*ROWS[row])
    logits = torch.compile(model, backend="eager", fullgraph=True)(make_clips().to("meta"))
    assert logits.shape == (2, CLASSES)
    torch.compiler.reset()


# Names and arguments


def test_an_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"model.backbone=r2plus1d_81: no such backbone, did you mean r2plus1d_18"):
        models.build_backbone("r2plus1d_81")


@pytest.mark.slow
def test_a_misspelt_argument_is_not_swallowed() -> None:
    with pytest.raises(TypeError, match="self_layer"):
        architectures.build("hybrid", CLASSES, self_layer=2)


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("hybrid", {"blocks": 9}, "model.blocks=9: r2plus1d_18 has 1 to 8"),
        ("r2plus1d", {"depth": 50}, "r2plus1d_50: no such backbone, did you mean r2plus1d_34"),
        ("r2plus1d", {"blocks": 2, "frozen": 4}, "model.frozen=4: there are 3 parts"),
        ("hybrid", {"cross": 0, "self_layers": 0}, "leave no attention"),
        ("hybrid", {"cross": 2, "self_layers": 3}, "self_layers=3 cannot be split evenly over cross=2"),
        ("hybrid", {"cross": 0, "latents_over_time": True}, "latents_over_time needs a cross attention"),
        ("videomae", {"variant": "huge"}, "videomae_huge: no such backbone, did you mean videomae_base"),
        ("videomae", {"size": 100}, "100 x 100 pixels"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(architecture: str, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message), torch.device("meta"):
        build(architecture, arguments)


@pytest.mark.slow
def test_transformers_is_imported_for_videomae_alone() -> None:
    code = "import sys, hmdb_lib.models as m; m.build('r2plus1d_18', 5, head='bert'); sys.exit('transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# The backbone


def test_frozen_parts_keep_their_weights_and_their_running_statistics() -> None:
    model = build("r2plus1d", {"channels": 0.25, "blocks": 2, "frozen": 2})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    gradients(model)
    optimiser.step()
    moved = {name.split(".")[1] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    still = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert {name for name in before if name.startswith(("backbone.stem.", "backbone.layer1.0."))} == still
    assert moved == {"layer1", "fc"}


def test_frozen_parts_are_built_in_the_mode_that_they_train_in() -> None:
    model = build("r2plus1d", {"channels": 0.25, "blocks": 2, "frozen": 2})
    assert {part.training for part in model.backbone.stem.modules()} == {False}
    assert model.training


def test_everything_but_the_classifier_can_be_frozen() -> None:
    found = gradients(build("r2plus1d", {"channels": 0.25, "blocks": 8, "frozen": 9}))
    assert sorted(found) == ["head.fc.bias", "head.fc.weight"]


# The hybrid's options


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{"blocks": 4}, {"blocks": 4, "self_layers": 2}, {"blocks": 4, "cross": 0}])
def test_computing_the_class_token_alone_changes_neither_output_nor_gradients(
    arguments: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("hybrid", arguments).head.double()
    tokens = torch.randn(2, 2, 3, 3, 128).double()

    def run() -> tuple[Tensor, list[Tensor]]:
        model.zero_grad()
        read = model.attend(tokens)
        (read * torch.linspace(-1, 1, read.numel()).view_as(read)).sum().backward()
        return read, [p.grad.clone() for part in ("class_token", "layers") for p in _parameters(model, part)]

    short, short_gradients = run()
    whole_layer = AttentionLayer.forward

    def whole(self: AttentionLayer, x: Tensor, context: Tensor | None = None, queries: int | None = None) -> Tensor:
        return whole_layer(self, x, context)[:, :queries]

    monkeypatch.setattr(AttentionLayer, "forward", whole)
    full, full_gradients = run()
    torch.testing.assert_close(short, full, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(short_gradients, full_gradients, atol=1e-4, rtol=1e-4)


def _parameters(model: nn.Module, part: str) -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if name.partition(".")[0] == part]


@pytest.mark.parametrize("blocks", [2, 7])
def test_with_a_residual_pool_an_untrained_model_is_the_baseline(blocks: int) -> None:
    baseline = build("r2plus1d", {"channels": 0.25, "blocks": blocks}).eval()
    model = build("hybrid", {"channels": 0.25, "blocks": blocks, "residual_pool": True}).eval()
    left_over = model.load_state_dict(baseline.state_dict(), strict=False)
    assert not left_over.unexpected_keys
    with torch.no_grad():
        assert torch.equal(model(make_clips()), baseline(make_clips()))


def test_with_a_residual_change_an_untrained_model_is_the_average_and_its_change() -> None:
    plain = build("r2plus1d_18", {"head": "pool_change", "backbone_options": {"blocks": 2, "width": 0.25}}).eval()
    model = build("hybrid", {"channels": 0.25, "blocks": 2, "residual_pool": "change"}).eval()
    left_over = model.load_state_dict(plain.state_dict(), strict=False)
    assert not left_over.unexpected_keys
    with torch.no_grad():
        assert torch.equal(model(make_clips()), plain(make_clips()))


def test_the_attentions_share_is_the_first_thing_to_move_in_a_residual_pool() -> None:
    model = build("hybrid", {"channels": 0.25, "blocks": 1, "latents": 16, "residual_pool": True})
    found = gradients(model)
    assert found["head.gate.weight"].abs().max() > 0
    assert found["head.latents"].abs().max() == 0
    nn.init.normal_(model.head.gate.weight)
    assert gradients(model)["head.latents"].abs().max() > 0


@pytest.mark.parametrize("train_cross", [True, False])
def test_the_cross_attention_moves_in_a_step_unless_told_not_to(train_cross: bool) -> None:
    model = build("hybrid", {"channels": 0.25, "blocks": 1, "latents": 16, "train_cross": train_cross})
    before = [p.clone() for p in model.components()["cross_attention"]]
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    gradients(model)
    optimiser.step()
    moved = [not torch.equal(a, b) for a, b in zip(model.components()["cross_attention"], before, strict=True)]
    assert moved == [train_cross] * len(before)


@pytest.mark.slow
def test_latents_over_time_see_one_slot_each() -> None:
    model = build("hybrid", {"blocks": 4, "latents_over_time": True, "latents": 4, "self_layers": 0}).head.eval()
    seen: list[Tensor] = []
    model.cross[0].register_forward_hook(lambda module, inputs, out: seen.append(out))
    tokens = torch.randn(1, 3, 2, 2, 128)
    changed = tokens.clone()
    changed[:, 1] += 1
    with torch.no_grad():
        model.attend(tokens)
        model.attend(changed)
    assert (seen[0] != seen[1]).flatten(1).any(1).tolist() == [False, True, False]  # (B T') N D, B = 1


@pytest.mark.parametrize(
    ("arguments", "shapes", "total"),
    [
        ({"channels": 0.25, "blocks": 6, "latents": 16, "cross": 2, "self_layers": 2}, [(2, 16, 2, 8, 8)] * 2, 1.0),
        ({"channels": 0.25, "blocks": 6, "latents": 16, "latents_over_time": True}, [(2, 16, 2, 8, 8)], 2.0),
    ],
)
def test_attention_maps_have_the_features_grid_and_sum_to_one_over_what_a_latent_reads(
    arguments: dict, shapes: list[tuple[int, ...]], total: float
) -> None:
    maps = build("hybrid", arguments).eval().attention_maps(make_clips())
    assert [tuple(attention.shape) for attention in maps] == shapes
    for attention in maps:
        torch.testing.assert_close(attention.sum((2, 3, 4)), torch.full((2, 16), total))


def test_attention_maps_without_cross_attention_are_the_class_tokens() -> None:
    (attention,) = build("hybrid", {"channels": 0.25, "blocks": 6, "cross": 0}).eval().attention_maps(make_clips())
    assert attention.shape == (2, 1, 2, 8, 8)
    assert 0.9 < attention.sum((1, 2, 3, 4)).min() < 1


def test_an_attention_map_lights_up_where_a_latent_gets_its_value_from() -> None:
    model = build("hybrid", {"channels": 0.25, "blocks": 1, "latents": 4}).eval()
    clips = make_clips(1)
    layer = model.head.cross[0].attention
    tokens: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, out: tokens.extend([*inputs, out]))
    (attention,) = model.attention_maps(clips)
    hook.remove()
    _, context, out = tokens
    by_hand = layer.out(attention.flatten(2) @ layer.kv(context).chunk(2, dim=-1)[1])
    torch.testing.assert_close(by_hand, out)


# BERT


def test_bert_hides_time_slots_in_training_only_and_never_the_class_token() -> None:
    model = build(
        "bert", {"channels": 0.25, "blocks": 1, "frames": 8, "mask": 0.999, "dropout": 0.0, "classifier_dropout": 0.0}
    )
    masks: list[Tensor | None] = []
    model.head.layers[0].register_forward_pre_hook(
        lambda module, inputs, options: masks.append(options["src_key_padding_mask"]), with_kwargs=True
    )
    clips = make_clips()
    model(clips)
    model.eval()(clips)
    assert not masks[0][:, 0].any()
    assert masks[0][:, 1:].float().mean() > 0.9
    assert masks[1] is None


def test_bert_is_the_same_function_with_and_without_gradients() -> None:
    model = build("bert", {"channels": 0.25, "blocks": 4, "frames": 8}).eval()
    with_gradients = model(make_clips())
    with torch.no_grad():
        torch.testing.assert_close(model(make_clips()), with_gradients, atol=1e-6, rtol=1e-5)


def test_bert_knows_the_order_of_its_time_slots() -> None:
    model = build("bert", {"blocks": 4, "frames": 8}).eval()
    nn.init.normal_(model.head.positions)
    tokens = torch.randn(1, 4, 2, 2, 128)
    with torch.no_grad():
        assert not torch.allclose(model.head(tokens), model.head(tokens.flip(1)), atol=1e-3)


# VideoMAE


@pytest.mark.slow
def test_videomae_numbers_its_layers_from_the_patches_to_the_head() -> None:
    with torch.device("meta"):
        model = build("videomae", {"variant": "small"})
    depths = [model.layer_of(name) for name, _ in model.named_parameters()]
    assert depths == sorted(depths)
    assert set(depths) == set(range(model.last_layer + 1)) == set(range(14))


def test_videomae_drops_whole_branches_in_training_and_the_more_the_deeper() -> None:
    model = build("videomae", {"variant": "small", "frames": 8, "size": 64, "drop_path": 0.5})
    rates = [layer.output.dropout.p for layer in model.backbone.videomae.encoder.layer]
    assert (rates[0], rates[-1]) == (0, 0.5)
    assert rates == sorted(rates)
    branch = model.backbone.videomae.encoder.layer[-1].attention.output
    torch.manual_seed(0)
    out = branch(torch.ones(64, 3, 384), None)
    dropped = (out == 0).all(dim=(1, 2))
    assert 16 < dropped.sum() < 48
    torch.testing.assert_close(out[~dropped], 2 * branch.eval()(torch.ones(64, 3, 384), None)[~dropped])


def test_videomae_gives_much_the_same_answer_on_a_larger_grid() -> None:
    model = build("videomae", {"variant": "small", "frames": 8, "size": 64}).eval()
    small = torch.nn.functional.interpolate(torch.randn(1, 3, 2, 2, 2), (8, 64, 64), mode="trilinear")
    large = torch.nn.functional.interpolate(small, (8, 96, 96), mode="trilinear")
    with torch.no_grad():
        positions = model(large) - model(small)
        other_clip = model(-small) - model(small)
    assert positions.norm() < 0.5 * other_clip.norm()


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_a_convolution_over_time_has_the_gradient_of_fp32_in_bf16_too(frames: int) -> None:
    # On CPUs with bf16 oneDNN's own 3D form fails this at two frames: see TimeConv.
    torch.manual_seed(0)
    conv = TimeConv(288, 128, (3, 1, 1), padding=(1, 0, 0), bias=False)
    clips = torch.randn(4, frames, 8, 8, 288).permute(0, 4, 1, 2, 3)
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = conv(clips)
        gradients.append(torch.autograd.grad((out.float() * torch.linspace(-1, 1, 8)).sum(), conv.weight)[0])
    exact, rough = gradients
    assert (exact - rough).norm() < 0.02 * exact.norm()
