"""One experiment from configuration to recorded result: fit, resume, evaluate, record. Lightning carries the loop."""

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar

from hmdb_lib import environment, models
from hmdb_lib.config import Config
from hmdb_lib.data.loader import ClipData, Videos, check_videos, choose_source
from hmdb_lib.data.sampling import ClipRule
from hmdb_lib.data.splits import limit, limit_sources, read_videos, video_folder
from hmdb_lib.device import Device, choose_device
from hmdb_lib.errors import UserError
from hmdb_lib.models.recompute import recompute_activations
from hmdb_lib.results.runs import Run, chosen_epochs
from hmdb_lib.training import report as recording
from hmdb_lib.training.batch_size import settle
from hmdb_lib.training.callbacks import Waiting
from hmdb_lib.training.checkpoints import EventLog, WholeCheckpoints, faults_told, newest_whole
from hmdb_lib.training.modules import VideoClassifier
from hmdb_lib.training.pretraining import MaskedModelling

PRECISION = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


def run(config: Config, callbacks: Sequence[L.Callback] = ()) -> Run:
    """Do what a configuration says: train, or go on training, evaluate on the test part, and record it.

    With train.final_fit the validation videos train too. The epochs are those that the same experiment without it
    chose, and the rates are those it had: they follow the schedule over train.epochs and stop on the way, because a
    schedule squeezed into fewer epochs is one that validation never judged. The last epoch is the one tested.

    With train.objective=masked no label is read and nothing is tested: the run is what model.pretrained starts from.

    `callbacks` are Lightning's, such as `hmdb_lib.training.live.LiveCurves`.

    Returns the run; a finished one is returned as it is. Raises UserError for what a user can mend.
    """
    place = environment.place()
    epochs = chosen_epochs(config, place.results) if config.train.final_fit else config.train.epochs
    record = Run.of(config, place.results)
    if record.holds(config) and record.finished:
        print(f"already finished, nothing to do: {record.folder}")
        return record
    device = choose_device(config.train.device, config.train.precision)
    config = settle(config, place.results, device)
    record = Run.start(config, place.results)
    print(f"{device.reason}\nresults: {record.folder}")
    L.seed_everything(config.seed, verbose=False)
    data = read_data(config, place)
    model = models.build(classes=len(data.classes), **config.architecture())
    last = newest_whole(record)
    loaded: set[str] = set()
    if last:
        print(f"resuming after epoch {last.epochs} of {epochs}")
    # What stands still in the first epochs is what came from elsewhere, so that must be known again there.
    if not last or last.epochs < config.train.frozen_epochs:
        loaded = models.load_pretrained(model, config.model.pretrained, data.classes)
    masked = config.train.objective == "masked"
    if masked:
        model = models.mask(model, config.data.frames, config.data.crop, config.train.mask)
        loaded = {f"encoder.{name}" for name in loaded}
    model = model.to(memory_format=torch.channels_last_3d)
    if config.train.checkpointing:
        recompute_activations(model)
    learner = (MaskedModelling if masked else VideoClassifier)(config, model, record, loaded)
    with _quiet(), faults_told(record):
        trainer = _trainer(config, device, record, epochs, callbacks)
        try:
            trainer.fit(learner, data, ckpt_path=last and last.file, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
        best = torch.load(record.best, map_location="cpu", weights_only=True)
        learner.load_state_dict(best["state_dict"])
        start = time.perf_counter()
        if not masked:
            trainer.test(learner, data, verbose=False)
    if trainer.is_global_zero:
        if masked:
            recording.masked(learner, data, device)
        else:
            recording.tested(learner, data, device, best["epoch"], time.perf_counter() - start)
    return record


def root_of(config: Config, place: environment.Place) -> Path:
    """The folder of an experiment's data set."""
    data = config.data
    return Path(data.root).expanduser() if data.root else place.data / data.dataset


def read_data(config: Config, place: environment.Place) -> ClipData:
    """The loaders of an experiment, after saying in a line or two what data they read.

    Makes the sample data set where it is asked for and missing. Raises UserError.
    """
    data, root = config.data, root_of(config, place)
    if data.dataset == "sample":
        from data_prep.drawn.sample import make_sample  # noqa: PLC0415 - only this one case needs the generator

        print(
            "data: the sample data set of drawn figures, not HMDB51"
            + ("" if root.exists() else f"; making it in {root}")
        )
        make_sample(root)
    elif data.dataset == "folder" and not data.root:
        raise UserError("data=folder needs data.root=<folder of class folders>")
    videos = read_videos(data.dataset, root, data.split, data.validation_share, config.seed)
    missing = int((~videos.present).sum())
    if missing:
        if data.on_error == "stop":
            raise UserError(f"{root}: {missing} of {len(videos)} listed videos are not on disk (data.on_error: stop)")
        print(
            f"{missing} of {len(videos)} listed videos are not on disk and left out; python -m data_prep verify names them"
        )
    videos = limit_sources(limit(videos, data.limit), data.sources, config.seed)
    if config.train.final_fit:
        videos["role"] = videos.role.replace("validation", "train")
    folder = video_folder(data.dataset, root)
    if data.on_error == "stop":
        check_videos([folder / path for path in videos.path])
    counts = videos.role.value_counts()
    print(f"data: {root}, {videos.label.nunique()} classes, " + ", ".join(f"{n} {role}" for role, n in counts.items()))
    # A folder of one's own may hold a manifest.csv of one's own.
    files = Videos(folder, tuple(data.resize), None if data.dataset == "folder" else root / "manifest.csv")
    return ClipData(
        videos,
        choose_source(data.store, root, files, videos.path.tolist()),
        ClipRule(data.frames, data.clip_seconds, data.frame_step, data.short),
        batch_size=config.train.batch_size,
        test_clips=config.evaluate.clips,
        validation_clips=config.evaluate.validation_clips,
        workers=data.workers,
        seed=config.seed,
        choose_on=config.train.choose_on,
    )


def _trainer(config: Config, device: Device, record: Run, epochs: int, callbacks: Sequence[L.Callback]) -> L.Trainer:
    best = ModelCheckpoint(
        record.checkpoints,
        "best",
        # None: the last epoch. No validation says when masked modelling has learned what fine-tuning needs.
        monitor="val_choice" if config.validates and config.train.objective == "classify" else None,
        mode="max",
        save_weights_only=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    last = ModelCheckpoint(record.checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    averaging = [EMAWeightAveraging(decay=config.train.ema)] if config.train.ema else []
    return L.Trainer(
        accelerator=device.kind if device.kind != "cuda" else "gpu",
        devices=config.train.devices,
        num_nodes=config.train.machines,
        precision=PRECISION[device.precision],
        max_epochs=epochs,
        limit_val_batches=None if config.validates else 0,
        accumulate_grad_batches=config.train.accumulate,
        gradient_clip_val=config.train.clip_norm or None,
        logger=EventLog(record),
        callbacks=[TQDMProgressBar(), Waiting(), *averaging, *callbacks, best, last],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        sync_batchnorm=config.train.sync_batch_norm and device.kind == "cuda",  # torch has it for GPUs alone
        plugins=[WholeCheckpoints(record)],
        enable_model_summary=False,
        log_every_n_steps=1,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advertisements, and its advice on loaders that fit the machine already."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*in eval mode at the start.*")  # frozen parts are, on purpose
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 calls what torch 2.15 renames
        yield
    logger.setLevel(level)
