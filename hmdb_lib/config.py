"""One experiment as a document: config.yaml, plus a named row's few differences, plus what the command line says.

Every key is typed and bounded here and explained in config.yaml. Anything else is one line that names the key, the
value and the nearest key there is.
"""

import difflib
import functools
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hmdb_lib import environment
from hmdb_lib.errors import UserError

CONFIG = environment.shipped("config.yaml")
EXPERIMENTS = environment.shipped("experiments.yaml")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, five times as fast where PyYAML has libyaml


class Loader(LOADER):  # pyright: ignore[reportGeneralTypeIssues] - one of two classes
    """Read YAML; a key that stands twice is an error, for the first one would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping of keys that differ."""
        seen = set()
        for key, _ in node.value:
            name = str(key.value)  # a list may be a key
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name} stands twice, join both", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


OF_EXPERIMENTS = ("rows", "tables", "search")  # parts of experiments.yaml that a configuration may have more of

# Backbone -> its published weights, what model.pretrained=auto stands for.
WEIGHTS = {
    **dict.fromkeys(("r2plus1d_18", "r3d_18", "mc3_18", "s3d", "mvit_v2_s", "swin3d_t"), "kinetics400"),
    **dict.fromkeys(("videomae_small", "xclip_patch32", "xclip_patch16"), "kinetics400"),
    **dict.fromkeys(("vjepa2_large", "vjepa2_huge", "vjepa2_giant"), "vjepa2"),
    **{"videomae_base": "unlabelled", "efficientnet_lite0": "imagenet", "r2plus1d_34": "auto"},  # 34: by path alone
}
RESNETS = ("r2plus1d_18", "r2plus1d_34", "r3d_18", "mc3_18")
CUT = (*RESNETS, "efficientnet_lite0")  # of these the first blocks can be kept
# What model.name said before -> the head.
ARCHITECTURES = {"hybrid": "perceiver", "r2plus1d": "pool", "bert": "bert", "videomae": "pool"}
RENAMED = {
    "train.optimiser": "train.optimizer",
    "data.normalise": "data.normalize",
    "model.name": "model.backbone and model.head",
    "model.depth": "model.backbone",
    "videomae.variant": "model.backbone",
    # Rows: 32 frames were 4 seconds in one and 2 in another.
    "hybrid_32frames": "cross1_self1_4seconds",
    "hybrid_64frames": "cross1_self1_8seconds",
    "baseline_64frames": "baseline_8seconds",
    "bert_64frames": "bert_8seconds",
}

Count = Annotated[int, Field(ge=1)]
# PyYAML reads 1e-4 as a string, so floats (and floats alone) may come as one.
Number = Annotated[float, Field(strict=False)]
Positive = Annotated[float, Field(strict=False, gt=0)]
NotNegative = Annotated[float, Field(strict=False, ge=0)]
Share = Annotated[float, Field(strict=False, ge=0, lt=1)]

# Keys of the backbone, and of what stored tokens cannot do: who changes one trains the backbone.
ABOUT_THE_BACKBONE = {
    *(f"model.{key}" for key in ("backbone", "pretrained", "blocks", "width", "frozen")),
    *(f"train.{key}" for key in ("objective", "randaugment", "erasing", "mixup", "cutmix", "backbone_lr")),
    *(f"train.{key}" for key in ("frozen_epochs", "layer_decay", "sync_batch_norm", "checkpointing")),
}


