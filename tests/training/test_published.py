"""The rows called as published do what was read in the reference code; other recipes have the rates they name."""

import pandas as pd
import pytest
import torch
from helpers import architectures
from torch import nn

from hmdb_lib import config, models
from hmdb_lib.data.load import load
from hmdb_lib.data.sampling import ClipRule
from hmdb_lib.data.video import Timeline
from hmdb_lib.errors import UserError
from hmdb_lib.training import experiment as training
from hmdb_lib.training.optim import make_optimizer, make_schedule, parameter_groups

BOTH = ["as_published", "as_published_baseline"]


def on_hmdb51(row, *changes):
    return config.load(row, ["data=hmdb51", *changes])


@pytest.mark.slow
@pytest.mark.parametrize(("row", "factor"), [("as_published", 0.2), ("as_published_baseline", 0.1)])
def test_the_rate_is_a_thousandth_and_falls_every_ten_epochs(row, factor):
    train, steps_an_epoch = on_hmdb51(row, "train.epochs=100").train, 446  # 3,570 clips, 8 a step
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=train.lr * train.rate_factor)
    schedule = make_schedule(optimizer, train, 100 * steps_an_epoch)
    rates = []
    for _ in range(100 * steps_an_epoch):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    for epoch in range(100):
        (of_epoch,) = set(rates[epoch * steps_an_epoch : (epoch + 1) * steps_an_epoch])
        assert of_epoch == pytest.approx(1e-3 * factor ** (epoch // 10))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "kind"), [("as_published", torch.optim.Adam), ("as_published_baseline", torch.optim.SGD)]
)
def test_everything_learns_at_one_rate_and_decays_through_its_gradient(tiny_config, row, kind):
    train = tiny_config(row, train__batch_size=8, train__lr=1e-3).train
    model = architectures.build("r2plus1d", classes=2, blocks=1)
    optimizer = make_optimizer(model, train, fused=False)
    assert type(optimizer) is kind, "AdamW would not add the decay to the gradient"
    assert optimizer.defaults.get("momentum", 0.9) == 0.9
    assert {(group["lr"], group["weight_decay"]) for group in optimizer.param_groups} == {(1e-3, 1e-5)}
    before = {name: value.clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moved = {name: (value - before[name]) for name, value in model.named_parameters()}
    # Adam turns the smallest gradient into a whole step; SGD takes 1e-3 of 1e-5 of the weight.
    whole = kind is torch.optim.Adam
    norm, was = moved["backbone.stem.1.weight"], before["backbone.stem.1.weight"]
    torch.testing.assert_close(norm, -1e-3 * was.sign() if whole else -1e-8 * was, atol=1e-7, rtol=2e-3)


@pytest.mark.parametrize("row", BOTH)
def test_the_rest_of_the_recipe_is_the_published_one(row):
    asked = on_hmdb51(row)
    assert (
        asked.flat().items()
        >= {
            **{"train.batch_size": 8, "train.precision": "fp32", "train.devices": 1, "train.accumulate": 1},
            **{"train.warmup_epochs": 0, "train.clip_norm": 0, "train.label_smoothing": 0, "train.ema": 0},
            **{
                "data.frames": 16,
                "data.clip_seconds": 2,
                "data.resize": [128, 171],
                "data.crop": 112,
                "data.flip": True,
            },
            **{"data.antialias": False, "data.short": "stretch", "data.validation_share": 0},
            **{"evaluate.clips": "consecutive", "evaluate.validation_clips": "consecutive", "evaluate.crops": 1},
            **{"evaluate.vote": "majority", "train.choose_on": "test"},
        }.items()
    )
    assert asked.data.mean_std(None) == ((0.45,) * 3, (0.225,) * 3)


def test_only_the_attention_row_leaves_its_cross_attention_and_starts_wide():
    attention = on_hmdb51("as_published")
    assert (attention.model.head, attention.perceiver.train_cross, attention.perceiver.latent_std) == (
        "perceiver",
        False,
        1.0,
    )
    assert on_hmdb51("as_published_baseline").model.head == "pool"


@pytest.mark.parametrize(
    ("seconds", "frames"), [(1.0, 30), (1.9, 57), (2.0, 60), (2.1, 63)], ids=lambda value: str(value)
)
def test_the_sixteen_frames_are_spread_over_two_seconds_or_over_all_of_a_shorter_video(seconds, frames):
    rule, video = ClipRule.of(on_hmdb51("as_published").data), Timeline.even(frames, 30.0)
    assert video.duration == pytest.approx(seconds)
    spread = torch.linspace(0, min(frames, 60) - 1, 16).long().tolist()  # as the published code picks frames
    assert rule.consecutive(video).tolist() == [spread], "one clip, from the start"
    clips = [rule.random(video, draw) for draw in (0, 1 / 3, 2 / 3, 0.999999)]
    assert {clip[0] for clip in clips} == set(range(max(1, frames - 59)))
    assert all((clip - clip[0]).tolist() == spread for clip in clips)


def test_a_short_clip_was_looped_before_and_is_stretched_as_published():
    video = Timeline.even(30, 30.0)
    looped = ClipRule.of(on_hmdb51("cross1_self1").data).random(video, 0.0)
    assert (looped.tolist()[7:9], looped.max()) == ([27, 1], 29)


@pytest.mark.parametrize("row", BOTH)
def test_all_of_the_training_part_trains_and_the_test_part_chooses(tiny_config, row):
    asked = tiny_config(row, model__blocks=1)
    data = load(asked, training.environment.place())
    index = pd.read_csv(f"{asked.data.root}/index.csv")
    wanted = index.path[index.split != "test"]
    assert set(data.tables) == {"train", "test"}
    assert sorted(data.tables["train"].path) == sorted(wanted)
    drawn = [data.tables["train"].path[n] for batch in data.train_dataloader() for n in batch["videos"].tolist()]
    assert sorted(drawn) == sorted(wanted)
    judged = [data.tables["test"].path[n] for batch in data.val_dataloader() for n in batch["videos"].tolist()]
    assert sorted(judged) == sorted(data.tables["test"].path), "videos of 12 frames have one clip each"


@pytest.mark.slow
def test_the_rates_of_a_run_are_recorded_by_epoch_and_each_fall_is_told(tiny_config, capsys):
    asked = tiny_config("as_published_baseline", train__epochs=3, train__step_epochs=2, train__lr_clips="null")
    run = training.train(asked)
    assert run.metrics.lr.tolist() == pytest.approx([1e-3, 1e-3, 1e-4])
    told = [line for line in capsys.readouterr().out.splitlines() if "the rate falls" in line]
    assert told == ["epoch 2: the rate falls to 0.0001"]


@pytest.mark.parametrize("epochs", [5, 10])
def test_a_step_schedule_longer_than_the_run_is_told_in_one_line(epochs):
    with pytest.raises(UserError, match=rf"step_epochs=10 is not less than epochs={epochs}") as error:
        on_hmdb51("as_published", f"train.epochs={epochs}")
    assert "\n" not in str(error.value)
    assert on_hmdb51("as_published", "quick=true").train.step_epochs == 10, "a check of two epochs goes on"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "changes", "rate"),
    [
        ("videomae_small", ["train.batch_size=64", "train.accumulate=4"], 5e-4),
        ("masked_videomae_small", [], 1.5e-4 * 16 / 256),
        ("as_published", [], 1e-3),
        ("as_published_baseline", [], 1e-3),
        ("published_optimiser", [], 1e-3),
        ("cross1_self1", [], 3e-4),
        ("cross1_self1", ["train.batch_size=4"], 3e-4),
    ],
)
def test_the_rate_in_force_is_the_recipes_rate_for_so_many_clips(row, changes, rate):
    asked = on_hmdb51(row, *changes)
    with torch.device("meta"):
        groups = parameter_groups(models.build(classes=51, **asked.architecture()), asked.train)
    assert max(group["lr"] for group in groups) == pytest.approx(rate)


