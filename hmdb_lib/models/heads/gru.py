"""A recurrent network over time, the head that courses teach first."""

from torch import Tensor, nn

from hmdb_lib.errors import UserError
from hmdb_lib.models.heads.base import Head


class GRU(Head):
    """Tokens averaged over space alone, read in the order of time, then one linear layer.

    Args:
        channels, slots, classes: see `Head`.
        width: of the state.
        layers: 1 or 2.
        read: what the linear layer reads: the `last` state of the upper layer, or the `mean` over time.
        dropout: before the linear layer.

    """

    name = "gru"

    def __init__(
        self,
        channels: int,
        slots: int,
        classes: int,
        *,
        width: int = 512,
        layers: int = 1,
        read: str = "last",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(classes)
        if read not in ("last", "mean"):
            raise UserError(f"gru.read={read}: there are last and mean")
        self.read = read
        self.gru = nn.GRU(channels, width, layers, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens B T' H' W' C to logits B classes."""
        states, _ = self.gru(tokens.mean((2, 3)))  # B T' D
        return self.classifier(self.dropout(states[:, -1] if self.read == "last" else states.mean(1)))
