"""VideoMAE from a checkpoint in the hub's form: its authors call two biases `q_bias` and `v_bias`."""

import json
from pathlib import Path

import pytest
import torch
from helpers import architectures
from safetensors.torch import save_file
from torch import nn

from hmdb_lib import models
from hmdb_lib.models.backbones.video_transformers import TUBELET, VIDEOMAE, PatchProjection

WIDTH, LAYERS, HEADS, _ = VIDEOMAE["videomae_small"]
NAME_HERE = {"q_bias": "query.bias", "v_bias": "value.bias"}


def hub_shapes() -> dict[str, tuple[int, ...]]:
    """Weights of the encoder, by the names that MCG-NJU/videomae-small-* and -base-* give them."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, *TUBELET),
        "embeddings.patch_embeddings.projection.bias": (WIDTH,),
    }
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        shapes |= {f"{layer}.attention.attention.{name}.weight": (WIDTH, WIDTH) for name in ("query", "key", "value")}
        shapes |= {f"{layer}.attention.attention.{name}": (WIDTH,) for name in NAME_HERE}
        for norm in ("layernorm_before", "layernorm_after"):
            shapes |= {f"{layer}.{norm}.weight": (WIDTH,), f"{layer}.{norm}.bias": (WIDTH,)}
        for name, out, into in (
            ("attention.output", WIDTH, WIDTH),
            ("intermediate", 4 * WIDTH, WIDTH),
            ("output", WIDTH, 4 * WIDTH),
        ):
            shapes |= {f"{layer}.{name}.dense.weight": (out, into), f"{layer}.{name}.dense.bias": (out,)}
    return {f"videomae.{name}": shape for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A folder with a self-supervised checkpoint in the hub's form, and the weights in it."""
    folder = tmp_path_factory.mktemp("hub")
    random = torch.Generator().manual_seed(0)
    encoder = {name: torch.rand(shape, generator=random) for name, shape in hub_shapes().items()}
    decoder = {
        "mask_token": torch.rand(1, 1, WIDTH // 2),
        "encoder_to_decoder.weight": torch.rand(WIDTH // 2, WIDTH),
        "decoder.decoder_layers.0.attention.attention.q_bias": torch.rand(WIDTH // 2),
    }
    save_file(encoder | decoder, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["VideoMAEForPreTraining"],
        "model_type": "videomae",
        "image_size": 32,
        "num_frames": 2,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 4 * WIDTH,
        "qkv_bias": True,
        "use_mean_pooling": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder, encoder


def test_a_checkpoint_in_the_hubs_form_fills_every_weight_of_the_encoder(
    checkpoint: tuple[Path, dict[str, torch.Tensor]],
) -> None:
    folder, given = checkpoint
    model = architectures.build("videomae", 5, variant="small", frames=2, size=32)
    filled = models.load_pretrained(model, str(folder))
    own = model.state_dict()
    for name, weight in given.items():
        stem, _, last = name.rpartition(".")
        here = f"backbone.{stem}.{NAME_HERE.get(last, last)}"
        assert here in filled
        assert torch.equal(own[here], weight), here


def test_the_linear_map_of_patches_gives_what_the_convolution_gives_and_learns_alike() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv3d(3, 8, (2, 4, 4), (2, 4, 4))
    linear, clips = PatchProjection(convolution), torch.randn(2, 3, 5, 9, 12)  # not a whole number of patches
    assert linear.state_dict().keys() == convolution.state_dict().keys()
    gradients = []
    for module in (convolution, linear):
        convolution.zero_grad()
        out = module(clips)
        out.square().sum().backward()
        gradients.append((out.detach(), convolution.weight.grad))
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)
