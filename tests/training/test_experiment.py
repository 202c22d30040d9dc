"""From a configuration to a recorded result."""

import copy
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pandas as pd
import pytest
import torch
from helpers import architectures
from helpers.cut_off import assert_same, stop_after
from helpers.finished_run import write_finished_run

from hmdb_lib import config, environment, models
from hmdb_lib.errors import UserError
from hmdb_lib.models.device import choose_device
from hmdb_lib.results import tables
from hmdb_lib.results.runs import Run, results_table
from hmdb_lib.training import experiment as training
from hmdb_lib.training.modules import VideoClassifier
from hmdb_lib.training.optim import make_optimizer, make_schedule, parameter_groups

SMALL = {"model__blocks": 1, "perceiver__latents": 8, "perceiver__width": 64}


@pytest.mark.parametrize("row", ["cross1_self1", "baseline"])
def test_a_step_moves_every_parameter_and_the_optimiser_holds_them_all(tiny_config, row):
    config = tiny_config(row, perceiver__latents=8, perceiver__width=64)
    torch.manual_seed(0)
    model = models.build(classes=2, **config.architecture())
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimiser = make_optimizer(model, config.train, fused=True)
    held = {id(p) for group in optimiser.param_groups for p in group["params"]}
    classifier = VideoClassifier(config, model)
    clips = torch.randint(0, 256, (2, 8, 64, 64, 3), dtype=torch.uint8)
    torch.nn.functional.cross_entropy(model(classifier.normalised(clips)), torch.tensor([0, 1])).backward()
    optimiser.step()
    assert held == {id(p) for p in model.parameters()}
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
def test_a_fused_step_on_channels_last_weights_is_the_plain_one(tiny_config, optimiser):
    train = tiny_config(train__optimizer=optimiser).train
    torch.manual_seed(0)
    # In double precision: Adam divides by the gradient's size, and blows up the rounding of one that is almost zero.
    plain = architectures.build("r2plus1d", classes=2, blocks=1).double().to(memory_format=torch.channels_last_3d)
    fused = copy.deepcopy(plain)
    clips = torch.randn(1, 3, 8, 64, 64).double().to(memory_format=torch.channels_last_3d)
    for model in (plain, fused):
        step = make_optimizer(model, train, fused=model is fused)
        for _ in range(2):
            step.zero_grad()
            model(clips).square().sum().backward()
            step.step()
    for (name, value), other in zip(plain.named_parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(other, value, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.slow
def test_gradients_are_shortened_under_mixed_precision_too(tiny_config, monkeypatch):
    norms = []
    step = torch.optim.AdamW.step

    def look(self, closure):
        loss = closure()
        norms.extend(torch.nn.utils.get_total_norm([p.grad for g in self.param_groups for p in g["params"]]).view(1))
        return step(self, lambda: loss)

    monkeypatch.setattr(torch.optim.AdamW, "step", look)
    training.train(tiny_config(train__precision="bf16", train__clip_norm=1e-3, train__epochs=1))
    assert max(norms) <= 1.001e-3


@pytest.mark.parametrize(
    ("row", "moves"), [("as_published", False), ("published_cross", False), ("cross1_self1", True)]
)
def test_the_cross_attention_learns_except_as_published(tiny_config, row, moves):
    config = tiny_config(row, perceiver__latents=8, perceiver__width=64)
    torch.manual_seed(0)
    model = models.build(classes=2, **config.architecture())
    cross = model.components()["cross_attention"]
    before = [parameter.clone() for parameter in cross]
    optimiser = make_optimizer(model, config.train, fused=True)
    clips = torch.randn(2, 3, 8, 64, 64)
    torch.nn.functional.cross_entropy(model(clips), torch.tensor([0, 1])).backward()
    optimiser.step()
    assert {not torch.equal(old, new) for old, new in zip(before, cross, strict=True)} == {moves}


def test_the_cnn_has_its_own_rate_and_vectors_do_not_decay(tiny_config):
    model = architectures.build("r2plus1d", classes=2, blocks=1)
    groups = parameter_groups(model, tiny_config(train__lr=1e-3, train__backbone_lr=1e-4).train)
    assert {(group["name"], group["lr"]) for group in groups} == {("cnn", 1e-4), ("new", 1e-3)}
    assert all((p.ndim > 1) == (group["weight_decay"] > 0) for group in groups for p in group["params"])


def test_a_backbone_of_transformer_layers_has_the_rate_of_a_backbone_and_the_heads_attention_its_own(tiny_config):
    train = tiny_config(train__lr=1e-3, train__backbone_lr=1e-4, train__attention_lr=1e-2).train
    with torch.device("meta"):
        model = models.build("mvit_v2_s", 2, head="perceiver")
    rate = {id(p): group["lr"] for group in parameter_groups(model, train) for p in group["params"]}
    assert {rate[id(p)] for p in model.backbone.parameters()} == {1e-4}
    assert {rate[id(p)] for p in model.head.cross.parameters()} == {1e-2}
    assert {rate[id(p)] for p in model.head.classifier.parameters()} == {1e-3}


def test_layer_decay_slows_the_layers_below_the_head(tiny_config):
    model = architectures.build("videomae", classes=2, variant="small", frames=2, size=32)
    groups = parameter_groups(model, tiny_config(train__lr=1.0, train__backbone_lr=1.0, train__layer_decay=0.5).train)
    assert {group["lr"] for group in groups} == {0.5**depth for depth in range(14)}


@pytest.mark.parametrize(("schedule", "end"), [("cosine", 0.0), ("constant", 1.0)])
def test_the_rate_rises_linearly_and_then_follows_the_schedule(tiny_config, schedule, end):
    train = tiny_config(train__epochs=10, train__warmup_epochs=2, train__lr=1.0, train__schedule=schedule).train
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rates = []
    rate = make_schedule(optimiser, train, steps=100)
    for _ in range(100):
        rates.append(rate.get_last_lr()[0])
        optimiser.step()
        rate.step()
    assert rates[:20] == sorted(rates[:20])
    assert rates[20] == 1.0
    assert rates[-1] == pytest.approx(end, abs=1e-3)


def test_a_run_leaves_everything_that_it_promises(trained_run):
    run = trained_run
    assert {file.name for file in run.folder.iterdir()} >= {
        *("config.yaml", "metrics.csv", "summary.json", "predictions.csv", "curves.png"),
    }
    assert run.metrics.epoch.tolist() == [0, 1, 2]
    assert {"train_clip_loss", "val_video_accuracy", "lr", "seconds"} <= set(run.metrics.columns)
    assert run.summary["test"]["videos"] == len(run.predictions) == 4
    assert run.summary["parameters"]["total"] == sum(
        run.summary["parameters"][part] for part in ("cnn", "cross_attention", "self_attention", "classifier")
    )
    assert run.predictions[["bright", "dark"]].sum(axis=1).round(4).tolist() == [1.0] * 4
    assert results_table(run.folder.parents[2])["test.accuracy"].tolist() == [run.summary["test"]["accuracy"]]


def test_a_finished_run_is_skipped(trained_run, tiny_experiment, monkeypatch, capsys):
    run = trained_run
    monkeypatch.setenv("HMDB_RESULTS", str(run.folder.parents[2]))
    stamp = (run.folder / "summary.json").stat().st_mtime_ns
    training.train(tiny_experiment(train__epochs=3))
    assert (run.folder / "summary.json").stat().st_mtime_ns == stamp
    assert "already finished" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_whose_summary_was_cut_off_is_judged_again(tiny_config):
    run = training.train(tiny_config(train__epochs=1))
    whole = run.summary
    (run.folder / "summary.json").write_text('{"row": "base')
    assert not run.finished
    again = training.train(tiny_config(train__epochs=1))
    assert again.summary["test"] == whole["test"]
    assert len(again.metrics) == 1


def test_another_experiment_in_the_same_folder_is_refused_with_the_keys_named(tiny_config, tmp_path):
    Run.start(tiny_config(), tmp_path)
    with pytest.raises(UserError, match=r"train\.lr \(0\.001 there, 0\.002 now\)"):
        Run.start(tiny_config(train__lr=0.002), tmp_path)


def test_the_settings_of_a_head_that_is_not_used_make_no_other_experiment(tiny_config, tmp_path):
    run = Run.start(tiny_config("baseline", perceiver__latents=8), tmp_path)
    assert run.holds(tiny_config("baseline", perceiver__latents=16, videomae__drop_path=0.1))
    with pytest.raises(UserError, match=r"holds another experiment: pool\.norm"):
        run.holds(tiny_config("baseline", pool__norm=True))


def test_another_machine_may_go_on_with_a_run(tiny_config, tmp_path):
    Run.start(tiny_config(), tmp_path)
    Run.start(tiny_config(data__workers=2, train__precision="bf16"), tmp_path)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_with_the_same_digits(tiny_config, monkeypatch):
    whole = training.train(tiny_config(name="whole"))
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            training.train(tiny_config(name="cut"))
    assert_same(whole, training.train(tiny_config(name="cut")))


@pytest.mark.slow
def test_a_video_that_cannot_be_read_is_named_once_and_counted(tiny_config, tiny_videos, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_videos, broken)
    (broken / "bright" / "0.avi").write_text("this is not a video")
    (broken / "dark" / "15.avi").write_text("nor is this")
    run = training.train(tiny_config(data__root=broken, data__max_lost=0.3))
    assert set(run.summary["unreadable"]) == {"bright/0.avi", "dark/15.avi"}
    assert (len(run.predictions), run.summary["test"]["read"]) == (4, 3)
    assert capsys.readouterr().out.count("bright/0.avi: ") == 1


@pytest.mark.slow
def test_a_run_that_goes_on_for_its_test_alone_still_names_the_videos_that_training_could_not_read(
    tiny_config, tiny_videos, tmp_path, monkeypatch
):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_videos, broken)
    (broken / "bright" / "0.avi").write_text("this is not a video")
    config = tiny_config(data__root=broken, data__max_lost=0.3, train__epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", lambda *of: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            training.train(config)
    assert set(training.train(config).summary["unreadable"]) == {"bright/0.avi"}


@pytest.mark.slow
def test_weights_that_have_seen_test_videos_are_refused_before_a_folder_is_made_unless_allowed(
    trained_run, tiny_config, tiny_videos, tmp_path
):
    other = tmp_path / "other"
    shutil.copytree(tiny_videos, other)
    index = pd.read_csv(other / "index.csv")
    swapped = index.assign(split=index.split.map({"train": "train", "validation": "test", "test": "validation"}))
    swapped.to_csv(other / "index.csv", index=False)
    changes = {"data__root": other, "model__pretrained": trained_run.folder, "train__epochs": 1}
    with pytest.raises(UserError, match="has learned from 4 of the 4 test videos"):
        training.train(tiny_config(**changes))
    run = training.train(tiny_config(**changes, train__allow_seen=True))
    assert run.summary["seen_test_videos"] == 4
    row = tables.study({"baseline": [run]}, "baseline")
    assert "(its weights have seen 4 test videos)" in tables.study_text(row, "other").iloc[0, 0]


@pytest.mark.slow
def test_a_test_class_of_which_no_video_is_there_counts_as_wrong(tiny_config, tiny_videos, tmp_path):
    gone = tmp_path / "gone"
    shutil.copytree(tiny_videos, gone)
    index = pd.read_csv(gone / "index.csv")
    for path in index.path[(index.split == "test") & (index.label == "dark")]:
        (gone / path).unlink()
    run = training.train(tiny_config(data__max_lost=0.5, data__root=gone, train__epochs=1))
    test = run.summary["test"]
    assert (test["videos"], test["present"], test["read"]) == (4, 2, 2)
    assert test["accuracy"] == test["accuracy_read"] / 2
    assert run.summary["shortfall"] == "2 classes, 2 of 4 test videos: 2 missing"


@pytest.mark.slow
def test_on_request_a_video_that_cannot_be_read_stops_the_run_at_the_start(tiny_config, tiny_videos, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_videos, broken)
    (broken / "bright" / "0.avi").write_text("this is not a video")
    with pytest.raises(UserError, match=r"1 of 16 videos cannot be read .*bright/0\.avi"):
        training.train(tiny_config(data__root=broken, data__on_error="stop"))


def test_the_test_part_is_judged_by_the_epoch_that_validation_chose(trained_run):
    run = trained_run
    best = run.metrics.sort_values(["val_video_accuracy", "val_video_loss"], ascending=[False, True]).epoch.iloc[0]
    assert run.summary["best_epoch"]["epoch"] == best
    assert torch.load(run.best, weights_only=True)["epoch"] == best


def test_a_summary_is_plain_json(trained_run):
    summary = json.loads((trained_run.folder / "summary.json").read_text())
    assert {"device", "versions", "commit", "seconds", "parameters"} <= set(summary)


def test_a_device_that_is_not_there_is_told():
    if torch.backends.mps.is_available():
        pytest.skip("this machine has every device but cuda")
    with pytest.raises(UserError, match=r"train\.device=mps: there is none here"):
        choose_device("mps")


def test_precision_can_be_asked_for_and_its_reason_is_told():
    chosen = choose_device("cpu", "fp32")
    assert (chosen.precision, chosen.reason) == ("fp32", "cpu, fp32: as asked for")


@pytest.mark.slow
def test_real_clips_train_and_are_judged_fold_by_fold(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path))
    changes = [
        "data=folder",
        f"data.root={real_data / 'ut_interaction'}",
        "data.split=3",
        "quick=true",
        "data.limit=2",
    ]
    run = training.train(config.load("baseline", changes))
    assert run.folder.name == "ut_interaction-split3-seed0-quick"
    assert run.summary["test"]["videos"] == 12
    assert run.predictions.group.nunique() == 2
    assert run.summary["unreadable"] == {}


@pytest.fixture
def first_stage(tiny_config):
    """A finished run of the proposed architecture on other classes than those of the tiny data set."""
    run = write_finished_run(
        tiny_config("cross1_self1", **SMALL), Path(environment.place().results) / "first", ("a", "b")
    )
    return run, torch.load(run.best, weights_only=True)["state_dict"]


def test_a_second_stage_keeps_backbone_and_attention_and_starts_a_classifier_of_its_own(tiny_config, first_stage):
    run, state = first_stage
    model = models.build(classes=2, **tiny_config("cross1_self1", **SMALL).architecture())
    fresh = model.head.classifier.weight.clone()
    filled = models.load_pretrained(model, str(run.folder), ["bright", "dark"])
    assert torch.equal(model.head.classifier.weight, fresh)
    assert all(torch.equal(value, state[f"model.{key}"]) for key, value in model.state_dict().items() if key in filled)
    assert model.state_dict().keys() - filled == {"head.classifier.weight", "head.classifier.bias"}
    assert "head.classifier.weight" in models.load_pretrained(model, str(run.folder), ["a", "b"])


@pytest.mark.slow
def test_cnn_attention_and_classifier_have_rates_of_their_own(tiny_config):
    train = tiny_config("cross1_self1", train__backbone_lr=1e-5, train__attention_lr=1e-4, train__lr=1e-3).train
    groups = parameter_groups(architectures.build("hybrid", 2, blocks=1, latents=8, width=64), train)
    assert {group["name"]: group["lr"] for group in groups} == {"cnn": 1e-5, "attention": 1e-4, "new": 1e-3}


@pytest.mark.slow
def test_what_came_from_another_run_stands_still_for_the_first_epochs_and_then_moves(tiny_config, first_stage):
    run, state = first_stage
    states = []

    class Keep(L.Callback):
        def on_train_epoch_end(self, trainer, module):
            states.append({key: value.clone() for key, value in module.model.state_dict().items()})

    changes = {"train__frozen_epochs": 1, "train__epochs": 2, "model__pretrained": run.folder}
    training.train(tiny_config("cross1_self1", **SMALL, **changes), callbacks=[Keep()])
    moved = [{key for key, value in epoch.items() if not torch.equal(value, state[f"model.{key}"])} for epoch in states]
    assert moved[0] == {"head.classifier.weight", "head.classifier.bias"}
    assert {"backbone.stem.0.weight", "backbone.stem.1.running_mean", "head.latents"} <= moved[1]


def test_test_videos_are_no_validation_of_what_learns_without_labels(tiny_config):
    with pytest.raises(UserError, match=r"train\.choose_on=test: with train\.objective=masked"):
        training.train(tiny_config("masked_hybrid", **SMALL, train__choose_on="test"))


@pytest.mark.slow
@pytest.mark.parametrize("row", ["masked_hybrid", "masked_videomae_small"])
def test_a_run_without_labels_is_what_another_run_starts_from(tiny_config, row, capsys):
    small = SMALL if row == "masked_hybrid" else {}
    run = training.train(tiny_config(row, **small))
    assert run.folder.parents[1].name == "pretraining"
    assert list(run.metrics)[:3] == ["epoch", "train_loss", "val_loss"]
    assert (run.folder / "reconstruction.png").exists()
    assert "test" not in run.summary
    assert results_table(environment.place().results).empty, "what has no accuracy is not among the results"
    second = {"masked_hybrid": "cross1_self1", "masked_videomae_small": "videomae_small"}[row]
    after = training.train(tiny_config(second, **small, model__pretrained=run.folder, data__sources=4))
    assert after.finished
    assert "4 train" in capsys.readouterr().out


# Rows that build, train or judge in a way of their own; the others differ from one of them in a number.
UNLIKE_ROWS = [
    *("cross1_self1", "baseline", "blocks6_cross1_self6", "blocks4_cross2_self12", "cross1", "self1"),
    *("bert_32frames", "videomae_small", "as_published", "head_over_time", "backbone_frozen", "head_all"),
]


@pytest.mark.slow
@pytest.mark.parametrize("row", UNLIKE_ROWS)
def test_a_row_trains_two_epochs_on_the_sample_data(full_sample, tmp_path, monkeypatch, row):
    monkeypatch.setenv("HMDB_DATA", str(full_sample.parent))
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path))
    small = ["quick=true", "data.limit=1", "perceiver.latents=32", "perceiver.width=128"]
    run = training.train(config.load(row, small))
    assert run.metrics.epoch.tolist() == [0, 1]
    assert run.metrics.train_clip_loss.notna().all()
    assert run.summary["test"]["videos"] == 8


