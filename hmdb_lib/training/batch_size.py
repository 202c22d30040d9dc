"""`train.batch_size: auto`: the largest batch whose training step fits on the GPU, found before the run begins.

Lightning's own finder tries batches inside the run, after the rates' schedule was laid out for the first of them, and
the tries write rows of metrics.csv.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.memory import is_oom_error

from hmdb_lib import models
from hmdb_lib.config import Config
from hmdb_lib.data.transforms import normalise, random_crop_flip
from hmdb_lib.device import Device
from hmdb_lib.errors import UserError
from hmdb_lib.models.recompute import recompute_activations
from hmdb_lib.results.runs import Run, without_final_fit
from hmdb_lib.training.optim import make_optimiser

WITHOUT_GPU = 8
MOST = 512
SHARE = 0.9  # of the GPU's memory: a run needs more than its steps, and its memory falls into pieces


def settle(config: Config, results: Path, device: Device) -> Config:
    """The configuration with a number where `train.batch_size` is auto, after saying in a line which and why.

    A run that was started goes on with its number, and a final fit takes that of the run which chose its epochs.
    Raises UserError when not one clip fits.
    """
    if config.train.batch_size != "auto":
        return config
    started = without_final_fit(config)
    record = Run.of(started, results)
    if record.holds(started):
        size, reason = record.config.train.batch_size, f"as {record.folder} was started"
    elif device.kind != "cuda":
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
    return config.model_copy(update={"train": config.train.model_copy(update={"batch_size": size})})


def largest(step: Callable[[int], object]) -> int:
    """The largest batch up to `MOST` at which `step` does not run out of memory: by doubling, then by halving the gap."""

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


def training_step(config: Config, device: Device) -> Callable[[int], None]:
    """A step of the experiment on so many random clips, from uint8 to the optimiser, as often as it is called."""
    data, dtype = config.data, device.dtype
    # How many classes there are is not known yet; the classifier's weights are few.
    model = models.build(classes=51, **config.architecture()).to(device.kind, memory_format=torch.channels_last_3d)
    if config.train.checkpointing:
        recompute_activations(model)
    optimiser = make_optimiser(model.train(), config.train, fused=device.precision != "fp16")

    def step(size: int) -> None:
        optimiser.zero_grad()
        shape = (size, data.frames, *data.resize, 3)
        clips = random_crop_flip(torch.randint(256, shape, dtype=torch.uint8, device=device.kind), data.crop, data.flip)
        with torch.autocast(device.kind, dtype, enabled=dtype != torch.float32):
            logits = model(normalise(clips, model.mean, model.std))
        F.cross_entropy(logits.float(), torch.zeros(size, dtype=torch.int64, device=device.kind)).backward()
        optimiser.step()

    return step
