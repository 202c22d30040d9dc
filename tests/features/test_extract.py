"""Tokens computed once: those of the frozen backbone, under a key of all that changes a number."""

import math
import shutil

import numpy as np
import pytest
import torch

from hmdb_lib import models
from hmdb_lib.data.video import Size, write_video
from hmdb_lib.environment import Place
from hmdb_lib.errors import UserError
from hmdb_lib.features.extract import Judged, Tokens, Views, Wanted, settings
from hmdb_lib.files import DiskError
from hmdb_lib.inference.windows import Windows
from hmdb_lib.models.backbones.base import Backbone
from hmdb_lib.models.device import choose_device
from hmdb_lib.training.experiment import build_model, read_data

FROZEN = {"model__frozen": "all", "train__views": 2, "train__batch_size": 3}
CPU = choose_device("cpu", "fp32")


@pytest.fixture
def place(tmp_path):
    return Place("local", tmp_path / "data", tmp_path / "results")


@pytest.fixture
def frozen(tiny_experiment, place):
    """A function that gives a configuration, its data and its model with the same random weights each time."""

    def make(**changes):
        config = tiny_experiment(**FROZEN | changes)
        torch.manual_seed(0)
        return config, read_data(config, place), build_model(config, 2).eval()

    return make


def forbid_computing(monkeypatch):
    def forward(self, clips):
        raise AssertionError("computed")

    monkeypatch.setattr(Backbone, "forward", forward)


@pytest.mark.slow
@torch.no_grad()
def test_stored_tokens_are_the_backbones_own_for_the_clips_that_are_judged(frozen, place):
    config, data, model = frozen()
    found = Tokens(config, model.backbone, CPU, place).of(data, Wanted.judged(data, data.tables["test"], config, 2, 3))
    assert set(found) == set(data.tables["test"].path)
    module = models.VideoModel(model.backbone, model.head)
    clips = Judged(data, data.tables["test"], config, 2, 3)
    for number, path in enumerate(data.tables["test"].path):
        pixels = torch.from_numpy(clips[number][2]).float().permute(0, 4, 1, 2, 3) / 255
        mean, std = (torch.tensor(of)[:, None, None, None] for of in (module.mean, module.std))
        wanted = module.backbone((pixels - mean) / std)
        assert found[path].shape == wanted.shape  # 2 clips x 3 crops
        torch.testing.assert_close(found[path].float(), wanted, atol=2e-3, rtol=2e-3)


def test_a_view_is_the_same_however_many_there_are_and_no_two_are_alike(frozen):
    few, many = (frozen(train__views=count)[:2] for count in (2, 5))
    few, many = (Views(data, data.tables["train"], config) for config, data in (few, many))
    assert few[0][2].shape == (2, 8, 64, 64, 3)
    assert np.array_equal(few[0][2], many[0][2][:2])
    assert len({view.tobytes() for view in many[0][2]}) == 5


def test_what_is_stored_is_not_computed_again(frozen, place, monkeypatch):
    config, data, model = frozen()
    first = Tokens(config, model.backbone, CPU, place).of(data, Wanted.views(data, config))
    forbid_computing(monkeypatch)
    again = Tokens(config, model.backbone, CPU, place).of(data, Wanted.views(data, config))
    assert all(torch.equal(first[path], again[path]) for path in data.tables["train"].path)


def test_another_part_of_the_videos_adds_what_is_missing_alone(frozen, place, monkeypatch):
    config, data, model = frozen()
    tokens, test = Tokens(config, model.backbone, CPU, place), data.tables["test"]
    tokens.of(data, Wanted.judged(data, test.head(3), config, 1))
    seen = []
    monkeypatch.setattr(Backbone, "forward", lambda self, clips: seen.append(len(clips)) or self.tokens(clips))
    assert len(tokens.of(data, Wanted.judged(data, test, config, 1))) == len(test) == 4
    assert sum(seen) == 1


def test_the_key_holds_the_weights(frozen):
    config, _, model = frozen()
    before = settings(config, model.backbone)
    with torch.no_grad():
        next(model.backbone.parameters()).view(-1)[0] += 1
    after = settings(config, model.backbone)
    assert {name for name in before if before[name] != after[name]} == {"weights"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        *({"data__frames": 9}, {"data__clip_seconds": 0.5}, {"data__short": "last"}, {"data__resize": [68, 90]}),
        *(
            {"data__crop": 65},
            {"data__antialias": False},
            {"data__flip": False},
            {"data__normalize": "published"},
            {"data__features": "4x4"},
        ),
        *({"model__blocks": 2}, {"model__backbone": "mc3_18"}),
    ],
    ids=str,
)
def test_a_setting_that_changes_a_number_leads_to_another_store(frozen, place, change):
    stores = set()
    for changes in ({}, change):
        config, _, model = frozen(**changes)
        stores.add(Tokens(config, model.backbone, CPU, place).store.folder)
    assert len(stores) == 2


