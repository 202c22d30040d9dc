"""Read a video of any length in memory that does not grow: the cross attention reads it in parts."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from hmdb_lib.errors import UserError
from hmdb_lib.models.build import VideoModel
from hmdb_lib.models.heads.perceiver import AttentionLayer, Perceiver


class RunningAttention:
    """Compute softmax(q k^T / sqrt(d)) v over keys and values that come in parts, in memory of the queries alone.

    Online softmax (arXiv 1805.02867): sums are kept relative to the largest score so far, and scaled down whenever a
    larger one comes. `q` is B heads N d.
    """

    def __init__(self, q: Tensor) -> None:
        self.q = q.float() / q.shape[-1] ** 0.5
        self.largest = self.q.new_full((*q.shape[:-1], 1), -torch.inf)
        self.weight = torch.zeros_like(self.largest)
        self.values = torch.zeros_like(self.q)

    def add(self, k: Tensor, v: Tensor) -> None:
        """Add the keys and values of one part, B heads M d."""
        scores = self.q @ k.float().transpose(-1, -2)  # B heads N M
        largest = torch.maximum(self.largest, scores.amax(-1, keepdim=True))
        before, now = (self.largest - largest).exp(), (scores - largest).exp()
        self.weight = self.weight * before + now.sum(-1, keepdim=True)
        self.values = self.values * before + now @ v.float()
        self.largest = largest

    def result(self) -> Tensor:
        """Return the attention over all parts so far, B heads N d."""
        return self.values / self.weight


@torch.no_grad()
def classify_in_parts(
    model: VideoModel, parts: Callable[[], Iterable[Tensor]], frames: int, *, batch: int = 1
) -> Tensor:
    """Classify `batch` videos that come in parts (logits B classes), each normalised clips B 3 t H W of `frames` in all.

    The backbone sees each part on its own, the attention all of them: equal to one attention over the tokens of all
    parts. Each cross attention of the head goes through `parts()` once. Parts but the last must hold a multiple of
    what the backbone shrinks time by (8 frames with R(2+1)D's eight blocks). Raises UserError for a head whose latents
    grow with time, that has no cross attention, or whose residual pool reads change.
    """
    backbone, head = model.backbone, model.head
    if not (isinstance(head, Perceiver) and head.streams):
        raise UserError(
            "only the head perceiver with cross attention over all tokens reads a video in parts (cross of 1 or more, "
            "latents_over_time=false and no residual_pool=change)"
        )
    slots = backbone.times(frames)
    pool = torch.zeros(())

    def read(cross: AttentionLayer, x: Tensor) -> Tensor:
        nonlocal pool
        attention, start, total, before = cross.attention, 0, torch.zeros(()), None
        assert cross.norm_context
        running = RunningAttention(attention.split(attention.q(cross.norm(x))))
        for clips in parts():
            tokens = backbone(clips)  # B T' H' W' C
            context = cross.norm_context(head.context(tokens, start, slots, before))  # B M C+P
            running.add(*map(attention.split, attention.kv(context).chunk(2, dim=-1)))
            total = total.to(tokens) + tokens.mean((2, 3)).sum(1)
            start, before = start + tokens.shape[1], tokens[:, -1:]
        if start != slots:
            raise ValueError(f"the parts gave {start} time slots, {frames} frames give {slots}")
        pool = total / slots
        return cross.add(x, attention.out(running.result().to(x.dtype).transpose(1, 2).flatten(2)))

    return head.classify(head.read_out(head.through_groups(read, batch, batch)), pool)
