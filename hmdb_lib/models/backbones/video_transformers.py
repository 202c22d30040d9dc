"""Video transformers that `transformers` carries: VideoMAE, V-JEPA 2, and the vision part of X-CLIP."""

import copy
import logging
from types import ModuleType
from typing import Any

import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from hmdb_lib.errors import UserError
from hmdb_lib.models.backbones.base import NO_HUB, Backbone, HubError, State
from hmdb_lib.progress import quiet

TUBELET = (2, 16, 16)  # T H W of a patch of VideoMAE and V-JEPA 2
VIDEOMAE = {  # name -> width, layers, heads, where its weights are
    "videomae_small": (384, 12, 6, {"kinetics400": "MCG-NJU/videomae-small-finetuned-kinetics"}),
    "videomae_base": (
        768,
        12,
        12,
        {"unlabelled": "MCG-NJU/videomae-base", "kinetics400": "MCG-NJU/videomae-base-finetuned-kinetics"},
    ),
}
VJEPA2 = {  # name -> width, layers, heads, width of the feed-forward by that of a layer, hub name
    "vjepa2_large": (1024, 24, 16, 4, "facebook/vjepa2-vitl-fpc64-256"),
    "vjepa2_huge": (1280, 32, 16, 4, "facebook/vjepa2-vith-fpc64-256"),
    "vjepa2_giant": (1408, 40, 22, 48 / 11, "facebook/vjepa2-vitg-fpc64-256"),
}
XCLIP = {"xclip_patch32": 32, "xclip_patch16": 16}  # name -> pixels of a patch


def _transformers() -> ModuleType:
    import transformers  # noqa: PLC0415 - takes seconds, and every other backbone does without

    return transformers