@pytest.mark.slow
@pytest.mark.parametrize(("row", "decay", "path"), [("videomae_small", 0.7, 0.1), ("videomae_base", 0.75, 0.2)])
def test_videomae_is_fine_tuned_as_its_authors_do(row, decay, path):
    asked = on_hmdb51(row)
    train = asked.train
    assert (train.optimizer, train.weight_decay, train.warmup_epochs) == ("adamw", 0.05, 5)
    assert (train.layer_decay, asked.videomae.drop_path) == (decay, path)
    with torch.device("meta"):
        groups = parameter_groups(models.build(classes=51, **asked.architecture()), train)
    top = 5e-4 * 16 / 256
    rates = sorted({group["lr"] for group in groups}, reverse=True)
    assert rates == pytest.approx([top * decay**layer for layer in range(14)]), "12 layers, the pixels, the head"


def test_the_dropout_of_bert_is_beside_it_on_the_baseline():
    plain, dropped, bert = (on_hmdb51(row) for row in ("baseline", "baseline_dropout", "bert"))
    assert (plain.pool.dropout, dropped.pool.dropout) == (0.0, bert.bert.classifier_dropout)
    model = models.build(classes=51, **(dropped.architecture() | {"backbone_options": {"blocks": 1}}))
    tokens = torch.ones(64, 2, 7, 7, model.backbone.channels)
    assert len(model.head.eval()(tokens).unique(dim=0)) == 1
    assert len(model.head.train()(tokens).unique(dim=0)) == 64
