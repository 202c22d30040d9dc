"""Read tokens without attention: the average of the tokens, and how the tokens change over time."""

import torch
from torch import Tensor, nn

from hmdb_lib.errors import UserError
from hmdb_lib.models.heads.base import Head


def mean(tokens: Tensor) -> Tensor:
    """Average tokens B T' H' W' C over places and times: B C."""
    return tokens.mean((1, 2, 3))


def mean_and_change(tokens: Tensor) -> Tensor:
    """Average tokens B T' H' W' C, and beside it how they change over time: B 3C.

    The mean of all tokens; the mean of the last third of the time slots minus that of the first third; and the mean
    absolute change of each place from one slot to the next.
    """
    third = max(1, tokens.shape[1] // 3)
    over_time = tokens.mean((2, 3))  # B T' C
    drift = over_time[:, -third:].mean(1) - over_time[:, :third].mean(1)
    return torch.cat([over_time.mean(1), drift, tokens.diff(dim=1).abs().mean((1, 2, 3))], 1)


class Pool(Head):
    """Average over all places and times, then one linear layer.

    Args:
        channels, slots, classes: see `Head`.
        norm: a LayerNorm before the linear layer: the head that VideoMAE's authors fine-tune.
        dropout: on the average, before the linear layer.

    """

    name = "pool"

    def __init__(self, channels: int, slots: int, classes: int, *, norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__(classes)
        self.dropout = nn.Dropout(dropout)
        if norm:
            self.norm = nn.LayerNorm(channels)
        self.fc = nn.Linear(channels, classes)
        if norm:
            nn.init.trunc_normal_(self.fc.weight, std=0.02)
            nn.init.zeros_(self.fc.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens B T' H' W' C to logits B classes."""
        pooled = mean(tokens)
        return self.fc(self.dropout(self.norm(pooled) if hasattr(self, "norm") else pooled))


class PoolChange(Head):
    """Read `mean_and_change` of the tokens with one linear layer.

    Args:
        channels, slots, classes: see `Head`; two slots or more.

    """

    name = "pool_change"

    def __init__(self, channels: int, slots: int, classes: int) -> None:
        super().__init__(classes)
        if slots < 2:
            raise UserError("the head pool_change needs two time slots or more, the clips leave one: give more frames")
        self.fc = nn.Linear(3 * channels, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens B T' H' W' C to logits B classes."""
        return self.fc(mean_and_change(tokens))