class VideoTransformer(Backbone):
    """Share what these have in common: weights from the Hugging Face hub, under the names of the class `published`."""

    component = "self_attention"
    hub = True
    prefix = ""
    published: str

    def fetch(self, source: str) -> State:
        """See `Backbone.fetch`; the hub's cache is asked first, and a folder of `save_pretrained` will do."""
        source = self.weights.get(source, source)
        load = getattr(_transformers(), self.published).from_pretrained
        options = {"ignore_mismatched_sizes": True, "output_loading_info": True}
        # Its retries and loading reports: what matters is told in one line.
        with quiet(logging.ERROR, "transformers", "huggingface_hub"):
            try:
                try:
                    loaded, info = load(source, local_files_only=True, **options)
                except OSError:
                    loaded, info = load(source, **options)
            except (HubError, OSError, SafetensorError) as error:
                raise UserError(
                    f"model.pretrained={source}: neither a file, nor a folder with whole weights, nor to be had from "
                    f"the Hugging Face hub or its cache ({str(error).splitlines()[0]}); {NO_HUB}"
                ) from error
            except (ValueError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(f"model.pretrained={source}: does not fit {self.name} ({reason})") from error
        fresh = {key if isinstance(key, str) else key[0] for key in (*info["missing_keys"], *info["mismatched_keys"])}
        state = loaded.state_dict().items()
        return {key: value for key, value in state if key not in fresh and not key.startswith(self.left_out)}


class PatchProjection(nn.Module):
    """Map patches linearly, as a Conv3d does whose stride is its kernel, under the same parameter names.

    Conv3d in half precision is slow in torch 2.9 (and its memory grows); a matrix product is not.
    """

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias  # D 3 2 16 16, D

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips B 3 T H W to B D T' H' W'; what the last patch does not fill is left out, as by a convolution."""
        for axis, step in zip((2, 3, 4), self.weight.shape[2:], strict=True):
            clips = clips.unfold(axis, step, step)  # B 3 T' H' W' 2 16 16
        patches = clips.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(4)  # B T' H' W' 3*2*16*16
        return F.linear(patches, self.weight.flatten(1), self.bias).movedim(4, 1)


class VideoMAE(VideoTransformer):
    """Map clips by VideoMAE's encoder (arXiv 2203.12602): a plain vision transformer over space-time patches.

    Parameter names are those of `VideoMAEForVideoClassification`. Positions are the fixed sines and cosines of the
    grid given by `frames` and `size`; clips of other sizes interpolate them.

    Args:
        name: a key of `VIDEOMAE`: ViT-S or ViT-B.
        frames, size: the clips, T and H = W, that the positions are made for: multiples of 2 and of 16.
        drop_path: chance that a clip skips an attention or a feed-forward in the last layer; earlier layers less, in
            proportion to their depth.

    """

    shrinks = multiples = smallest = TUBELET
    published = "VideoMAEForVideoClassification"
    left_out = ("videomae.layernorm.",)  # of a checkpoint that learned without labels

    def __init__(
        self, name: str, *, frames: int = 16, size: int = 224, drop_path: float = 0.1, frozen: int | str = 0
    ) -> None:
        super().__init__()
        self.name, self.size = name, (size, size)
        self.check(frames, size, size)
        width, layers, heads, self.weights = VIDEOMAE[name]
        self.channels = width
        transformers = _transformers()
        self.config = transformers.VideoMAEConfig(
            image_size=size,
            num_frames=frames,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
        )
        self.videomae = transformers.VideoMAEModel(self.config)
        patches = self.videomae.embeddings.patch_embeddings
        patches.projection = PatchProjection(patches.projection)
        table = self.videomae.embeddings.position_embeddings  # 1 M D
        table = table.to(next(self.parameters()).device).transpose(1, 2).contiguous()
        self.register_buffer("positions", table.unflatten(2, self.grid(frames, size)), persistent=False)  # 1 D T' H' W'
        for i, layer in enumerate(self.videomae.encoder.layer):
            rate = drop_path * i / (layers - 1)
            # transformers has no drop path here, but its dropout stands exactly on the two residual branches.
            layer.attention.output.dropout = StochasticDepth(rate, "row")
            layer.output.dropout = StochasticDepth(rate, "row")
        self.freeze(frozen)

    def parts(self) -> list[nn.Module]:
        """List the patches, then each layer."""
        return [self.videomae.embeddings, *self.videomae.encoder.layer]

    def tokens(self, clips: Tensor) -> Tensor:
        """See `Backbone.tokens`."""
        x = self.videomae.embeddings.patch_embeddings.projection(clips)  # B D T' H' W'
        grid = x.shape[2:]
        positions: Any = self.positions
        if positions.shape[2:] != grid:
            positions = F.interpolate(positions, size=grid, mode="trilinear", align_corners=False)
        x = (x + positions.to(x.dtype)).flatten(2).transpose(1, 2)  # B M D
        return self.videomae.encoder(x).last_hidden_state.unflatten(1, grid)  # B T' H' W' D


def pretraining_form(backbone: VideoMAE) -> nn.Module:
    """Build `VideoMAEForPreTraining` of `transformers` round the very encoder of `backbone`, with the decoder of the paper.

    Four layers of half the width, pixels normalised by patch (arXiv 2203.12602, 4.1 and table 2).
    """
    width, _, heads, _ = VIDEOMAE[backbone.name]
    config = copy.deepcopy(backbone.config)
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
    whole = _transformers().VideoMAEForPreTraining(config)
    whole.videomae.embeddings, whole.videomae.encoder = backbone.videomae.embeddings, backbone.videomae.encoder
    return whole


class VJEPA2Encoder(VideoTransformer):
    """Map clips by the encoder of V-JEPA 2 (arXiv 2506.09985): a vision transformer with rotary positions.

    Args:
        name: a key of `VJEPA2`: ViT-L, ViT-H or ViT-g.
        size: H = W of the clips, a multiple of 16; their length is free, in frames by twos.

    """

    shrinks = multiples = smallest = TUBELET
    published = "VJEPA2Model"
    left_out = ("predictor.",)

    def __init__(self, name: str, *, size: int = 256, frozen: int | str = 0) -> None:
        super().__init__()
        self.name = name
        self.check(TUBELET[0], size, size)
        width, layers, heads, ratio, hub = VJEPA2[name]
        self.channels, self.size, self.exact, self.weights = width, (size, size), size, {"vjepa2": hub}
        transformers = _transformers()
        config = transformers.VJEPA2Config(
            crop_size=size,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            mlp_ratio=ratio,
            pred_num_hidden_layers=0,
        )
        self.encoder = transformers.VJEPA2Model(config).encoder
        self.freeze(frozen)

    def parts(self) -> list[nn.Module]:
        """List the patches, each layer, and the norm behind them."""
        return [self.encoder.embeddings, *self.encoder.layer, self.encoder.layernorm]

    def tokens(self, clips: Tensor) -> Tensor:
        """See `Backbone.tokens`."""
        x = self.encoder(clips.transpose(1, 2)).last_hidden_state  # B M D
        return x.unflatten(1, self.grid(clips.shape[2], clips.shape[3]))


class XCLIPVision(VideoTransformer):
    """Map a video by X-CLIP's vision part (arXiv 2208.02816): one vector a frame, T' = T and H' = W' = 1.

    The vectors are those that its own protocol averages: a vision transformer over each frame, whose class tokens talk
    to those of the other frames, a projection, and a transformer over time. So the head `pool` reads what
    `XCLIPModel.get_video_features` gives. A longer clip is read in groups of eight frames; positions are interpolated
    for pictures of another size than 224 x 224.

    Args:
        name: a key of `XCLIP`.

    """

    channels = 512
    shrinks = (1, 224, 224)
    published = "XCLIPModel"
    left_out = ("text_", "logit_scale", "prompts_")

    def __init__(self, name: str, *, frozen: int | str = 0) -> None:
        super().__init__()
        self.name, patch = name, XCLIP[name]
        self.multiples = self.smallest = (8, patch, patch)
        self.weights = {"kinetics400": f"microsoft/xclip-base-patch{patch}"}
        transformers = _transformers()
        vision = {"patch_size": patch, "mit_hidden_size": self.channels}
        text = {"num_hidden_layers": 0, "vocab_size": 3, "pad_token_id": 1}  # left out, so as small as it can be
        config = transformers.XCLIPConfig(vision_config=vision, text_config=text, prompt_layers=0)
        whole = transformers.XCLIPModel(config)
        self.vision_model, self.visual_projection, self.mit = whole.vision_model, whole.visual_projection, whole.mit
        self.freeze(frozen)

    def grid(self, frames: int, size: int) -> tuple[int, int, int]:
        """See `Backbone.grid`."""
        return frames, 1, 1

    def parts(self) -> list[nn.Module]:
        """List the patches, each layer, and what follows them."""
        vision = self.vision_model
        layers = [vision.embeddings, vision.pre_layernorm, *vision.encoder.layers, vision.post_layernorm]
        return [*layers, self.visual_projection, self.mit]

    def tokens(self, clips: Tensor) -> Tensor:
        """See `Backbone.tokens`."""
        vision, images = self.vision_model, clips.transpose(1, 2).flatten(0, 1)  # (B T) 3 H W
        x = vision.pre_layernorm(vision.embeddings(images, interpolate_pos_encoding=True))  # (B T) 1+M D
        for layer in vision.encoder.layers:
            x = layer(x, None)
        x = self.visual_projection(vision.post_layernorm(x[:, 0])).unflatten(0, (-1, self.multiples[0]))  # (B T/8) 8 C
        x = self.mit(x).last_hidden_state.flatten(0, 1).unflatten(0, (-1, clips.shape[2]))  # B T C
        return x[:, :, None, None]  # B T 1 1 C
