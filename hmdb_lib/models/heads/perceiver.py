"""The published study's head: tokens read by a Perceiver (arXiv 2103.03206) of a few layers."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from hmdb_lib.errors import UserError
from hmdb_lib.models.heads.base import Head
from hmdb_lib.models.heads.pool import mean, mean_and_change

BANDS, MAX_FREQ = 6, 10.0  # of the Fourier positions
POSITION = 3 * (2 * BANDS + 1)  # channels of a position


def fourier_positions(
    grid: Sequence[int], device: torch.device, dtype: torch.dtype, part: slice = slice(None), *, between: bool = False
) -> Tensor:
    """Give where each cell of a grid lies: sine, cosine and the position itself, for each of three axes.

    Positions run from -1 to 1 on each axis, frequencies from 1 to MAX_FREQ / 2 half turns (arXiv 2103.03206, 3.2).
    Returns a tensor of shape (*grid, POSITION), of which `part` keeps a stretch of the first axis;
    `between` gives the places halfway from one cell to the next on that axis, one less.
    """
    lines = [torch.linspace(-1, 1, size, device=device) for size in grid]
    if between:
        lines[0] = (lines[0][1:] + lines[0][:-1]) / 2
    axes = torch.meshgrid(lines[0][part], *lines[1:], indexing="ij")
    position = torch.stack(axes, dim=-1)[..., None]  # *grid axes 1
    angle = position * torch.linspace(1, MAX_FREQ / 2, BANDS, device=device) * math.pi  # *grid axes bands
    return torch.cat([angle.sin(), angle.cos(), position], dim=-1).flatten(-2).to(dtype)


class TokenDropout(nn.Dropout):
    """Drop as `nn.Dropout`; on a CPU with 16 random bits a number: torch's own draws took a third of a head's step."""

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape and the expected value."""
        if x.device.type != "cpu" or not self.training or not 0 < self.p < 1:
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = bits[: x.numel()].view(x.shape) >= round(self.p * 2**16) - 2**15
        return x * (kept.to(x.dtype) / (1 - self.p))


class Attention(nn.Module):
    """Attend with several heads from queries B N D to a context B M C; that of self attention is its own input."""

    def __init__(self, width: int, context: int, heads: int, dropout: float, head_width: int = 64) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q = nn.Linear(width, heads * head_width, bias=False)
        self.kv = nn.Linear(context, 2 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width)

    def split(self, x: Tensor) -> Tensor:
        """Split B N (heads d) to B heads N d."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B heads N d

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Return B N D. torch's fused attention keeps the memory linear in M."""
        k, v = self.kv(context).chunk(2, dim=-1)
        dropout = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(
            self.split(self.q(x)), self.split(k), self.split(v), dropout_p=dropout
        )  # B heads N d
        return self.out(x.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, context: Tensor) -> Tensor:
        """Give how much each query looks at each key: B heads N M, each row summing to 1. To look inside only."""
        q, k = self.split(self.q(x)), self.split(self.kv(context).chunk(2, dim=-1)[0])
        return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)


class GEGLU(nn.Module):
    """Gate one half of the channels by the other (arXiv 2002.05202)."""

    def forward(self, x: Tensor) -> Tensor:
        """Halve the last axis."""
        x, gate = x.chunk(2, dim=-1)
        return x * F.gelu(gate)


class AttentionLayer(nn.Module):
    """Apply attention and feed-forward, each with a norm before it and a residual path round it.

    With `context` (its width C) it is a cross attention, without it a self attention.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        context: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.norm_context = nn.LayerNorm(context) if context else None
        self.attention = Attention(width, context or width, heads, attention_dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 8 * width), GEGLU(), nn.Linear(4 * width, width)
        )
        self.drop = nn.Sequential(nn.Dropout(dropout), StochasticDepth(drop_path, "row"))

    def forward(self, x: Tensor, context: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Map queries x B N D, with a context B M C (cross attention only), to B N D.

        `queries` computes the first so many queries alone: the same numbers, without the work for the rest.
        """
        normed = self.norm(x)
        context = normed if self.norm_context is None else self.norm_context(context)
        return self.add(x[:, :queries], self.attention(normed[:, :queries], context))

    @torch.no_grad()
    def start_open(self) -> None:
        """Let the attention start as an average that keeps its size: values and output orthogonal, no bias.

        Of a self attention the output undoes the values, so that it gives the mean of its normed inputs.
        """
        out, width = self.attention.out, self.attention.out.in_features
        values = self.attention.kv.weight[width:]
        nn.init.orthogonal_(values)
        if self.norm_context is None:
            out.weight.copy_(values.T)
        else:
            nn.init.orthogonal_(out.weight, gain=math.sqrt(out.out_features / width))
        nn.init.zeros_(out.bias)

    def add(self, x: Tensor, attended: Tensor) -> Tensor:
        """Apply what follows the attention: both residual paths and the feed-forward, B N D."""
        x = x + self.drop(attended)
        return x + self.drop(self.feed_forward(x))


