"""Training stops where validation accuracy has not risen for so many epochs, also when it is resumed."""

import pytest

from hmdb_lib.errors import UserError
from hmdb_lib.results.runs import Run
from hmdb_lib.training import experiment as training


@pytest.fixture
def impatient(tiny_config):
    """A run that learns nothing, so that the first epoch stays the best."""
    still = {"train__lr": 1e-30, "train__backbone_lr": 1e-30, "evaluate__validation_clips": 1, "model__width": 0.25}
    return tiny_config(train__epochs=9, train__patience=2, **still)


@pytest.mark.slow
def test_a_run_without_progress_ends_after_its_patience_and_is_tested_and_recorded(impatient):
    run = training.train(impatient)
    assert len(run.metrics) == run.summary["epochs_done"] < run.summary["epochs"] == 9
    best = run.summary["best_epoch"]["epoch"]
    assert len(run.metrics) == best + 1 + 2
    assert len(run.predictions) == 4


@pytest.mark.slow
def test_a_run_that_had_stopped_and_was_killed_before_its_test_trains_no_further(impatient, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", lambda *of: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            training.train(impatient)
    before = training.resolve(impatient).run.metrics
    assert len(training.train(impatient).metrics) == len(before) < 9


def test_patience_without_validation_is_refused(tiny_config):
    with pytest.raises(UserError, match=r"train\.patience watches validation accuracy"):
        tiny_config(train__patience=2, data__validation_share=0)
