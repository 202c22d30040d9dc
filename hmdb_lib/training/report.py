"""Record what a finished run leaves: its summary, its predictions, its pictures."""

import importlib.metadata
import platform
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from hmdb_lib.data.loader import ClipData
from hmdb_lib.data.transforms import even_crops
from hmdb_lib.environment import commit
from hmdb_lib.models import cost
from hmdb_lib.models.device import Device
from hmdb_lib.plots import clips as clip_plots, curves
from hmdb_lib.results.metrics import class_sizes, mean_beside, predictions_table, variance_share
from hmdb_lib.results.statistics import accuracy_interval, compare, measure_test, range_text, videos_text

if TYPE_CHECKING:
    from hmdb_lib.training.modules import MaskedModelling, TrainingModule, VideoClassifier


def tested(module: "VideoClassifier", data: ClipData, device: Device, epoch: int, seconds: float) -> None:
    """Record a tested classifier, and print its accuracy in a line.

    `epoch` is the one whose weights were tested, `seconds` what the test took.
    """
    run, train = module.run, module.config.train
    predictions = _predictions(module, data, "test")
    without = _predictions(module, data, "without_gate") if module.logits else None
    scores, metrics = module.scores["test"].summary(), run.metrics
    test = measure_test(predictions) | {"present": len(data.tables["test"])}
    test |= {"loss": scores["video_loss"], "clip_accuracy": scores["clip_accuracy"]}
    summary = _summary(module, data, device)
    summary["seconds"]["test"] = seconds
    best_epoch = metrics[metrics.epoch == epoch].iloc[0].dropna().to_dict()
    sizes = class_sizes(data.tables["train"].label, data.tables["test"].label)
    summary |= {"test": test, "best_epoch": best_epoch, **sizes}
    if module.spread:
        summary["attention"] = _attention(module, predictions, without)
    run.finish(predictions, summary, without)
    curves.save(curves.training_curves(metrics, run.folder.parent.name, 1 / len(data.classes)), run.folder / "curves")
    print(
        f"test accuracy {test['accuracy']:.3f} "
        f"{range_text(test['accuracy_low'], test['accuracy_high'], test['sources'], '.3f')}{mean_beside(summary)} on "
        f"{videos_text(test)} (chance {1 / len(data.classes):.3f}, always the commonest class "
        f"{summary['commonest_class']:.3f}), epoch {epoch}, "
        + (f"chosen on {train.choose_on}" if module.config.validates else "the last")
        + f"; all in {run.folder}"
    )


def masked(module: "MaskedModelling", data: ClipData, device: Device, *test: Any) -> None:
    """Record a model that learned without labels, and print its reconstruction error in a line."""
    folder, epoch = module.run.folder, module.run.metrics.iloc[-1]
    module.run.finish(None, _summary(module, data, device) | {"last_epoch": epoch.to_dict()})
    curves.save(_reconstruction(module, data), folder / "reconstruction")
    print(
        f"reconstruction error of unseen videos {epoch.val_loss:.3f} (1: knows nothing), after the last epoch; all in "
        f"{folder}; model.pretrained={folder} starts from it"
    )


def _predictions(module: "VideoClassifier", data: ClipData, part: str) -> pd.DataFrame:
    numbers, _, probabilities = module.scores[part].videos()
    return predictions_table(data.listed("test"), probabilities, data.classes, numbers)


def _attention(
    module: "VideoClassifier", predictions: pd.DataFrame, without: pd.DataFrame | None
) -> dict[str, float | dict[str, float]]:
    """Tell where a perceiver's attention looked in the test clips, and what came through its gate, if it has one."""
    entropy, shared = map(float, np.concatenate(module.spread).mean(0))
    told: dict[str, Any] = {"entropy": entropy, "shared": shared}
    if without is not None:
        told["gate"] = {
            "variance_share": variance_share(*np.concatenate(module.logits, axis=1)),
            "accuracy_without": accuracy_interval(without).value,
            **compare(predictions, without).columns(),
        }
    return told


def _summary(module: "TrainingModule", data: ClipData, device: Device) -> dict[str, Any]:
    """Collect what every summary.json says, whatever was learned."""
    config = module.config
    model = getattr(module.model, "encoder", module.model)
    return {
        "row": config.row,
        "name": config.title,
        "data": config.data.name,
        "split": config.data.split,
        "seed": config.seed,
        "quick": config.quick,
        "trials": config.trials,
        "final_fit": config.train.final_fit,
        "classes": data.classes,
        "epochs": config.train.epochs,
        "epochs_done": len(module.run.metrics),
        "parameters": cost.count(model),
        "flops": cost.flops(model, config.data.frames, config.data.crop)["total"],
        "seconds": {"training": float(module.run.metrics.seconds.sum())},
        "unreadable": module.unreadable,
        "shortfall": data.shortfall,
        "seen_test_videos": module.seen_test,
        "device": device.reason,
        "precision": module.run.precisions,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "torchvision", "lightning", "av")}
        | {"python": platform.python_version()},
        "commit": commit(),
    }


@torch.no_grad()
def _reconstruction(module: "MaskedModelling", data: ClipData, clips: int = 2) -> Figure:
    """Draw clips of the validation part: as they are, with their hidden part, and as the model fills them in."""
    module.eval()
    torch.manual_seed(0)
    batch = even_crops(next(iter(data.val_dataloader()))["clips"][:clips], module.config.data.crop, 1)
    normalised = module.normalised(batch).to(module.device)
    views = [normalised, *module.model.picture(normalised, module.model(normalised))]
    mean, std = (torch.tensor(of)[:, None, None, None] for of in (module.model.mean, module.model.std))
    pictures = [((view.cpu() * std + mean).clamp(0, 1) * 255).byte().permute(0, 2, 3, 4, 1).numpy() for view in views]
    names = ("clip", "seen", "filled in")
    return clip_plots.contact_sheet(
        {
            f"{name} {number + 1}": view[number]
            for number in range(len(batch))
            for name, view in zip(names, pictures, strict=True)
        }
    )
