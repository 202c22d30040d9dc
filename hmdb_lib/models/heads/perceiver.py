"""The study's own architecture: R(2+1)D features read by a Perceiver (arXiv 2103.03206) of a few layers."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from hmdb_lib.errors import UserError
from hmdb_lib.models.backbones.resnets import R2Plus1DFamily


def fourier_positions(
    grid: Sequence[int],
    bands: int,
    max_freq: float,
    device: torch.device,
    dtype: torch.dtype,
    part: slice = slice(None),
) -> Tensor:
    """Where each cell of a grid lies: sine, cosine and the position itself, for each axis.

    Positions run from -1 to 1 on each axis, frequencies from 1 to max_freq / 2 half turns (arXiv 2103.03206, 3.2).
    Returns a tensor of shape (*grid, axes * (2 * bands + 1)), of which `part` keeps a stretch of the first axis.
    """
    lines = [torch.linspace(-1, 1, size, device=device) for size in grid]
    axes = torch.meshgrid(lines[0][part], *lines[1:], indexing="ij")
    position = torch.stack(axes, dim=-1)[..., None]  # *grid axes 1
    angle = position * torch.linspace(1, max_freq / 2, bands, device=device) * math.pi  # *grid axes bands
    return torch.cat([angle.sin(), angle.cos(), position], dim=-1).flatten(-2).to(dtype)


class Attention(nn.Module):
    """Multi-head attention of queries B N D over a context B M C; the context of self attention is its own input."""

    def __init__(self, width: int, context: int, heads: int, dropout: float, head_width: int = 64) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q = nn.Linear(width, heads * head_width, bias=False)
        self.kv = nn.Linear(context, 2 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width)

    def split(self, x: Tensor) -> Tensor:
        """B N (heads d) to B heads N d."""
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
        """How much each query looks at each key: B heads N M, each row summing to 1. For looking inside only."""
        q, k = self.split(self.q(x)), self.split(self.kv(context).chunk(2, dim=-1)[0])
        return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)


class GEGLU(nn.Module):
    """One half of the channels gated by the other (arXiv 2002.05202)."""

    def forward(self, x: Tensor) -> Tensor:
        """Halve the last axis."""
        x, gate = x.chunk(2, dim=-1)
        return x * F.gelu(gate)


class AttentionLayer(nn.Module):
    """Attention and feed-forward, each with a norm before it and a residual path round it.

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
        """Queries x: B N D, context: B M C (cross attention only). Returns B N D.

        `queries` computes the first so many queries alone: the same numbers, without the work for the rest.
        """
        normed = self.norm(x)
        context = normed if self.norm_context is None else self.norm_context(context)
        return self.add(x[:, :queries], self.attention(normed[:, :queries], context))

    def add(self, x: Tensor, attended: Tensor) -> Tensor:
        """What follows the attention: both residual paths and the feed-forward, B N D."""
        x = x + self.drop(attended)
        return x + self.drop(self.feed_forward(x))