class Perceiver(Head):
    """Read tokens with Fourier positions: cross attention from learned latents, self attention, classifier.

    A class token joins the latents in the self-attention layers and passes by the cross attentions; it is what the
    classifier reads. Without self attention the mean of the latents is read instead (and there is no class token).
    Without cross attention the class token goes over the tokens themselves; as in the published study they then carry no
    Fourier positions, and where C differs from `width` one linear layer maps them.

    The tokens of an untrained backbone differ little from clip to clip beside what all clips share, and latents, class
    token and biases are shared by all clips too. Adam moves the head along what is shared by a whole step for whatever
    classes a batch happens to hold, which drowns what tells clips apart and turns the backbone's gradient every step.
    So attention reads centred tokens, and starts as an average of them at full strength (`python -m benchmarks.starts`);
    and latents start large beside a step of Adam.

    Args:
        channels, slots, classes: see `Head`.
        start: `centred`: attention reads tokens that are `centred`, and its layers `start_open`. `published`: neither.
        cross: cross attentions (one head of 64). The second one's queries are what the first group returned.
        self_layers: self-attention layers (eight heads of 64), split evenly over the cross attentions.
        latents: N, the number of latents.
        width: D, their width.
        latent_std: standard deviation that the latents and the class token start with: 1 in the published study, 0.02 in
            the original Perceiver (arXiv 2103.03206), beside which steps of 3e-4 are large.
        share_latents: one array of latents. False gives each later cross attention an array of its own, which is
            added to its queries (57,187,791 instead of 57,056,719 parameters in the published study's largest row).
        dropout: on the tokens, and on what each attention and each feed-forward adds.
        attention_dropout: on the attention weights.
        drop_path: chance that a clip skips an attention or a feed-forward, the same in all layers.
        residual_pool: logits = fc(pool + gate(norm(attention))), where pool is what the head `pool` reads (`change`: what
            `pool_change` reads) and gate a linear map from D that starts at zero: given the same fc, an untrained head
            is that one, and what the attention adds must earn its way in.
        latents_over_time: the N latents read each of the T' time slots on its own, which gives T' N of them; self
            attention then runs over all.
        differences: the latents read further tokens: each token's change to the time slot before, whose position is
            halfway between the two slots.
        train_cross: False freezes latents and cross attention, which is how the published rows were trained.

    """

    name = "perceiver"
    part_of: ClassVar = {
        "latents": "cross_attention",
        "cross": "cross_attention",
        "class_token": "self_attention",
        "projection": "self_attention",
        "layers": "self_attention",
    }

    def __init__(
        self,
        channels: int,
        slots: int,
        classes: int,
        *,
        start: str = "centred",
        cross: int = 1,
        self_layers: int = 1,
        latents: int = 256,
        width: int = 512,
        latent_std: float = 1.0,
        share_latents: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        residual_pool: bool | str = False,
        latents_over_time: bool = False,
        differences: bool = False,
        train_cross: bool = True,
    ) -> None:
        super().__init__(classes)
        if cross + self_layers == 0:
            raise UserError("cross=0 and self_layers=0 leave no attention: use the head pool")
        if cross and self_layers % cross:
            raise UserError(f"self_layers={self_layers} cannot be split evenly over cross={cross}")
        if latents_over_time and not cross:
            raise UserError("latents_over_time needs a cross attention, but cross=0")
        if differences and (latents_over_time or not cross or slots < 2):
            raise UserError(
                f"differences need a cross attention over all tokens of two time slots or more, not cross={cross}, "
                f"latents_over_time={latents_over_time} and {slots} slots"
            )
        if residual_pool == "change" and slots < 2:
            raise UserError("residual_pool=change needs two time slots or more, the clips leave one: give more frames")
        self.over_time, self.differences, self.gated = latents_over_time, differences, bool(residual_pool)
        self.pooled = mean_and_change if residual_pool == "change" else mean
        drops: Any = {"dropout": dropout, "attention_dropout": attention_dropout, "drop_path": drop_path}

        self.token_norm = nn.BatchNorm1d(channels, affine=False) if start == "centred" else nn.Identity()
        self.token_dropout = TokenDropout(dropout)
        if cross:
            arrays = 1 if share_latents else cross
            self.latents = nn.Parameter(torch.randn(arrays, latents, width) * latent_std)
            context = channels + POSITION
        elif channels != width:
            self.projection = nn.Linear(channels, width)
        self.cross = nn.ModuleList(AttentionLayer(width, 1, context=context, **drops) for _ in range(cross))
        if self_layers:
            self.class_token = nn.Parameter(torch.randn(1, 1, width) * latent_std)
        self.layers = nn.ModuleList(AttentionLayer(width, 8, **drops) for _ in range(self_layers))
        if start == "centred":
            for layer in self.modules():
                if isinstance(layer, AttentionLayer):
                    layer.start_open()
        self.norm = nn.LayerNorm(width)
        if residual_pool:
            pooled = 3 * channels if residual_pool == "change" else channels
            self.gate = nn.Linear(width, pooled, bias=False)
            nn.init.zeros_(self.gate.weight)
            self.fc = nn.Linear(pooled, classes)  # named as in the heads pool and pool_change: their checkpoints fit
        else:
            self.classifier = nn.Linear(width, classes)

        if not train_cross:
            for parameter in self.components()["cross_attention"]:
                parameter.requires_grad_(False)

    @property
    def streams(self) -> bool:
        """See `Head.streams`: true where a cross attention reads all tokens, and nothing grows with time."""
        return len(self.cross) > 0 and not self.over_time and self.pooled is mean

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens B T' H' W' C to logits B classes."""
        return self.classify(self.attend(tokens), self.pooled(tokens))

    def classify(self, read: Tensor, pool: Tensor) -> Tensor:
        """Map what the attention gives, B D, and what `pooled` gives, to logits B classes."""
        read = self.norm(read)
        if self.gated:
            return self.fc(pool + self.gate(read))
        return self.classifier(read)

    def attend(self, tokens: Tensor) -> Tensor:
        """Map tokens B T' H' W' C to what the classifier reads, B D."""
        if not self.cross:
            x = self.token_dropout(self.centred(tokens).flatten(1, 3))  # B M C
            if hasattr(self, "projection"):
                x = self.projection(x)
            return self._self_attention(self._with_class_token(x), self.layers, last=True)[:, 0]

        context = self.context(tokens)  # B M C+P
        if self.over_time:
            context = context.unflatten(1, (tokens.shape[1], -1)).flatten(0, 1)  # (B T') M/T' C+P
        context = self.token_dropout(context)
        return self.read_out(self.through_groups(lambda cross, x: cross(x, context), len(tokens), len(context)))

    def centred(self, tokens: Tensor) -> Tensor:
        """Centre and scale each channel of tokens B T' H' W' C over all of a batch's tokens; UserError for a single one."""
        try:
            return self.token_norm(tokens.flatten(0, 3)).view(tokens.shape)
        except ValueError:  # one number has no spread
            raise UserError(
                "the head perceiver scales tokens by their spread over a batch, and this batch holds a single one; give a "
                "larger train.batch_size, or perceiver.start=published"
            ) from None

    def context(self, tokens: Tensor, start: int = 0, slots: int | None = None, before: Tensor | None = None) -> Tensor:
        """Give tokens B T' H' W' C their positions, and add the differences where there are any: B M C+P.

        Of a longer video these are the time slots from `start` on, of `slots` in all, and `before` is the slot that
        precedes them, B 1 H' W' C.
        """
        grid = (slots or tokens.shape[1], tokens.shape[2], tokens.shape[3])
        tokens, before = self.centred(tokens), None if before is None else self.centred(before)
        read = [self._placed(tokens, grid, start)]
        if self.differences:
            first = start if before is None else start - 1
            read.append(self._placed(tokens.diff(dim=1, prepend=before), grid, first, between=True))
        return torch.cat(read, 1) if len(read) > 1 else read[0]

    def _placed(self, tokens: Tensor, grid: tuple[int, int, int], start: int, *, between: bool = False) -> Tensor:
        part = slice(start, start + tokens.shape[1])
        positions = fourier_positions(grid, tokens.device, tokens.dtype, part, between=between)
        return torch.cat([tokens, positions.expand(len(tokens), *positions.shape)], -1).flatten(1, 3)

    def through_groups(
        self, read: Callable[[Any, Tensor], Tensor], batch: int, rows: int, *, every: bool = False
    ) -> Tensor:
        """Pass latents through all groups, the class token before them where there is self attention: B 1+N D.

        `read(cross, x)` lets the latents x, `rows` N D, look at the tokens; rows is the batch, or B T' where latents
        read each time slot on its own. Of the very last layer only the class token is computed, unless `every`.
        """
        x = self.latents[:1].expand(rows, -1, -1)
        token = None
        per_group = len(self.layers) // len(self.cross)
        for i, cross in enumerate(self.cross):
            if i:
                x = x.reshape(rows, -1, x.shape[-1])
                x = x + self.latents[i] if i < len(self.latents) else x
            x = read(cross, x)
            x = x.reshape(batch, -1, x.shape[-1])  # B N D, N over all time slots
            if per_group:
                last = i + 1 == len(self.cross)
                x = self._with_class_token(x) if token is None else torch.cat([token, x], dim=1)
                x = self._self_attention(x, self.layers[i * per_group : (i + 1) * per_group], last=last and not every)
                if not last:
                    token, x = x[:, :1], x[:, 1:]
        return x

    def read_out(self, x: Tensor) -> Tensor:
        """Take what the classifier reads of what `through_groups` gives: the class token, or the mean of the latents, B D."""
        return x[:, 0] if len(self.layers) else x.mean(1)

    def _with_class_token(self, x: Tensor) -> Tensor:
        return torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)

    def _self_attention(self, x: Tensor, layers: Any, last: bool) -> Tensor:
        """Of the very last layer only the class token is read, so only that is computed."""
        for i, layer in enumerate(layers, start=1):
            x = layer(x, queries=1 if last and i == len(layers) else None)
        return x

    @torch.no_grad()
    def weights_of(self, tokens: Tensor, attentions: Iterable[Attention]) -> list[tuple[Attention, Tensor]]:
        """Read tokens, and give what each of some attentions looks at, B queries keys, in the order of their calls."""
        calls: list[tuple[Attention, Tensor]] = []

        def keep(attention: Any, inputs: tuple[Tensor, Tensor]) -> None:
            calls.append((attention, attention.weights(*inputs).float().mean(1)))

        with ExitStack() as hooks:
            for attention in attentions:
                hooks.enter_context(attention.register_forward_pre_hook(keep))
            self(tokens)
        return calls

    @torch.no_grad()
    def attention_maps(self, tokens: Tensor) -> list[Tensor]:
        """Give where the head looks: for each cross attention a map B N T' H' W'; each latent's map sums to 1.

        With `latents_over_time` each time slot of a map sums to 1. Without cross attention the one map is the class
        token's in the last layer, B 1 T' H' W', the mean over heads, its share on itself left out.
        """
        layers: list[Any] = list(self.cross) or [self.layers[-1]]
        _, *grid, _ = tokens.shape
        maps = [weights for _, weights in self.weights_of(tokens, [layer.attention for layer in layers])]
        if not self.cross:
            maps = [attention[:, :, 1:] for attention in maps]
        if self.over_time:
            maps = [attention.unflatten(0, (-1, grid[0])).transpose(1, 2).flatten(2) for attention in maps]
        return [self.on_grid(attention, grid) for attention in maps]

    def on_grid(self, weights: Tensor, grid: Sequence[int]) -> Tensor:
        """Lay weights over all tokens, B N M, out as maps B N T' H' W'; those of a difference go to the later slot."""
        places = math.prod(grid)
        maps = weights[:, :, :places].unflatten(2, grid)
        if self.differences:
            maps[:, :, 1:] += weights[:, :, places:].unflatten(2, (grid[0] - 1, *grid[1:]))
        return maps
