"""Our models against the libraries that carry the same ones: same weights, same input, same output."""

import copy
from pathlib import Path

import pytest
import torch
from helpers import architectures
from perceiver_pytorch import Perceiver
from perceiver_pytorch.perceiver_pytorch import Attention, FeedForward, PreNorm
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.video import r2plus1d_18
from transformers import VideoMAEForVideoClassification, VJEPA2Config, VJEPA2Model, XCLIPConfig, XCLIPModel

from hmdb_lib import models
from hmdb_lib.models.backbones.video_transformers import VJEPA2
from hmdb_lib.models.heads.perceiver import AttentionLayer
from hmdb_lib.models.pretrained import current_names, fill

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
    ours = architectures.build(
        "hybrid", 51, blocks=4, cross=cross, self_layers=0, latents=32, latent_std=1.0
    ).head.eval()
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


@pytest.mark.slow
def test_videomae_is_transformers_own() -> None:
    torch.manual_seed(0)
    ours = architectures.build("videomae", 51, variant="small", frames=8, size=64).eval()
    config = copy.deepcopy(ours.backbone.config)
    config.num_labels = 51
    peer = VideoMAEForVideoClassification(config).eval()
    ours.load_state_dict(current_names(peer.state_dict()))
    clips = torch.randn(2, 3, 8, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(clips), peer(clips.transpose(1, 2)).logits, **CLOSE)


@pytest.mark.slow
def test_the_baseline_is_torchvisions_r2plus1d_18() -> None:
    torch.manual_seed(0)
    ours = architectures.build("r2plus1d", 51).eval()
    peer = r2plus1d_18(num_classes=51).eval()
    peer.load_state_dict(
        {name.removeprefix("backbone.").removeprefix("head."): value for name, value in ours.state_dict().items()}
    )
    clips = torch.randn(1, 3, 8, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(clips), peer(clips), **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "last"), [("s3d", "features"), ("swin3d_t", "norm"), ("mvit_v2_s", "norm")])
def test_torchvisions_other_networks_fill_ours_and_give_the_same_tokens(name: str, last: str) -> None:
    torch.manual_seed(0)
    peer, ours = get_model(name).eval(), models.build(name, 51, head="pool").eval()
    assert set(ours.state_dict()) - fill(ours, peer.state_dict(), name) == {"head.fc.weight", "head.fc.bias"}
    seen: list[Tensor] = []
    getattr(peer, last).register_forward_hook(lambda module, inputs, out: seen.append(out))
    size = 224 if name != "swin3d_t" else 64
    clips = torch.randn(1, 3, 16, size, size)
    with torch.no_grad():
        tokens = ours.backbone(clips)
        peer(clips)
    expected = {
        "s3d": lambda x: x.permute(0, 2, 3, 4, 1),
        "swin3d_t": lambda x: x,
        "mvit_v2_s": lambda x: x[:, 1:].view_as(tokens),
    }
    torch.testing.assert_close(tokens, expected[name](seen[0]), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_the_average_of_xclips_tokens_is_what_its_own_protocol_averages() -> None:
    torch.manual_seed(0)
    ours = models.build("xclip_patch32", 51, head="pool", frames=8, size=224).eval()
    text = {"num_hidden_layers": 1, "vocab_size": 3, "pad_token_id": 1}
    peer = XCLIPModel(XCLIPConfig(text_config=text, prompt_layers=1)).eval()
    assert set(ours.state_dict()) - fill(ours, peer.state_dict(), "xclip") == {"head.fc.weight", "head.fc.bias"}
    clips = torch.randn(2, 3, 8, 224, 224)
    with torch.no_grad():
        theirs = peer.get_video_features(clips.transpose(1, 2))
        mean = ours.backbone(clips).mean((1, 2, 3))
    torch.testing.assert_close(mean, getattr(theirs, "pooler_output", theirs), atol=1e-4, rtol=1e-4)


def test_vjepa2_reads_its_own_folder_and_gives_its_own_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VJEPA2, "vjepa2_large", (96, 2, 2, 4, "nowhere"))
    torch.manual_seed(0)
    width = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2, "crop_size": 64}
    peer = VJEPA2Model(VJEPA2Config(**width, pred_num_hidden_layers=1)).eval()
    peer.save_pretrained(tmp_path)
    ours = models.build("vjepa2_large", 51, head="pool", frames=4, size=64).eval()
    filled = models.load_pretrained(ours, str(tmp_path))
    assert set(ours.state_dict()) - filled == {"head.fc.weight", "head.fc.bias"}
    clips = torch.randn(1, 3, 4, 64, 64)
    with torch.no_grad():
        theirs = peer(clips.transpose(1, 2), skip_predictor=True).last_hidden_state
        torch.testing.assert_close(ours.backbone(clips).flatten(1, 3), theirs, **CLOSE)
