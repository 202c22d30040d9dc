"""Read and write a trained model as one thing: weights, configuration, classes, normalization, and its accuracy.

Read from a run's folder, from its best.ckpt, or from one self-describing file (safetensors: numbers and text, in which
nothing can be executed), and written as such a file, to be handed on.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hmdb_lib import models
from hmdb_lib.config import Config, restore
from hmdb_lib.errors import UserError
from hmdb_lib.files import remove_dead_parts, whole_file
from hmdb_lib.models.pretrained import LAST, current_names, read_checkpoint
from hmdb_lib.results import seen
from hmdb_lib.results.runs import Run
from hmdb_lib.results.statistics import range_text

ENDING = ".safetensors"
FORMAT = "hmdb_lib trained model 1"
# What of a summary.json goes with the weights: the data, the protocol's outcome with its interval, and the price.
FACTS = (
    "row",
    "data",
    "split",
    "seed",
    "quick",
    "final_fit",
    "seen_test_videos",
    "test",
    "imbalance",
    "commonest_class",
    "best_epoch",
    "parameters",
    "flops",
    "commit",
)


@dataclass(frozen=True)
class Trained:
    """Hold a trained model that is not built yet.

    `source`: the file that an error names. `mean`, `std`: RGB in 0..1, how its clips were normalised. `facts`: data,
    split, seed, and under `test` the accuracy with its interval; the protocol stands in `config.evaluate`.
    """

    source: Path
    config: Config
    classes: list[str]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    state: dict[str, Tensor]
    facts: dict[str, Any]

    def build(self) -> nn.Module:
        """Build the model with these weights, in evaluation mode. Raises UserError where they do not fit."""
        model = models.build(classes=len(self.classes), **self.config.architecture())
        own = {key: value.shape for key, value in model.state_dict().items()}
        given = {key: value.shape for key, value in self.state.items() if not key.startswith(model.cut)}
        wrong = sorted(key for key in own.keys() | given.keys() if own.get(key) != given.get(key))
        if wrong and all(key in given and key in own and key.startswith(LAST) for key in wrong):
            raise UserError(
                f"{self.source}: names {len(self.classes)} classes, but its weights tell {given[wrong[0]][0]} apart"
            )
        if wrong:
            raise UserError(
                f"{self.source}: its weights are not those of {model.name}, which its configuration describes: {len(wrong)} "
                f"are missing, too many or of another shape ({', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''})"
            )
        model.load_state_dict(self.state)
        return model.eval()

    @property
    def worth(self) -> str:
        """Say in a line or two what the model reached on its test part, beside guessing, and which classes it knows.

        What makes that number look better than it would be on other videos is said too.
        """
        on_test = self.config.chosen_on == "test"
        known = f"It knows {len(self.classes)} classes and gives one of them to any video: {', '.join(self.classes)}."
        if self.doubt:
            part = "the test part" if on_test else "validation"
            known += f" Of {part}'s right answers 19 of 20 have a probability of {self.doubt:.2f} or more."
        test = self.facts.get("test")
        if not test:
            return f"What this model is worth was not recorded. {known}"
        low, (guessing, chance) = test.get("accuracy_low", math.nan), self.guess
        interval = range_text(100 * low, 100 * test.get("accuracy_high", math.nan), test.get("sources"), ".1f")
        doubt = "" if low > chance else f" It cannot be told from {guessing}: believe no answer."
        if on_test:
            doubt += " Its epoch was chosen on the test part: on other videos expect less."
        if learned := self.facts.get("seen_test_videos"):
            doubt += f" It has learned from {learned} of these videos or their sources: on other videos expect less."
        return (
            f"On its test part this model named {100 * test['accuracy']:.1f} % {interval} of {test['videos']:.0f} videos "
            f"({self.facts.get('data')}); {guessing} names {100 * chance:.1f} %.{doubt} {known}"
        )

    @property
    def guess(self) -> tuple[str, float]:
        """Name the better way to answer without looking, and the share of the test videos that it is right about."""
        draw, commonest = 1 / len(self.classes), self.facts.get("commonest_class") or 0.0
        return ("always saying the commonest class", commonest) if commonest > draw + 1e-6 else ("guessing", draw)

    @property
    def doubt(self) -> float:
        """The probability, calibrated on validation, below which a live answer is none of the classes; 0: not recorded."""
        return self.facts.get("best_epoch", {}).get("val_video_right_confidence", 0.0)

    @property
    def start(self) -> str:
        """Name the weights that training started from; of a path, which may tell of a machine, the last name alone."""
        source = self.config.model.pretrained
        if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", source) and not Path(source).exists():
            with torch.device("meta"):
                if models.build_backbone(self.config.model.backbone).hub:
                    return source
        return _last_name(source)

    def describe(self) -> str:
        """All but the weights, as the JSON that travels with them; of the machine's paths the last names alone."""
        data = self.config.data
        given = {"root": data.root and data.name, "store": data.store, "classes": data.classes}  # the name of . too
        paths = {key: _last_name(path) for key, path in given.items() if isinstance(path, str)}
        config = self.config.changed("data", **paths).changed("model", pretrained=self.start)
        content = {"format": FORMAT, "config": config.model_dump(mode="json"), "classes": self.classes}
        return json.dumps(content | {"mean": self.mean, "std": self.std, "facts": self.facts})