class Section(BaseModel):
    """A group of keys: no unknown ones, no silent conversions, finite numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Data(Section):
    """Which videos, and how a clip is cut out of one."""

    dataset: Literal["auto", "sample", "hmdb51", "folder"]
    root: str | None
    split: Annotated[int, Field(ge=0)]
    folds: Annotated[int, Field(ge=2)]
    group: str | None
    classes: list[str] | str | None
    limit: Count | None
    per_class: Count | None
    sources: Count | None
    validation_share: Annotated[float, Field(strict=False, ge=0, le=0.5)]
    frames: Count
    sampling: Literal["window", "segments"]
    clip_seconds: Positive | None
    frame_step: Positive | None
    short: Literal["loop", "last", "stretch"]
    resize: Annotated[list[Count], Field(min_length=2, max_length=2)]
    antialias: bool
    crop: Count
    flip: bool
    normalize: Literal["weights", "published"]
    on_error: Literal["skip", "stop"]
    max_lost: Annotated[float, Field(strict=False, ge=0, le=1)]
    store: str
    features: Literal["tokens", "4x4", "pooled"]
    workers: Annotated[int, Field(ge=0)] | Literal["auto"]

    @field_validator("root")
    @classmethod
    def _is_a_path(cls, root: str | None) -> str | None:
        try:
            Path(root or "").expanduser()
        except RuntimeError:
            raise ValueError(
                "begins with ~ and a name that is no user's here; write ./~ for a folder so called"
            ) from None
        return root

    @field_validator("group")
    @classmethod
    def _has_a_group(cls, pattern: str | None) -> str | None:
        try:
            groups = 1 if pattern is None else re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"is not a regular expression ({error})") from None
        if not groups:
            raise ValueError("needs a group in brackets, which is the source, such as '(.+)_[0-9]+'")
        return pattern

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "Data":
        if (self.clip_seconds is None) == (self.frame_step is None):
            given = f"clip_seconds={self.clip_seconds}, frame_step={self.frame_step}"
            raise ValueError(f"give exactly one of clip_seconds and frame_step, set the other to null (now {given})")
        if self.crop > min(self.resize):
            raise ValueError(f"crop={self.crop} does not fit into resize={self.resize}")
        return self

    def mean_std(self, model: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return RGB mean and deviation (0..1) to normalize clips with: those of the model's weights, or the published."""
        return ((0.45,) * 3, (0.225,) * 3) if self.normalize == "published" else (model.mean, model.std)

    @property
    def name(self) -> str:
        """Name the data in results: the data set, or the folder of one's own."""
        return Path(self.root).expanduser().resolve().name if self.dataset == "folder" and self.root else self.dataset


