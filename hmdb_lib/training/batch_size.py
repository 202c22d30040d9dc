"""Try training steps before a run: the largest batch that fits on a GPU, and the seconds that a step takes.

Lightning's own finder tries batches inside the run, after the schedule was laid out for the first of them, and the
tries write rows of metrics.csv.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities.memory import is_oom_error

from hmdb_lib import models
from hmdb_lib.config import Config
from hmdb_lib.environment import Processes
from hmdb_lib.errors import UserError
from hmdb_lib.models.cost import seconds
from hmdb_lib.models.device import Device, choose_device
from hmdb_lib.training.modules import make_module

WITHOUT_GPU = 8
MOST = 512
SHARE = 0.9  # of the GPU's memory: a run needs more than its steps, and its memory falls into pieces


def find_batch_size(config: Config, device: Device) -> int:
    """Find the number that `train.batch_size: auto` stands for, and print why. Raises UserError if no clip fits."""
    if device.kind != "cuda":
        size, reason = WITHOUT_GPU, f"nothing is tried on {device.kind}, which swaps or is killed where a GPU refuses"
    else:
        torch.cuda.set_per_process_memory_fraction(SHARE)
        try:
            size = largest(training_step(config, device))
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            torch.cuda.empty_cache()
        if not size:
            raise UserError(
                f"train.batch_size=auto: not one clip fits on {device.name}; set train.checkpointing=true or fewer "
                "data.frames"
            )
        reason = f"the largest up to {MOST} that fits into {SHARE:.0%} of the memory of {device.name}"
    print(f"batch size: {size}, {reason}")
    return size


def largest(step: Callable[[int], object]) -> int:
    """Search the largest batch up to `MOST` at which `step` has memory: by doubling, then by halving the gap."""

    def fits(size: int) -> bool:
        torch.cuda.empty_cache()
        try:
            step(size)
        except RuntimeError as error:
            if not is_oom_error(error):
                raise
            return False
        return True

    good, bad = 0, 1
    while bad <= MOST and fits(bad):
        good, bad = bad, 2 * bad
    bad = min(bad, MOST + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def training_step(config: Config, device: Device, classes: int = 51) -> Callable[[int], None]:
    """Make a function that trains the experiment's own module one step on so many random clips."""
    module = make_module(config, models.build(classes=classes, **config.architecture())).to(device.kind).train()
    optimizer = module.make_optimizer(fused=device.precision != "fp16")
    make_batch = partial(_random_tokens, module.model.backbone) if config.frozen else _random_batch

    def step(size: int) -> None:
        optimizer.zero_grad()
        with device.autocast(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*self.log.*")  # there is no trainer to log to
            loss = module.training_step(make_batch(config, device, size), 0)
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        optimizer.step()

    return step


def measure_step(config: Config, classes: int, batch: int, repeats: int = 1) -> dict[str, float]:
    """Measure seconds_training and seconds_judging of a step of `batch` clips, in a process that then ends."""
    with Processes(1) as pool:
        return pool.submit(_measure, config, classes, batch, repeats, torch.get_num_threads()).result()


def _measure(config: Config, classes: int, batch: int, repeats: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    device = choose_device(config.train.device, config.train.precision)
    step = training_step(config, device, classes)
    module = make_module(config, models.build(classes=classes, **config.architecture())).to(device.kind).eval()

    @torch.no_grad()
    def judge(size: int) -> None:
        with device.autocast():
            clips = _random_batch(config, device, size)["clips"][:, :, : config.data.crop, : config.data.crop]
            module.model(module.normalised(clips))

    return {
        "seconds_training": seconds(partial(step, batch), repeats),
        "seconds_judging": seconds(partial(judge, batch), repeats),
    }


def _random_batch(config: Config, device: Device, size: int) -> dict:
    shape = (size, config.data.frames, *config.data.resize, 3)
    return _batch(torch.randint(256, shape, dtype=torch.uint8, device=device.kind))


def _random_tokens(backbone: Any, config: Config, device: Device, size: int) -> dict:
    slots, *sides = backbone.grid(config.data.frames, config.data.crop)
    shape = (size, slots, *backbone.places(*sides), backbone.channels)
    return _batch(torch.randn(shape, dtype=torch.float16, device=device.kind))


def _batch(clips: torch.Tensor) -> dict:
    numbers = torch.zeros(len(clips), dtype=torch.int64, device=clips.device)
    return {"clips": clips, "labels": numbers, "videos": numbers, "unreadable": []}