def _last_name(path: str) -> str:
    return PureWindowsPath(path).name  # knows both slashes


def read(source: Path | str) -> Trained:
    """Read a trained model from a finished run's folder, its best.ckpt, or a file that `write` wrote.

    Nothing that a file may carry is executed. Raises UserError in one line.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a run's folder, its best.ckpt, or a {ENDING} file")
    if path.is_dir():
        return _read_run(Run(path))
    return _read_file(path) if path.suffix == ENDING else _read_run(Run(path.resolve().parent.parent), path)


def write(source: Path | str, file: Path | str) -> None:
    """Write the trained model of a run as one file, `*.safetensors`. Raises UserError as `read` does."""
    trained, file = read(source), Path(file).expanduser()
    trained.build()  # what does not fit is told now, not to whoever receives the file
    # contiguous: the runs keep 3D kernels channels-last, which the format cannot say.
    state = {key: value.contiguous() for key, value in trained.state.items()}
    with whole_file(file) as part:
        part.write_bytes(save(state, {"hmdb_lib": trained.describe()}))  # save_file hides what the system refuses
    remove_dead_parts(file.parent)


def _read_run(run: Run, checkpoint: Path | None = None) -> Trained:
    checkpoint = checkpoint or run.best
    if not checkpoint.exists() or not (run.folder / "summary.json").exists():
        raise UserError(f"{run.folder}: holds no finished run (summary.json and checkpoints/best.ckpt); train it first")
    if checkpoint.resolve() != run.best.resolve():
        raise UserError(f"{checkpoint}: is not the run's best.ckpt, whose accuracy summary.json tells; give {run.best}")
    config = run.config
    try:
        summary = run.summary
        classes = list(summary["classes"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run.folder / 'summary.json'}: is torn or lacks the classes ({error!r})") from None
    with torch.device("meta"):
        mean, std = config.data.mean_std(models.build_backbone(config.model.backbone))
    return Trained(
        checkpoint,
        config,
        classes,
        mean,
        std,
        read_checkpoint(checkpoint),
        {key: summary[key] for key in FACTS if key in summary} | {"seen": seen.read(run.folder)},
    )


def _read_file(file: Path) -> Trained:
    try:
        with safe_open(file, "pt") as tensors:
            metadata = tensors.metadata() or {}
            state = current_names({key: tensors.get_tensor(key) for key in tensors.keys()})  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file}: is not a safetensors file, or a torn one, and nothing else is read ({error})"
        ) from None
    try:
        content = json.loads(metadata["hmdb_lib"])
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        config = restore(content["config"])
        classes, mean, std = content["classes"], tuple(map(float, content["mean"])), tuple(map(float, content["std"]))
        if len(mean) != 3 or len(std) != 3 or not all(isinstance(name, str) for name in classes):
            raise ValueError("classes, mean or std")
        return Trained(file, config, list(classes), mean, std, state, dict(content["facts"]))
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{file}: lacks the description that `python -m hmdb_lib export` writes ({reason})") from None
