"""Averaged weights: what validation judged is what best.ckpt holds and what the test judges."""

import pytest
import torch
from helpers.cut_off import assert_same, stop_after

from hmdb_lib.environment import place
from hmdb_lib.results.metrics import VideoScores
from hmdb_lib.results.runs import Run
from hmdb_lib.training import experiment as training

EMA = {"train__ema": 0.9}


def judge(config, run):
    """Validation scores of the weights in best.ckpt."""
    data = training.read_data(config, place())
    module = training.make_module(config, training.build_model(config, len(data.classes)), run)
    module.load_state_dict(torch.load(run.best, weights_only=True)["state_dict"])
    module.eval()
    scores = VideoScores(len(data.classes))
    with torch.no_grad():
        for batch in data.val_dataloader():
            logits = module.model.head(module.tokens(batch, 1))
            times = len(logits) // len(batch["videos"])
            videos, labels = (batch[name].repeat_interleave(times).numpy() for name in ("videos", "labels"))
            scores.add(videos, labels, logits.softmax(1).numpy())
    return scores.summary()


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [0, "all"])
def test_the_kept_weights_have_the_validation_score_that_chose_them(tiny_config, frozen, tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_DATA", str(tmp_path / "data"))
    run = training.train(tiny_config(model__frozen=frozen, **EMA))
    told = run.summary["best_epoch"]
    found = judge(tiny_config(**EMA), run)
    assert found["video_loss"] == pytest.approx(told["val_video_loss"], rel=1e-3)
    assert found["video_accuracy"] == told["val_video_accuracy"]


@pytest.mark.slow
def test_best_holds_the_averaged_batch_norm_and_last_both_models(tiny_config):
    run = training.train(tiny_config(train__epochs=1, **EMA))
    best, last = (torch.load(file, weights_only=True) for file in (run.best, run.last))
    assert not {"current_model_state", "averaging_state"} & best.keys()
    for name, value in best["state_dict"].items():
        torch.testing.assert_close(value, last["state_dict"][name], msg=name)
    moved = [
        key for key, value in best["state_dict"].items() if not torch.equal(value, last["current_model_state"][key])
    ]
    assert any(key.endswith("running_mean") for key in moved)
    assert any(key.endswith("fc.weight") for key in moved)


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_with_the_same_digits(tiny_config, tmp_path, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            training.train(tiny_config(train__epochs=3, **EMA))
    resumed = training.train(tiny_config(train__epochs=3, **EMA))
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path / "whole"))
    whole = training.train(tiny_config(train__epochs=3, **EMA))
    assert_same(resumed, whole)


@pytest.mark.slow
def test_a_final_fit_tests_the_averaged_weights_of_its_last_epoch(tiny_config, tmp_path):
    training.train(tiny_config(**EMA))
    final = training.train(tiny_config(train__final_fit="true", **EMA))
    best, last = (torch.load(file, weights_only=True)["state_dict"] for file in (final.best, final.last))
    assert all(torch.equal(value, last[key]) for key, value in best.items())
    assert Run.of(tiny_config(train__final_fit="true", **EMA), tmp_path / "results").finished
