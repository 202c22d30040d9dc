"""Start a model from given weights, checked key by key: never a silent random start."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from hmdb_lib.errors import UserError, did_you_mean
from hmdb_lib.models.backbones.base import State
from hmdb_lib.models.build import VideoModel

LAST = ("head.fc.", "head.classifier.")  # what tells classes apart
LATER = "head.token_norm."  # what checkpoints of before lack: at its start it changes nothing but training
FC = {"head.fc.weight", "head.fc.bias"}
# Before there were heads their parameters had these names, beside `backbone.` or `videomae.`.
OLD_HEAD = ("latents", "cross.", "class_token", "positions", "layers.", "projection.", "norm.", "gate.", "fc.")


def load_pretrained(model: VideoModel, source: str, classes: Sequence[str] | None = None) -> set[str]:
    """Fill a model's weights from `source`: `none` (leave it random), a name that its backbone knows, or a path.

    `auto` stands for the first name that the backbone knows. A path may hold the weights of the backbone as they are
    published (torchvision's R(2+1)D, its IG-65M relatives): they fill the backbone as far as the model keeps it, their
    own classifier is dropped and the head stays at its fresh start. A checkpoint of this kit with a head that only
    averages does the same, and its fc is kept where the model has one of that shape (`residual_pool`). Any other
    checkpoint must be of the same backbone and head, key by key and shape by shape; only a last layer for another
    number of classes is left at its fresh start.

    A run's folder stands for its best.ckpt, and a .safetensors file is one that `python -m hmdb_lib export` wrote: where
    it told other classes apart than `classes`, and where it learned without labels, its last layer is left out. A
    backbone of `transformers` takes names of the Hugging Face hub and folders of `save_pretrained` too.

    Returns the names of what was filled. Raises UserError in one line.
    """
    if source == "none":
        return set()
    backbone = model.backbone
    path = Path(source).expanduser()
    kept = path / "checkpoints" / "best.ckpt"
    if source == "auto" and backbone.weights:
        source = next(iter(backbone.weights))
    if kept.is_file():
        return fill(model, read_checkpoint(kept), source, fresh_last=_classes_of(path) != list(classes or ()))
    if path.is_file():
        named = _classes_in(path)
        return fill(model, read_checkpoint(path), source, fresh_last=named is not None and named != list(classes or ()))
    if source in backbone.weights or backbone.hub:
        state = current_names(backbone.fetch(source))
    elif path.is_dir():
        raise UserError(
            f"model.pretrained={source}: is a folder without checkpoints/best.ckpt; give a run that has one"
        )
    else:
        known = ["none", *backbone.weights]
        hint = did_you_mean(source, known, likeness=0.6)
        raise UserError(f"model.pretrained={source}: neither a file nor one of {', '.join(known)}{hint}")
    return fill(model, state, source)


def _classes_of(run: Path) -> list[str] | None:
    try:
        return list(json.loads((run / "summary.json").read_text(encoding="utf-8"))["classes"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"model.pretrained={run}: holds no finished run (summary.json is missing or torn); finish it, or name its "
            "checkpoints/best.ckpt to take the weights as they are"
        ) from None


def _classes_in(file: Path) -> list[str] | None:
    """Read the classes that a file of weights names; None where it names none, or is torn."""
    if file.suffix != ".safetensors":
        return None
    try:
        with safe_open(file, "pt") as tensors:
            return list(json.loads(tensors.metadata()["hmdb_lib"])["classes"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None


def current_names(state: State) -> State:
    """Rename what was written before a model was a backbone and a head; other state dicts come back as they are."""
    inside = "encoder." if any(key.startswith(("encoder.backbone.", "encoder.videomae.")) for key in state) else ""
    old = {key.removeprefix(inside).partition(".")[0] for key in state if key.startswith(inside)}
    if "head" in old or not old & {"backbone", "videomae"}:
        return state
    names = {"videomae.": "backbone.videomae.", "fc_norm.": "head.norm.", "classifier.": "head.classifier."}
    names |= {name: f"head.{name}" for name in OLD_HEAD}
    if "videomae" in old:
        names["classifier."] = "head.fc."

    def renamed(key: str) -> str:
        name = key.removeprefix(inside)
        found = next((start for start in names if name.startswith(start)), None) if key.startswith(inside) else None
        return key if found is None else inside + names[found] + name.removeprefix(found)

    return {renamed(key): value for key, value in state.items()}


def read_checkpoint(path: Path) -> State:
    """Read a file of weights without running any code that it may carry: a plain state dict, or Lightning's.

    Of a Lightning checkpoint the entries `model.*` are taken, without that prefix; names of old ones are brought up to
    date (see `current_names`). Raises UserError.
    """
    if path.suffix == ".safetensors":
        try:
            return current_names(load_file(path))
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: is not a safetensors file, or a torn one ({error})") from None
    content = read_torch(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
        if any(str(key).startswith("model.") for key in content):
            content = {key[6:]: value for key, value in content.items() if key.startswith("model.")}
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path}: holds no state dict (names with a tensor each)")
    return current_names(content)


def read_torch(path: Path) -> Any:
    """Read what torch has saved, without running any code that the file may carry. Raises UserError."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises almost anything on a file that it did not write
        raise UserError(
            f"{path}: cannot be read as weights of torch: torn, another kind of file, or holding objects that would "
            f"run code, which is refused ({type(error).__name__})"
        ) from error


def fill(model: VideoModel, state: State, source: str, *, fresh_last: bool = False) -> set[str]:
    """Load a state dict under the rules of `load_pretrained`; `source` is what an error names.

    `fresh_last` leaves the last layer at its fresh start. Returns the names of what was filled.
    """
    own = model.state_dict()
    if any(
        key.startswith("encoder.backbone.") for key in state
    ):  # learned without labels: what stands round it is left
        state = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
        fresh_last = True
    if not any(key.startswith("backbone.") for key in state):
        state = model.backbone.adopt(state)
    state = {key: value for key, value in state.items() if not key.startswith(model.cut)}
    required = {key for key in own if not key.startswith(LATER)}
    if fresh_last:
        state = {key: value for key, value in state.items() if not key.startswith(LAST)}
        required = {key for key in required if not key.startswith(LAST)}

    given, wanted = ({key for key in keys if key.startswith("head.")} for keys in (state, required))
    if all(key in FC or key.startswith("head.norm.") for key in given):  # of an average: a backbone for any head
        kept = given if given == wanted or given <= FC & wanted else set()
        if any(state[key].shape != own[key].shape for key in kept & FC):
            kept = kept - FC
        required = {key for key in required if key.startswith("backbone.")} | kept
        state = {key: value for key, value in state.items() if key not in given - kept}
    for layer in LAST:  # at most one of them differs, and only by the number of classes
        keys = [f"{layer}weight", f"{layer}bias"]
        if all(key in state and key in own for key in keys) and state[keys[1]].shape != own[keys[1]].shape:
            required -= set(keys)
            state = {key: value for key, value in state.items() if key not in keys}

    problems = {
        "missing": sorted(required - set(state)),
        "unexpected": sorted(set(state) - set(own)),
        "of another shape": sorted(
            f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
            for key in set(state) & set(own)
            if state[key].shape != own[key].shape
        ),
    }
    if any(problems.values()):
        told = [
            f"{len(keys)} {kind} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for kind, keys in problems.items()
            if keys
        ]
        raise UserError(f"model.pretrained={source}: does not fit {model.name}: {'; '.join(told)}")
    model.load_state_dict(state, strict=False)
    return set(state)
