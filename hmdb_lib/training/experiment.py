"""Run one experiment from its configuration to its record: fit, resume, test, record. Lightning carries the loop."""

import logging
import math
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from data_prep.load import read_data
from hmdb_lib import environment, models
from hmdb_lib.config import Config, load_config
from hmdb_lib.data.load import identity_now, stop_at_loss
from hmdb_lib.data.loader import ClipData
from hmdb_lib.errors import UserError
from hmdb_lib.features.extract import Tokens
from hmdb_lib.features.load import FeatureData
from hmdb_lib.models.device import Device, choose_device
from hmdb_lib.models.pretrained import read_torch
from hmdb_lib.progress import in_notebook, quiet
from hmdb_lib.results import seen
from hmdb_lib.results.metrics import VideoScores, mean_beside
from hmdb_lib.results.runs import Run, list_runs
from hmdb_lib.results.statistics import videos_text
from hmdb_lib.training import launch
from hmdb_lib.training.batch_norm import SyncBatchNorm
from hmdb_lib.training.batch_size import find_batch_size
from hmdb_lib.training.callbacks import Deadline, LiveCurves, LossScale, Patience, Progress, Waiting
from hmdb_lib.training.checkpoints import EventLog, WholeCheckpoints, faults_told, newest_whole
from hmdb_lib.training.mirror import Mirror
from hmdb_lib.training.modules import TrainingModule, VideoClassifier, make_module

PRECISION: dict[str, Any] = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}  # as Lightning calls them


@dataclass(frozen=True)
class Resolved:
    """Say what a configuration means on this machine: which run, how many epochs, which device, how far it is.

    `config` has a number for `train.batch_size` as soon as the run, or the one that its final fit follows, has one.
    """

    config: Config
    place: environment.Place
    run: Run
    epochs: int

    @cached_property
    def device(self) -> Device:
        """Choose the device and precision. Raises UserError for one that is not there."""
        return choose_device(self.config.train.device, self.config.train.precision)

    @property
    def state(self) -> str:
        """Return the run's state: new, started or finished."""
        if self.run.finished:
            return "finished"
        return "started" if (self.run.folder / "config.yaml").exists() else "new"

    def __str__(self) -> str:
        if self.state == "new":
            return f"not started: {self.run.folder}"
        if self.state == "started":
            return f"epoch {len(self.run.metrics)} of {self.epochs} done: {self.run.folder}"
        summary = self.run.summary
        if "test" not in summary:
            return f"finished: reconstruction error {summary['last_epoch']['val_loss']:.3f}: {self.run.folder}"
        test = summary["test"]
        beside = mean_beside(summary)
        return f"finished: test accuracy {test['accuracy']:.3f}{beside} on {videos_text(test)}: {self.run.folder}"


def resolve(config: Config, place: environment.Place | None = None) -> Resolved:
    """Find the run of a configuration, its epochs and its batch size.

    Raises UserError where the run's folder holds another experiment, and with train.final_fit where no finished run
    says for how many epochs.

    Example:
        >>> print(hl.resolve(hl.load_config("baseline")))

    """
    place = place or environment.place()
    run, epochs = Run.of(config, place.results), config.train.epochs
    batch_size = config.train.batch_size
    if config.train.final_fit:
        choosing = config.changed("train", final_fit=False)
        chosen = Run.of(choosing, place.results)
        if not (chosen.holds(choosing) and chosen.finished):
            raise UserError(
                "train.final_fit=true trains for as many epochs as a run without it chose on validation, and there is "
                f"no finished one in {chosen.folder}; first run the same command with train.final_fit=false"
            )
        check_data(Resolved(choosing, place, chosen, config.train.epochs))
        epochs = int(chosen.summary["best_epoch"]["epoch"]) + 1
        batch_size = chosen.config.train.batch_size
    if run.holds(config):
        batch_size = run.config.train.batch_size
    if config.train.batch_size == "auto":
        config = config.changed("train", batch_size=batch_size)
    return Resolved(config, place, run, epochs)


