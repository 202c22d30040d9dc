"""A run that waits for its loader says so, and so does one whose fp16 overflows."""

import time
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.plugins import MixedPrecision

from hmdb_lib.data.store import FrameStore
from hmdb_lib.errors import UserError
from hmdb_lib.training.callbacks import BATCHES, LossScale, Waiting


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


class Overflowing(BoringModel):
    """Its loss is infinite in the steps that `overflows` tells."""

    def __init__(self, overflows):
        super().__init__()
        self.overflows = overflows

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)["loss"]
        return loss * float("inf") if self.overflows(batch_idx) else loss


def train_in_fp16(overflows):
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256))],
        callbacks=[LossScale()],
    )
    trainer.fit(Overflowing(overflows))


@pytest.mark.filterwarnings("ignore")  # of Lightning, about this small loader
def test_steps_of_fp16_that_overflow_are_left_out_and_told(capsys):
    train_in_fp16(lambda step: step in (3, 5))
    assert "fp16: 2 steps of this epoch overflowed and were left out; loss scale 64" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_a_run_whose_steps_all_overflow_stops_and_says_what_to_set():
    with pytest.raises(UserError, match=r"fp16 overflows at every step.*train.precision=fp32"):
        train_in_fp16(lambda step: True)
