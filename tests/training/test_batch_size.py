"""train.batch_size: auto finds what fits, says so, and a run keeps it."""

import pytest
import torch

from hmdb_lib import config, environment
from hmdb_lib.errors import UserError
from hmdb_lib.models.device import Device
from hmdb_lib.results.runs import Run
from hmdb_lib.training import batch_size, experiment as training
from hmdb_lib.training.batch_size import MOST, WITHOUT_GPU, find_batch_size, largest, training_step
from hmdb_lib.training.modules import MaskedModelling

CPU = Device("cpu", "fp32", "cpu", "a reason")
GPU = Device("cuda", "bf16", "a GPU", "a reason")


def limited(limit, tried):
    """A step that runs out of memory above so many clips."""

    def step(size):
        tried.append(size)
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    return step


@pytest.mark.parametrize("limit", [0, 1, 2, 7, 24, 64, 300, MOST, 10 * MOST])
def test_the_largest_batch_that_fits_is_found_in_few_steps(limit):
    tried = []
    assert largest(limited(limit, tried)) == min(limit, MOST)
    assert len(tried) < 20


def test_another_fault_is_not_taken_for_a_lack_of_memory():
    def step(size):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        largest(step)


def test_a_tried_step_is_a_whole_one(tiny_config, monkeypatch):
    seen = []
    monkeypatch.setattr(
        torch.optim.AdamW,
        "step",
        lambda self: seen.append([p.grad is not None for g in self.param_groups for p in g["params"]]),
    )
    step = training_step(tiny_config(train__batch_size="auto", model__blocks=1), CPU)
    step(1)
    step(2)
    assert len(seen) == 2
    assert all(map(all, seen))


@pytest.fixture
def fake_gpu(monkeypatch):
    """A GPU on which 24 clips fit."""
    shares = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    monkeypatch.setattr(batch_size, "training_step", lambda config, device: limited(24, []))
    return shares


def test_on_a_gpu_it_is_told_and_the_memory_is_given_back(tiny_config, fake_gpu, capsys):
    assert find_batch_size(tiny_config(train__batch_size="auto"), GPU) == 24
    assert "batch size: 24, the largest up to 512 that fits into 90% of the memory of a GPU" in capsys.readouterr().out
    assert fake_gpu == [0.9, 1.0]


def test_when_not_one_clip_fits_it_is_told_what_to_do(tiny_config, fake_gpu, monkeypatch):
    monkeypatch.setattr(batch_size, "training_step", lambda config, device: limited(0, []))
    with pytest.raises(UserError, match=r"not one clip fits on a GPU; set train\.checkpointing=true"):
        find_batch_size(tiny_config(train__batch_size="auto"), GPU)
    assert fake_gpu[-1] == 1.0


def test_a_run_that_was_started_keeps_its_batch_on_another_machine(tiny_config, tmp_path):
    place = environment.Place("local", tmp_path, tmp_path)
    Run.start(tiny_config(train__batch_size=24), tmp_path)
    assert training.resolve(tiny_config(train__batch_size="auto"), place).config.train.batch_size == 24


@pytest.mark.slow
def test_masked_modelling_is_tried_by_its_own_step(tiny_config, monkeypatch):
    asked = tiny_config("masked_hybrid", data__frames=8, data__crop=64, perceiver__latents=4, model__blocks=4)
    seen = []
    monkeypatch.setattr(MaskedModelling, "stop_at_nonsense", lambda self, loss: seen.append(loss.item()))
    training_step(asked, CPU)(2)
    assert 0.5 < seen[0] < 2, "a loss of normalized pixels, not of classes"


@pytest.mark.slow
def test_a_run_without_a_gpu_records_the_batch_and_its_final_fit_takes_it(tiny_config, monkeypatch, capsys):
    run = training.train(tiny_config(train__batch_size="auto", train__epochs=1, train__device="cpu"))
    assert run.config.train.batch_size == WITHOUT_GPU
    assert f"batch size: {WITHOUT_GPU}, nothing is tried on cpu" in capsys.readouterr().out
    monkeypatch.setattr(batch_size, "WITHOUT_GPU", 2)
    asked = tiny_config(train__batch_size="auto", train__epochs=1, train__device="cpu", train__final_fit="true")
    assert training.train(asked).config.train.batch_size == WITHOUT_GPU
    assert training.train(tiny_config(train__batch_size="auto", train__epochs=1)).finished


@pytest.mark.parametrize("several", ["train.devices=2", "train.machines=2"])
def test_several_devices_are_refused(several):
    with pytest.raises(UserError, match=r"batch_size=auto tries one device; for several give the number"):
        config.load("baseline", ["train.batch_size=auto", several])
