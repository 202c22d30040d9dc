"""A video of any length through the hybrid in memory that does not grow: the cross attention reads it in parts."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from hmdb_lib.errors import UserError
from hmdb_lib.models.heads.perceiver import AttentionLayer, Hybrid


class RunningAttention:
    """softmax(q k^T / sqrt(d)) v over keys and values that come in parts, in memory of the queries alone.

    Online softmax (arXiv 1805.02867): sums are kept relative to the largest score so far, and scaled down whenever a
    larger one comes. `q` is B heads N d.
    """

    def __init__(self, q: Tensor) -> None:
        self.q = q.float() / q.shape[-1] ** 0.5
        self.largest = self.q.new_full((*q.shape[:-1], 1), -torch.inf)
        self.weight = torch.zeros_like(self.largest)
        self.values = torch.zeros_like(self.q)

    def add(self, k: Tensor, v: Tensor) -> None:
        """Keys and values of one part, B heads M d."""
        scores = self.q @ k.float().transpose(-1, -2)  # B heads N M
        largest = torch.maximum(self.largest, scores.amax(-1, keepdim=True))
        before, now = (self.largest - largest).exp(), (scores - largest).exp()
        self.weight = self.weight * before + now.sum(-1, keepdim=True)
        self.values = self.values * before + now @ v.float()
        self.largest = largest

    def result(self) -> Tensor:
        """B heads N d."""
        return self.values / self.weight


def streams(model: nn.Module) -> bool:
    """Whether a model can read a video in parts: a hybrid whose cross attention reads all tokens."""
    return isinstance(model, Hybrid) and len(model.cross) > 0 and not model.over_time


@torch.no_grad()
def classify_in_parts(model: Hybrid, parts: Callable[[], Iterable[Tensor]], frames: int, *, batch: int = 1) -> Tensor:
    """Logits (B, classes) of `batch` videos that come in parts, each normalised clips B 3 t H W of `frames` in all.

    The CNN sees each part on its own, the attention all of them: equal to one attention over the tokens of all parts.
    Each cross attention of the model goes through `parts()` once. Parts but the last must hold a multiple of what the
    CNN shrinks time by (8 frames with eight blocks). Raises UserError for a model whose latents grow with time or
    that has no cross attention.
    """
    if not streams(model):
        raise UserError(
            "only a hybrid with cross attention over all tokens reads a video in parts (hybrid.cross of 1 or more, "
            "hybrid.latents_over_time=false)"
        )
    slots = model.backbone.times(frames)
    pool = None

    def read(cross: AttentionLayer, x: Tensor) -> Tensor:
        nonlocal pool
        attention, start, total = cross.attention, 0, 0.0
        running = RunningAttention(attention.split(attention.q(cross.norm(x))))
        for clips in parts():
            features = model.backbone(clips)  # B C T' H' W'
            tokens = cross.norm_context(model.tokens(features, start, slots).flatten(1, 3))  # B M C+P
            running.add(*map(attention.split, attention.kv(tokens).chunk(2, dim=-1)))
            total = total + features.sum(2).mean((2, 3))
            start += features.shape[2]
        if start != slots:
            raise ValueError(f"the parts gave {start} time slots, {frames} frames give {slots}")
        pool = total / slots
        return cross.add(x, attention.out(running.result().to(x.dtype).transpose(1, 2).flatten(2)))

    return model.classify(model.read_out(model.through_groups(read, batch, batch)), pool)
