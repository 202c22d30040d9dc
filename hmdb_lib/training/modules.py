"""Train a model on batches of clips: one Lightning module for learning classes, one for learning without labels.

What differs between the two belongs here: how the model is wrapped, by what the best epoch is chosen, what is
recorded at the end. Lightning calls most of these methods.
"""

import time
import uuid
from collections.abc import Callable, Collection
from typing import Any, ClassVar

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from hmdb_lib import models
from hmdb_lib.config import Config
from hmdb_lib.data.load import stop_at_loss
from hmdb_lib.data.transforms import augment, even_crops, normalise, random_crop_flip
from hmdb_lib.errors import UserError
from hmdb_lib.models.explain import attention_spread
from hmdb_lib.models.heads.perceiver import Perceiver
from hmdb_lib.models.masked import Masked, mask
from hmdb_lib.models.recompute import recompute_activations
from hmdb_lib.results.metrics import VideoScores
from hmdb_lib.results.runs import Run
from hmdb_lib.training import report
from hmdb_lib.training.optim import make_optimizer, make_schedule


class DivergedError(UserError):
    """Report a loss that is not a finite number."""


class TrainingModule(L.LightningModule):
    """Hold a model, its experiment and its run: optimizer, seeds, and what does not train at first.

    `loaded` names the parameters and buffers that were loaded: they do not train for `train.frozen_epochs`.
    """

    monitor: ClassVar[str | None] = None  # the metric that chooses the best epoch; None: the last epoch
    tests: ClassVar[bool] = False  # whether the test part is judged
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)  # of Adam
    record: ClassVar[Callable[..., None]]  # what the finished run leaves, see `report`

    def __init__(self, config: Config, model: nn.Module, run: Run | None = None, loaded: Collection[str] = ()) -> None:
        super().__init__()
        self.config, self.model = config, model
        self.run: Any = run  # a Run wherever epochs are written
        self.resting = [p for name, p in model.named_parameters() if name in loaded and p.requires_grad]
        self.resting_norms = [
            module
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm)
            and f"{name}.running_mean" in loaded
            and (module.weight is None or module.weight.requires_grad)
        ]
        self.unreadable: dict[str, str] = {}
        self.last_read: dict[str, Any] | None = None  # the last batch that held a clip
        self.precision = ""  # in which the device computes
        self.seen_test = 0  # test videos that the weights it starts from have learned from

    @staticmethod
    def wrap(model: nn.Module, config: Config, loaded: Collection[str]) -> tuple[nn.Module, Collection[str]]:
        """Prepare a built model for this objective; returns it with the names of its loaded parameters."""
        return model, loaded

    def setup(self, stage: str) -> None:
        """Raise UserError, in all processes, where several machines do not share the run's folder.

        They would resume from different epochs, and each would wait for what it never sees.
        """
        if self.trainer.num_nodes == 1:
            return
        name = f".shared-{uuid.uuid4().hex}"
        if self.trainer.is_global_zero:
            (self.run.folder / name).touch()
        seen = self.run.folder / self.trainer.strategy.broadcast(name)
        shared = all(self.gathered([seen.exists()]))
        if self.trainer.is_global_zero:
            seen.unlink()
        if not shared:
            raise UserError(
                f"{self.run.folder}: is another folder on each machine; train.machines={self.trainer.num_nodes} needs a "
                "results folder that they share, which HMDB_RESULTS names"
            )

    def normalised(self, clips: Tensor) -> Tensor:
        """Normalize cropped clips, uint8 B T H W C, to float B C T H W."""
        return normalise(clips, *self.config.data.mean_std(self.model))

    def read(self, batch: dict[str, Any]) -> bool:
        """Note the batch's unreadable videos, each once; returns whether the batch holds any clip."""
        for path, reason in batch["unreadable"]:
            if path not in self.unreadable:
                self.unreadable[path] = reason
                print(f"\nskipped, cannot be read ({len(self.unreadable)} so far): {reason}")
        if not len(batch["labels"]):
            return False
        self.last_read = batch
        return True

    def nothing(self) -> Tensor | None:
        """Give the loss of a batch of which nothing could be read: none; among several processes 0 of the batch before.

        The others wait for this one's part in batch norm and in the gradients.
        """
        if self.trainer.world_size == 1:
            return None
        if self.last_read is None:
            return 0.0 * torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum()
        return 0.0 * self.output(self.last_read).sum()

    def output(self, batch: dict[str, Any]) -> Tensor:
        """Compute what the loss of a batch is made from."""
        raise NotImplementedError

    def stop_at_loss(self, part: str) -> None:
        """Raise UserError where too much of a part could not be read, see `hmdb_lib.data.load.stop_at_loss`.

        From here on all processes know what each could not read.
        """
        self.unreadable = dict(self.gathered(list(self.unreadable.items())))
        data: Any = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        stop_at_loss(data.tables[part], self.unreadable, self.config.data)

    def gathered(self, parts: list[Any]) -> list[Any]:
        """Put the parts of all processes into one list."""
        if self.trainer.world_size == 1:
            return parts
        everyone: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(everyone, parts)
        return [part for process in everyone for part in process]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Know the unreadable videos of the epochs before; older checkpoints do not hold them."""
        self.unreadable = checkpoint.get("unreadable", {})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the unreadable videos, and put the averaged weights of `train.ema` into a checkpoint of weights alone.

        Validation judged those weights. Lightning asks a callback for whole checkpoints only.
        """
        checkpoint["unreadable"] = self.unreadable
        averaging = [call for call in self.trainer.callbacks if isinstance(call, WeightAveraging)]  # pyright: ignore[reportAttributeAccessIssue]
        if averaging and "optimizer_states" not in checkpoint:
            averaging[0].on_save_checkpoint(self.trainer, self, checkpoint)
            del checkpoint["current_model_state"], checkpoint["averaging_state"]

    def make_optimizer(self, *, fused: bool) -> Optimizer:
        """Make the configured optimizer, see `optim.make_optimizer`."""
        return make_optimizer(self.model, self.config.train, self.betas, fused=fused)

    def configure_optimizers(self) -> dict[str, Any]:
        """Make the optimizer and its schedule, one call a step."""
        train, optimizer = self.config.train, self.make_optimizer(fused=self.trainer.precision != "16-mixed")
        # A final fit stops before train.epochs, on the rates that validation has judged.
        steps = int(self.trainer.estimated_stepping_batches) * train.epochs // (self.trainer.max_epochs or 1)
        schedule = make_schedule(optimizer, train, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Shorten long gradients. Lightning's own way refuses a fused optimizer under mixed precision."""
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)

    def on_train_epoch_start(self) -> None:
        """Seed the epoch, so that an epoch repeated after an interruption gives the same digits."""
        state = np.random.SeedSequence((self.config.seed, self.current_epoch, self.global_rank)).generate_state(1)
        torch.manual_seed(int(state[0]))
        self.epoch_start = time.perf_counter()
        self._rest(self.current_epoch < self.config.train.frozen_epochs)
        train, epoch = self.config.train, self.current_epoch
        if train.schedule == "steps" and epoch and epoch % train.step_epochs == 0 and self.trainer.is_global_zero:
            print(f"\nepoch {epoch}: the rate falls to {self._rates()['lr']:.3g}")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Note the rates of this step: after it they are the next one's."""
        self.rates = self._rates()

    def _rates(self) -> dict[str, float | None]:
        """Rates of the new parts and of the backbone."""
        rates = {group["name"]: group["lr"] for group in self.trainer.optimizers[0].param_groups}
        return {"lr": rates.get("new", rates.get("cnn")), "backbone_lr": rates.get("cnn")}

    def _rest(self, frozen: bool) -> None:
        for parameter in self.resting:
            parameter.requires_grad_(not frozen)
        for norm in self.resting_norms:  # its statistics move without a gradient
            norm.train(not frozen)

    def stop_at_nonsense(self, loss: Tensor) -> None:
        """Raise DivergedError for a loss that is not a finite number."""
        if not torch.isfinite(loss):
            raise DivergedError(
                f"epoch {self.current_epoch}: the loss is {loss.item()}; the last checkpoint is kept. "
                "Lower train.lr or set train.precision=fp32, under a new name=..."
            )

    def write_epoch(self, scores: dict[str, float | None]) -> None:
        """Write the epoch's row to metrics.csv and TensorBoard: scores, rates, seconds."""
        if self.trainer.is_global_zero:
            row: dict[str, Any] = {"epoch": self.current_epoch} | scores | self.rates
            row["seconds"] = time.perf_counter() - self.epoch_start
            self.run.write_epoch(row | {"precision": self.precision})
            if self.logger:
                self.logger.log_metrics({k: v for k, v in row.items() if v is not None}, step=self.current_epoch)


