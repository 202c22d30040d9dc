"""Views that explain: what a cut does to sources, what augmentation and rates do, what a model confuses and looks at."""

import html
from functools import cache
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from matplotlib.figure import Figure

from hmdb_lib.config import Config, Train
from hmdb_lib.data.transforms import augment
from hmdb_lib.inference.classifier import Classifier
from hmdb_lib.inference.overlay import maps
from hmdb_lib.plots.classes import sources_by_part
from hmdb_lib.plots.clips import attention_moment, batch_before_after
from hmdb_lib.plots.curves import rates
from hmdb_lib.results.metrics import classes_of, confusion_counts, correct, read_only
from hmdb_lib.results.runs import Run, list_runs
from hmdb_lib.training.optim import make_schedule
from hmdb_lib.widgets.matrix import Matrix
from hmdb_lib.widgets.views import Look, Shown, clip_film, interactive, menus, slider

if TYPE_CHECKING:
    from hmdb_lib.data.loader import ClipData

FILMS = 4  # of a cell of the matrix


def split_explorer(data: "ClipData") -> Shown:
    """Show a class's clips by part, a colour a source, as they are cut and as if single clips were dealt at random."""
    videos = pd.concat(data.tables.values(), ignore_index=True)
    dealt = np.random.default_rng(0).permutation(videos.role)
    cuts = {"as these data are cut": videos, "single clips dealt at random": videos.assign(role=dealt)}

    def look(cut: str, label: str) -> Look:
        of_cut = cuts[cut]
        train, test = (of_cut[of_cut.role == part].group for part in ("train", "test"))
        told = f"{test.isin(train).mean():.0%} of all {len(test)} test clips have a clip of their source in training."
        return [sources_by_part(of_cut[of_cut.label == label]), f"<p>{told}</p>"]

    cut = ipywidgets.Dropdown(description="cut", options=list(cuts))
    return interactive(look, cut=cut, label=ipywidgets.Dropdown(description="class", options=data.classes))


def augmentation_preview(data: "ClipData", config: Config) -> Shown:
    """Show clips of a training batch before and after augmentation, whose settings can be moved."""
    batch, train = next(iter(data.train_dataloader())), config.train

    def look(draw: int, **settings: Any) -> Figure:
        torch.manual_seed(draw)
        changed = train.model_copy(update=settings)
        clips, _ = augment(batch, len(data.classes), config.data, changed, (0.0,) * 3, (1.0,) * 3)
        return batch_before_after(batch["clips"].numpy(), clips.numpy())

    return interactive(
        look,
        draw=slider("draw", 0, 20, 0),
        randaugment=ipywidgets.Checkbox(train.randaugment, description="randaugment"),
        erasing=slider("erasing", 0.0, 0.9, train.erasing, 0.1),
        mixup=slider("mixup", 0.0, 1.0, train.mixup, 0.1),
        cutmix=slider("cutmix", 0.0, 1.0, train.cutmix, 0.1),
    )


def schedule_preview(config: Config) -> Shown:
    """Show the learning rate over the epochs as its schedule is moved."""
    train = config.train

    def look(rate: float, **settings: Any) -> Figure:
        return schedule_figure(train.model_copy(update=settings | {"lr": rate}))

    return interactive(
        look,
        schedule=ipywidgets.Dropdown(
            value=train.schedule, options=["cosine", "steps", "constant"], description="schedule"
        ),
        rate=ipywidgets.FloatLogSlider(train.lr, min=-5, max=-1, step=0.25, description="lr", continuous_update=False),
        epochs=slider("epochs", 1, 100, train.epochs),
        warmup_epochs=slider("warm-up", 0.0, 10.0, train.warmup_epochs, 0.1),
        step_epochs=slider("step epochs", 1, 50, train.step_epochs),
    )


def schedule_figure(train: Train, steps_an_epoch: int = 20) -> Figure:
    """Draw the rate of the new parts over the epochs, as training sets it before each step."""
    steps = train.epochs * steps_an_epoch
    schedule = make_schedule(torch.optim.SGD([torch.zeros(1)], lr=train.lr), train, steps)
    return rates(np.arange(steps) / steps_an_epoch, [train.lr * schedule.lr_lambdas[0](step) for step in range(steps)])


