"""What every backbone shares: its shape on paper, which clips it takes, what is frozen, and its published weights."""

import math
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from huggingface_hub.errors import HfHubHTTPError
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from hmdb_lib.errors import UserError

State = dict[str, Tensor]
HubError: Any = HfHubHTTPError.__mro__[1]  # HTTPError of requests, httpx or httpx2, by huggingface_hub's version
NO_HUB = "the backbone efficientnet_lite0 needs no download"


class Backbone(nn.Module):
    """Map normalized clips B 3 T H W to tokens B T' H' W' C.

    A subclass sets the attributes, has `parts` and `tokens`, and calls `freeze` with its argument `frozen` when it is
    built: so many leading parts do not train, or `all`.

    Attributes:
        name: what errors call it.
        channels: C of the tokens.
        mean, std: RGB in 0..1 that its weights expect.
        size: H, W of the crop that its weights expect.
        shrinks: by how much T, H and W shrink.
        smallest: least T, H and W of a clip.
        multiples: T, H and W must be multiples of these.
        exact: the only H = W that it takes, or None.
        component: what its parameters count as, `cnn` or `self_attention`.
        weights: names of published weights, and where each comes from.
        hub: whether a name of the Hugging Face hub or a folder of `save_pretrained` may hold weights for it.
        prefix, left_out: how its published parameter names begin here, and which of them are not kept.
        cut: names of the blocks that were left out.
        features: which tokens it gives: `tokens` all of them, `4x4` averaged to at most so many places, `pooled` over
            all places.

    """

    name: str
    channels: int
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    size: tuple[int, int] = (224, 224)
    shrinks: tuple[int, int, int]
    smallest: tuple[int, int, int] = (1, 32, 32)
    multiples: tuple[int, int, int] = (1, 1, 1)
    exact: int | None = None
    component = "cnn"
    weights: Mapping[str, Any] = {}
    hub = False
    prefix = "net."
    left_out: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    features: str = "tokens"

    def parts(self) -> list[nn.Module]:
        """List what can be frozen, recomputed, or given a rate of its own, in the order of the forward pass."""
        raise NotImplementedError

    def tokens(self, clips: Tensor) -> Tensor:
        """Map clips that were checked to tokens."""
        raise NotImplementedError

    def forward(self, clips: Tensor) -> Tensor:
        """Map normalized clips B 3 T H W to tokens B T' H' W' C; clips that it cannot take raise UserError."""
        self.check(*clips.shape[2:])
        tokens = self.tokens(clips)
        sides = self.places(*tokens.shape[2:4])
        if tokens.shape[2:4] == sides:
            return tokens
        maps = F.adaptive_avg_pool2d(tokens.flatten(0, 1).permute(0, 3, 1, 2), sides)  # (B T') C H' W'
        return maps.permute(0, 2, 3, 1).unflatten(0, tokens.shape[:2])

    def check(self, frames: int, height: int, width: int) -> None:
        """Raise UserError for clips that it cannot take."""
        sizes, least, steps = (frames, height, width), self.smallest, self.multiples
        told = f"clips of {frames} frames at {height} x {width} pixels"
        if any(size < low for size, low in zip(sizes, least, strict=True)):
            raise UserError(
                f"{told} are too small: {self.name} takes {least[0]} frames of {least[1]} x {least[2]} or more"
            )
        if any(size % step for size, step in zip(sizes, steps, strict=True)):
            raise UserError(
                f"{told}: {self.name} cuts them into pieces of {steps[0]} frames of {steps[1]} x {steps[2]} and would "
                "lose what is left over; give multiples of these"
            )
        if self.exact and (height, width) != (self.exact, self.exact):
            raise UserError(f"{told}: {self.name} takes {self.exact} x {self.exact} pixels alone")

    @property
    def step(self) -> int:
        """Count the frames of which the parts of a long video hold a multiple, so that they leave whole time slots."""
        return math.lcm(self.shrinks[0], self.multiples[0])

    def times(self, frames: int) -> int:
        """Count the time slots T' that are left of so many frames, rounded up."""
        return -(-frames // self.shrinks[0])

    def places(self, height: int, width: int) -> tuple[int, int]:
        """Give H', W' that `features` leaves of so many places."""
        most = {"tokens": math.inf, "4x4": 4, "pooled": 1}[self.features]
        return int(min(height, most)), int(min(width, most))

    def grid(self, frames: int, size: int) -> tuple[int, int, int]:
        """Give T', H', W' of the tokens of a clip of H = W = `size`."""
        side = -(-size // self.shrinks[1])
        return self.times(frames), side, side

    def freeze(self, frozen: int | str) -> None:
        """Keep the leading parts, so many or `all`, from training; their batch norm keeps its running statistics.

        Raises UserError for more parts than there are.
        """
        parts = self.parts()
        if frozen != "all" and not (isinstance(frozen, int) and 0 <= frozen <= len(parts)):
            raise UserError(f"model.frozen={frozen}: there are {len(parts)} parts to freeze in {self.name}, or all")
        self._whole = frozen == "all"
        self._frozen = len(parts) if frozen == "all" else frozen
        for part in parts[: self._frozen]:
            part.requires_grad_(False)
        if self._frozen:  # class tokens and positions belong to no part and go with the first
            inside = {id(parameter) for part in parts for parameter in part.parameters()}
            for parameter in self.parameters():
                parameter.requires_grad_(parameter.requires_grad and id(parameter) in inside)
        self.train()  # Lightning fits a model in the mode that it was built in

    def train(self, mode: bool = True) -> "Backbone":
        """Switch to training mode, the frozen parts excepted."""
        super().train(mode and not self._whole)
        for part in self.parts()[: self._frozen]:
            part.eval()
        return self

    def layer_of(self, name: str) -> int:
        """Number the part that holds the parameter of this name; 0 for what belongs to no part."""
        paths = {id(module): path for path, module in self.named_modules()}
        holds = [name.startswith(f"{paths[id(part)]}.") for part in self.parts()]
        return holds.index(True) if any(holds) else 0

    def fetch(self, source: str) -> State:
        """Read the weights that a key of `weights`, or a hub name, stands for, under their published names.

        This one asks torchvision, whose cache is asked before the network. Raises UserError.
        """
        weights: WeightsEnum = self.weights[source]
        try:
            return dict(weights.get_state_dict(progress=True, check_hash=True, weights_only=True))
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"model.pretrained={source}: cannot fetch {weights.url} ({error}); download it elsewhere and give "
                f"model.pretrained=<its path>, or start at random with model.pretrained=none; {NO_HUB}"
            ) from error

    def adopt(self, state: State) -> State:
        """Rename published parameters to a model's own (`backbone.*`), without those that are left out."""
        kept = {key: value for key, value in state.items() if not key.startswith(self.left_out)}
        return {f"backbone.{self.prefix}{key}": value for key, value in kept.items()}
