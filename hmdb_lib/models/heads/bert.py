"""3D CNN + BERT: a transformer in place of the average over time (arXiv 2008.01232)."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hmdb_lib.models.backbones.resnets import R2Plus1DFamily


class Bert3D(R2Plus1DFamily):
    """R(2+1)D features, averaged over space alone, as a sequence over time that a class token reads.

    Args:
        classes: number of classes.
        blocks, depth, frozen: the CNN, see `Backbone`.
        frames: T that the learned positions are made for (T' of them); other lengths interpolate them. At 16 frames
            eight blocks leave T' = 2, hardly a sequence: use 32 or more.
        layers: transformer blocks, with eight heads.
        mask: chance that a time slot is hidden from attention in training; the class token never is.
        dropout: on the input's sum, inside attention and feed-forward, on what they add, and behind the last block.
        classifier_dropout: on the class token before the linear layer.

    """

    def __init__(
        self,
        *,
        classes: int,
        blocks: int = 8,
        depth: int = 18,
        frozen: int = 0,
        frames: int = 32,
        layers: int = 1,
        mask: float = 0.2,
        dropout: float = 0.1,
        classifier_dropout: float = 0.8,
    ) -> None:
        super().__init__(classes=classes, blocks=blocks, depth=depth, frozen=frozen)
        width = self.backbone.channels
        self.mask = mask
        self.class_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, 1 + self.backbone.times(frames), width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        # Not nn.GELU("tanh"): in evaluation torch would take it for the exact one and use its own fused layer.
        gelu = partial(F.gelu, approximate="tanh")
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 8, 4 * width, dropout, gelu, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.classifier_dropout = nn.Dropout(classifier_dropout)
        self.classifier = nn.Linear(width, classes)
        nn.init.xavier_uniform_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised clips B 3 T H W to logits B classes."""
        x = self.backbone(clips).mean((3, 4)).transpose(1, 2)  # B T' C
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

    def components(self) -> dict[str, list[nn.Parameter]]:
        """All parameters by part: the whole transformer, class token and positions too, is the self attention."""
        return {
            "cnn": list(self.backbone.parameters()),
            "cross_attention": [],
            "self_attention": [self.class_token, self.positions, *self.layers.parameters()],
            "classifier": list(self.classifier.parameters()),
        }
