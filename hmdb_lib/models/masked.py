"""Learn without labels: most of a clip is hidden, and the model predicts what is there (arXiv 2203.12602)."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmdb_lib.errors import UserError
from hmdb_lib.models.backbones.video_transformers import TUBELET, VideoMAE, pretraining_form
from hmdb_lib.models.build import VideoModel
from hmdb_lib.models.heads.perceiver import POSITION, AttentionLayer, Perceiver, fourier_positions

Cell = tuple[int, int, int]  # frames, pixels, pixels that one token stands for


class Guess(NamedTuple):
    """Hold what a model predicts of the hidden cells, B M P (normalized as the target is), where they are, and its loss."""

    loss: Tensor
    pixels: Tensor
    hidden: Tensor  # B M, True where hidden


def tubes(batch: int, grid: tuple[int, int, int], share: float, device: torch.device | str) -> Tensor:
    """Draw which tokens are hidden, B M: the same random places in every time slot, so that no neighbour in time shows them.

    `share` of the places, rounded, at least one hidden and one to be seen.
    """
    times, *sides = grid
    places = math.prod(sides)
    count = min(max(round(share * places), 1), places - 1)
    hidden = torch.rand(batch, places, device=device).argsort(1) < count
    return hidden[:, None].expand(-1, times, -1).flatten(1)


def cut(clips: Tensor, cell: Cell) -> Tensor:
    """Cut clips B C T H W into cells, B M (t h w) C, in the order of the tokens."""
    x = clips.unflatten(4, (-1, cell[2])).unflatten(3, (-1, cell[1])).unflatten(2, (-1, cell[0]))
    return x.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4, 6).flatten(1, 3)  # B C T' t H' h W' w -> B M (t h w) C


def paste(cells: Tensor, cell: Cell, grid: tuple[int, int, int]) -> Tensor:
    """Put cells together again: the inverse of `cut`."""
    x = cells.unflatten(2, cell).unflatten(1, grid)  # B T' H' W' t h w C
    return x.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def pixel_targets(clips: Tensor, cell: Cell) -> Tensor:
    """Compute the target of each cell, B M P: its pixels, normalized by cell and channel (arXiv 2203.12602, 3.3)."""
    cells = cut(clips, cell)
    mean, deviation = _spread(cells)
    return ((cells - mean) / deviation).flatten(2)


def _spread(cells: Tensor) -> tuple[Tensor, Tensor]:
    return cells.mean(2, keepdim=True), cells.std(2, keepdim=True) + 1e-6


class Masked(nn.Module):
    """Share what both families have: an `encoder`, which is what is kept, the grid of its tokens and what they stand for."""

    def __init__(self, encoder: VideoModel, cell: Cell, grid: tuple[int, int, int], share: float) -> None:
        super().__init__()
        self.encoder: Any = encoder
        self.cell, self.grid, self.share = cell, grid, share
        self.mean, self.std = encoder.mean, encoder.std

    def components(self) -> dict[str, list[nn.Parameter]]:
        """List the encoder's parameters; what is new here counts with the classifier, in whose place it is."""
        parts = self.encoder.components()
        inside = {id(parameter) for parameter in self.encoder.parameters()}
        return parts | {"classifier": [p for p in self.parameters() if id(p) not in inside]}

    def guess(self, clips: Tensor, hidden: Tensor) -> Guess:
        """Predict the hidden tokens, B M, of normalized clips B 3 T H W."""
        raise NotImplementedError

    def forward(self, clips: Tensor) -> Guess:
        """Predict tubes that are drawn at random."""
        return self.guess(clips, tubes(len(clips), self.grid, self.share, clips.device))

    @torch.no_grad()
    def picture(self, clips: Tensor, guess: Guess) -> tuple[Tensor, Tensor]:
        """Draw the clips as the model saw them (hidden cells at the mean colour), and as it fills them in: B 3 T H W.

        A guess is of normalised pixels; for looking at, each hidden cell gets its own mean and deviation back.
        """
        cells = cut(clips, self.cell)  # B M P/3 3
        mean, deviation = _spread(cells)
        there = guess.hidden[:, :, None, None]
        told = torch.zeros_like(cells)
        told[guess.hidden] = guess.pixels.flatten(0, 1).unflatten(1, (-1, 3)).to(cells.dtype)
        seen = torch.where(there, torch.zeros_like(cells), cells)
        filled = torch.where(there, told * deviation + mean, cells)
        return paste(seen, self.cell, self.grid), paste(filled, self.cell, self.grid)


