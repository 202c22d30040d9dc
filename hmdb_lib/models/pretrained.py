"""Start a model from given weights, checked key by key: never a silent random start."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import Weights

from hmdb_lib.errors import UserError

State = dict[str, Tensor]


LAST = ("fc.", "classifier.")  # what tells classes apart


def load_pretrained(model: nn.Module, source: str, classes: Sequence[str] | None = None) -> set[str]:
    """Fill a model's weights from `source`: `none` (leave it random), a name its architecture knows, or a path.

    A path may hold torchvision's R(2+1)D weights, or those of its IG-65M relatives: they fill the CNN as far as the
    model keeps it, their own fc is dropped and all that is not CNN stays at its fresh start. A checkpoint of this
    kit's baseline does the same, and its fc is kept where the model has one of that shape (`residual_pool`). Any
    other checkpoint must be of the same architecture, key by key and shape by shape; only a last layer for another
    number of classes is left at its fresh start.

    A run's folder stands for its best.ckpt; where it told other classes apart than `classes`, and where it learned
    without labels, its last layer is left out. A .safetensors file is one that `python -m hmdb_lib export` wrote.

    Returns the names of what was filled. Raises UserError in one line.
    """
    if source == "none":
        return set()
    path = Path(source).expanduser()
    kept = path / "checkpoints" / "best.ckpt"
    if kept.is_file():
        return fill(model, read_checkpoint(kept), source, fresh_last=_classes_of(path) != list(classes or ()))
    if hasattr(model, "load_from_hub") and not path.is_file():
        return model.load_from_hub(source)
    names = getattr(model, "weights", {})
    if source in names:
        state = _download(source, names[source])
    elif path.is_file():
        state = read_checkpoint(path)
    elif path.is_dir():
        raise UserError(
            f"model.pretrained={source}: is a folder without checkpoints/best.ckpt; give a run that has one"
        )
    else:
        known = ["none", *names]
        nearest = difflib.get_close_matches(source, known, n=1)
        hint = f", did you mean {nearest[0]}?" if nearest else ""
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


def _download(name: str, weights: Weights) -> State:
    try:
        return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"model.pretrained={name}: cannot fetch {weights.url} ({error}); download it elsewhere and give "
            "model.pretrained=<its path>, or start at random with model.pretrained=none"
        ) from error


def read_checkpoint(path: Path) -> State:
    """Read a file of weights without running any code that it may carry: a plain state dict, or Lightning's.

    Of a Lightning checkpoint the entries `model.*` are taken, without that prefix. Raises UserError.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: is not a safetensors file, or a torn one ({error})") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises almost anything on a file that it did not write
        raise UserError(
            f"{path}: cannot be read as weights of torch: torn, another kind of file, or holding objects that would "
            f"run code, which is refused ({type(error).__name__})"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
        if any(str(key).startswith("model.") for key in content):
            content = {key[6:]: value for key, value in content.items() if key.startswith("model.")}
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path}: holds no state dict (names with a tensor each)")
    return dict(content)


def fill(model: nn.Module, state: State, source: str, *, fresh_last: bool = False) -> set[str]:
    """Load a state dict under the rules of `load_pretrained`; `source` is what an error names.

    `fresh_last` leaves the last layer at its fresh start. Returns the names of what was filled.
    """
    own = model.state_dict()
    required = set(own)
    if any(key.startswith("encoder.") for key in state):  # learned without labels: what stands round it is left
        state = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
        fresh_last = True
    if fresh_last:
        state = {key: value for key, value in state.items() if not key.startswith(LAST)}
        required = {key for key in required if not key.startswith(LAST)}
    if "stem.0.weight" in state:  # torchvision's names
        state = {f"backbone.{key}": value for key, value in state.items() if not key.startswith("fc.")}
    if all(key.startswith(("backbone.", "fc.")) for key in state):  # a CNN, whatever stands on it here
        if "fc.weight" in state and ("fc.weight" not in own or own["fc.weight"].shape != state["fc.weight"].shape):
            state = {key: value for key, value in state.items() if not key.startswith("fc.")}
        required = {key for key in own if key.startswith(("backbone.", "fc.") if "fc.weight" in state else "backbone.")}
    if hasattr(model, "backbone"):
        cut = tuple(f"backbone.{block}." for block in model.backbone.cut)
        state = {key: value for key, value in state.items() if not key.startswith(cut)}

    for layer in ("fc", "classifier"):  # at most one of them differs, and only by the number of classes
        keys = [f"{layer}.weight", f"{layer}.bias"]
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
        raise UserError(f"model.pretrained={source}: does not fit {type(model).__name__}: {'; '.join(told)}")
    model.load_state_dict(state, strict=False)
    return set(state)
