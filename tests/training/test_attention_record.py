"""What a run records of its attention: where it looks, and what comes through the gate of `residual_pool`."""

import pytest
import torch
from helpers.finished_run import write_finished_run

from hmdb_lib.environment import place
from hmdb_lib.inference.classifier import Classifier
from hmdb_lib.results import tables
from hmdb_lib.results.metrics import correct
from hmdb_lib.training import experiment as training

SMALL = {"perceiver__latents": 8, "perceiver__width": 64}


@pytest.fixture(params=[0, "all"], ids=["trained backbone", "stored features"], scope="module")
def gated_run(request, tiny_experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HMDB_RESULTS", str(folder / "results"))
        patch.setenv("HMDB_DATA", str(folder / "data"))
        return training.train(tiny_experiment("head_gated", model__frozen=request.param, **SMALL))


@pytest.mark.slow
def test_a_gated_head_is_judged_with_the_gates_part_and_without_it(gated_run):
    attention, accuracy = gated_run.summary["attention"], gated_run.summary["test"]["accuracy"]
    without = gated_run.predictions_without_gate
    assert attention["gate"]["accuracy_without"] == correct(without).mean()
    assert attention["gate"]["difference"] == pytest.approx(accuracy - correct(without).mean())
    assert 0 < attention["gate"]["variance_share"] < 1
    assert 0 < attention["entropy"] <= 1
    assert 0 < attention["shared"] <= 1


@pytest.mark.slow
def test_what_is_predicted_without_the_gate_is_what_the_same_weights_with_a_shut_gate_predict(gated_run):
    classifier = Classifier.load(gated_run.folder)
    torch.nn.init.zeros_(classifier.model.head.gate.weight)
    data = training.read_data(gated_run.config, place())
    found = classifier.predict(data.files("test"), clips=2)
    recorded = gated_run.predictions_without_gate.iloc[:, 3:].to_numpy()
    for video, probabilities in zip(found.videos, recorded, strict=True):
        assert video.probabilities == pytest.approx(probabilities, abs=2e-3)  # features are stored in fp16


@pytest.mark.slow
def test_the_table_says_what_the_attention_does(gated_run):
    table = tables.study({"head_gated": [gated_run]}, "head_gated")
    assert table.gate_gain["head_gated"] == gated_run.summary["attention"]["gate"]["difference"]
    assert table.attention_entropy["head_gated"] == gated_run.summary["attention"]["entropy"]
    shown = tables.study_text(table, "tiny")
    assert shown["ours (tiny)", "the gate adds, points"][0].startswith(f"{100 * table.gate_gain['head_gated']:+.1f} [")


def test_a_run_of_before_has_no_such_columns(tiny_config, tmp_path):
    config = tiny_config("head_gated", **SMALL)
    old = write_finished_run(config, tmp_path / "run")
    assert old.predictions_without_gate is None
    assert "attention" not in old.summary


@pytest.mark.slow
def test_a_shut_gate_is_seen_at_once(tiny_config):
    run = training.train(tiny_config("head_gated", train__lr=1e-30, train__epochs=1, **SMALL))
    gate = run.summary["attention"]["gate"]
    assert gate["variance_share"] == pytest.approx(0, abs=1e-9)
    assert gate["difference"] == 0
