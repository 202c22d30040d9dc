"""Our models against the libraries that carry the same ones: same weights, same input, same output."""

import copy

import pytest
import torch
from perceiver_pytorch import Perceiver
from perceiver_pytorch.perceiver_pytorch import Attention, FeedForward, PreNorm
from torch import Tensor, nn
from torchvision.models.video import r2plus1d_18
from transformers import VideoMAEForVideoClassification

from hmdb_lib import models
from hmdb_lib.models.heads.perceiver import AttentionLayer
from hmdb_lib.models.pretrained import current_names

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def peers_weights(layer: AttentionLayer, attention: str, feed_forward: str) -> dict[str, Tensor]:
    """A layer's state dict under perceiver-pytorch's names."""
    names = {
        "attention.q": f"{attention}.fn.to_q",
        "attention.kv": f"{attention}.fn.to_kv",
        "attention.out": f"{attention}.fn.to_out",
        "norm": f"{attention}.norm",
        "norm_context": f"{attention}.norm_context",
        "feed_forward.0": f"{feed_forward}.norm",
        "feed_forward.1": f"{feed_forward}.fn.net.0",
        "feed_forward.3": f"{feed_forward}.fn.net.2",
    }
    split = (key.rpartition(".") for key in layer.state_dict())
    return {f"{names[name]}.{kind}": layer.state_dict()[f"{name}.{kind}"] for name, _, kind in split}


@pytest.mark.parametrize("cross", [1, 2])
def test_positions_cross_attention_and_classifier_are_perceiver_pytorchs(cross: int) -> None:
    torch.manual_seed(0)
    ours = models.build("hybrid", 51, blocks=4, cross=cross, self_layers=0, latents=32, latent_std=1.0).head.eval()
    peer = Perceiver(
        num_freq_bands=6,
        depth=cross,
        max_freq=10,
        input_channels=128,
        input_axis=3,
        num_latents=32,
        latent_dim=512,
        num_classes=51,
        self_per_cross_attn=0,
    ).eval()
    state = {"latents": ours.latents[0]}
    for i, layer in enumerate(ours.cross):
        state |= peers_weights(layer, f"layers.{i}.cross_attn", f"layers.{i}.cross_ff")
    state |= {f"to_logits.1.{kind}": value for kind, value in ours.norm.state_dict().items()}
    state |= {f"to_logits.2.{kind}": value for kind, value in ours.classifier.state_dict().items()}
    peer.load_state_dict(state)
    tokens = torch.randn(2, 3, 5, 4, 128)
    with torch.no_grad():
        logits = ours(tokens)
        torch.testing.assert_close(logits, peer(tokens), **CLOSE)


def test_a_self_attention_layer_is_perceiver_pytorchs() -> None:
    torch.manual_seed(0)
    ours = AttentionLayer(512, 8)
    peer = nn.ModuleDict({"attention": PreNorm(512, Attention(512)), "feed_forward": PreNorm(512, FeedForward(512))})
    peer.load_state_dict(peers_weights(ours, "attention", "feed_forward"))
    x = torch.randn(2, 33, 512)
    with torch.no_grad():
        expected = peer["attention"](x) + x
        expected = peer["feed_forward"](expected) + expected
        torch.testing.assert_close(ours(x), expected, **CLOSE)


def test_videomae_is_transformers_own() -> None:
    torch.manual_seed(0)
    ours = models.build("videomae", 51, variant="small", frames=8, size=64).eval()
    config = copy.deepcopy(ours.backbone.config)
    config.num_labels = 51
    peer = VideoMAEForVideoClassification(config).eval()
    ours.load_state_dict(current_names(peer.state_dict()))
    clips = torch.randn(2, 3, 8, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(clips), peer(clips.transpose(1, 2)).logits, **CLOSE)


def test_the_baseline_is_torchvisions_r2plus1d_18() -> None:
    torch.manual_seed(0)
    ours = models.build("r2plus1d", 51).eval()
    peer = r2plus1d_18(num_classes=51).eval()
    peer.load_state_dict(
        {name.removeprefix("backbone.").removeprefix("head."): value for name, value in ours.state_dict().items()}
    )
    clips = torch.randn(1, 3, 8, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(clips), peer(clips), **CLOSE)
