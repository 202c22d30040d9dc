"""Starting from given weights: what fits is loaded exactly, what does not is refused in one line."""

import json
import pickle
import urllib.error
import urllib.request
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from helpers import architectures
from helpers.web import serve
from safetensors.torch import save_file
from torch import nn
from torchvision.models.video import r2plus1d_18
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification

from hmdb_lib import models
from hmdb_lib.errors import UserError
from hmdb_lib.models.pretrained import LAST, current_names


def small(architecture: str = "hybrid", classes: int = 5, **arguments: object) -> nn.Module:
    """A model of one CNN block."""
    if architecture == "hybrid":
        arguments = {"latents": 4, "width": 64} | arguments
    return architectures.build(architecture, classes, blocks=1, **arguments)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def save(content: object, path: Path) -> str:
    torch.save(content, path)
    return str(path)


@pytest.fixture(scope="module")
def torchvisions(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file as torchvision publishes it, with random weights."""
    return save(r2plus1d_18(num_classes=400).state_dict(), tmp_path_factory.mktemp("weights") / "r2plus1d_18.pth")


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, str]:
    """A model of this kit, and its checkpoint as Lightning writes it."""
    model = small()
    content = {"epoch": 3, "state_dict": {f"model.{key}": value for key, value in model.state_dict().items()}}
    content["state_dict"]["metric.total"] = torch.zeros(1)
    return model, save(content, tmp_path_factory.mktemp("weights") / "best.ckpt")


BEFORE = {  # architecture -> where the names of its parts began before there were backbones and heads
    "hybrid": {"head.": ""},
    "r2plus1d": {"head.": ""},
    "bert": {"head.": ""},
    "videomae": {"backbone.videomae.": "videomae.", "head.norm.": "fc_norm.", "head.fc.": "classifier."},
}
FIRST_NAMES = {  # as a release before that wrote them
    "hybrid": {"backbone", "latents", "class_token", "cross", "layers", "norm", "classifier"},
    "gated": {"backbone", "latents", "class_token", "cross", "layers", "norm", "gate", "fc"},
    "self": {"backbone", "class_token", "projection", "layers", "norm", "classifier"},
    "r2plus1d": {"backbone", "fc"},
    "bert": {"backbone", "class_token", "positions", "layers", "classifier"},
    "videomae": {"videomae", "fc_norm", "classifier"},
}
BEFORE_START = {"start": "published"}


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "encoder."], ids=["of classes", "without labels"])
@pytest.mark.parametrize(
    ("kind", "architecture", "arguments"),
    [
        ("hybrid", "hybrid", {"blocks": 1, "cross": 2, "self_layers": 2, "latents": 4, "width": 64} | BEFORE_START),
        ("gated", "hybrid", {"blocks": 1, "residual_pool": True, "latents": 4, "width": 64} | BEFORE_START),
        ("self", "hybrid", {"blocks": 1, "cross": 0, "width": 32} | BEFORE_START),
        ("r2plus1d", "r2plus1d", {"blocks": 1}),
        ("bert", "bert", {"blocks": 1}),
        ("videomae", "videomae", {"variant": "small", "frames": 2, "size": 32}),
    ],
)
def test_a_checkpoint_of_before_backbone_and_head_fills_the_model(
    kind: str, architecture: str, arguments: dict, prefix: str, tmp_path: Path
) -> None:
    given, model = (architectures.build(architecture, 5, **arguments) for _ in range(2))
    old = {}
    for key, value in given.state_dict().items():
        start = next((start for start in BEFORE[architecture] if key.startswith(start)), "")
        old[BEFORE[architecture].get(start, "") + key.removeprefix(start)] = value
    assert {key.partition(".")[0] for key in old} == FIRST_NAMES[kind]
    state = {f"model.{prefix}{key}": value for key, value in old.items()}
    filled = models.load_pretrained(model, save({"state_dict": state}, tmp_path / "best.ckpt"))
    left = {key for key in model.state_dict() if key.startswith(LAST)} if prefix else set()  # has no classes yet
    assert set(model.state_dict()) - filled == left
    assert all(torch.equal(model.state_dict()[key], given.state_dict()[key]) for key in filled)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "blocks"), [("r2plus1d", 8), ("hybrid", 6), ("bert", 4)])
def test_torchvisions_weights_fill_the_cnn_up_to_its_cut_and_nothing_else(
    architecture: str, blocks: int, torchvisions: str
) -> None:
    model = architectures.build(architecture, 51, blocks=blocks)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    models.load_pretrained(model, torchvisions)
    given = torch.load(torchvisions, weights_only=True)
    for key, value in model.state_dict().items():
        name = key.removeprefix("backbone.")
        assert torch.equal(value, before[key] if name == key else given[name])


@pytest.mark.slow
def test_a_checkpoint_of_this_kit_comes_back_whole(kits: tuple[nn.Module, str]) -> None:
    model = small()
    models.load_pretrained(model, kits[1])
    assert same(model, kits[0])


@pytest.mark.slow
def test_a_plain_state_dict_of_the_same_model_comes_back_whole(tmp_path: Path) -> None:
    trained, model = small("bert"), small("bert")
    models.load_pretrained(model, save(trained.state_dict(), tmp_path / "bert.pth"))
    assert same(model, trained)


@pytest.mark.slow
def test_a_classifier_for_other_classes_stays_fresh_and_all_else_is_loaded(kits: tuple[nn.Module, str]) -> None:
    model = small(classes=7)
    fresh = model.head.classifier.weight.clone()
    models.load_pretrained(model, kits[1])
    assert torch.equal(model.head.classifier.weight, fresh)
    assert all(
        torch.equal(value, kits[0].state_dict()[key])
        for key, value in model.state_dict().items()
        if not key.startswith("head.classifier.")
    )


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "kept"), [(["a", "b"], True), (["a", "c"], False)])
def test_a_file_that_names_its_classes_keeps_its_last_layer_for_the_same_ones_alone(classes, kept, tmp_path):
    trained, model, file = small(classes=2), small(classes=2), tmp_path / "model.safetensors"
    save_file(trained.state_dict(), file, {"hmdb_lib": json.dumps({"classes": ["a", "b"]})})
    models.load_pretrained(model, str(file), classes)
    assert torch.equal(model.head.classifier.weight, trained.head.classifier.weight) == kept
    assert torch.equal(model.head.latents, trained.head.latents)


@pytest.mark.slow
def test_a_trained_baseline_starts_a_residual_pool_where_it_stopped(tmp_path: Path) -> None:
    baseline, model = small("r2plus1d").eval(), small(residual_pool=True).eval()
    models.load_pretrained(model, save(baseline.state_dict(), tmp_path / "baseline.pth"))
    clips = torch.randn(1, 3, 8, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(clips), baseline(clips))


@pytest.mark.slow
def test_none_leaves_the_model_as_it_is() -> None:
    torch.manual_seed(0)
    one = small()
    torch.manual_seed(0)
    other = small()
    models.load_pretrained(other, "none")
    assert same(one, other)


def spoil(state: dict, how: str) -> dict:
    if how == "missing":
        del state["head.latents"], state["head.norm.bias"]
    elif how == "unexpected":
        state["backbone.layer1.0.extra"] = torch.zeros(1)
    else:
        state["head.latents"] = torch.zeros(1, 8, 64)
    return state


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"2 missing \(head.latents, head.norm.bias\)"),
        ("unexpected", r"1 unexpected \(backbone.layer1.0.extra\)"),
        ("misshapen", r"1 of another shape \(head.latents \(1, 8, 64\) instead of \(1, 4, 64\)\)"),
    ],
)
def test_keys_that_do_not_fit_are_named_and_counted(how: str, message: str, tmp_path: Path) -> None:
    path = save(spoil(small().state_dict(), how), tmp_path / "spoilt.pth")
    model = small()
    before = model.head.latents.clone()
    with pytest.raises(UserError, match=f"spoilt.pth: does not fit r2plus1d_18 with the head perceiver: {message}"):
        models.load_pretrained(model, path)
    assert torch.equal(model.head.latents, before)


@pytest.mark.slow
def test_a_cnn_with_a_hole_is_refused(torchvisions: str, tmp_path: Path) -> None:
    state = torch.load(torchvisions, weights_only=True)
    del state["layer1.0.conv1.1.running_mean"]
    with pytest.raises(UserError, match=r"1 missing \(backbone.layer1.0.conv1.1.running_mean\)"):
        models.load_pretrained(small(), save(state, tmp_path / "hole.pth"))


@pytest.mark.slow
def test_another_architectures_checkpoint_is_refused(kits: tuple[nn.Module, str]) -> None:
    with pytest.raises(UserError, match=r"does not fit r2plus1d_18 with the head bert: \d+ missing"):
        models.load_pretrained(small("bert"), kits[1])


def test_18_layers_do_not_pass_for_34(torchvisions: str) -> None:
    with torch.device("meta"):
        model = architectures.build("r2plus1d", 5, depth=34, blocks=16)
    with pytest.raises(UserError, match=r"missing .* of another shape"):
        models.load_pretrained(model, torchvisions)


class Payload:
    """What a hostile file would run when unpickled."""

    def __reduce__(self) -> tuple:
        return (pytest.fail, ("code of the file was run",))


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(Payload(), protocol=2), b"this is no checkpoint\n", b"", b"PK\x03\x04 torn"],
    ids=["hostile pickle", "text", "empty", "torn"],
)
def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights.pth: cannot be read as weights of torch") as error:
        models.load_pretrained(small(), str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}])
def test_a_file_without_a_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no state dict"):
        models.load_pretrained(small(), save(content, tmp_path / "other.pth"))


def test_an_unknown_source_names_the_nearest_known_one() -> None:
    with pytest.raises(
        UserError, match="kinetic400: neither a file nor one of none, kinetics400, did you mean kinetics400"
    ):
        models.load_pretrained(small(), "kinetic400")


def test_no_network_is_one_line_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(UserError, match=r"r2plus1d_18-91a641e6.pth .*model.pretrained=<its path>") as error:
        models.load_pretrained(small(), "kinetics400")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_kinetics400_is_read_from_torchs_cache(
    torchvisions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "r2plus1d_18-91a641e6.pth").write_bytes(Path(torchvisions).read_bytes())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = small()
    models.load_pretrained(model, "kinetics400")
    assert torch.equal(model.backbone.stem[0].weight, torch.load(torchvisions, weights_only=True)["stem.0.weight"])


# VideoMAE


def vit(width: int = 384, **options: object) -> VideoMAEConfig:
    return VideoMAEConfig(
        image_size=32,
        num_frames=2,
        hidden_size=width,
        num_hidden_layers=12,
        num_attention_heads=6,
        intermediate_size=4 * width,
        **options,
    )


@pytest.fixture(scope="module")
def videomae() -> nn.Module:
    return architectures.build("videomae", 5, variant="small", frames=2, size=32)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [5, 400])
def test_a_finetuned_folder_fills_videomae_and_its_head_where_the_classes_agree(
    classes: int, videomae: nn.Module, tmp_path: Path
) -> None:
    given = VideoMAEForVideoClassification(vit(num_labels=classes))
    given.save_pretrained(tmp_path)
    models.load_pretrained(videomae, str(tmp_path))
    named = current_names(given.state_dict())
    differs = {key for key, value in named.items() if not torch.equal(value, videomae.state_dict()[key])}
    assert differs == (set() if classes == 5 else {"head.fc.weight", "head.fc.bias"})


@pytest.mark.slow
def test_a_self_supervised_folder_fills_the_encoder(videomae: nn.Module, tmp_path: Path) -> None:
    given = VideoMAEForPreTraining(vit(use_mean_pooling=False))
    given.save_pretrained(tmp_path)
    models.load_pretrained(videomae, str(tmp_path))
    encoder = given.videomae.encoder.state_dict()
    assert all(
        torch.equal(value, encoder[key]) for key, value in videomae.backbone.videomae.encoder.state_dict().items()
    )


def test_a_folder_of_another_size_is_refused(videomae: nn.Module, tmp_path: Path) -> None:
    VideoMAEForVideoClassification(vit(width=192)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"does not fit videomae_small with the head pool: .* of another shape"):
        models.load_pretrained(videomae, str(tmp_path))


def test_torn_weights_in_a_folder_are_one_line(videomae: nn.Module, tmp_path: Path) -> None:
    VideoMAEForVideoClassification(vit()).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="nor a folder with whole weights"):
        models.load_pretrained(videomae, str(tmp_path))


@pytest.mark.parametrize(
    ("refusal", "told"), [("die", "it cannot be reached"), (401, "it answers 401, .*hf auth login")]
)
def test_a_network_of_timm_that_cannot_be_fetched_is_one_line_and_names_one_that_can(
    refusal: int | str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = "huggingface_hub.constants."
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # try again at once
    monkeypatch.setattr(constants + "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants + "HF_HUB_CACHE", str(tmp_path))
    with serve() as web:
        monkeypatch.setattr(constants + "ENDPOINT", web.url)
        monkeypatch.setattr(
            constants + "HUGGINGFACE_CO_URL_TEMPLATE", web.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        web.refusals["/"] = refusal
        backbone = models.build_backbone("timm:resnet10t")
        with pytest.raises(UserError, match=f"timm:resnet10t: .*{told}.*efficientnet_lite0 needs no download") as error:
            backbone.fetch("timm")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("source", ["MCG-NJU/videomae-base", "/no/such/folder"])
def test_a_hub_out_of_reach_is_one_line(source: str, videomae: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=f"model.pretrained={source}: .*Hugging Face hub") as error:
        models.load_pretrained(videomae, source)
    assert "\n" not in str(error.value)