class Model(Section):
    """Which backbone and head, and where their weights start."""

    backbone: str
    head: Literal["perceiver", "pool", "pool_change", "bert", "gru"]
    pretrained: str
    blocks: Count | None
    width: Annotated[float, Field(strict=False)]
    frozen: Annotated[int, Field(ge=0)] | Literal["all"]

    @model_validator(mode="before")
    @classmethod
    def _published_weights(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("pretrained") == "auto":
            backbone = str(given.get("backbone"))
            return given | {"pretrained": "timm" if backbone.startswith("timm:") else WEIGHTS.get(backbone, "auto")}
        return given

    @model_validator(mode="after")
    def _backbone_is_known(self) -> "Model":
        if self.backbone not in WEIGHTS and not self.backbone.startswith("timm:"):
            known = ", ".join([*WEIGHTS, "timm:<name>"])
            raise ValueError(f"backbone={self.backbone} is none of {known}{_nearest(self.backbone, WEIGHTS)}")
        if self.blocks is not None and self.backbone not in CUT:
            raise ValueError(
                f"blocks={self.blocks} goes with {', '.join(CUT)}, not with {self.backbone}; set it to null"
            )
        if self.width not in (1.0, 0.5, 0.25) or (self.width != 1 and self.backbone not in RESNETS):
            raise ValueError(
                f"width={self.width:g} is none of 1, 0.5 and 0.25, the last two for {', '.join(RESNETS)} alone"
            )
        if self.width != 1 and self.pretrained in ("auto", *WEIGHTS.values()):
            raise ValueError(
                f"width={self.width:g}: no weights are published for a part of the channels; set model.pretrained=none, or width=1"
            )
        return self


class Perceiver(Section):
    """The attention over the backbone's tokens."""

    cross: Annotated[int, Field(ge=0)]
    self_layers: Annotated[int, Field(ge=0)]
    latents: Count
    width: Count
    latent_std: Positive
    start: Literal["centred", "published"]
    share_latents: bool
    latents_over_time: bool
    differences: bool
    residual_pool: bool | Literal["change"]
    dropout: Share
    attention_dropout: Share
    drop_path: Share
    train_cross: bool


RENAMED |= {f"hybrid.{key}": f"perceiver.{key}" for key in Perceiver.model_fields}


class Bert(Section):
    """Late temporal modelling."""

    layers: Count
    mask: Share
    dropout: Share
    classifier_dropout: Share


class Gru(Section):
    """The recurrent network over time."""

    width: Count
    layers: Literal[1, 2]


class Pool(Section):
    """The average."""

    norm: bool
    dropout: Share


class VideoMAE(Section):
    """The vision transformer."""

    drop_path: Share


class Train(Section):
    """The optimizer, its schedule, augmentation, and the device."""

    objective: Literal["classify", "masked"]
    mask: Annotated[float, Field(strict=False, gt=0, lt=1)]
    epochs: Count
    views: Count
    batch_size: Count | Literal["auto"]
    accumulate: Count
    class_weights: Literal["none", "balanced"]
    sampler: Literal["shuffle", "balanced"]
    optimizer: Literal["adamw", "adam", "sgd"]
    lr: Positive
    backbone_lr: Positive
    attention_lr: Positive | None
    lr_clips: Count | None
    frozen_epochs: Annotated[int, Field(ge=0)]
    layer_decay: Annotated[float, Field(strict=False, gt=0, le=1)]
    weight_decay: NotNegative
    decay_all: bool
    schedule: Literal["cosine", "steps", "constant"]
    step_epochs: Count
    step_factor: Annotated[float, Field(strict=False, gt=0, le=1)]
    warmup_epochs: NotNegative
    patience: Count | None
    keep: Literal["all", "best", "none"]
    clip_norm: NotNegative
    label_smoothing: Share
    randaugment: bool
    erasing: Share
    mixup: NotNegative
    cutmix: NotNegative
    ema: Share
    sync_batch_norm: bool
    checkpointing: bool
    choose_on: Literal["validation", "test"]
    final_fit: bool
    allow_seen: bool
    device: Literal["auto", "cuda", "mps", "cpu"]
    devices: Count | Literal["auto"]
    machines: Count
    precision: Literal["auto", "bf16", "fp16", "fp32"]

    @model_validator(mode="after")
    def _goes_together(self) -> "Train":
        one_device = (self.devices, self.machines) == (1, 1)
        if self.batch_size == "auto" and not one_device:
            raise ValueError("batch_size=auto tries one device; for several give the number that it finds, times them")
        if self.frozen_epochs and not one_device:
            raise ValueError(f"frozen_epochs={self.frozen_epochs} works on one device of one machine")
        if self.final_fit and self.choose_on == "test":
            raise ValueError("final_fit=true trains for the epochs that validation chose; set choose_on=validation")
        if self.objective == "masked" and (self.final_fit or self.ema):
            raise ValueError("objective=masked goes with neither final_fit nor ema")
        return self

    @property
    def rate_factor(self) -> float:
        """Divide the clips of a step by those that the rates are given for: the rates are multiplied by it."""
        if self.lr_clips is None or self.batch_size == "auto":  # auto: the batch is not found yet
            return 1.0
        return self.batch_size * self.accumulate / self.lr_clips


class Evaluate(Section):
    """How many clips of a video are judged, and how they vote."""

    clips: Count | Literal["all", "consecutive"]
    crops: Literal[1, 3]
    vote: Literal["mean", "majority"]
    validation_clips: Count | Literal["all", "consecutive"]


class Config(Section):
    """One whole experiment, resolved: nothing in it depends on another file."""

    row: str
    name: Annotated[str, Field(pattern=r"^[\w.+-]+$")] | None
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    quick: bool
    trials: Annotated[int, Field(ge=0)]
    data: Data
    model: Model
    perceiver: Perceiver
    bert: Bert
    gru: Gru
    pool: Pool
    videomae: VideoMAE
    train: Train
    evaluate: Evaluate

    @model_validator(mode="after")
    def _goes_together(self) -> "Config":
        train, validation, masked = self.train, self.data.validation_share, self.train.objective == "masked"
        if not validation and (train.final_fit or masked):
            raise ValueError("final_fit=true and objective=masked need validation; set data.validation_share above 0")
        if train.patience and (masked or not validation):
            raise ValueError(
                "train.patience watches validation accuracy: set it to null with objective=masked or without validation"
            )
        for key in ("clips", "validation_clips"):
            if self.data.sampling == "segments" and getattr(self.evaluate, key) == "consecutive":
                raise ValueError(
                    f"evaluate.{key}=consecutive goes with data.sampling=window alone; give a number or all"
                )
        if not self.frozen and self.data.features != "tokens":
            raise ValueError(f"features={self.data.features} goes with model.frozen=all alone")
        if self.frozen and masked:
            raise ValueError("objective=masked trains the backbone; set model.frozen to a number")
        changing = [key for key in ("randaugment", "erasing", "mixup", "cutmix") if getattr(train, key)]
        if self.frozen and changing:
            told = " and ".join(f"{key}={getattr(train, key)}" for key in changing)
            raise ValueError(f"{told}: would change pixels, and model.frozen=all trains on stored tokens; turn it off")
        return self

    @model_validator(mode="after")
    def _schedule_fits_into_the_run(self) -> "Config":
        train = self.train
        if self.quick or self.data.dataset == "sample":  # checks of few epochs, whatever a row's schedule says
            return self
        if train.warmup_epochs > train.epochs:
            raise ValueError(f"warmup_epochs={train.warmup_epochs} is more than epochs={train.epochs}")
        if train.schedule == "steps" and train.step_epochs >= train.epochs:
            told = f"step_epochs={train.step_epochs} is not less than epochs={train.epochs}"
            raise ValueError(f"{told}: the rate would never fall; give fewer, or schedule=constant")
        return self

    @property
    def frozen(self) -> bool:
        """Tell whether the whole backbone is frozen: its tokens are computed once, and the head trains on them."""
        return self.model.frozen == "all"

    @property
    def title(self) -> str:
        """Name the experiment in results: its name or its row, and whether the backbone was frozen."""
        return (self.name or self.row) + "-frozen" * self.frozen

    @property
    def validates(self) -> bool:
        """Tell whether a part is judged after every epoch, by which the epoch is chosen; else the last is taken."""
        return not self.train.final_fit and (self.data.validation_share > 0 or self.train.choose_on == "test")

    @property
    def chosen_on(self) -> str:
        """Say which part chooses the epoch, or that it is the last one."""
        none = self.train.choose_on == "validation" and not self.data.validation_share
        return "last epoch" if none else self.train.choose_on

    def changed(self, section: str, **values: Any) -> "Config":
        """Copy the experiment with other values in one section; they are not checked again."""
        return self.model_copy(update={section: getattr(self, section).model_copy(update=values)})

    def architecture(self) -> dict[str, Any]:
        """Return the arguments of `hmdb_lib.models.build` for this experiment, but for the number of classes."""
        model, section = self.model, getattr(self, self.model.head, None)  # the head pool_change has no settings
        options: dict[str, Any] = {"frozen": model.frozen}
        if model.blocks is not None:
            options["blocks"] = model.blocks
        if model.width != 1:
            options["width"] = model.width
        if model.backbone.startswith("videomae"):
            options |= self.videomae.model_dump()
        kept = {} if self.data.features == "tokens" else {"features": self.data.features}
        return kept | {
            "backbone": model.backbone,
            "head": model.head,
            "frames": self.data.frames,
            "size": self.data.crop,
            "backbone_options": options,
            "head_options": section.model_dump() if section else {},
        }

    def to_yaml(self) -> str:
        """Write a config.yaml that gives this experiment again."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False)

    def flat(self) -> dict[str, Any]:
        """Map every key, under its dotted name, to its value."""
        return dict(_flatten(self.model_dump()))

    def used(self) -> dict[str, Any]:
        """Return `flat` without the settings of heads and backbones that this experiment does not have."""
        others = {"perceiver", "bert", "gru", "pool", "videomae"} - {
            self.model.head,
            self.model.backbone.partition("_")[0],
        }
        return {key: value for key, value in self.flat().items() if key.partition(".")[0] not in others}


def load(row: str | None = None, overrides: Iterable[str] = (), file: Path = CONFIG) -> Config:
    """Load the experiment that `python train.py [row] [key=value ...]` runs.

    Later ones win: the repository's config.yaml for what `file` lacks (a run's own may be older than a key; a part of a
    configuration lacks the parts `when_...` too); `file`; its `when_sample` part, if the sample data set is used, or its
    `when_sample_end_to_end` part, if moreover `quick` is true or the row or an override is about the backbone (see
    `ABOUT_THE_BACKBONE`); the row's differences in experiments.yaml, which `file` may name; the `when_quick` part, if `quick` is true; `overrides` such as `train.epochs=3`. A section's
    name alone stands for its first key: `data=folder`, `model=r3d_18`. `data.dataset: auto` becomes what this machine
    has. Raises UserError for anything that is not valid.
    """
    tree = read(file)
    for part in OF_EXPERIMENTS:
        tree.pop(part, None)
    whole = _is_whole(tree)
    record = whole and "when_quick" not in tree  # a run's own
    for name, value in tree.items():
        if _section(name) and not isinstance(value, dict):
            raise UserError(f"{file.name}: {name}={_show(value)}: expected lines of 'key: value' below {name}")
    in_part = set() if whole else {key for key, _ in _flatten(tree)}
    usual = {} if whole else read(CONFIG)
    when = {}
    for part in ("when_sample", "when_sample_end_to_end", "when_quick"):
        own = part in tree
        changes = up_to_date(_differences(tree.pop(part, usual.get(part)), f"{file.name}, {part}"))
        of_file = set() if own or part == "when_quick" else in_part  # wins over what the repository says of the sample
        when[part] = {key: value for key, value in changes.items() if key not in of_file}
    tree = _completed(tree)
    given = parse(overrides)
    named = given.pop("row", None)
    if row and named and row != named:
        raise UserError(f"two rows are asked for, {row} and {_show(named)}; give one")
    row = _current_row(row or named or (None if record else tree.get("row")))  # all that a record's row says is in it
    if not isinstance(row, str | None):
        raise UserError(f"command line: row={_show(row)} is no name of a row; python train.py --help lists them")
    differences = {} if row is None else {"row": row} | up_to_date(find_row(row, file), tell=True)
    differences.pop("question", None)
    by_split = differences.pop("by_split", None)

    def asked(key: str) -> Any:
        return given.get(key, differences.get(key, dict(_flatten(tree)).get(key)))

    if by_split is not None:
        differences |= _of_split(by_split, asked("data.split"), row)
    dataset = asked("data.dataset")
    given["data.dataset"] = environment.place().best_dataset if dataset == "auto" else dataset
    quick, sample = asked("quick") is True, given["data.dataset"] == "sample"
    trains = (
        bool((differences.keys() | given.keys() | in_part) & ABOUT_THE_BACKBONE)
        or asked("evaluate.clips") == "consecutive"
    )
    end_to_end = asked("model.frozen") != "all" and (quick or trains)
    layers = [
        (f"{file.name}, when_sample", when["when_sample"], sample and not end_to_end),
        (f"{file.name}, when_sample_end_to_end", when["when_sample_end_to_end"], sample and end_to_end),
        (f"experiments.yaml, {row}", differences, True),
        (f"{file.name}, when_quick", when["when_quick"], quick),
        ("command line", given, True),
    ]
    known = _usual().keys()
    for place, changes, applies in layers:
        for key, value in changes.items():
            if key not in known:
                raise UserError(f"{place}: {key}={_show(value)} is not a setting{_nearest(key, known)}")
            if applies:
                _put(tree, key, value)
    if quick and "model.width" not in given and tree["model"]["backbone"] not in RESNETS:
        tree["model"]["width"] = 1  # when_quick narrows ResNets alone
    try:
        return Config.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        raise UserError(_first_problem(error, file.name, given, known)) from None


def parse(overrides: Iterable[str]) -> dict[str, Any]:
    """Read `key=value` words into dotted keys as they are called today. Raises UserError."""
    return up_to_date({_first_key(key): value for key, value in map(_override, overrides)}, tell=True)


def _of_split(by_split: Any, split: Any, row: str | None) -> dict[str, Any]:
    if split not in by_split:
        raise UserError(
            f"row {row} was tuned for split {', '.join(map(str, by_split))}, whose validation videos may be test videos of "
            f"split {split}; tune it for that split too, with hmdb tune ... --splits {split}"
        )
    return by_split[split]


def load_config(row: str | None = None, *, quick: bool = False, file: Path | str = CONFIG, **changes: Any) -> Config:
    """Load an experiment: a row of experiments.yaml, and single keys that differ from it.

    Args:
        row: such as "baseline"; None: config.yaml as it stands.
        quick: a few small clips and two epochs, to see that everything runs.
        file: another config.yaml, or a part of one.
        changes: keys by their dotted names, see the example.

    Raises UserError for anything that is not valid.

    Example:
        >>> hl.load_config("cross1_self1", quick=True, **{"train.epochs": 10, "data.root": "my_videos"})

    """
    return load(row, [*(["quick=true"] if quick else []), *as_overrides(changes)], Path(file))


def as_overrides(changes: Mapping[str, Any]) -> list[str]:
    """Write changes of keys as `key=value`, the way the command line takes them."""
    return [f"{key}={_as_yaml(value)}" for key, value in changes.items()]


def list_rows(*names: str, file: Path = CONFIG) -> dict[str, str]:
    """List rows, and the rows of tables, of experiments.yaml (without names: all rows) with the question of each.

    `file`: a configuration with rows and tables of its own. Raises UserError for a name that is neither a row nor a table.

    Example:
        >>> hl.list_rows("attention_depth", "baseline")

    """
    known, groups = rows(file), tables(file)
    names = tuple(map(_current_row, names))
    for name in names:
        if name not in known.keys() | groups.keys():
            raise UserError(
                f"{name!r} is neither a table nor a row of experiments.yaml; the tables are {', '.join(groups)}, "
                "and python train.py --help lists the rows"
            )
    chosen = [row for name in names for row in (groups[name]["rows"] if name in groups else [name])] if names else known
    return {row: (known[row] or {}).get("question", "") for row in chosen}


def rows(file: Path = CONFIG) -> dict[str, dict[str, Any]]:
    """Read the rows of experiments.yaml and `file`: the question each asks, and the dotted keys in which it differs."""
    return read(EXPERIMENTS)["rows"] | (read(file).get("rows") or {})


def tables(file: Path = CONFIG) -> dict[str, dict[str, Any]]:
    """Read all that experiments.yaml and `file` say of their tables, see there."""
    return read(EXPERIMENTS)["tables"] | (read(file).get("tables") or {})


def of_tables(names: Iterable[str], key: str, file: Path = CONFIG) -> dict[str, Any]:
    """What the tables among some names say under a key, all together."""
    return {name: value for table in names for name, value in tables(file).get(table, {}).get(key, {}).items()}


def search_space(file: Path = CONFIG) -> dict[str, dict[str, Any]]:
    """Read what `hmdb tune` searches, by part of a model: the part `search` of `file`, or that of experiments.yaml."""
    return read(file).get("search") or read(EXPERIMENTS)["search"]


def find_row(name: str, file: Path = CONFIG) -> dict[str, Any]:
    """Read one row of experiments.yaml or `file`. Raises UserError naming the nearest when there is none of that name."""
    known = rows(file)
    if name not in known:
        raise UserError(
            f"row {name!r} is not in experiments.yaml{_nearest(name, known)}; python train.py --help lists them"
        )
    return dict(known[name] or {})


def read(file: Path) -> dict[str, Any]:
    """Read a YAML file of keys. Raises UserError."""
    try:
        tree = yaml.load(Path(file).read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); is the path right?") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{file}: expected lines of 'key: value', found {_show(tree)}")
    return tree


def restore(tree: Mapping[str, Any]) -> Config:
    """Rebuild an experiment from its `model_dump`, an older release's too. Raises pydantic's ValidationError."""
    return Config.model_validate_json(json.dumps(_completed(tree)))


def _completed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a whole document to the keys of today, and take from config.yaml what it lacks."""
    current: dict[str, Any] = {}
    given = up_to_date(dict(_flatten(tree)))
    if _is_whole(tree) and "perceiver.train_cross" in given and given["model.head"] == "perceiver":  # from before
        given.setdefault("perceiver.start", "published")
    for key, value in (_usual() | given).items():
        _put(current, key, value)
    return current


