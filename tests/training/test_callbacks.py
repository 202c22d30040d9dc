"""A run that waits for its loader says so."""

import time
from types import SimpleNamespace

import pytest

from hmdb_lib.data.store import FrameStore
from hmdb_lib.training.callbacks import BATCHES, Waiting


def epoch(callback, trainer, wait, work, batches=BATCHES + 2):
    callback.on_train_epoch_start(trainer, None)
    for number in range(batches):
        time.sleep(wait)
        callback.on_train_batch_start(trainer, None, None, number)
        time.sleep(work)
        callback.on_train_batch_end(trainer, None, None, None, number)
    callback.on_train_epoch_end(trainer, None)


@pytest.fixture
def trainer():
    return SimpleNamespace(is_global_zero=True, datamodule=SimpleNamespace(workers=2, source=None))


def test_a_slow_loader_is_told_once_with_what_to_change(trainer, capsys):
    callback = Waiting()
    epoch(callback, trainer, wait=0.01, work=0.001)
    said = capsys.readouterr().out
    assert "the loader is the limit: " in said
    assert "hmdb extract, or raise data.workers (now 2)" in said
    epoch(callback, trainer, wait=0.01, work=0.001)
    assert not capsys.readouterr().out


def test_a_slow_store_is_not_told_to_make_a_store(trainer, tmp_path, capsys):
    trainer.datamodule.source = FrameStore(tmp_path)
    epoch(Waiting(), trainer, wait=0.01, work=0.001)
    assert "or store frames uncompressed" in capsys.readouterr().out


@pytest.mark.parametrize(("wait", "work", "batches"), [(0.0, 0.01, BATCHES), (0.01, 0.0, BATCHES - 1)])
def test_a_slow_model_or_a_handful_of_batches_say_nothing(trainer, capsys, wait, work, batches):
    epoch(Waiting(), trainer, wait, work, batches)
    assert not capsys.readouterr().out
