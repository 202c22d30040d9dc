"""Probe a frozen backbone: logistic regression and nearest neighbours on the average of each video's tokens."""

import json
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from data_prep.load import read_data
from hmdb_lib import environment, models
from hmdb_lib.config import Config
from hmdb_lib.data.load import identity_now, stop_at_loss
from hmdb_lib.data.loader import ClipData
from hmdb_lib.environment import Place
from hmdb_lib.errors import UserError
from hmdb_lib.features.extract import Tokens, Wanted
from hmdb_lib.models import cost
from hmdb_lib.models.device import choose_device
from hmdb_lib.progress import Bar
from hmdb_lib.results import seen
from hmdb_lib.results.metrics import class_sizes, nll, predictions_table, top_k
from hmdb_lib.results.runs import Run
from hmdb_lib.results.statistics import measure_test

BOARD = Path(__file__).parent / "board.csv"
# What is fitted -> its setting, the values that are tried, and how it is made.
PROBES: dict[str, tuple[str, tuple, Callable[[Any], Any]]] = {
    "logistic": (
        "C",
        (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0),
        lambda c: LogisticRegression(C=c, max_iter=1000),
    ),
    "neighbours": ("k", (1, 3, 5, 10, 20, 50), lambda k: KNeighborsClassifier(k)),
}
EXAMPLES, DRAWS, STEPS = 8, 10, 100  # of the board's protocol


class Part(NamedTuple):
    """Hold the vectors (videos, C) of a part's videos that were read, their class numbers (videos,), and their table."""

    vectors: np.ndarray
    labels: np.ndarray
    videos: pd.DataFrame


def frozen(config: Config) -> Config:
    """Copy an experiment with the whole backbone frozen, checked again. Raises UserError."""
    if config.frozen:
        return config
    raise UserError("the backbone trains in this row, and only a frozen one has features; add model.frozen=all")


def prepare(config: Config, place: Place) -> tuple[ClipData, models.VideoModel, Tokens]:
    """Load an experiment's data, and its model with the weights that training starts from. Raises UserError."""
    data = read_data(config, place)
    torch.manual_seed(config.seed)  # as training draws the weights of what is not pretrained
    model = models.build(classes=len(data.classes), **config.architecture())
    models.load_pretrained(model, config.model.pretrained, data.classes)
    models.channels_last(model)
    return (
        data,
        model,
        Tokens(config, model.backbone, choose_device(config.train.device, config.train.precision), place),
    )


def pooled(data: ClipData, tokens: Tokens, config: Config) -> dict[str, Part]:
    """Average the tokens of each video's `evaluate.clips` clips, by part; videos that cannot be read are left out.

    Raises UserError where more of a part cannot be read than data.max_lost allows.
    """
    parts = {}
    for role, videos in data.tables.items():
        wanted = Wanted.judged(data, videos, config, config.evaluate.clips, config.evaluate.crops)
        found = tokens.of(data, wanted)
        stop_at_loss(videos, tokens.unreadable, config.data)
        kept = videos[videos.path.isin(found.keys())]
        means = [found[path].float().mean((0, 1, 2, 3)) for path in kept.path]
        parts[role] = Part(torch.stack(means).numpy(), kept.target.to_numpy(), kept)
    return parts


def probe(config: Config) -> pd.DataFrame:
    """Fit logistic regression and k nearest neighbours on the average of each video's tokens; record both as runs.

    C and k are chosen on the validation part, whose sources do not train; then training and validation videos are
    fitted together, and the test part is judged once. Vectors are standardized.

    Args:
        config: of a row whose backbone is frozen; `data.features=pooled` stores the least.

    Returns a line a probe: accuracy with its 95 % interval over source videos, what was chosen, and how
    uneven the classes are. Raises UserError.

    Example:
        >>> hl.probe(hl.load_config("efficientnet_lite0_pool", **{"data.features": "pooled"}))

    """
    config, place = frozen(config), environment.place()
    if config.train.final_fit or not config.data.validation_share:
        told = "set data.validation_share above 0, and train.final_fit to false"
        raise UserError(f"probes choose C and k on the validation part; {told}")
    runs = {kind: Run.of(named(config, kind), place.results) for kind in PROBES}
    now = identity_now(config, place)
    for run in runs.values():
        if now and (run.folder / "data.json").exists():
            run.keep_data(now)
    if not all(run.holds(named(config, kind)) and run.finished for kind, run in runs.items()):
        data, model, tokens = prepare(config, place)
        _, seen_test = seen.check(config.model.pretrained, data.listed("test"), config.train.allow_seen)
        parts = pooled(data, tokens, config)
        _check_classes(parts["train"].labels, data)
        about = {
            "seen_test_videos": seen_test,
            "row": config.row,
            **{"data": config.data.name, "split": config.data.split, "seed": config.seed, "quick": config.quick},
            **{"final_fit": False, "classes": data.classes, "unreadable": tokens.unreadable},
            **{"parameters": {"cnn": cost.count(model)["cnn"]}, "device": tokens.device.reason},
            **class_sizes(data.tables["train"].label, data.tables["test"].label),
            **{"commit": environment.commit(), "shortfall": data.shortfall, "present": len(data.tables["test"])},
        }
        for kind, run in runs.items():
            if not run.finished:
                Run.start(named(config, kind), place.results).keep_data(data.identity)
                _fit(kind, run, parts, data.listed("test"), about)
    lines = {}
    for summary in (run.summary for run in runs.values()):
        sizes = {key: summary[key] for key in ("imbalance", "commonest_class") if key in summary}
        lines[summary["name"]] = {**summary["test"], **summary["chosen"], **sizes}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("name")