@functools.cache
def _usual() -> dict[str, Any]:
    """Every key there is, and its value in the repository's config.yaml."""
    return dict(_flatten({key: value for key, value in read(CONFIG).items() if not key.startswith("when_")}))


def _is_whole(tree: Mapping[str, Any]) -> bool:
    """Tell a whole configuration, such as a run's own, from a part of one."""
    return {"seed", "quick", "data", "model", "train", "evaluate"} <= tree.keys()


def _override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"command line: {text!r} is neither a row nor key=value{_nearest(text, rows())}")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"command line: {key}={value!r} is not valid YAML; quote it") from None


def up_to_date(changes: Mapping[str, Any], *, tell: bool = False) -> dict[str, Any]:
    """Take old names of dotted keys, and of architectures, for the new ones; `tell` prints each new name, once."""
    old = dict(changes)
    if str(old.get("model.backbone")) in ARCHITECTURES:  # model=hybrid
        old["model.name"] = old.pop("model.backbone")
    for key in filter(RENAMED.__contains__, old if tell else ()):
        now_called(key)
    name, depth, variant = (old.pop(key, None) for key in ("model.name", "model.depth", "videomae.variant"))
    new = {RENAMED.get(key, key): value for key, value in old.items()}
    if name == "videomae" or (name is None and depth is None and variant):
        new["model.backbone"] = f"videomae_{variant or 'small'}"
        new["model.blocks"] = None
    elif name in ARCHITECTURES or depth:
        new["model.backbone"] = f"r2plus1d_{depth or 18}"
        if new.get("model.blocks") == (16 if depth == 34 else 8):
            new["model.blocks"] = None  # all of them
    elif name:
        new["model.backbone"] = name
    if name in ARCHITECTURES:
        new |= {"model.head": ARCHITECTURES[name], "pool.norm": name == "videomae"}
    return new