def weighed_cross_entropy(logits: Tensor, targets: Tensor, weight: Tensor | None, smoothing: float) -> Tensor:
    """Compute the mean cross entropy of clips to smoothed targets, each clip weighed as its class is.

    `targets` are class numbers (B,) or shares (B, classes). torch weighs the smoothed target itself: there a rare class
    draws most of what smoothing gives away, and of 19 videos to 1 the common ones are taught to be the rare class.
    """
    if weight is None:
        return F.cross_entropy(logits, targets, label_smoothing=smoothing)
    weight = weight.to(logits.device)
    of_clip = weight[targets] if targets.ndim == 1 else targets @ weight  # B
    each = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    return (each * of_clip).sum() / of_clip.sum()


class VideoClassifier(TrainingModule):
    """Train a model to tell classes apart.

    Of a perceiver's test clips `spread` keeps what `attention_spread` gives, and where it has a gate `logits` keeps
    theirs with and without the gate's part, (2, B, classes); `scores` then has a part `without_gate`.
    """

    monitor = "val_choice"
    tests = True
    record = report.tested
    model: Any

    def __init__(self, config: Config, model: nn.Module, run: Run | None = None, loaded: Collection[str] = ()) -> None:
        super().__init__(config, model, run, loaded)
        self.classes: int = self.model.classes
        self.scores = {part: self._no_scores() for part in ("train", "validation", "test", "without_gate")}
        self.spread: list[np.ndarray] = []
        self.logits: list[np.ndarray] = []
        self.weight: Tensor | None = None  # of each class in the loss

    def on_fit_start(self) -> None:
        """Weigh the classes of the loss, with train.class_weights=balanced: the mean over training videos is 1."""
        if self.config.train.class_weights == "balanced":
            data: Any = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
            counts = np.bincount(data.tables["train"].target, minlength=self.classes)
            self.weight = torch.tensor(counts.sum() / (counts > 0).sum() / counts.clip(1), dtype=torch.float32)

    def on_train_epoch_start(self) -> None:
        """Reset train and validation scores."""
        super().on_train_epoch_start()
        for part in ("train", "validation"):
            self.scores[part] = self._no_scores()

    def training_step(self, batch: dict[str, Any], number: int) -> Tensor | None:
        """Compute the loss of random clips; a batch in which nothing could be read is passed over."""
        if not self.read(batch):
            return self.nothing()
        logits, targets = self.predict_training(batch)
        self._note("train", batch["videos"], batch["labels"], logits)
        smoothing = self.config.train.label_smoothing
        loss = weighed_cross_entropy(logits.float(), targets, self.weight, smoothing)
        self.log("train_step_smoothed_loss" if smoothing else "train_step_loss", loss, prog_bar=True)
        self.stop_at_nonsense(loss)
        return loss

    def output(self, batch: dict[str, Any]) -> Tensor:
        """Compute the logits of a training batch."""
        return self.predict_training(batch)[0]

    def predict_training(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Augment a batch's clips; return their logits and targets, see `transforms.mix`."""
        train, data = self.config.train, self.config.data
        clips, targets = augment(batch, self.classes, data, train, *data.mean_std(self.model))
        return self.model(clips), targets

    def tokens(self, batch: dict[str, Any], crops: int) -> Tensor:
        """Tokens (B crops) T' H' W' C of so many crops of each clip of a batch."""
        return self.model.backbone(self.normalised(even_crops(batch["clips"], self.config.data.crop, crops)))

    def validation_step(self, batch: dict[str, Any], number: int) -> None:
        """Score evenly spread clips."""
        self._evaluate(batch, "validation")

    def test_step(self, batch: dict[str, Any], number: int) -> None:
        """Score evenly spread clips, and look at what a perceiver's attention does there."""
        self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log the metric that chooses the best epoch."""
        self.stop_at_loss(self.config.train.choose_on)
        self._gather("validation")
        summary = self.scores["validation"].summary()
        for name in summary.keys() & {"video_accuracy", "video_mean_class_accuracy"}:
            self.log(f"val_{name}", summary[name], prog_bar=True)
        # Accuracy chooses the epoch; between equal ones, frequent with few videos, the loss does, whose weight is less than
        # one video of ten thousands. In float32 losses that differ in the fifth digit would count as equal.
        choice = summary["video_accuracy"] - 1e-6 * summary["video_loss"]
        self.log("val_choice", torch.tensor(choice, dtype=torch.float64))

    def on_test_epoch_end(self) -> None:
        """Gather the test scores of all processes."""
        self.stop_at_loss("test")
        self._gather("test")
        self._gather("without_gate")
        self.spread, self.logits = map(self.gathered, (self.spread, self.logits))

    def on_train_epoch_end(self) -> None:
        """Write the epoch's losses and accuracies of both parts."""
        self.stop_at_loss("train")
        self._gather("train")
        parts = (("train", "train"), ("validation", "val"))
        self.write_epoch(
            {f"{short}_{name}": value for part, short in parts for name, value in self.scores[part].summary().items()}
        )

    def _no_scores(self) -> VideoScores:
        return VideoScores(self.classes, majority=self.config.evaluate.vote == "majority")

    def _evaluate(self, batch: dict[str, Any], part: str) -> None:
        if self.read(batch):
            crops = self.config.evaluate.crops if part == "test" else 1
            tokens, head = self.tokens(batch, crops), self.model.head
            logits = head(tokens)
            times = len(logits) // len(batch["videos"])
            videos, labels = (batch[name].repeat_interleave(times) for name in ("videos", "labels"))
            self._note(part, videos, labels, logits)
            if part == "test" and isinstance(head, Perceiver):
                self.spread.append(attention_spread(head, tokens).cpu().numpy())
                if head.gated:
                    without = head.fc(head.pooled(tokens))
                    self._note("without_gate", videos, labels, without)
                    self.logits.append(torch.stack([logits, without]).float().cpu().numpy())

    def _note(self, part: str, videos: Tensor, labels: Tensor, logits: Tensor) -> None:
        probabilities = logits.detach().float().softmax(1)
        self.scores[part].add(*(column.cpu().numpy() for column in (videos, labels, probabilities)))

    def _gather(self, part: str) -> None:
        self.scores[part].parts = self.gathered(self.scores[part].parts)


class HeadClassifier(VideoClassifier):
    """Train a model's head to tell classes apart; batches hold the tokens that its frozen backbone gave.

    The module holds the whole model: so do its checkpoints.
    """

    def predict_training(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Logits and labels of stored views."""
        return self.model.head(self.tokens(batch, 1)), batch["labels"]

    def tokens(self, batch: dict[str, Any], crops: int) -> Tensor:
        """Tokens B T' H' W' C as they are stored; the crops were cut before."""
        return batch["clips"].float()


class MaskedModelling(TrainingModule):
    """Train a model to fill in the hidden part of clips. The loss is that of normalized pixels; 1: knows nothing."""

    betas = (0.9, 0.95)  # as its authors train (arXiv 2203.12602, table 8)
    record = report.masked
    model: Masked

    @staticmethod
    def wrap(model: nn.Module, config: Config, loaded: Collection[str]) -> tuple[nn.Module, Collection[str]]:
        """Put the model into a `Masked`. Raises UserError where test videos would be its validation."""
        if config.train.choose_on == "test":
            raise UserError(
                "train.choose_on=test: with train.objective=masked no epoch is chosen, and the reconstruction error is to "
                "be of videos that are no test; give train.choose_on=validation"
            )
        masked = mask(model, config.data.frames, config.data.crop, config.train.mask)
        return masked, {f"encoder.{name}" for name in loaded}

    def training_step(self, batch: dict[str, Any], number: int) -> Tensor | None:
        """Compute the loss of random clips, hidden at other places each time."""
        loss = self.output(batch) if self.read(batch) else self.nothing()
        if loss is None:
            return None
        self.stop_at_nonsense(loss)
        clips = len(batch["labels"])  # 0 where nothing could be read; all processes log a step
        self.log("train_loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=clips, sync_dist=True)
        return loss

    def output(self, batch: dict[str, Any]) -> Tensor:
        """Compute the loss of random clips of a batch."""
        clips = random_crop_flip(batch["clips"], self.config.data.crop, self.config.data.flip)
        return self.model(self.normalised(clips)).loss

    def on_validation_epoch_start(self) -> None:
        """Hide the same places after every epoch; the next one is seeded anew."""
        torch.manual_seed(self.config.seed)

    def validation_step(self, batch: dict[str, Any], number: int) -> None:
        """Compute the loss of evenly spread clips."""
        if self.read(batch):
            clips = even_crops(batch["clips"], self.config.data.crop, 1)
            loss = self.model(self.normalised(clips)).loss
            self.log("val_loss", loss, prog_bar=True, batch_size=len(clips), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Stop where too much could not be read."""
        self.stop_at_loss(self.config.train.choose_on)

    def on_train_epoch_end(self) -> None:
        """Write the epoch's losses."""
        self.stop_at_loss("train")
        told = self.trainer.callback_metrics
        self.write_epoch({"train_loss": told["train_loss_epoch"].item(), "val_loss": told["val_loss"].item()})


def make_module(
    config: Config, model: nn.Module, run: Run | None = None, loaded: Collection[str] = ()
) -> TrainingModule:
    """Put a built model into the module that trains an experiment; `loaded` names what was loaded of the model."""
    kind = HeadClassifier if config.frozen else VideoClassifier
    if config.train.objective == "masked":
        kind = MaskedModelling
    model, loaded = kind.wrap(model, config, loaded)
    if config.train.checkpointing:
        recompute_activations(model)
    return kind(config, models.channels_last(model), run, loaded)
