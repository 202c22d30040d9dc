"""Where in a clip a trained model looks: attention of the latents, attention rollout, Grad-CAM."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmdb_lib.errors import UserError
from hmdb_lib.models.heads.perceiver import Attention, Hybrid


def latent_maps(model: nn.Module, clips: Tensor, latents: Sequence[int] | None = None) -> Tensor:
    """What each latent of the last cross attention, or each of those chosen, looks at, on the clip's frames: B N T H W.

    Normalised clips B 3 T H W in; values as `Hybrid.attention_maps` gives them (without cross attention the class
    token's, N = 1), scaled up between the cells of its coarse grid. Raises UserError for a model without attention, and
    for a latent that it has not.
    """
    maps = _hybrid(model).attention_maps(clips)[-1]
    if latents is not None:
        if not all(0 <= latent < maps.shape[1] for latent in latents):
            raise UserError(f"latents {', '.join(map(str, latents))}: the model's count from 0 to {maps.shape[1] - 1}")
        maps = maps[:, list(latents)]
    return to_frames(maps, clips)


@torch.no_grad()
def rollout(model: nn.Module, clips: Tensor) -> Tensor:
    """How much of each place in the CNN's features has reached what the classifier reads: B T' H' W', sum 1.

    Attention rollout (arXiv 2005.00928): every layer passes on half of what each token held and half of what it
    attends to, the mean over heads. Latents and class token start empty, so a latent holds its first cross attention
    whole. Normalised clips B 3 T H W in. Raises UserError for a model without attention.
    """
    model = _hybrid(model)
    calls: list[tuple[Attention, Tensor]] = []
    grid: list[int] = []

    def keep(attention: Attention, inputs: tuple[Tensor, Tensor]) -> None:
        calls.append((attention, attention.weights(*inputs).float().mean(1)))  # B queries keys

    hooks = [module.register_forward_pre_hook(keep) for module in model.modules() if isinstance(module, Attention)]
    hooks.append(model.backbone.register_forward_hook(lambda module, inputs, out: grid.extend(out.shape[2:])))
    try:
        model(clips)
    finally:
        for hook in hooks:
            hook.remove()

    places = grid[0] * grid[1] * grid[2]
    crossing = {layer.attention for layer in model.cross}
    token = torch.zeros(len(clips), 1, places, device=clips.device)  # what the class token holds of each place
    others = None if crossing else torch.eye(places, device=clips.device).expand(len(clips), -1, -1)
    for attention, weights in calls:
        if attention in crossing:
            if model.over_time:
                weights = _by_slot(weights, grid[0])
            others = weights if others is None else (others + weights) / 2  # B N M
            continue
        held = torch.cat([token, others], 1)
        passed = (held[:, : weights.shape[1]] + weights @ held) / 2  # the last layer computes the class token alone
        token, others = passed[:, :1], passed[:, 1:]
    read = token[:, 0] if len(model.layers) else others.mean(1)  # B M
    return (read / read.sum(1, keepdim=True)).unflatten(1, grid)


def grad_cam(model: nn.Module, clips: Tensor, classes: Tensor | None = None) -> Tensor:
    """Which places in the CNN's features speak for a class: B T' H' W', not negative (Grad-CAM, arXiv 1610.02391).

    Normalised clips B 3 T H W and class numbers (B,) in; without `classes` each clip's most probable one. For every
    model on an R(2+1)D backbone; raises UserError for others.
    """
    if not hasattr(model, "backbone"):
        raise UserError(f"Grad-CAM needs the features of a CNN, which {type(model).__name__} has not")
    kept: list[Tensor] = []

    def keep(backbone: nn.Module, inputs: tuple[Tensor], features: Tensor) -> Tensor:
        kept.append(features.detach().requires_grad_())  # a frozen backbone gives features without gradient
        return kept[0]

    hook = model.backbone.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = model(clips)
            chosen = logits.argmax(1) if classes is None else classes
            (gradient,) = torch.autograd.grad(logits.gather(1, chosen[:, None]).sum(), kept)  # B C T' H' W'
    finally:
        hook.remove()
    return (gradient.mean((2, 3, 4), keepdim=True) * kept[0].detach()).sum(1).relu()


def to_frames(maps: Tensor, clips: Tensor) -> Tensor:
    """Maps B T' H' W' or B N T' H' W' on the grid of the features, scaled up to the clips' own T H W."""
    channels = maps if maps.dim() == 5 else maps[:, None]
    return F.interpolate(channels, size=clips.shape[2:], mode="trilinear").reshape(*maps.shape[:-3], *clips.shape[2:])


def _hybrid(model: nn.Module) -> Hybrid:
    if not isinstance(model, Hybrid):
        raise UserError(f"{type(model).__name__} has no attention of latents to look at; for a CNN use grad_cam")
    return model


def _by_slot(weights: Tensor, slots: int) -> Tensor:
    """Maps of latents that each saw one time slot, (B T') N P, as maps over all slots, B (T' N) (T' P)."""
    of_slot = weights.unflatten(0, (-1, slots)).permute(0, 2, 3, 1)  # B N P T'
    return of_slot.diag_embed().permute(0, 3, 1, 4, 2).flatten(3).flatten(1, 2)
