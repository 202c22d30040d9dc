"""What a run leaves when it has ended: its summary, its predictions, its pictures."""

import importlib.metadata
import platform
import subprocess
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from hmdb_lib import environment
from hmdb_lib.data.loader import ClipData
from hmdb_lib.data.transforms import even_crops
from hmdb_lib.device import Device
from hmdb_lib.models import cost
from hmdb_lib.plots import clips as plots_clips
from hmdb_lib.plots import curves as plots
from hmdb_lib.results.metrics import describe
from hmdb_lib.results.statistics import accuracy_interval
from hmdb_lib.training.learner import Learner
from hmdb_lib.training.modules import VideoClassifier
from hmdb_lib.training.pretraining import MaskedModelling


def tested(classifier: VideoClassifier, data: ClipData, device: Device, epoch: int, seconds: float) -> None:
    """Record a classifier that was tested: predictions, summary, curves, and a line of what came out.

    `epoch` is the one whose weights were tested, `seconds` what the test took.
    """
    record, train = classifier.run, classifier.config.train
    numbers, _, probabilities = classifier.scores["test"].videos()
    scores = classifier.scores["test"].summary()
    table = data.tables["test"].iloc[numbers].reset_index(drop=True)
    predictions = pd.concat(
        [
            table[["path", "group", "label"]].rename(columns={"path": "video"}),
            pd.DataFrame(probabilities, columns=data.classes),
        ],
        axis=1,
    )
    metrics = record.metrics
    accuracy = accuracy_interval(predictions)
    summary = _summary(classifier, data, device)
    summary["seconds"]["test"] = seconds
    summary |= {
        "test": describe(predictions, data.classes)
        | {"accuracy_low": accuracy.low, "accuracy_high": accuracy.high}
        | {"loss": scores["video_loss"], "clip_accuracy": scores["clip_accuracy"]},
        "best_epoch": metrics[metrics.epoch == epoch].iloc[0].dropna().to_dict(),
    }
    record.finish(predictions, summary)
    plots.save(plots.training_curves(metrics, title=record.folder.parent.name), record.folder / "curves")
    print(
        f"test accuracy {accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}] on {len(predictions)} videos "
        f"(chance {1 / len(data.classes):.3f}), epoch {epoch}, "
        + (f"chosen on {train.choose_on}" if classifier.config.validates else "the last")
        + f"; all in {record.folder}"
    )


def masked(learner: MaskedModelling, data: ClipData, device: Device) -> None:
    """Record a model that learned without labels: summary, a picture of what it fills in, and a line of what to do."""
    folder, epoch = learner.run.folder, learner.run.metrics.iloc[-1]
    learner.run.finish(None, _summary(learner, data, device) | {"last_epoch": epoch.to_dict()})
    plots.save(_reconstruction(learner, data), folder / "reconstruction")
    print(
        f"reconstruction error of unseen videos {epoch.val_loss:.3f} (1: knows nothing), after the last epoch; all in "
        f"{folder}; model.pretrained={folder} starts from it"
    )


def _summary(learner: Learner, data: ClipData, device: Device) -> dict[str, Any]:
    """What a summary.json says of every run, whatever it learned."""
    config = learner.config
    model = learner.model.encoder if isinstance(learner, MaskedModelling) else learner.model
    return {
        "row": config.row,
        "name": config.name or config.row,
        "data": config.data.name,
        "split": config.data.split,
        "seed": config.seed,
        "quick": config.quick,
        "final_fit": config.train.final_fit,
        "classes": data.classes,
        "epochs": config.train.epochs,
        "parameters": cost.count(model),
        "flops": cost.flops(model, config.data.frames, config.data.crop)["total"],
        "seconds": {"training": float(learner.run.metrics.seconds.sum())},
        "unreadable": learner.unreadable,
        "device": device.reason,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "torchvision", "lightning", "av")}
        | {"python": platform.python_version()},
        "commit": _commit(),
    }


@torch.no_grad()
def _reconstruction(learner: MaskedModelling, data: ClipData, clips: int = 2) -> Figure:
    """Clips of the validation part: as they are, as a model sees them, and as it fills them in."""
    learner.eval()
    torch.manual_seed(0)
    batch = even_crops(next(iter(data.val_dataloader()))["clips"][:clips], learner.config.data.crop, 1)
    normalised = learner.normalised(batch).to(learner.device)
    views = [normalised, *learner.model.picture(normalised, learner.model(normalised))]
    mean, std = (torch.tensor(of)[:, None, None, None] for of in (learner.model.mean, learner.model.std))
    pictures = [((view.cpu() * std + mean).clamp(0, 1) * 255).byte().permute(0, 2, 3, 4, 1).numpy() for view in views]
    names = ("clip", "seen", "filled in")
    return plots_clips.contact_sheet(
        {
            f"{name} {number + 1}": view[number]
            for number in range(len(batch))
            for name, view in zip(names, pictures, strict=True)
        }
    )


def _commit() -> str | None:
    git = ["git", "-C", str(environment.ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")
