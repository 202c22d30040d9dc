"""`python -m benchmarks.starts [key=value ...] [--seeds 0 1 2]`: does each head begin to learn as the baseline does?

The sample data set, 8 x 64 x 64, in two ways: R(2+1)D at a quarter of its width from random weights (batch 8), and the
tokens of the frozen EfficientNet-Lite0 (batch 16). Rates and schedule as configured: up for twenty steps, then a cosine
that is zero after 600; `train.schedule=constant` holds them. Printed: the plain training loss, the mean over the last forty
batches before their step, and the last one as a share of the baseline's.
Dropout and BERT's mask are off, because they raise the loss of training alone. `perceiver.start=published` shows the
start without a mend.
"""

import argparse
import statistics
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_prep.load import read_data
from hmdb_lib import config, models
from hmdb_lib.config import Config
from hmdb_lib.data.transforms import normalise, random_crop_flip
from hmdb_lib.environment import place
from hmdb_lib.training.optim import make_optimizer, make_schedule

ROWS = {"pool": "baseline", "perceiver": "cross1_self1", "self1": "self1", "bert": "bert"}
STEPS, WINDOW, VIEWS = (0, 100, 300, 600), 40, 6
SMALL = [
    *("data=sample", "data.workers=0", "perceiver.latents=16", "perceiver.width=256"),
    *("perceiver.latents_over_time=false", "perceiver.latent_std=1", "perceiver.dropout=0"),
    *("bert.mask=0", "bert.dropout=0", "bert.classifier_dropout=0"),
]
WEIGHTS = {
    "random": ["model.width=0.25", "model.pretrained=none", "train.batch_size=8", "train.backbone_lr=3e-4"],
    "frozen": ["model=efficientnet_lite0", "model.frozen=all", "model.pretrained=imagenet", "train.batch_size=16"],
}


class Clips(NamedTuple):
    """Hold what trains: clips uint8 N T H W 3, or tokens N T' H' W' C, and their class numbers."""

    inputs: Tensor
    labels: Tensor


def read_clips(experiment: Config) -> Clips:
    """Read `VIEWS` random clips of each training video."""
    loader = read_data(experiment, place()).train_dataloader()
    batches = [batch for _ in range(VIEWS) for batch in loader]
    return Clips(*(torch.cat([batch[name] for batch in batches]) for name in ("clips", "labels")))


def prepare(model: Any, clips: Tensor) -> Tensor:
    """Crop, flip and normalize clips at random."""
    return normalise(random_crop_flip(clips, 64, flip=True), model.mean, model.std)


@torch.no_grad()
def read_tokens(experiment: Config, clips: Clips) -> Clips:
    """Compute the tokens that the frozen backbone gives of clips."""
    model = models.build(classes=8, **experiment.architecture()).eval()
    models.load_pretrained(model, experiment.model.pretrained)
    parts = [model.backbone(prepare(model, part)) for part in clips.inputs.split(16)]
    return Clips(torch.cat(parts).contiguous(), clips.labels)


def train(experiment: Config, data: Clips, seed: int) -> list[float]:
    """Train a row's model for the last of `STEPS`; returns the losses at each of them."""
    torch.manual_seed(seed)
    model: Any = models.channels_last(models.build(classes=8, **experiment.architecture())).train()
    optimizer = make_optimizer(model, experiment.train, fused=True)
    whole = experiment.train.model_copy(update={"epochs": STEPS[-1], "warmup_epochs": 20})  # an epoch a step
    schedule = make_schedule(optimizer, whole, STEPS[-1] + 1)
    losses: list[float] = []
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(STEPS[-1] + 1):
        if len(order) < experiment.train.batch_size:
            order = torch.randperm(len(data.labels))
        chosen, order = order.split([experiment.train.batch_size, len(order) - experiment.train.batch_size])
        with torch.autocast("cpu", torch.bfloat16):
            batch = data.inputs[chosen]
            logits = model.head(batch) if experiment.frozen else model(prepare(model, batch))
        losses.append(F.cross_entropy(logits.detach().float(), data.labels[chosen]).item())
        optimizer.zero_grad()
        F.cross_entropy(
            logits.float(), data.labels[chosen], label_smoothing=experiment.train.label_smoothing
        ).backward()
        nn.utils.clip_grad_norm_(model.parameters(), experiment.train.clip_norm)
        optimizer.step()
        schedule.step()
    return [statistics.fmean(losses[max(0, step + 1 - WINDOW) : step + 1]) for step in STEPS]


def main() -> None:
    """Print a line for each kind of weights, head and seed."""
    parser = argparse.ArgumentParser("python -m benchmarks.starts", description="Training loss at the start.")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="over what the rows say")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="default: 0")
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, default=list(WEIGHTS), help="default: both")
    parser.add_argument("--heads", nargs="+", choices=ROWS, default=list(ROWS), help="default: all")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    clips = read_clips(config.load("baseline", [*SMALL, *WEIGHTS["random"]]))
    print("weights  head       seed" + "".join(f"{step:8}" for step in STEPS) + "   of pool's")
    for weights in asked.weights:
        changes = [*SMALL, *WEIGHTS[weights], *asked.changes]
        data = clips if weights == "random" else read_tokens(config.load("baseline", changes), clips)
        for seed in asked.seeds:
            pool = None
            for head in asked.heads:
                found = train(config.load(ROWS[head], changes), data, seed)
                pool = found[-1] if head == "pool" else pool
                share = f"{found[-1] / pool:12.2f}" if pool else ""
                print(f"{weights:8} {head:10} {seed:4}" + "".join(f"{loss:8.3f}" for loss in found) + share, flush=True)


if __name__ == "__main__":
    main()