def named(config: Config, kind: str) -> Config:
    """Name a probe's own run after the experiment."""
    return config.model_copy(update={"name": f"{config.name or config.row}-{kind}"})


def probe_as_board(config: Config) -> np.ndarray:
    """Judge as the public board of embeddings (MTEB) does: accuracies of ten draws, which are not recorded.

    Each draw takes 8 videos of each class out of those that train or validate, fits logistic regression (100 steps, no
    scaling) on the averages of their tokens, and judges all test videos; one that cannot be read counts as wrong. Raises
    UserError.
    """
    config = frozen(config)
    data, _, tokens = prepare(config, environment.place())
    listed = data.listed("test")
    seen.check(config.model.pretrained, listed, config.train.allow_seen)
    parts = pooled(data, tokens, config)
    train, labels = _together(parts)
    _check_classes(labels, data)
    accuracies = []
    for draw in Bar(range(DRAWS), "draws"):
        order = np.random.default_rng((config.seed, draw)).permutation(len(labels))
        taken = np.concatenate([order[labels[order] == label][:EXAMPLES] for label in np.unique(labels)])
        model = _fitted(LogisticRegression(max_iter=STEPS), train[taken], labels[taken])
        accuracies.append(float((model.predict(parts["test"].vectors) == parts["test"].labels).sum()) / len(listed))
    return np.array(accuracies)


def board(accuracy: float, neighbours: int = 3) -> pd.DataFrame:
    """The models of the public board, HMDB51's split 1, that are nearest above and below an accuracy."""
    models_there = pd.read_csv(BOARD).sort_values("accuracy", ascending=False, kind="stable")
    above, below = models_there[models_there.accuracy >= accuracy], models_there[models_there.accuracy < accuracy]
    return pd.concat([above.tail(neighbours), below.head(neighbours)]).reset_index(drop=True)


def _fit(kind: str, run: Run, parts: Mapping[str, Part], listed: pd.DataFrame, about: Mapping[str, Any]) -> None:
    start = time.perf_counter()
    setting, values, make = PROBES[kind]
    train, validation, test = parts["train"], parts["validation"], parts["test"]
    if kind == "neighbours":
        values = [value for value in values if value <= len(train.labels)]
    classes = about["classes"]
    tried = {}
    for value in values:
        told = _probabilities(_scaled(make(value), train.vectors, train.labels), validation.vectors, len(classes))
        # As in training: between equal accuracies the loss decides.
        tried[value] = top_k(told, validation.labels, 1) - 1e-4 * nll(told, validation.labels)
    chosen = max(tried, key=tried.__getitem__)
    probabilities = _probabilities(_scaled(make(chosen), *_together(parts)), test.vectors, len(classes))
    predictions = predictions_table(listed, probabilities, classes, test.videos.index.to_numpy())
    summary = dict(about) | {
        "name": run.config.title,
        "chosen": {setting: chosen},
        "seconds": {"training": time.perf_counter() - start},
        "test": measure_test(predictions) | {"present": about["present"]},
    }
    run.finish(predictions, json.loads(json.dumps(summary)))


def _check_classes(labels: np.ndarray, data: ClipData) -> None:
    """Raise UserError where the videos that were read of those that train are of one class."""
    if len(found := np.unique(labels)) < 2:
        raise UserError(
            f"{data.folder}: the videos that train are of one class alone, {data.classes[found[0]]}, and a probe tells "
            "classes apart; give it more of them (data.sources, data.limit)"
        )


def _together(parts: Mapping[str, Part]) -> tuple[np.ndarray, np.ndarray]:
    learned = [parts[role] for role in ("train", "validation") if role in parts]
    return np.concatenate([part.vectors for part in learned]), np.concatenate([part.labels for part in learned])


def _scaled(classifier: Any, vectors: np.ndarray, labels: np.ndarray) -> Pipeline:
    return _fitted(make_pipeline(StandardScaler(), classifier), vectors, labels)


def _fitted(classifier: Any, vectors: np.ndarray, labels: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the steps are part of the protocol
        return classifier.fit(vectors, labels)


def _probabilities(classifier: Any, vectors: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities (videos, classes); a class without training videos has zero."""
    told = np.zeros((len(vectors), classes))
    told[:, classifier.classes_] = classifier.predict_proba(vectors)
    return told
