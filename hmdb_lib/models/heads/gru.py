"""Read tokens with a recurrent network over time, the head that courses teach first."""

from torch import Tensor, nn

from hmdb_lib.models.heads.base import Head


class GRU(Head):
    """Average tokens over space alone and read them in the order of time; a linear layer reads the last state.

    Args:
        channels, slots, classes: see `Head`.
        width: of the state.
        layers: 1 or 2.

    """

    name = "gru"

    def __init__(self, channels: int, slots: int, classes: int, *, width: int = 512, layers: int = 1) -> None:
        super().__init__(classes)
        self.gru = nn.GRU(channels, width, layers, batch_first=True)
        self.classifier = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens B T' H' W' C to logits B classes."""
        states, _ = self.gru(tokens.mean((2, 3)))  # B T' D
        return self.classifier(states[:, -1])
