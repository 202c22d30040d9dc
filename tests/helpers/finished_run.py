"""A run folder as training leaves it, with random weights: what uses trained models can be tested in seconds."""

import json
from pathlib import Path

import torch

from hmdb_lib import models
from hmdb_lib.config import Config
from hmdb_lib.results.runs import Run

TEST = {"videos": 4, "accuracy": 0.75, "accuracy_low": 0.3, "accuracy_high": 0.95}


def write_finished_run(config: Config, folder: Path, classes: tuple[str, ...] = ("bright", "dark")) -> Run:
    """Write config.yaml, summary.json and checkpoints/best.ckpt as Lightning would."""
    torch.manual_seed(config.seed)
    run = Run(folder)
    run.checkpoints.mkdir(parents=True)
    (folder / "config.yaml").write_text(config.to_yaml())
    summary = {"row": config.row, "data": "tiny", "quick": False, "classes": list(classes), "test": TEST}
    summary |= {"parameters": {"total": 1_000_000}, "flops": 2e9, "device": "a machine"}
    (folder / "summary.json").write_text(json.dumps(summary))
    model = models.channels_last(models.build(classes=len(classes), **config.architecture()))
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1}, run.best)
    return run