class Hybrid(R2Plus1DFamily):
    """CNN -> tokens with Fourier positions -> cross attention from learned latents -> self attention -> classifier.

    A class token joins the latents in the self-attention layers and passes by the cross attentions; it is what the
    classifier reads. Without self attention the mean of the latents is read instead (and there is no class token).
    Without cross attention the class token goes over the CNN's tokens themselves; as in the study they then carry no
    Fourier positions, and where C differs from `width` one linear layer maps them.

    Args:
        classes: number of classes.
        blocks, depth, frozen: the CNN, see `Backbone`.
        cross: cross attentions (one head of 64). The second one's queries are what the first group returned.
        self_layers: self-attention layers (eight heads of 64), split evenly over the cross attentions.
        latents: N, the number of latents.
        width: D, their width.
        bands, max_freq: Fourier positions, see `fourier_positions`.
        latent_std: standard deviation that the latents and the class token start with. Published: 1.
        share_latents: one array of latents. False gives each later cross attention an array of its own, which is
            added to its queries (57,187,791 instead of 57,056,719 parameters in the study's largest row).
        dropout: on the CNN's tokens, and on what each attention and each feed-forward adds.
        attention_dropout: on the attention weights.
        drop_path: chance that a clip skips an attention or a feed-forward, the same in all layers.
        residual_pool: logits = fc(pool + gate(norm(attention))), where pool is the baseline's average pool and gate a
            linear map D -> C that starts at zero: given the same fc, an untrained model is the baseline, and what
            the attention adds must earn its way in.
        latents_over_time: the N latents read each of the T' time slots on its own, which gives T' N of them; self
            attention then runs over all.
        train_cross: False freezes latents and cross attention, which is how the published rows were trained.

    """

    def __init__(
        self,
        *,
        classes: int,
        blocks: int = 8,
        depth: int = 18,
        frozen: int = 0,
        cross: int = 1,
        self_layers: int = 1,
        latents: int = 256,
        width: int = 512,
        bands: int = 6,
        max_freq: float = 10.0,
        latent_std: float = 0.02,
        share_latents: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        residual_pool: bool = False,
        latents_over_time: bool = False,
        train_cross: bool = True,
    ) -> None:
        super().__init__(classes=classes, blocks=blocks, depth=depth, frozen=frozen)
        if cross + self_layers == 0:
            raise UserError("hybrid.cross=0 and hybrid.self_layers=0 leave no attention: use model=r2plus1d")
        if cross and self_layers % cross:
            raise UserError(f"hybrid.self_layers={self_layers} cannot be split evenly over hybrid.cross={cross}")
        if latents_over_time and not cross:
            raise UserError("hybrid.latents_over_time needs a cross attention, but hybrid.cross=0")
        channels = self.backbone.channels
        self.bands, self.max_freq, self.over_time = bands, max_freq, latents_over_time
        drops = {"dropout": dropout, "attention_dropout": attention_dropout, "drop_path": drop_path}

        self.token_dropout = nn.Dropout(dropout)
        if cross:
            arrays = 1 if share_latents else cross
            self.latents = nn.Parameter(torch.randn(arrays, latents, width) * latent_std)
            context = channels + 3 * (2 * bands + 1)
        elif channels != width:
            self.projection = nn.Linear(channels, width)
        self.cross = nn.ModuleList(AttentionLayer(width, 1, context=context, **drops) for _ in range(cross))
        if self_layers:
            self.class_token = nn.Parameter(torch.randn(1, 1, width) * latent_std)
        self.layers = nn.ModuleList(AttentionLayer(width, 8, **drops) for _ in range(self_layers))
        self.norm = nn.LayerNorm(width)
        if residual_pool:
            self.gate = nn.Linear(width, channels, bias=False)
            nn.init.zeros_(self.gate.weight)
            self.fc = nn.Linear(channels, classes)  # named as the baseline's, so that its checkpoint fits
        else:
            self.classifier = nn.Linear(width, classes)

        if not train_cross:
            for parameter in self.components()["cross_attention"]:
                parameter.requires_grad_(False)

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised clips B 3 T H W to logits B classes."""
        features = self.backbone(clips)  # B C T' H' W'
        return self.classify(self.attend(features), features.mean((2, 3, 4)))

    def classify(self, read: Tensor, pool: Tensor) -> Tensor:
        """What the attention gives, B D, and the features' mean, B C, to logits B classes."""
        read = self.norm(read)
        if hasattr(self, "gate"):
            return self.fc(pool + self.gate(read))
        return self.classifier(read)

    def attend(self, features: Tensor) -> Tensor:
        """Features B C T' H' W' to what the classifier reads, B D."""
        if not self.cross:
            tokens = features.permute(0, 2, 3, 4, 1)  # B T' H' W' C: a view of channels-last memory
            tokens = self.token_dropout(tokens.flatten(1, 3))  # B M C
            if hasattr(self, "projection"):
                tokens = self.projection(tokens)
            return self._self_attention(self._with_class_token(tokens), self.layers, last=True)[:, 0]

        tokens = self.tokens(features)
        tokens = (
            tokens.flatten(0, 1).flatten(1, 2) if self.over_time else tokens.flatten(1, 3)
        )  # B M C or (B T') M/T' C
        tokens = self.token_dropout(tokens)
        return self.read_out(self.through_groups(lambda cross, x: cross(x, tokens), len(features), len(tokens)))

    def tokens(self, features: Tensor, start: int = 0, slots: int | None = None) -> Tensor:
        """Features B C T' H' W' with their positions behind them: B T' H' W' C+P.

        Of a longer video these are the time slots from `start` on, of `slots` in all.
        """
        tokens = features.permute(0, 2, 3, 4, 1)  # B T' H' W' C: a view of channels-last memory
        times = tokens.shape[1]
        grid = (slots or times, *tokens.shape[2:4])
        part = slice(start, start + times)
        positions = fourier_positions(grid, self.bands, self.max_freq, tokens.device, tokens.dtype, part)
        return torch.cat([tokens, positions.expand(len(tokens), *positions.shape)], dim=-1)

    def through_groups(
        self, read: Callable[[AttentionLayer, Tensor], Tensor], batch: int, rows: int, *, every: bool = False
    ) -> Tensor:
        """The latents, and the class token before them where there is self attention, behind all groups: B 1+N D.

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
        """Of what `through_groups` gives, what the classifier reads: the class token, or the mean of the latents, B D."""
        return x[:, 0] if len(self.layers) else x.mean(1)

    def _with_class_token(self, x: Tensor) -> Tensor:
        return torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)

    def _self_attention(self, x: Tensor, layers: Sequence[nn.Module], last: bool) -> Tensor:
        """Of the very last layer only the class token is read, so only that is computed."""
        for i, layer in enumerate(layers, start=1):
            x = layer(x, queries=1 if last and i == len(layers) else None)
        return x

    @torch.no_grad()
    def attention_maps(self, clips: Tensor) -> list[Tensor]:
        """Where the model looks: for each cross attention a map B N T' H' W'; each latent's map sums to 1.

        With `latents_over_time` each time slot of a map sums to 1. Without cross attention the one map is the class
        token's in the last layer, B 1 T' H' W', the mean over heads, its share on itself left out.
        """
        layers = list(self.cross) or [self.layers[-1]]
        maps, grid = [], []

        def keep(attention: Attention, inputs: tuple[Tensor, Tensor]) -> None:
            maps.append(attention.weights(*inputs).mean(1))  # B N M

        hooks = [layer.attention.register_forward_pre_hook(keep) for layer in layers]
        hooks.append(self.backbone.register_forward_hook(lambda module, inputs, out: grid.extend(out.shape[2:])))
        try:
            self(clips)
        finally:
            for hook in hooks:
                hook.remove()
        if not self.cross:
            maps = [attention[:, :, 1:] for attention in maps]
        if self.over_time:
            maps = [attention.unflatten(0, (len(clips), grid[0])).transpose(1, 2) for attention in maps]  # B N T' M/T'
        return [attention.flatten(2).unflatten(2, grid) for attention in maps]  # B N T' H' W'

    def components(self) -> dict[str, list[nn.Parameter]]:
        """All parameters by part: latents count with the cross attention, class token with the self attention."""
        parts: dict[str, list[nn.Parameter]] = {
            "cnn": [],
            "cross_attention": [],
            "self_attention": [],
            "classifier": [],
        }
        part_of = {
            "backbone": "cnn",
            "latents": "cross_attention",
            "cross": "cross_attention",
            "class_token": "self_attention",
            "projection": "self_attention",
            "layers": "self_attention",
        }
        for name, parameter in self.named_parameters():
            parts[part_of.get(name.partition(".")[0], "classifier")].append(parameter)
        return parts