def pair_viewer(pairs: pd.DataFrame, data: "ClipData") -> Shown:
    """Play the pairs that `hl.audit` found side by side, the most alike first."""
    if pairs.empty:
        return HTML("no pair of clips nearly agrees")
    lines = {f"{number}: {pair['correlation']:.3f}": pair for number, pair in enumerate(pairs.to_dict("records"), 1)}

    def look(pair: str) -> Look:
        sides = [[lines[pair][f"{side}{key}"] for key in ("part", "class", "video")] for side in ("", "other_")]
        return "".join(_player(data, video, f"{part}, {label}: {video}") for part, label, video in sides)

    return interactive(look, pair=ipywidgets.Dropdown(description="pair", options=list(lines)))


def confusion_player(run: Run, data: "ClipData") -> Shown:
    """Show the confusion matrix of a finished run, and play the clips of the cell that is clicked; most confused first."""
    predictions = read_only(run.predictions)
    classes, counts = classes_of(predictions), confusion_counts(predictions).to_numpy()
    predicted = predictions[classes].idxmax(axis=1)
    wrong = np.where(np.eye(len(classes), dtype=bool), -1, counts)
    worst = np.unravel_index(wrong.argmax(), wrong.shape)

    def look(cell: list[int]) -> Look:
        true, said = (classes[number] for number in cell)
        found = predictions[(predictions.label == true) & (predicted == said)]
        shown = found.sort_values(said, ascending=False).head(FILMS)
        told = f"{true} taken for {said}: {len(found)} of {(predictions.label == true).sum()}"
        if len(found) > len(shown):
            told += f", the surest {len(shown)}"
        films = [
            _player(data, video, f"{sure:.2f}: {video}") for video, sure in zip(shown.video, shown[said], strict=True)
        ]
        return f"<p>{html.escape(told)}</p>{''.join(films)}"

    return interactive(look, cell=Matrix(classes, counts.tolist(), [int(number) for number in worst]))


def attention_viewer(run: Run, data: "ClipData") -> Shown:
    """Move through a test video's middle clip and see which frames and places the model reads, or one of its latents.

    It begins at the frame that is read most. Where a finished run of the average on the same videos is there, those come first that it gets wrong and `run` right.
    """
    classifier, predictions = Classifier.load(run.folder), read_only(run.predictions)
    right = correct(predictions).set_axis(predictions.video)
    chosen = {"wrong": right.index[~right]}
    pool = _pool_beside(run)
    if pool is not None:
        chosen = {"the average is wrong, this is right": right.index[right & ~pool.reindex(right.index)]} | chosen
    label, video = menus(
        {name: found.to_series() for name, found in chosen.items()} | dict(list(predictions.groupby("label").video))
    )
    perceiver = run.config.perceiver
    latents = range(perceiver.latents) if run.config.model.head == "perceiver" and perceiver.cross else ()

    @cache
    def seen(video: str, latent: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        clip = classifier.clip(data.folder / video)
        found = maps(classifier, clip, () if latent is None else [latent])
        return clip.numpy(), found, classifier.times(data.folder / video)

    def look(video: str, latent: int | None, frame: int) -> Figure:
        return attention_moment(*seen(video, latent), frame)

    most = int(seen(video.value, None)[1].sum((1, 2)).argmax())
    return interactive(
        look,
        label,
        video=video,
        latent=ipywidgets.Dropdown(
            description="read by", options=[("the whole model", None), *((f"latent {n}", n) for n in latents)]
        ),
        frame=slider("frame", 0, run.config.data.frames - 1, most),
    )


def _pool_beside(run: Run) -> pd.Series | None:
    """Whether a finished run of the average names each of the same test videos rightly; None without such a run."""
    for other in list_runs(run.folder.parents[2], run.config.data.name, finished=True).values():
        model = other.config.model
        if model.head == "pool" and model.backbone == run.config.model.backbone:
            predictions = other.predictions
            if set(predictions.video) == set(run.predictions.video):
                return correct(predictions).set_axis(predictions.video)
    return None


def _player(data: "ClipData", video: str, caption: str) -> str:
    film = clip_film(data, video, 0.0, data.source.timeline(video).duration, 1.0)
    style = "display: inline-block; margin: 4px; max-width: 48%; overflow-wrap: anywhere"
    return f'<figure style="{style}">{film}<figcaption>{html.escape(caption)}</figcaption></figure>'
