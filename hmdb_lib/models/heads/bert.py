"""Read tokens as 3D CNN + BERT does: a transformer in place of the average over time (arXiv 2008.01232)."""

from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmdb_lib.errors import UserError
from hmdb_lib.models.heads.base import Head


class Bert(Head):
    """Average tokens over space alone, and read them over time with a class token.

    Args:
        channels, slots, classes: see `Head`; there are learned positions for so many slots, other lengths interpolate
            them. R(2+1)D leaves T' = 2 of 16 frames, hardly a sequence: use 32 or more.
        layers: transformer blocks, with eight heads.
        mask: chance that a time slot is hidden from attention in training; the class token never is.
        dropout: on the input's sum, inside attention and feed-forward, on what they add, and behind the last block.
        classifier_dropout: on the class token before the linear layer.

    """

    name = "bert"
    part_of: ClassVar = dict.fromkeys(("class_token", "positions", "layers"), "self_attention")

    def __init__(
        self,
        channels: int,
        slots: int,
        classes: int,
        *,
        layers: int = 1,
        mask: float = 0.2,
        dropout: float = 0.1,
        classifier_dropout: float = 0.8,
    ) -> None:
        super().__init__(classes)
        if channels % 8:
            raise UserError(f"the head bert has eight attention heads, which do not share {channels} channels evenly")
        self.mask = mask
        self.class_token = nn.Parameter(torch.randn(1, 1, channels) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, 1 + slots, channels) * 0.02)
        self.dropout = nn.Dropout(dropout)
        # Not nn.GELU("tanh"): in evaluation torch would take it for the exact one and use its own fused layer.
        gelu = partial(F.gelu, approximate="tanh")
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(channels, 8, 4 * channels, dropout, gelu, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.classifier_dropout = nn.Dropout(classifier_dropout)
        self.classifier = nn.Linear(channels, classes)
        nn.init.xavier_uniform_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens B T' H' W' C to logits B classes."""
        x = tokens.mean((2, 3))  # B T' C
        batch, times, _ = x.shape
        positions = self.positions
        if times != positions.shape[1] - 1:
            stretched = F.interpolate(positions[:, 1:].transpose(1, 2), size=times, mode="linear", align_corners=False)
            positions = torch.cat([positions[:, :1], stretched.transpose(1, 2)], dim=1)
        x = self.dropout(torch.cat([self.class_token.expand(batch, -1, -1), x], dim=1) + positions)  # B 1+T' C
        hidden = None
        if self.training:
            hidden = torch.rand(batch, 1 + times, device=x.device) < self.mask  # True: not attended to
            hidden[:, 0] = False
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=hidden)
        return self.classifier(self.classifier_dropout(self.dropout(x[:, 0])))

    @torch.no_grad()
    def attention_maps(self, tokens: Tensor) -> list[Tensor]:
        """Give what the class token looks at in the last layer, the mean over heads: B 1 T' 1 1, its share on itself left out."""
        maps = []

        def keep(layer: nn.TransformerEncoderLayer, inputs: tuple[Tensor]) -> None:
            x = layer.norm1(inputs[0])
            weights = layer.self_attn(x, x, x, need_weights=True)[1]  # B 1+T' 1+T'
            maps.append(weights[:, None, 0, 1:, None, None])

        with self.layers[-1].register_forward_pre_hook(keep):
            self(tokens)
        return maps
