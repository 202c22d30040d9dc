"""VideoMAE (arXiv 2203.12602): a plain vision transformer over space-time patches, as `transformers` carries it."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from hmdb_lib.errors import UserError

VARIANTS = {"small": (384, 12, 6), "base": (768, 12, 12)}  # width, layers, heads
TUBELET = (2, 16, 16)  # T H W
PRETRAINING_ONLY = ("decoder.", "encoder_to_decoder.", "mask_token", "videomae.layernorm.")


def _transformers() -> ModuleType:
    import transformers  # noqa: PLC0415 - takes seconds, and every other architecture does without

    return transformers


class VideoMAE(nn.Module):
    """The encoder with the head that its authors fine-tune: mean over tokens, LayerNorm, linear.

    Parameter names are those of `VideoMAEForVideoClassification`. Positions are the fixed sines and cosines of the
    grid given by `frames` and `size`; clips of other sizes interpolate them.

    Args:
        classes: number of classes.
        variant: `small` (ViT-S) or `base` (ViT-B).
        frames, size: the clips, T and H = W, that the positions are made for: multiples of 2 and of 16.
        drop_path: chance that a clip skips an attention or a feed-forward in the last layer; earlier layers less, in
            proportion to their depth.

    """

    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(
        self, *, classes: int, variant: str = "base", frames: int = 16, size: int = 224, drop_path: float = 0.1
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise UserError(f"videomae.variant={variant}: there are {' and '.join(VARIANTS)}")
        _check(frames, size, size)
        self.classes, self.variant, self.size = classes, variant, (size, size)
        width, layers, heads = VARIANTS[variant]
        self.last_layer = layers + 1
        transformers = _transformers()
        self.config = transformers.VideoMAEConfig(
            image_size=size,
            num_frames=frames,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            num_labels=classes,
        )
        self.videomae = transformers.VideoMAEModel(self.config)
        self.fc_norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.classifier.weight, std=self.config.initializer_range)
        nn.init.zeros_(self.classifier.bias)

        table = self.videomae.embeddings.position_embeddings.to(self.classifier.weight.device)  # 1 M D
        grid = (frames // TUBELET[0], size // TUBELET[1], size // TUBELET[2])
        self.register_buffer(
            "positions", table.transpose(1, 2).contiguous().unflatten(2, grid), persistent=False
        )  # 1 D T' H' W'
        for i, layer in enumerate(self.videomae.encoder.layer):
            rate = drop_path * i / (layers - 1)
            # transformers has no drop path here, but its dropout stands exactly on the two residual branches.
            layer.attention.output.dropout = StochasticDepth(rate, "row")
            layer.output.dropout = StochasticDepth(rate, "row")

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised clips B 3 T H W to logits B classes; sizes that are no multiple of a patch raise UserError."""
        _check(*clips.shape[2:])
        x = self.videomae.embeddings.patch_embeddings.projection(clips)  # B D T' H' W'
        positions = self.positions
        if positions.shape[2:] != x.shape[2:]:
            positions = F.interpolate(positions, size=x.shape[2:], mode="trilinear", align_corners=False)
        x = (x + positions.to(x.dtype)).flatten(2).transpose(1, 2)  # B M D
        x = self.videomae.encoder(x).last_hidden_state
        return self.classifier(self.fc_norm(x.mean(1)))

    def components(self) -> dict[str, list[nn.Parameter]]:
        """All parameters by part: the whole transformer, its patch embedding too, is the self attention."""
        return {
            "cnn": [],
            "cross_attention": [],
            "self_attention": list(self.videomae.parameters()),
            "classifier": [*self.fc_norm.parameters(), *self.classifier.parameters()],
        }

    def layer_of(self, name: str) -> int:
        """How deep a parameter sits, for layer-wise learning-rate decay: 0 the patches, `last_layer` the head."""
        if name.startswith("videomae.encoder.layer."):
            return 1 + int(name.split(".")[3])
        return 0 if name.startswith("videomae.embeddings.") else self.last_layer

    def load_from_hub(self, source: str) -> set[str]:
        """Take the weights of a Hugging Face hub name or a local folder of `save_pretrained`.

        The cache is asked before the hub. A fine-tuned or a self-supervised checkpoint will do; what it lacks (a
        head for these classes) stays at its fresh start. Returns the names of what was filled. Raises UserError in one line.
        """
        load = _transformers().VideoMAEForVideoClassification.from_pretrained
        options = {"num_labels": self.classes, "ignore_mismatched_sizes": True, "output_loading_info": True}
        with _quiet("transformers", "huggingface_hub"):
            try:
                try:
                    loaded, info = load(source, local_files_only=True, **options)
                except OSError:
                    loaded, info = load(source, **options)
            except (OSError, SafetensorError) as error:
                raise UserError(
                    f"model.pretrained={source}: neither a file, nor a folder with whole weights, nor to be had from "
                    f"the Hugging Face hub or its cache ({str(error).splitlines()[0]})"
                ) from error
        fresh = {key if isinstance(key, str) else key[0] for key in (*info["missing_keys"], *info["mismatched_keys"])}
        state = {
            key: value
            for key, value in loaded.state_dict().items()
            if key not in fresh and not key.startswith(PRETRAINING_ONLY)
        }
        own = self.state_dict()
        wrong = {key for key in info["unexpected_keys"] if not key.startswith(PRETRAINING_ONLY)}
        wrong |= {key for key in own.keys() - state.keys() if not key.startswith(("fc_norm.", "classifier."))}
        wrong |= {key for key, value in state.items() if key not in own or value.shape != own[key].shape}
        if wrong:
            raise UserError(
                f"model.pretrained={source}: does not fit VideoMAE {self.variant}: {len(wrong)} weights are missing, "
                f"unexpected or of another shape ({', '.join(sorted(wrong)[:3])}{', ...' if len(wrong) > 3 else ''})"
            )
        self.load_state_dict(state, strict=False)
        return set(state)


def pretraining_form(model: VideoMAE) -> nn.Module:
    """`VideoMAEForPreTraining` of `transformers` round the very encoder of `model`, with the decoder of the paper.

    Four layers of half the width, pixels normalised by patch (arXiv 2203.12602, 4.1 and table 2).
    """
    transformers = _transformers()
    width, _, heads = VARIANTS[model.variant]
    config = copy.deepcopy(model.config)
    config.update(
        {
            "use_mean_pooling": False,  # a norm behind the encoder, as pretraining has it
            "decoder_hidden_size": width // 2,
            "decoder_num_attention_heads": heads // 2,
            "decoder_num_hidden_layers": 4,
            "decoder_intermediate_size": 2 * width,
            "norm_pix_loss": True,
        }
    )
    whole = transformers.VideoMAEForPreTraining(config)
    whole.videomae.embeddings, whole.videomae.encoder = model.videomae.embeddings, model.videomae.encoder
    return whole


def _check(frames: int, height: int, width: int) -> None:
    if any(size % step or size < step for size, step in zip((frames, height, width), TUBELET, strict=True)):
        raise UserError(
            f"clips of {frames} frames at {height} x {width} pixels: VideoMAE cuts them into patches of 2 frames of "
            "16 x 16 and would lose what is left over; give multiples of these"
        )


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Keep retries and loading reports of a library out of the output: what matters is told in one line."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