def _current_row(name: Any) -> Any:
    """Take a row's old name for the new one, and print that."""
    if not isinstance(name, str) or name not in RENAMED:
        return name
    now_called(name)
    return RENAMED[name]


@cache
def now_called(key: str) -> None:
    """Print what an old key or row is called now, the first time."""
    print(f"{key} is now called {RENAMED[key]}", file=sys.stderr)


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    section, _, name = key.rpartition(".")
    (tree.setdefault(section, {}) if section else tree)[name] = value


def _section(key: str) -> type[Section] | None:
    section = Config.model_fields[key].annotation if key in Config.model_fields else None
    return section if isinstance(section, type) and issubclass(section, Section) else None


def _first_key(key: str) -> str:
    section = _section(key)
    return f"{key}.{next(iter(section.model_fields))}" if section else key


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value  # a key may be a number or yes


def _nearest(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    ends = {key.rpartition(".")[2]: key for key in known}
    close = difflib.get_close_matches(name, known, n=1) or [
        ends[end] for end in difflib.get_close_matches(name.rpartition(".")[2], ends, n=1)
    ]
    return f"; the nearest is {close[0]}" if close else ""


def _as_yaml(value: Any) -> str:
    plain = json.loads(json.dumps(value, default=str))
    return yaml.safe_dump(plain, default_flow_style=True, width=math.inf).removesuffix("...\n").strip()


def _show(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) < 60 else text[:57] + "..."


def _differences(changes: Any, place: str) -> dict[str, Any]:
    if not isinstance(changes, dict | None):
        raise UserError(f"{place}: expected lines of 'key: value', found {_show(changes)}")
    return changes or {}


def _first_problem(error: ValidationError, file: str, given: Mapping[str, Any], known: Iterable[str]) -> str:
    # An unknown key comes before the missing one it was meant for.
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    # A union adds the names of its branches behind the key.
    path = [str(part) for part in problem["loc"]]
    key = next((".".join(path[:n]) for n in (2, 1) if ".".join(path[:n]) in known), ".".join(path))
    place = "command line" if key in given else file
    if problem["type"] == "extra_forbidden":
        return f"{place}: {key}={_show(problem['input'])} is not a setting{_nearest(key, known)}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if isinstance(problem["input"], dict):
        return ": ".join(filter(None, (place, key, message)))
    if problem["type"] == "literal_error":
        message += _nearest(str(problem["input"]), re.findall(r"'(.*?)'", message))
    return f"{place}: {key}={_show(problem['input'])} {message}"
