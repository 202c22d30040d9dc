"""Probes of a frozen backbone: what they choose, what they record, and the board's protocol."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from hmdb_lib.cli import main
from hmdb_lib.environment import place
from hmdb_lib.errors import UserError
from hmdb_lib.features import probe
from hmdb_lib.features.extract import Tokens
from hmdb_lib.results.runs import Run, results_table


@pytest.fixture
def frozen_config(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_DATA", str(tmp_path / "data"))
    return lambda **changes: tiny_config(model__frozen="all", data__features="pooled", evaluate__clips=1, **changes)


def made_parts(sizes, classes=3, seed=0):
    """Vectors around one point a class, close enough to be told apart by their neighbours."""
    random = np.random.default_rng(seed)
    centres = 4 * np.eye(classes, 6)
    parts = {}
    for role, size in sizes.items():
        labels = np.arange(size) % classes
        videos = pd.DataFrame(
            {"path": [f"{role}{n}" for n in range(size)], "group": labels, "label": labels.astype(str)}
        )
        parts[role] = probe.Part(centres[labels] + random.normal(size=(size, 6)), labels, videos)
    return parts


def test_bright_and_dark_videos_are_told_apart_and_recorded(frozen_config, tmp_path):
    table = probe.probe(frozen_config())
    assert table.index.tolist() == ["baseline-logistic-frozen", "baseline-neighbours-frozen"]
    assert table.accuracy.tolist() == [1.0, 1.0]
    runs = [Run(folder) for folder in sorted((tmp_path / "results" / "runs").glob("*/*"))]
    assert [len(run.predictions) for run in runs] == [4, 4]
    assert [list(run.summary["chosen"]) for run in runs] == [["C"], ["k"]]
    assert results_table(tmp_path / "results")["test.accuracy"].tolist() == [1.0, 1.0]


def test_a_finished_probe_is_read_not_made_again(frozen_config, monkeypatch):
    first = probe.probe(frozen_config())
    monkeypatch.setattr(probe, "prepare", lambda *of: pytest.fail("computed again"))
    pd.testing.assert_frame_equal(probe.probe(frozen_config()), first)


def test_vectors_are_the_means_of_the_backbones_tokens(frozen_config):
    config = frozen_config()
    data, _, tokens = probe.prepare(config, place())
    parts = probe.pooled(data, tokens, config)
    assert {role: part.vectors.shape for role, part in parts.items()} == {
        "train": (8, 16),
        "validation": (4, 16),
        "test": (4, 16),
    }
    path = parts["test"].videos.path[0]
    wanted = probe.Wanted.judged(data, data.tables["test"], config, 1)
    assert np.allclose(parts["test"].vectors[0], tokens.of(data, wanted)[path].float().mean((0, 1, 2, 3)))


def test_the_setting_is_the_one_that_validation_judges_best(tmp_path, frozen_config, monkeypatch):
    parts = made_parts({"train": 60, "validation": 30, "test": 30})
    run = Run.start(probe.named(frozen_config(), "neighbours"), tmp_path / "made")
    about = {"classes": ["0", "1", "2"], "present": 30}
    monkeypatch.setitem(probe.PROBES, "neighbours", ("k", (60, 5), probe.PROBES["neighbours"][2]))
    probe._fit("neighbours", run, parts, parts["test"].videos, about)
    assert run.summary["chosen"] == {"k": 5}  # all 60 vote for every class alike
    assert run.summary["test"]["accuracy"] > 0.9


def test_a_row_whose_backbone_trains_is_refused(tiny_config):
    with pytest.raises(UserError, match=r"add model\.frozen=all"):
        probe.probe(tiny_config())


def test_probing_without_validation_is_refused(frozen_config):
    for changes in ({"data__validation_share": 0}, {"train__final_fit": True}):
        with pytest.raises(UserError, match=r"set data\.validation_share above 0, and train\.final_fit to false"):
            probe.probe(frozen_config(**changes))


@pytest.mark.parametrize(
    ("protocol", "changes"),
    [(probe.probe, {}), (probe.probe_as_board, {"data__validation_share": 0})],  # validation trains in the second
)
def test_videos_of_one_class_alone_are_refused(frozen_config, tiny_videos, protocol, changes):
    with pytest.raises(UserError, match=f"^{tiny_videos}: the videos that train are of one class alone, (bright|dark)"):
        protocol(frozen_config(data__sources=1, **changes))


def test_the_boards_protocol_takes_eight_videos_of_a_class_ten_times(frozen_config, monkeypatch):
    sizes = []
    monkeypatch.setattr(probe, "pooled", lambda *of: made_parts({"train": 60, "validation": 30, "test": 30}))
    fit = probe._fitted
    monkeypatch.setattr(probe, "_fitted", lambda c, x, y: sizes.append(np.bincount(y).tolist()) or fit(c, x, y))
    accuracies = probe.probe_as_board(frozen_config())
    assert sizes == [[8, 8, 8]] * 10
    assert accuracies.shape == (10,)
    assert accuracies.min() > 0.9


@pytest.mark.parametrize(("accuracy", "count"), [(0.5, 6), (0.99, 3), (0.0, 3)])
def test_the_nearest_models_of_the_board_stand_on_both_sides(accuracy, count):
    near = probe.board(accuracy)
    assert len(near) == count
    assert near.accuracy.is_monotonic_decreasing


def words(config):
    return [
        f"{key}={value}" for key, value in config.flat().items() if value is not None and key not in ("row", "name")
    ]


def test_commands_compute_the_store_and_probe_it(frozen_config, capsys, monkeypatch):
    config = frozen_config(train__views=2)
    asked = [word for word in words(config) if not word.startswith(("data.frame_step", "train.attention_lr"))]
    assert main(["features", "baseline", *asked]) == 0
    assert "features: " in capsys.readouterr().out
    monkeypatch.setattr(Tokens, "_compute", lambda *of: pytest.fail("computed again"))
    assert main(["features", "baseline", *asked]) == 0


@pytest.mark.slow
def test_the_probe_command_prints_accuracies_and_the_board(frozen_config, capsys):
    asked = words(frozen_config())
    assert main(["probe", "baseline", *asked]) == 0
    assert "baseline-logistic-frozen: test accuracy 1.000" in capsys.readouterr().out
    assert main(["probe", "baseline", *asked, "--protocol", "mteb"]) == 0
    told = capsys.readouterr().out
    assert "8 videos of a class: accuracy 1.000" in told
    assert "(other data)" in told


@pytest.mark.slow
def test_what_is_computed_beforehand_is_what_training_asks_for(frozen_config, monkeypatch):
    from hmdb_lib.training import experiment  # noqa: PLC0415 - the one test that needs it

    config = frozen_config(train__views=2)
    asked = words(config)
    assert main(["features", "baseline", *asked]) == 0
    monkeypatch.setattr(Tokens, "_compute", lambda *of: pytest.fail("computed again"))
    torch.manual_seed(5)
    assert experiment.train(config).finished


@pytest.fixture
def own_videos(tiny_videos, tmp_path):
    return shutil.copytree(tiny_videos, tmp_path / "own" / "tiny")


def spoil_frames(root, role, monkeypatch):
    """Tear the videos of a part behind their first frame, which is all that is looked at before."""
    monkeypatch.setattr("hmdb_lib.data.load.read_frames", lambda path, indices: None)
    index = pd.read_csv(root / "index.csv")
    for path in index.path[index.split == role].iloc[:2]:
        (root / path).write_text("this is not a video")


def test_a_finished_probe_of_other_data_is_not_told_again(frozen_config, own_videos):
    probe.probe(frozen_config(data__root=own_videos))
    index = (own_videos / "index.csv").read_text()
    swapped = index.replace(",test", ",x").replace(",train", ",test").replace(",x", ",train")
    (own_videos / "index.csv").write_text(swapped)
    with pytest.raises(UserError, match="is of other data"):
        probe.probe(frozen_config(data__root=own_videos))


def test_a_probe_stops_where_too_many_videos_cannot_be_read(frozen_config, own_videos, monkeypatch):
    spoil_frames(own_videos, "test", monkeypatch)
    for judge in (probe.probe, probe.probe_as_board):
        with pytest.raises(UserError, match=r"2 of 4 test videos cannot be read, more than data\.max_lost=0\.05"):
            judge(frozen_config(data__root=own_videos))


def test_unreadable_test_videos_count_as_wrong_in_the_boards_protocol_too(
    frozen_config, own_videos, monkeypatch, capsys
):
    spoil_frames(own_videos, "test", monkeypatch)
    config = frozen_config(data__root=own_videos, data__max_lost=0.5)
    assert probe.probe_as_board(config).tolist() == [0.5] * 10
    assert main(["probe", "baseline", *words(config)]) == 0
    assert "on 4 listed videos, of which 4 were there and 2 read (1.000 of these)" in capsys.readouterr().out


def test_weights_that_have_seen_test_videos_are_refused_by_the_boards_protocol(frozen_config, monkeypatch):
    monkeypatch.setattr(probe.seen, "check", lambda *of: (_ for _ in ()).throw(UserError("has learned from")))
    with pytest.raises(UserError, match="has learned from"):
        probe.probe_as_board(frozen_config())
