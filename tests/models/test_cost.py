"""The costs of a model: closed forms against counts, FLOPs against the known ones, measured time and memory."""

import time
from functools import partial

import pytest
import torch
from helpers import architectures
from helpers.architectures import ROWS, STUDY
from helpers.closed_form import closed_form

from hmdb_lib import config, models
from hmdb_lib.models import cost
from hmdb_lib.models.backbones.resnets import LAYERS

CLASSES = 51


def on_paper(row: str) -> torch.nn.Module:
    architecture, arguments = ROWS[row]
    with torch.device("meta"):
        return architectures.build(architecture, CLASSES, **arguments)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_the_closed_form_is_the_count_to_the_integer(row: str) -> None:
    counted = cost.count(on_paper(row))
    del counted["trainable"]
    assert closed_form(*ROWS[row], CLASSES) == counted


@pytest.mark.slow
@pytest.mark.parametrize("row", sorted(config.rows().keys() & STUDY.keys()))
def test_the_named_rows_are_the_studys_architectures(row: str) -> None:
    arguments = config.load(row, ["data=hmdb51"]).architecture()
    closed = closed_form(arguments.pop("backbone"), arguments, CLASSES)
    assert (closed["cnn"], closed["total"] - closed["cnn"]) == STUDY[row][2:]


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_the_closed_form_holds_for_every_cut(name: str) -> None:
    for blocks in range(1, sum(LAYERS[name]) + 1):
        arguments = {"head": "pool", "backbone_options": {"blocks": blocks}}
        with torch.device("meta"):
            model = models.build(name, CLASSES, **arguments)
        assert closed_form(name, arguments, CLASSES)["total"] == cost.count(model)["total"]


@pytest.mark.parametrize("width", [0.5, 0.25])
@pytest.mark.parametrize("name", LAYERS)
def test_the_closed_form_holds_for_a_share_of_the_channels(name: str, width: float) -> None:
    arguments = {"head": "pool", "backbone_options": {"blocks": 4, "width": width}}
    with torch.device("meta"):
        model = models.build(name, CLASSES, **arguments)
    counted = cost.count(model)
    del counted["trainable"]
    assert closed_form(name, arguments, CLASSES) == counted
    assert model.backbone.channels == 128 * width


def test_frozen_parameters_count_but_are_not_trainable() -> None:
    counted = cost.count(on_paper("cross_not_trained"))
    assert counted["total"] - counted["trainable"] == counted["cross_attention"] > 0


@pytest.fixture(scope="module")
def table() -> dict[str, dict[str, int]]:
    chosen = ["cross1_self1", "self1", "blocks4_cross2_self12", "latents_over_time", "baseline"]
    chosen += ["blocks6_cross1_self6", "bert_32", "videomae_small"]
    rows = {row: {"frames": 16, "size": 112} | architectures.design(*ROWS[row]) for row in chosen}
    return cost.table(rows).to_dict("index")


@pytest.mark.slow
def test_the_table_has_the_studys_counts(table: dict) -> None:
    for row in table.keys() & STUDY.keys():
        line = table[row]
        middle = line["cross_attention"] + line["self_attention"] + line["classifier"]
        assert (line["cnn"], middle, line["total"]) == (*STUDY[row][2:], sum(STUDY[row][2:]))


@pytest.mark.slow
@pytest.mark.parametrize(("row", "gflops"), [("baseline", 81.0), ("videomae_small", 113.8)])
def test_flops_of_a_clip_are_the_known_ones(row: str, gflops: float, table: dict) -> None:
    assert round(table[row]["flops"] / 1e9, 1) == gflops


@pytest.mark.slow
@pytest.mark.parametrize(("row", "gflops"), [("cross1_self1", 81.0), ("blocks4_cross2_self12", 66.0)])
def test_flops_of_the_cnn_are_the_known_ones(row: str, gflops: float, table: dict) -> None:
    assert round(table[row]["flops_cnn"] / 1e9, 1) == gflops


def test_every_flop_belongs_to_a_component(table: dict) -> None:
    for line in table.values():
        assert sum(line[f"flops_{part}"] for part in cost.COMPONENTS) == line["flops"]
        assert all((line[f"flops_{part}"] > 0) == (line[part] > 0) for part in cost.COMPONENTS)


@pytest.mark.parametrize(
    ("row", "tokens", "latents", "pairs"),
    [
        ("cross1_self1", 98, 256, 256 * 98 + 256**2),
        ("self1", 98, 0, 98**2),
        ("blocks4_cross2_self12", 6272, 256, 2 * 256 * 6272 + 12 * 256**2),
        ("blocks6_cross1_self6", 784, 256, 256 * 784 + 6 * 256**2),
        ("latents_over_time", 784, 16, 16 * 784 + 64**2),
        ("baseline", 98, 0, 0),
        ("bert_32", 4, 0, 16),
        ("videomae_small", 1568, 0, 12 * 1568**2),
    ],
)
def test_tokens_latents_and_pairs(row: str, tokens: int, latents: int, pairs: int, table: dict) -> None:
    line = table[row]
    assert (line["tokens"], line["latents"], line["pairs"]) == (tokens, latents, pairs)


@pytest.mark.parametrize(("blocks", "frames", "size"), [(8, 9, 113), (6, 17, 70), (3, 11, 65), (2, 8, 64)])
def test_tokens_are_what_the_cnn_puts_out_at_odd_sizes_too(blocks: int, frames: int, size: int) -> None:
    with torch.device("meta"):
        model = architectures.build("hybrid", CLASSES, blocks=blocks)
        tokens = model.backbone(torch.zeros(1, 3, frames, size, size))
    assert tokens[0, ..., 0].numel() == cost.attention_size(model, frames, size)["tokens"]


def test_a_step_on_apples_gpu_is_timed_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[str] = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: (launched.clear(), time.sleep(0.05)))
    assert cost.seconds(lambda: launched.append("step"), 3) >= 0.05
    assert not launched


@pytest.mark.slow
def test_measured_memory_grows_with_the_clip_and_with_the_backward_pass() -> None:
    make = partial(models.build, "r2plus1d_18", CLASSES, head="pool", backbone_options={"blocks": 1})
    small, large = (cost.measure(make, frames, 112, repeats=1) for frames in (8, 32))
    assert 0 < small["seconds_forward"] < small["seconds_training"]
    assert small["bytes_training"] < large["bytes_training"]
    assert large["bytes_forward"] < large["bytes_training"]
    features = 32 * 64 * 56 * 56 * 4  # one activation of the longer clip
    assert large["bytes_training"] > 5 * features
