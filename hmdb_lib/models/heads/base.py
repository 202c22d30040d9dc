"""What every head shares: its parameters by component, and what it says of attention."""

from typing import ClassVar

from torch import Tensor, nn

from hmdb_lib.errors import UserError


class Head(nn.Module):
    """Map tokens B T' H' W' C to logits B classes.

    A constructor takes the tokens' channels C, the time slots T' that a clip leaves, and the number of classes.

    Attributes:
        name: what errors call it.
        part_of: the first name of a parameter -> the component that it counts as; `classifier` for all others.

    """

    name: str
    part_of: ClassVar[dict[str, str]] = {}

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    @property
    def streams(self) -> bool:
        """Tell whether it can read the tokens of a long video in parts (see `hmdb_lib.models.streaming`)."""
        return False

    def components(self) -> dict[str, list[nn.Parameter]]:
        """List all parameters by cross_attention, self_attention and classifier."""
        parts: dict[str, list[nn.Parameter]] = {"cross_attention": [], "self_attention": [], "classifier": []}
        for name, parameter in self.named_parameters():
            parts[self.part_of.get(name.partition(".")[0], "classifier")].append(parameter)
        return parts

    def attention_maps(self, tokens: Tensor) -> list[Tensor]:
        """Give where its attention looks: a map B N T' H' W' for each layer that reads the tokens.

        Raises UserError for a head without attention.
        """
        raise UserError(f"the head {self.name} has no attention to look at; use grad_cam")
