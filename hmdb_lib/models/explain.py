"""Map where in a clip a trained model looks: attention of the latents, attention rollout, Grad-CAM."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hmdb_lib.errors import UserError
from hmdb_lib.models.build import VideoModel
from hmdb_lib.models.heads.gru import GRU
from hmdb_lib.models.heads.perceiver import Attention, Perceiver


def latent_maps(model: VideoModel, clips: Tensor, latents: Sequence[int] | None = None) -> Tensor:
    """Map what each latent of the last cross attention, or each of those chosen, looks at, on the clip's frames: B N T H W.

    Normalized clips B 3 T H W in; values as `attention_maps` of the head gives them (without cross attention the class
    token's, N = 1), scaled up between the cells of its coarse grid. Raises UserError for a head without attention, and
    for a latent that it has not.
    """
    maps = model.attention_maps(clips)[-1]
    if latents is not None:
        if not all(0 <= latent < maps.shape[1] for latent in latents):
            raise UserError(f"latents {', '.join(map(str, latents))}: the model's count from 0 to {maps.shape[1] - 1}")
        maps = maps[:, list(latents)]
    return to_frames(maps, clips)


def attention_spread(head: Perceiver, tokens: Tensor) -> Tensor:
    """Measure how widely each clip's latents look, and how much alike: B 2, means over latents and cross attentions.

    First the entropy of a latent's attention as a share of the largest (1: all places alike, 0: one place alone), then
    the share of it that the next latent has on the same places (1: both look alike). Tokens B T' H' W' C in. With
    `latents_over_time` each time slot counts alone; without cross attention it is the class token's attention, its share
    on itself left out. Not a number where there is one place, or one latent.
    """
    found = []
    for maps in head.attention_maps(tokens):  # B N T' H' W'
        weights = maps.float().transpose(1, 2).flatten(3) if head.over_time else maps.float().flatten(2)[:, None]
        weights = weights / weights.sum(-1, keepdim=True)  # B slots N places
        entropy = torch.special.entr(weights).sum(-1).mean((1, 2)) / torch.tensor(weights.shape[-1]).log()
        shared = torch.minimum(weights[:, :, 1:], weights[:, :, :-1]).sum(-1).mean((1, 2))
        found.append(torch.stack([entropy, shared], 1))
    return torch.stack(found).mean(0)


@torch.no_grad()
def rollout(model: VideoModel, clips: Tensor) -> Tensor:
    """Measure how much of each token of the backbone has reached what the classifier reads: B T' H' W', sum 1.

    Attention rollout (arXiv 2005.00928): every layer passes on half of what each token held and half of what it
    attends to, the mean over heads. Latents and class token start empty, so a latent holds its first cross attention
    whole. Normalized clips B 3 T H W in. Raises UserError for another head than a perceiver.
    """
    head = model.head
    if not isinstance(head, Perceiver):
        raise UserError(f"attention rollout follows the head perceiver, not {head.name}; use grad_cam")
    tokens = model.backbone(clips)  # B T' H' W' C
    grid = tokens.shape[1:4]
    calls = head.weights_of(tokens, [module for module in head.modules() if isinstance(module, Attention)])
    places = grid[0] * grid[1] * grid[2]
    crossing = {layer.attention for layer in head.cross}
    token = torch.zeros(len(clips), 1, places, device=clips.device)  # what the class token holds of each place
    others = None if crossing else torch.eye(places, device=clips.device).expand(len(clips), -1, -1)
    for attention, weights in calls:
        if attention in crossing:
            weights = _by_slot(weights, grid[0]) if head.over_time else head.on_grid(weights, grid).flatten(2)
            others = weights if others is None else (others + weights) / 2  # B N M
            continue
        assert others is not None  # latents were read before
        held = torch.cat([token, others], 1)
        passed = (held[:, : weights.shape[1]] + weights @ held) / 2  # the last layer computes the class token alone
        token, others = passed[:, :1], passed[:, 1:]
    assert others is not None
    read = token[:, 0] if len(head.layers) else others.mean(1)  # B M
    return (read / read.sum(1, keepdim=True)).unflatten(1, grid)


def grad_cam(model: VideoModel, clips: Tensor, classes: Tensor | None = None) -> Tensor:
    """Map which tokens of the backbone raise a class's logit: B T' H' W', not negative (Grad-CAM, arXiv 1610.02391).

    Normalized clips B 3 T H W and class numbers (B,) in; without `classes` each clip's most probable one.
    """
    with torch.no_grad():
        tokens = model.backbone(clips)  # B T' H' W' C
    # cuDNN has no backward pass for a recurrent network in evaluation mode.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=not isinstance(model.head, GRU)):
        tokens.requires_grad_()
        logits = model.head(tokens)
        chosen = logits.argmax(1) if classes is None else classes
        (gradient,) = torch.autograd.grad(logits.gather(1, chosen[:, None]).sum(), tokens)
    return (gradient.mean((1, 2, 3), keepdim=True) * tokens.detach()).sum(4).relu()


def overview(model: VideoModel, clips: Tensor) -> Tensor:
    """Map where a model looks, B T' H' W', not negative: attention rollout with the head perceiver, Grad-CAM with others."""
    return (rollout if isinstance(model.head, Perceiver) else grad_cam)(model, clips)


def to_frames(maps: Tensor, clips: Tensor) -> Tensor:
    """Scale maps B T' H' W' or B N T' H' W' from the grid of the features to the clips' own T H W."""
    channels = maps if maps.dim() == 5 else maps[:, None]
    return F.interpolate(channels, size=clips.shape[2:], mode="trilinear").reshape(*maps.shape[:-3], *clips.shape[2:])


def _by_slot(weights: Tensor, slots: int) -> Tensor:
    """Maps of latents that each saw one time slot, (B T') N P, as maps over all slots, B (T' N) (T' P)."""
    of_slot = weights.unflatten(0, (-1, slots)).permute(0, 2, 3, 1)  # B N P T'
    return of_slot.diag_embed().permute(0, 3, 1, 4, 2).flatten(3).flatten(1, 2)