def test_a_batch_that_devices_cannot_share_evenly_is_told_in_one_line(tiny_config):
    with pytest.raises(UserError, match=r"train\.batch_size=5 cannot be shared evenly by 2 devices") as error:
        training.train(tiny_config(train__batch_size=5, train__devices=2, train__device="cpu"))
    assert "\n" not in str(error.value)


def test_a_batch_counts_the_clips_of_all_processes(tiny_config):
    data = training.load_data(tiny_config(train__batch_size=4))
    seen = []
    for rank in (0, 1):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2, current_epoch=0)
        seen.append([batch["videos"].tolist() for batch in data.train_dataloader()])
    data.trainer = SimpleNamespace(global_rank=0, world_size=1, current_epoch=0)
    whole = [batch["videos"].tolist() for batch in data.train_dataloader()]
    assert [len(videos) for videos in whole] == [4, 4]
    assert [sorted(one + other) for one, other in zip(*seen, strict=True)] == [sorted(videos) for videos in whole]


@pytest.mark.slow
def test_a_precision_that_changes_on_resume_is_told_and_recorded(tiny_config, capsys):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            training.train(tiny_config(train__epochs=2))
    capsys.readouterr()
    run = training.train(tiny_config(train__epochs=2, train__precision="bf16"))
    assert "precision: fp32 until now, bf16 from here on" in capsys.readouterr().out
    assert run.metrics.precision.tolist() == ["fp32", "bf16"]
    assert run.summary["precision"] == run.precisions == ["fp32", "bf16"]
