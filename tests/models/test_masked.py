"""Masked modelling: what is hidden, what is asked for, and that nothing hidden leaks."""

import pytest
import torch
from helpers import architectures

from hmdb_lib import models
from hmdb_lib.errors import UserError
from hmdb_lib.models import masked


def hybrid(**changes):
    torch.manual_seed(0)
    arguments = {"channels": 0.25, "blocks": 3, "latents": 8, "width": 64} | changes
    return models.mask(architectures.build("hybrid", 3, **arguments), 8, 64, 0.9)


def videomae(frames=8, size=64, variant="small"):
    torch.manual_seed(0)
    return models.mask(architectures.build("videomae", 3, variant=variant, frames=frames, size=size), frames, size, 0.9)


@pytest.fixture
def clips():
    return torch.randn(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))


def test_tubes_hide_the_same_places_in_every_time_slot():
    hidden = masked.tubes(3, (8, 14, 14), 0.9, "cpu").unflatten(1, (8, 196))
    assert (hidden == hidden[:, :1]).all()
    assert hidden[:, 0].sum(1).tolist() == [176] * 3  # of 196, as the paper has it
    assert not (hidden[0] == hidden[1]).all()


def test_cells_go_together_again(clips):
    cells = masked.cut(clips, (2, 16, 16))
    assert cells.shape == (2, 4 * 4 * 4, 2 * 16 * 16, 3)
    assert torch.equal(masked.paste(cells, (2, 16, 16), (4, 4, 4)), clips)
    assert torch.equal(cells[1, 5, 0], clips[1, :, 0, 16, 16])


@pytest.mark.slow
def test_the_target_is_the_one_of_transformers(clips):
    model = videomae()
    guess = model(clips)
    wanted = masked.pixel_targets(clips, (2, 16, 16))[guess.hidden].unflatten(0, (2, -1))
    torch.testing.assert_close(torch.nn.functional.mse_loss(guess.pixels, wanted), guess.loss)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "count"), [("small", 24_029_376), ("base", 94_210_944)])
def test_videomae_with_its_decoder_has_the_published_number_of_parameters(variant, count):
    with torch.device("meta"):
        encoder = architectures.build("videomae", 3, variant=variant, frames=16, size=224)
        whole = masked.pretraining_form(encoder.backbone)
    assert sum(parameter.numel() for parameter in whole.parameters()) == count


@pytest.mark.slow
@pytest.mark.parametrize("make", [hybrid, videomae])
def test_what_is_hidden_does_not_reach_the_guess(make, clips):
    model = make().eval()
    hidden = masked.tubes(2, model.grid, 0.9, "cpu")
    other = clips.clone()
    cells = masked.cut(other, model.cell)
    cells[hidden] = 0.3 * torch.randn_like(cells[hidden])
    other = masked.paste(cells, model.cell, model.grid)
    with torch.no_grad():
        torch.testing.assert_close(model.guess(clips, hidden).pixels, model.guess(other, hidden).pixels)


@pytest.mark.slow
@pytest.mark.parametrize("make", [hybrid, videomae])
def test_every_part_that_pretraining_uses_gets_a_gradient(make, clips):
    model = make()
    model(clips).loss.backward()
    without = {name.split(".")[2] for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert without <= {"norm", "classifier", "fc"}  # what reads the class out has nothing to do here


@pytest.mark.slow
@pytest.mark.parametrize("make", [hybrid, videomae])
def test_the_hidden_is_learned_where_it_can_be_known(make):
    """Stripes of one direction a clip: a few open cells tell the others."""
    model = make()
    ramp = torch.linspace(0, 12, 64)
    stripes = torch.stack([(ramp[:, None] + 0 * ramp).sin(), (ramp[None] + 0 * ramp[:, None]).sin()])
    clips = stripes[:, None, None].expand(2, 3, 8, 64, 64)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(50):
        loss = model(clips + 0.01 * torch.randn_like(clips)).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.9  # to know nothing costs 1, the variance of the target


@pytest.mark.slow
@pytest.mark.parametrize("make", [hybrid, videomae])
def test_a_picture_keeps_what_was_open_and_fills_in_the_rest(make, clips):
    model = make().eval()
    guess = model(clips)
    seen, filled = model.picture(clips, guess)
    hidden = guess.hidden
    cells, before, after = (masked.cut(x, model.cell) for x in (clips, seen, filled))
    assert torch.equal(before[~hidden], cells[~hidden])
    assert torch.equal(after[~hidden], cells[~hidden])
    assert before[hidden].abs().max() == 0
    assert after[hidden].std() > 0


@pytest.mark.slow
def test_models_that_have_nothing_to_hide_are_told():
    with pytest.raises(UserError, match="r2plus1d_18 with the head pool cannot learn it"):
        models.mask(architectures.build("r2plus1d", 3, blocks=1), 8, 64, 0.9)
    with pytest.raises(UserError, match="needs a cross attention"):
        hybrid(cross=0)
    with pytest.raises(UserError, match="do not divide"):
        models.mask(architectures.build("hybrid", 3), 12, 64, 0.9)
