"""A run does not lose work: to a kill, a torn file, a full disk, a folder that vanishes, or too little memory."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import lightning as L
import pytest
import torch
from helpers.cut_off import assert_same, stop_after

from hmdb_lib.environment import ROOT
from hmdb_lib.errors import UserError
from hmdb_lib.results.metrics import VideoScores
from hmdb_lib.results.runs import Run
from hmdb_lib.training import experiment as training
from hmdb_lib.training.checkpoints import WholeCheckpoints, newest_whole
from hmdb_lib.training.modules import VideoClassifier


@pytest.fixture(scope="module")
def cut_once(tiny_experiment, tmp_path_factory):
    """A results folder, and beside it what a run of four epochs that stopped in its third left there."""
    results = tmp_path_factory.mktemp("cut") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HMDB_RESULTS", str(results))
        stop_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            training.train(tiny_experiment(train__epochs=4))
    return results, results.rename(results.with_name("kept"))


@pytest.fixture
def cut(cut_once, tiny_experiment, monkeypatch):
    """A run of four epochs that stopped in its third, its last and previous checkpoints there."""
    results, kept = cut_once
    shutil.copytree(kept, results)  # where it was trained: Lightning warns of a checkpoint that was moved
    monkeypatch.setenv("HMDB_RESULTS", str(results))
    config = tiny_experiment(train__epochs=4)
    yield config, Run.of(config, results)
    shutil.rmtree(results)


@pytest.mark.slow
def test_the_checkpoint_before_the_last_one_is_kept_while_a_run_goes_on(cut):
    _, run = cut
    epochs = [torch.load(file, weights_only=True)["epoch"] for file in (run.previous, run.last)]
    assert epochs == [0, 1]


@pytest.mark.slow
def test_a_torn_checkpoint_is_told_and_the_one_before_gives_the_same_digits(cut, tiny_experiment, capsys):
    config, run = cut
    os.truncate(run.last, run.last.stat().st_size // 2)
    resumed = training.train(config)
    printed = capsys.readouterr().out
    assert "last.ckpt: torn (" in printed
    assert "resuming after epoch 1 of 4" in printed
    assert_same(resumed, training.train(tiny_experiment(train__epochs=4, name="whole")))
    assert not run.previous.exists()


def test_without_a_whole_checkpoint_a_run_starts_anew(cut):
    _, run = cut
    for file in (run.last, run.previous):
        file.write_bytes(b"torn")
    assert newest_whole(run) == (None, 0)


def test_a_kill_between_the_two_renames_loses_nothing(cut):
    _, run = cut
    run.last.unlink()
    assert newest_whole(run) == (run.previous, 1)


def test_a_run_whose_best_checkpoint_is_gone_is_refused_before_it_trains(cut):
    config, run = cut
    run.best.unlink()
    with pytest.raises(UserError, match=r"best\.ckpt: is missing"):
        training.train(config)
    assert len(run.metrics) == 3


@pytest.mark.slow
def test_ctrl_c_during_the_test_says_that_the_epochs_are_kept(tiny_config, monkeypatch):
    monkeypatch.setattr(VideoClassifier, "test_step", lambda *of: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt, match="1 of 1 epochs are kept"):
        training.train(tiny_config(train__epochs=1))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"the disk is full; free some of it"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), r"halve train\.batch_size and double"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), r"halve train\.batch_size and double"),
        (ValueError("loaded state dict has a different number of parameter groups"), r"begin anew under a new name"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), r"set a smaller data\.workers"),
    ],
    ids=["disk", "gpu memory", "memory", "groups", "worker"],
)
def test_a_fault_is_one_line_and_the_last_checkpoint_stays(cut, monkeypatch, fault, told):
    config, run = cut
    before = run.last.read_bytes()

    def fail(self, *arguments):
        raise fault

    monkeypatch.setattr(VideoClassifier, "training_step", fail)
    with pytest.raises(UserError, match=told) as caught:
        training.train(config)
    assert "\n" not in str(caught.value)
    assert run.last.read_bytes() == before


def test_a_disk_that_fills_while_a_checkpoint_is_written_leaves_the_one_before(cut, monkeypatch):
    config, run = cut
    before = run.last.read_bytes()

    def fill(content, file):
        file.write(b"half a checkpoint")
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 20001472 vs 20001424")  # as torch does when it closes the file

    monkeypatch.setattr("hmdb_lib.training.checkpoints.torch.save", fill)
    with pytest.raises(UserError, match="the disk is full"):
        training.train(config)
    assert run.last.read_bytes() == before
    assert list(run.checkpoints.glob("*.part")) == []


def test_a_results_folder_that_vanishes_is_told(tiny_config, monkeypatch):
    def vanish(self, checkpoint, path, storage_options=None):
        self.run.folder.rename(self.run.folder.with_name("elsewhere"))  # TensorBoard's thread may be writing there
        save(self, checkpoint, path, storage_options)

    save = WholeCheckpoints.save_checkpoint
    monkeypatch.setattr(WholeCheckpoints, "save_checkpoint", vanish)
    with pytest.raises(UserError, match="the results folder is gone; is the disk or Drive"):
        training.train(tiny_config())


def test_a_fault_of_the_thread_that_writes_for_tensorboard_is_told_once(tiny_config):
    """A trace that the thread printed would fail this test: pytest sees it."""

    class Vanish(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            shutil.rmtree(trainer.logger.save_dir)
            trainer.logger.experiment.add_scalar("anything", 1)
            trainer.logger.experiment.flush()

    with pytest.raises(UserError, match="the results folder is gone"):
        training.train(tiny_config(), callbacks=[Vanish()])


def test_a_loss_that_is_not_a_number_is_told_and_the_last_checkpoint_stays(cut, monkeypatch):
    config, run = cut
    before = run.last.read_bytes()
    monkeypatch.setattr(
        "hmdb_lib.data.transforms.normalise", lambda clips, mean, std: clips.permute(0, 4, 1, 2, 3) * torch.nan
    )
    with pytest.raises(UserError, match=r"the loss is nan; the last checkpoint is kept\. Lower train\.lr"):
        training.train(config)
    assert run.last.read_bytes() == before


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_same_digits(tiny_config, tmp_path):
    """HMDB_KILLS says how often; 3 unless it is set."""
    whole, killed = (tiny_config(train__epochs=4, name=name) for name in ("whole", "killed"))
    run = Run.of(killed, os.environ["HMDB_RESULTS"])
    file = tmp_path / "config.yaml"
    file.write_text(killed.to_yaml())
    command = [sys.executable, str(ROOT / "train.py"), "--config", str(file)]
    moment = random.Random(0)
    for _ in range(int(os.environ.get("HMDB_KILLS", 3))):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rows = len(run.metrics)
        while len(run.metrics) == rows and child.poll() is None:
            time.sleep(0.01)
        time.sleep(moment.random())
        child.send_signal(signal.SIGKILL)
        child.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert_same(run, training.train(whole))


@pytest.mark.slow
def test_of_epochs_with_one_accuracy_the_lowest_loss_is_chosen_by_whatever_margin(tiny_config, monkeypatch):
    losses, now = [1.80681, 1.80657, 1.80681], {"epoch": 0}

    class Clock(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            now["epoch"] = trainer.current_epoch

    def summary(scores):
        return measured(scores) | {"video_accuracy": 40 / 69, "video_loss": losses[now["epoch"]]}

    measured = VideoScores.summary
    monkeypatch.setattr(VideoScores, "summary", summary)
    run = training.train(tiny_config(train__epochs=3), callbacks=[Clock()])
    assert run.metrics.val_video_loss.tolist() == losses
    assert run.summary["best_epoch"]["epoch"] == 1
