"""What reads the tokens: shapes, counts, and what each head can and cannot tell apart."""

import pytest
import torch
from helpers.closed_form import closed_form
from torch import Tensor

from hmdb_lib import models
from hmdb_lib.errors import UserError
from hmdb_lib.models import cost
from hmdb_lib.models.build import VideoModel
from hmdb_lib.models.explain import grad_cam
from hmdb_lib.models.heads.perceiver import TokenDropout

CHANNELS, SLOTS, CLASSES = 64, 4, 5
HEADS = [
    ("pool", {}),
    ("pool", {"norm": True}),
    ("pool_change", {}),
    ("perceiver", {"latents": 8, "width": 32}),
    ("perceiver", {"latents": 8, "width": 32, "differences": True}),
    ("bert", {}),
    ("gru", {"width": 32}),
    ("gru", {"width": 32, "layers": 2}),
]


def build(name: str, **options: object) -> models.Head:
    torch.manual_seed(0)
    return models.build_head(name, CHANNELS, SLOTS, CLASSES, **options)


def tokens(slots: int = SLOTS, batch: int = 3) -> Tensor:
    """B T' H' W' C."""
    torch.manual_seed(1)
    return torch.randn(batch, slots, 2, 3, CHANNELS)


@pytest.mark.parametrize(("name", "options"), HEADS)
def test_tokens_become_logits_for_clips_of_other_lengths_too(name: str, options: dict) -> None:
    head = build(name, **options).eval()
    for slots in (SLOTS, 2, 7):
        assert head(tokens(slots)).shape == (3, CLASSES)


@pytest.mark.parametrize(("name", "options"), HEADS)
def test_the_closed_form_counts_what_is_built(name: str, options: dict) -> None:
    arguments = {"head": name, "head_options": options, "backbone_options": {"blocks": 1}, "frames": 8}
    with torch.device("meta"):
        model = models.build("r3d_18", CLASSES, **arguments)
    counted = cost.count(model)
    assert closed_form("r3d_18", arguments, CLASSES) == {k: v for k, v in counted.items() if k != "trainable"}


@pytest.mark.parametrize(("name", "options"), HEADS)
def test_a_few_steps_lower_the_loss_and_move_every_parameter(name: str, options: dict) -> None:
    head, x, labels = build(name, **options), tokens(), torch.tensor([0, 1, 2])
    before = {key: value.clone() for key, value in head.named_parameters()}
    optimizer = torch.optim.AdamW(head.parameters(), 1e-3)
    losses = []
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(head(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert [key for key, value in head.named_parameters() if torch.equal(value, before[key])] == []


def backwards_too(name: str, **options: object) -> tuple[Tensor, Tensor]:
    """Logits of clips and of the same clips played backwards."""
    head = build(name, **options).eval()
    with torch.no_grad():
        return head(tokens()), head(tokens().flip(1))


def test_the_average_cannot_tell_a_clip_from_itself_backwards() -> None:
    torch.testing.assert_close(*backwards_too("pool"))


@pytest.mark.parametrize("name", ["pool_change", "gru", "perceiver"])
def test_heads_that_read_time_tell_a_clip_from_itself_backwards(name: str) -> None:
    forwards, backwards = backwards_too(name)
    assert (forwards - backwards).abs().max() > 1e-3


def test_the_change_is_the_drift_between_the_ends_and_the_mean_absolute_step() -> None:
    head, x = build("pool_change"), tokens(6)
    seen: list[Tensor] = []
    head.fc.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    head(x)
    mean, drift, change = seen[0].split(CHANNELS, 1)
    torch.testing.assert_close(mean, x.mean((1, 2, 3)))
    torch.testing.assert_close(drift, x[:, 4:].mean((1, 2, 3)) - x[:, :2].mean((1, 2, 3)))
    torch.testing.assert_close(change, (x[:, 1:] - x[:, :-1]).abs().mean((1, 2, 3)))


def test_differences_give_the_latents_one_more_token_for_each_step_of_each_place() -> None:
    x = tokens()
    plain, more = (build("perceiver", differences=each, start="published").context(x) for each in (False, True))
    assert (plain.shape[1], more.shape[1]) == (SLOTS * 6, SLOTS * 6 + (SLOTS - 1) * 6)
    torch.testing.assert_close(more[:, : SLOTS * 6], plain)
    torch.testing.assert_close(more[:, SLOTS * 6 :, :CHANNELS], (x[:, 1:] - x[:, :-1]).flatten(1, 3))
    with torch.device("meta"):
        model = models.build("r2plus1d_18", CLASSES, head="perceiver", head_options={"differences": True})
    assert cost.attention_size(model, 16, 112)["tokens"] == 98 + 49


def test_maps_of_differences_stay_on_the_grid_and_sum_to_one() -> None:
    (maps,) = build("perceiver", latents=8, width=32, differences=True).eval().attention_maps(tokens())
    assert maps.shape == (3, 8, SLOTS, 2, 3)
    torch.testing.assert_close(maps.sum((2, 3, 4)), torch.ones(3, 8))


@pytest.mark.parametrize(("name", "options"), HEADS)
def test_grad_cam_looks_through_every_head(name: str, options: dict) -> None:
    class Given(torch.nn.Module):
        forward = staticmethod(lambda clips: clips)

    model = VideoModel.__new__(VideoModel)
    torch.nn.Module.__init__(model)
    model.backbone, model.head = Given(), build(name, **options).eval()
    maps = grad_cam(model, tokens())
    assert maps.shape == (3, SLOTS, 2, 3)
    assert (maps >= 0).all()


@pytest.mark.parametrize(
    ("name", "slots", "options", "told"),
    [
        ("percever", 4, {}, "model.head=percever: no such head, did you mean perceiver?"),
        ("pool_change", 1, {}, "needs two time slots or more"),
        ("perceiver", 1, {"differences": True}, "differences need a cross attention over all tokens of two time slots"),
        ("perceiver", 4, {"differences": True, "cross": 0}, "differences need a cross attention"),
        ("perceiver", 4, {"differences": True, "latents_over_time": True}, "differences need a cross attention"),
    ],
)
def test_what_does_not_go_together_is_told_in_one_line(name: str, slots: int, options: dict, told: str) -> None:
    with pytest.raises(UserError) as error:
        models.build_head(name, CHANNELS, slots, CLASSES, **options)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_token_dropout_drops_its_share_keeps_the_mean_and_passes_the_gradient_where_it_kept() -> None:
    torch.manual_seed(0)
    x = torch.ones(3, 1001, 333, requires_grad=True)
    dropped = TokenDropout(0.2)(x)
    assert dropped.unique().tolist() == [0, 1.25]
    assert (dropped == 0).float().mean() == pytest.approx(0.2, abs=0.002)  # five standard errors
    dropped.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, dropped.detach())


def test_token_dropout_drops_others_each_time_the_same_after_the_same_seed_and_none_in_evaluation() -> None:
    x, layer = torch.ones(64, 64), TokenDropout(0.5)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert torch.equal(layer.eval()(x), x)


def test_a_batch_of_a_single_token_has_no_spread_to_scale_by_and_is_told_in_one_line():
    head = models.build_head("perceiver", 16, 1, 3, latents=4, width=64)
    with pytest.raises(UserError, match=r"a larger train\.batch_size, or perceiver\.start=published"):
        head(torch.randn(1, 1, 1, 1, 16))