def test_what_changes_no_number_leads_to_the_same_store(frozen, place):
    changes = {"train__lr": 1.0, "seed": 3, "train__views": 7, "evaluate__clips": 5, "model__head": "pool_change"}
    stores = {
        Tokens(config, model.backbone, CPU, place).store.folder for config, _, model in (frozen(), frozen(**changes))
    }
    assert len(stores) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("features", "places"), [("tokens", 32), ("4x4", 4), ("pooled", 1)])
def test_tokens_are_stored_as_the_setting_says_and_the_model_gives_them_so(frozen, place, features, places):
    config, data, model = frozen(data__features=features)
    found = Tokens(config, model.backbone, CPU, place).of(data, Wanted.views(data, config))
    path = data.tables["train"].path[0]
    assert found[path].shape == (2, 8, places, places, 16)
    clips = torch.randn(1, 3, 8, 64, 64)
    assert model.backbone(clips).shape[2:4] == (places, places)
    torch.testing.assert_close(model.backbone(clips).mean((2, 3)), model.backbone.tokens(clips).mean((2, 3)))


def test_a_video_that_cannot_be_read_is_named_and_left_out(frozen, place, tiny_videos, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_videos, broken)
    config, data, model = frozen(data__root=broken)
    path = data.tables["train"].path[0]
    (broken / path).write_text("this is not a video")
    tokens = Tokens(config, model.backbone, CPU, place)
    assert set(tokens.of(data, Wanted.views(data, config))) == set(data.tables["train"].path) - {path}
    assert set(tokens.unreadable) == {path}


def test_a_disk_that_is_too_small_is_told_before_anything_is_computed(frozen, place, monkeypatch):
    config, data, model = frozen()
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(folder)._replace(free=1000))
    forbid_computing(monkeypatch)
    with pytest.raises(
        DiskError, match=r"data\.features=tokens of 8 videos \(4x4 and pooled take less\) needs 0\.00419 GB"
    ):
        Tokens(config, model.backbone, CPU, place).of(data, Wanted.views(data, config))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train__mixup": 0.8}, r"mixup=0\.8: would change pixels"),
        (
            {"train__cutmix": 1.0, "train__randaugment": "true"},
            r"randaugment=True and cutmix=1\.0: would change pixels",
        ),
        ({"train__erasing": 0.25}, r"erasing=0\.25: would change pixels"),
        ({"train__objective": "masked"}, r"objective=masked trains the backbone"),
        ({"model__frozen": 1, "data__features": "4x4"}, r"features=4x4 goes with model\.frozen=all alone"),
    ],
    ids=str,
)
def test_what_does_not_go_with_a_frozen_backbone_is_refused_in_one_line(tiny_experiment, change, told):
    with pytest.raises(UserError, match=told) as refused:
        tiny_experiment(**FROZEN | change)
    assert "\n" not in str(refused.value)


def numbers_of(clips):
    """Frame numbers (clips, T) of pictures (clips, T, H, W, C) whose grey is five times the frame's number."""
    return (np.asarray(clips, float).mean((2, 3, 4)) / 5).round().astype(int)


def test_segments_are_read_in_training_evaluation_prediction_and_features(tiny_experiment, place, tmp_path):
    lines = ["path,label,group,split"]
    for number, part in enumerate(("train", "validation", "test") * 2):
        grey = np.repeat(np.arange(40, dtype=np.uint8) * 5, 66 * 88 * 3).reshape(40, 66, 88, 3)
        write_video(tmp_path / f"{number}.avi", grey, 30, codec="ffv1")
        lines.append(f"{number}.avi,{'ab'[number // 3]},s{number},{part}")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    segments = {"data__root": tmp_path, "data__sampling": "segments", "evaluate__clips": 1}
    config = tiny_experiment(**FROZEN | segments)
    data = read_data(config, place)
    parts = np.arange(8) * 5  # 8 parts of 5 frames each
    for clips in (next(iter(data.train_dataloader()))["clips"], Views(data, data.tables["train"], config)[0][2]):
        into = numbers_of(clips) - parts
        assert ((into >= 0) & (into < 5)).all()
    for clips in (
        next(iter(data.test_dataloader()))["clips"],
        Judged(data, data.tables["test"], config, 1, 1)[0][2],
        next(iter(Windows([tmp_path / "2.avi"], data.rule, Size.of(config.data), 1, math.inf))).clips,
    ):
        assert (numbers_of(clips) == parts + 2).all()


def test_fewer_videos_of_a_class_train_where_the_configuration_says_so(tiny_experiment, place):
    tables = read_data(tiny_experiment(data__per_class=1), place).tables
    assert tables["train"].label.value_counts().to_dict() == {"bright": 1, "dark": 1}
    assert [len(tables[part]) for part in ("validation", "test")] == [4, 4]