def train(config: Config, *, live: bool = False, callbacks: Sequence[L.Callback] = (), until: float = math.inf) -> Run:
    """Train an experiment, or go on training it; test and record it; return its run. A finished run is returned as it is.

    With train.final_fit the validation videos train too. The epochs are those that the same experiment without it
    chose, and the rates are those it had: they follow the schedule over train.epochs and stop on the way, because a
    schedule squeezed into fewer epochs is one that validation never judged. The last epoch is the one tested.

    With train.objective=masked no label is read and nothing is tested: the run is what model.pretrained starts from.

    Args:
        config: from `load_config`.
        live: draw curves that grow, in a notebook. A finished run's curves are drawn as well.
        callbacks: more of Lightning's.
        until: when to stop, in the seconds of `time.time`: at the end of an epoch, and the run is not finished then.

    Raises UserError for what a user can mend.

    Example:
        >>> run = hl.train(hl.load_config("cross1_self1", quick=True), live=True)

    """
    resolved = resolve(config)
    config, run = resolved.config, resolved.run
    if resolved.state == "finished":
        check_data(resolved)
        print(f"already finished, nothing to do: {run.folder}")
        if live:
            LiveCurves(run).draw()
        return run
    if config.train.devices != 1 and in_notebook():
        return _started(resolved, callbacks, until, live)
    device = resolved.device
    if config.train.batch_size == "auto":
        resolved = replace(resolved, config=config.changed("train", batch_size=find_batch_size(config, device)))
    print(f"{device.reason}\nresults: {run.folder}")
    local = resolved.place.local
    if not local or (config.train.devices, config.train.machines) != (1, 1):
        return _trained(resolved, callbacks, until, live)
    mirror = Mirror(Run.of(config, local).folder, run.folder)
    mirror.fetch()
    resolved = replace(resolved, run=Run(mirror.local))
    try:
        if resolved.state != "finished":  # but not mirrored, when the other disk was away
            _trained(resolved, [*callbacks, mirror], until, live)
    finally:
        run = mirror.close()
    return run


def _trained(resolved: Resolved, callbacks: Sequence[L.Callback], until: float, live: bool) -> Run:
    if live:
        callbacks = [*callbacks, LiveCurves(resolved.run)]
    is_new = resolved.state == "new"
    run = Run.start(resolved.config, resolved.run.folder.parents[2])
    try:
        _fit_and_record(resolved, callbacks, until)
    except BaseException as error:
        if is_new:
            run.abandon()
        if isinstance(error, KeyboardInterrupt):
            kept = f"{len(run.metrics)} of {resolved.epochs} epochs are kept; do the same again to go on"
            raise KeyboardInterrupt(kept) from None
        raise
    return run


def _started(resolved: Resolved, callbacks: Sequence[L.Callback], until: float, live: bool) -> Run:
    """Train by a process, as the shell would: a notebook's kernel that has used CUDA cannot be forked for each GPU."""
    if callbacks:
        raise UserError("callbacks reach no other process: give none with train.devices, or train on one device")
    run, log = resolved.run, resolved.run.folder / "log.txt"
    curves, drawn = LiveCurves(run) if live else None, 0
    print(f"results: {run.folder}\nits processes print into {log}")

    def watch() -> None:
        nonlocal drawn
        if curves and len(run.metrics) != drawn:
            drawn = len(run.metrics)
            curves.draw()

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(resolved.config.to_yaml(), encoding="utf-8")
        limit = [] if until == math.inf else ["--until", str(until)]
        code = launch.train(launch.Command(["--config", str(file), *limit], log), watch)
    watch()
    last = log.read_text(encoding="utf-8").strip().rpartition("\n")[2]
    if code not in (0, launch.TIME_IS_UP):
        raise UserError(f"{last.removeprefix('error: ')} (exit code {code}; see {log})")
    print(last)
    return run


def check_data(resolved: Resolved) -> None:
    """Raise UserError where a finished run is of other data than those that its configuration names now.

    What is not on this machine, or cannot be read, is not compared; neither is a run without a record of its data.
    """
    if (resolved.run.folder / "data.json").exists() and (now := identity_now(resolved.config, resolved.place)):
        resolved.run.keep_data(now)