class MaskedPerceiver(Masked):
    """Read the tokens that are not hidden with a perceiver's latents; queries of positions read the hidden ones from them.

    Hidden cells are blanked in the clip too: a token knows its surroundings far beyond its own cell. The decoder
    is one cross attention from position queries (Fourier features of every cell) to the latents, and a linear layer.

    Args:
        encoder: any backbone with a perceiver that has a cross attention over all tokens.
        frames, size: T and H = W of the clips: multiples of what the backbone shrinks them by.
        share: of the places in space that are hidden.

    """

    def __init__(self, encoder: VideoModel, frames: int, size: int, share: float) -> None:
        head: Any = encoder.head
        cell, grid = encoder.backbone.shrinks, encoder.backbone.grid(frames, size)
        if not head.streams or head.differences:
            raise UserError(
                "masked modelling with the head perceiver needs a cross attention over all tokens and nothing else "
                "(cross of 1 or more, latents_over_time=false, differences=false)"
            )
        if grid[1] * grid[2] < 2:
            raise UserError(f"{encoder.backbone.name} gives one token a frame, of which masked modelling can hide none")
        if any(full != cells * step for full, cells, step in zip((frames, size, size), grid, cell, strict=True)):
            raise UserError(
                f"clips of {frames} frames at {size} x {size} pixels do not divide into cells of {cell}, which are the "
                "tokens; masked modelling needs data.frames and data.crop that do (16 or 8, and 112 or 64)"
            )
        super().__init__(encoder, cell, grid, share)
        width = head.norm.normalized_shape[0]
        self.queries = nn.Linear(POSITION, width)
        self.decoder = AttentionLayer(width, 8, context=width)
        self.norm = nn.LayerNorm(width)
        self.pixels = nn.Linear(width, 3 * math.prod(cell))

    def guess(self, clips: Tensor, hidden: Tensor) -> Guess:
        """See `Masked.guess`."""
        target = pixel_targets(clips, self.cell)
        head, batch = self.encoder.head, len(clips)
        veil = (~hidden).unflatten(1, self.grid)[:, None].to(clips.dtype)  # B 1 T' H' W'
        veil = veil.repeat_interleave(self.cell[0], 2).repeat_interleave(self.cell[1], 3)
        veil = veil.repeat_interleave(self.cell[2], 4)
        tokens = head.context(self.encoder.backbone(clips * veil))  # B M C+P
        seen = head.token_dropout(tokens[~hidden].unflatten(0, (batch, -1)))
        latents = head.through_groups(lambda cross, x: cross(x, seen), batch, batch, every=True)
        places = fourier_positions(self.grid, clips.device, latents.dtype).flatten(0, 2)
        asked = self.queries(places).expand(batch, -1, -1)[hidden].unflatten(0, (batch, -1))  # B hidden D
        pixels = self.pixels(self.norm(self.decoder(asked, latents)))  # B hidden P
        wanted = target[hidden].unflatten(0, (batch, -1))
        return Guess(F.mse_loss(pixels.float(), wanted), pixels, hidden)


class MaskedVideoMAE(Masked):
    """Pretrain VideoMAE as its authors do: the encoder sees the open tokens alone, a narrow transformer all of them.

    Args:
        encoder: VideoMAE with any head; its transformer learns.
        frames, size: T and H = W of the clips.
        share: of the places in space that are hidden.

    """

    def __init__(self, encoder: VideoModel, frames: int, size: int, share: float) -> None:
        grid = (frames // TUBELET[0], size // TUBELET[1], size // TUBELET[2])
        super().__init__(encoder, TUBELET, grid, share)
        assert isinstance(encoder.backbone, VideoMAE)
        self.whole = pretraining_form(encoder.backbone)

    def guess(self, clips: Tensor, hidden: Tensor) -> Guess:
        """See `Masked.guess`; the loss is that of `transformers`."""
        out = self.whole(pixel_values=clips.transpose(1, 2).contiguous(), bool_masked_pos=hidden)
        return Guess(out.loss, out.logits, hidden)


def mask(model: Any, frames: int, size: int, share: float) -> Masked:
    """Wrap a model for learning without labels. Raises UserError for one that cannot."""
    if isinstance(model.backbone, VideoMAE):
        return MaskedVideoMAE(model, frames, size, share)
    if isinstance(model.head, Perceiver):
        return MaskedPerceiver(model, frames, size, share)
    raise UserError(f"train.objective=masked: {model.name} cannot learn it; use the head perceiver, or VideoMAE")
