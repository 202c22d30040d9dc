"""The architectures that the tests build, by short names, and the published study's counts to the integer."""

from collections.abc import Mapping
from typing import Any

from hmdb_lib import models

CLASSES = 51
HEADS = {"hybrid": "perceiver", "r2plus1d": "pool", "bert": "bert", "videomae": "pool"}


def design(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `models.build` of an architecture whose own all stand side by side; a backbone keeps its."""
    own = dict(arguments)
    if name == "videomae":
        clips = {"frames": own.pop("frames", 16), "size": own.pop("size", 224)}
        backbone = f"videomae_{own.pop('variant', 'base')}"
        return clips | {"backbone": backbone, "backbone_options": own, "head": "pool", "head_options": {"norm": True}}
    if name not in HEADS:
        return {"backbone": name} | own
    clips = {"frames": own.pop("frames", 32)} if name == "bert" else {}
    backbone = f"r2plus1d_{own.pop('depth', 18)}"
    options = {key: own.pop(key) for key in ("blocks", "frozen") if key in own}
    if "channels" in own:
        options["width"] = own.pop("channels")  # `width` is that of the latents
    return clips | {"backbone": backbone, "backbone_options": options, "head": HEADS[name], "head_options": own}


def build(name: str, classes: int, **arguments: Any) -> models.VideoModel:
    """Build the model of `design`, with random weights."""
    return models.build(classes=classes, **design(name, arguments))


# row -> (architecture, arguments, parameters of the CNN, of attention and classifier)
STUDY = {
    "cross1_self6": ("hybrid", {"self_layers": 6}, 31_300_125, 28_657_665),
    "cross1_self2": ("hybrid", {"self_layers": 2}, 31_300_125, 11_851_777),
    "cross1_self1": ("hybrid", {}, 31_300_125, 7_650_305),
    "cross1": ("hybrid", {"self_layers": 0}, 31_300_125, 3_448_321),
    "self1": ("hybrid", {"cross": 0}, 31_300_125, 4_229_171),
    "blocks7_cross1_self1": ("hybrid", {"blocks": 7}, 17_137_693, 7_650_305),
    "blocks6_cross1_self6": ("hybrid", {"blocks": 6, "self_layers": 6}, 7_804_601, 28_624_385),
    "blocks4_cross1_self6": ("hybrid", {"blocks": 4, "self_layers": 6}, 1_929_865, 28_607_745),
    "blocks4_cross2_self12": ("hybrid", {"blocks": 4, "cross": 2, "self_layers": 12}, 1_929_865, 57_056_719),
    "blocks4_cross2_self12_own_latents": (
        "hybrid",
        {"blocks": 4, "cross": 2, "self_layers": 12, "share_latents": False},
        1_929_865,
        57_187_791,
    ),
    "baseline": ("r2plus1d", {}, 31_300_125, 26_163),
    "bert_16": ("bert", {"frames": 16}, 31_300_125, 3_154_432 + 26_163),
    "bert_32": ("bert", {}, 31_300_125, 3_155_456 + 26_163),
    "bert_64": ("bert", {"frames": 64}, 31_300_125, 3_157_504 + 26_163),
    "videomae_small": ("videomae", {"variant": "small"}, 0, 21_899_571),
    "videomae_base": ("videomae", {"variant": "base"}, 0, 86_266_419),
}
SMALL = {"channels": 0.25, "blocks": 4, "latents": 16, "width": 128}
VARIANTS = {
    "cross_alone": ("hybrid", SMALL | {"self_layers": 0}),
    "cross_twice": ("hybrid", SMALL | {"cross": 2, "self_layers": 4}),
    "residual_pool": ("hybrid", SMALL | {"blocks": 6, "residual_pool": True}),
    "residual_change": ("hybrid", SMALL | {"blocks": 6, "residual_pool": "change"}),
    "latents_over_time": ("hybrid", SMALL | {"blocks": 6, "latents_over_time": True}),
    "latents_over_time_twice": (
        "hybrid",
        SMALL | {"latents_over_time": True, "cross": 2, "self_layers": 2, "share_latents": False},
    ),
    "regularised": ("hybrid", SMALL | {"dropout": 0.2, "attention_dropout": 0.1, "drop_path": 0.2}),
    "self1_of_6_blocks": ("hybrid", SMALL | {"blocks": 6, "cross": 0}),
    "partly_frozen": ("hybrid", SMALL | {"frozen": 3}),
    "cross_not_trained": ("hybrid", SMALL | {"train_cross": False}),
    "published_start": ("hybrid", SMALL | {"start": "published"}),
    "bert_of_4_blocks": ("bert", {"channels": 0.25, "blocks": 4}),
    "baseline_of_2_blocks": ("r2plus1d", {"channels": 0.25, "blocks": 2}),
    "depth_34": ("r2plus1d", {"channels": 0.25, "depth": 34, "blocks": 4}),
}
ROWS = {name: row[:2] for name, row in STUDY.items()} | VARIANTS
# Rows that differ in kind; the others differ from one of them in a number.
KINDS = ["cross1_self1", "videomae_small", *VARIANTS]