def _fit_and_record(resolved: Resolved, callbacks: Sequence[L.Callback], until: float) -> None:
    config, run, device = resolved.config, resolved.run, resolved.device
    L.seed_everything(config.seed, verbose=False)
    data = read_data(config, resolved.place)
    run.keep_data(data.identity)
    before, seen_test = seen.check(config.model.pretrained, data.listed("test"), config.train.allow_seen)
    learned = {"train", *(["validation"] if "validation" in data.tables else []), config.train.choose_on}
    seen.record(run, pd.concat([data.tables[role] for role in sorted(learned) if role in data.tables]), before)
    last, epochs = newest_whole(run)
    if last and not run.best.exists():
        raise UserError(
            f"{run.best}: is missing, and the run cannot be tested without it; put it back, or remove {run.folder} to "
            "train anew"
        )
    if last:
        print(f"resuming after epoch {epochs} of {resolved.epochs}")
    module, data = _prepare(resolved, data, epochs)
    module.seen_test = seen_test
    if (precisions := run.precisions) and precisions[-1] != device.precision:
        print(f"precision: {precisions[-1]} until now, {device.precision} from here on; metrics.csv has it by epoch")
    with _lightning(), faults_told(run):
        deadline = Deadline(until, _test_share(config, data) * module.tests)
        trainer = _trainer(resolved, module.monitor, [*callbacks, deadline])
        if int(config.train.batch_size) % trainer.world_size:
            raise UserError(
                f"train.batch_size={config.train.batch_size} cannot be shared evenly by {trainer.world_size} devices; "
                "give a multiple of them"
            )
        trainer.fit(module, data, ckpt_path=last, weights_only=True)
        if deadline.reached:
            print(f"the time is up after epoch {len(run.metrics)} of {resolved.epochs}; the same command goes on")
            return
        best = read_torch(run.best)
        module.load_state_dict(best["state_dict"])
        start = time.perf_counter()
        if module.tests:
            trainer.test(module, data, verbose=False)
    if trainer.is_global_zero:
        module.record(data, device, best["epoch"], time.perf_counter() - start)


def _test_share(config: Config, data: ClipData) -> float:
    """Compute how many times as many clips the test part has as validation; clips that are not counted: ten a video."""
    evaluate, parts = config.evaluate, data.tables
    test, validation = (
        clips if isinstance(clips, int) else 10 for clips in (evaluate.clips, evaluate.validation_clips)
    )
    judged = len(parts.get(config.train.choose_on, ())) * validation
    return len(parts["test"]) * test * evaluate.crops / judged if judged else 0.0


def _prepare(resolved: Resolved, data: ClipData, epochs_done: int) -> tuple[TrainingModule, ClipData]:
    """Build the module that trains an experiment, and its data: stored tokens where the backbone is frozen."""
    config = resolved.config
    model, loaded = build_model(config, len(data.classes)), set()
    # Loaded parameters do not train in the first epochs, so a run that resumes there must know them again.
    if not epochs_done or epochs_done < config.train.frozen_epochs or config.frozen:
        loaded = models.load_pretrained(model, config.model.pretrained, data.classes)
    if config.frozen and not isinstance(data, FeatureData):
        data = FeatureData(data, config, Tokens(config, model.backbone, resolved.device, resolved.place))
        stop_at_loss(pd.concat(data.tables.values()), data.unreadable, config.data)
    module = make_module(config, model, resolved.run, loaded)
    module.precision = resolved.device.precision
    return module, data


def train_unrecorded(resolved: Resolved, data: ClipData, callbacks: Sequence[L.Callback]) -> ClipData:
    """Train and validate without checkpoints, test and record, as `hmdb tune` tries settings.

    metrics.csv in the run's folder has the epochs. Returns the data that were trained on: given again, stored tokens are
    not read anew. Raises UserError.
    """
    L.seed_everything(resolved.config.seed, verbose=False)
    module, data = _prepare(resolved, data, 0)
    with _lightning(), faults_told(resolved.run):
        _trainer(resolved, module.monitor, callbacks, recorded=False).fit(module, data)
    return data


def judge(resolved: Resolved, model: torch.nn.Module, data: ClipData) -> VideoScores:
    """Judge the test part of loaded data with a trained model, by the clips and crops of `evaluate`, on one device."""
    resolved = replace(resolved, config=resolved.config.changed("train", devices=1, machines=1))
    config = resolved.config
    data.test_clips = config.evaluate.clips
    module = VideoClassifier(config, models.channels_last(model))
    with _lightning():
        _trainer(resolved, None, [Progress()], recorded=False).test(module, data, verbose=False)
    return module.scores["test"]


def find_run(name: str | None = None, *, attention: bool = False) -> Run:
    """Find a finished run: the one of this name, or the first with a checkpoint.

    Where there is none, the run of `python train.py` on the sample data set is trained, minutes on two cores.

    Args:
        name: as `list_runs` has it, such as "baseline/hmdb51-split1-seed0"; its checkpoint may be gone.
        attention: without a name, only a run of a model with attention over the CNN's tokens.

    Raises UserError for a name that no finished run has.

    Example:
        >>> hl.find_run(attention=True).predictions

    """
    found = list_runs(finished=True)
    if name and name not in found:
        raise UserError(f"{name!r} is no finished run; there are {', '.join(found) or 'none'}")
    kept = [run for run in found.values() if run.best.exists()]
    fit = [found[name]] if name else [run for run in kept if not attention or run.config.model.head == "perceiver"]
    if not fit:
        print("no such run with a checkpoint yet: training one on the sample data set, some minutes without a GPU")
        fit = [train(load_config(data="sample"))]
    print(f"run: {fit[0].folder}")
    return fit[0]


def build_model(config: Config, classes: int = 51) -> models.VideoModel:
    """Build an experiment's model with random weights: normalized clips B 3 T H W to logits B classes.

    Example:
        >>> model = hl.build_model(hl.load_config("baseline"), classes=51)

    """
    return models.build(classes=classes, **config.architecture())


def load_data(config: Config) -> ClipData:
    """Load an experiment's videos: `.classes`, `.tables` by part, and loaders of batches.

    Draws the sample data set where it is asked for and missing. Raises UserError.

    Example:
        >>> batch = next(iter(hl.load_data(hl.load_config(quick=True)).train_dataloader()))

    """
    return read_data(config, environment.place())


def _trainer(
    resolved: Resolved, monitor: str | None, callbacks: Sequence[L.Callback], *, recorded: bool = True
) -> L.Trainer:
    config, run, device = resolved.config, resolved.run, resolved.device
    best = ModelCheckpoint(
        run.checkpoints,
        "best",
        monitor=monitor if config.validates else None,
        mode="max",
        save_weights_only=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    last = ModelCheckpoint(run.checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    averaging = [EMAWeightAveraging(decay=config.train.ema)] if config.train.ema else []
    patience = [Patience(monitor, config.train.patience)] if config.train.patience and config.validates else []
    shown = [Progress(), Waiting(), LossScale()] if recorded else []
    synchronised = config.train.sync_batch_norm and device.kind == "cuda"  # torch has it for GPUs alone
    shared = (config.train.devices, config.train.machines) != (1, 1)
    return L.Trainer(
        accelerator=device.kind,
        devices=config.train.devices,
        num_nodes=config.train.machines,
        strategy="ddp_find_unused_parameters_true" if shared and config.train.objective == "masked" else "auto",
        precision=PRECISION[device.precision],
        max_epochs=resolved.epochs,
        limit_val_batches=None if config.validates else 0,
        accumulate_grad_batches=config.train.accumulate,
        gradient_clip_val=config.train.clip_norm or None,
        logger=EventLog(run) if recorded else False,
        callbacks=[*shown, *averaging, *patience, *callbacks, *([best, last] if recorded else [])],
        enable_checkpointing=recorded,
        enable_progress_bar=False,  # `Progress` shows one
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        plugins=[WholeCheckpoints(run), *([SyncBatchNorm()] if synchronised else [])],
        enable_model_summary=False,
        log_every_n_steps=1,
    )


@contextmanager
def _lightning() -> Iterator[None]:
    """Hide Lightning's advertisements, and its advice on loaders that fit the machine already; let Ctrl-C through."""
    try:
        with quiet(logging.WARNING, "lightning.pytorch"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*training_step. returned .None.*")  # nothing could be read
            warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
            warnings.filterwarnings("ignore", message=".*in eval mode at the start.*")  # frozen parts are, on purpose
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 calls what torch 2.15 renames
            yield
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
