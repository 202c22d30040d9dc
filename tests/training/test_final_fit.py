"""Training on train + validation: for the epochs that validation chose, or for a number given beforehand."""

import math
import shutil

import pytest

from hmdb_lib.errors import UserError
from hmdb_lib.results.runs import Run
from hmdb_lib.training import experiment as training


def test_without_the_run_that_chose_the_epochs_it_is_told_what_to_run_first(tiny_config):
    with pytest.raises(UserError, match=r"split1-seed0; first run the same command with train\.final_fit=false"):
        training.train(tiny_config(train__final_fit="true"))


def test_epochs_chosen_on_the_test_part_are_refused(tiny_config):
    with pytest.raises(UserError, match="set choose_on=validation"):
        tiny_config(train__final_fit="true", train__choose_on="test")


def test_another_experiments_epochs_are_refused(tiny_config, tmp_path):
    Run.start(tiny_config(train__lr=0.5), tmp_path / "results")
    with pytest.raises(UserError, match=r"holds another experiment: train\.lr"):
        training.train(tiny_config(train__final_fit="true"))


@pytest.mark.slow
def test_it_follows_the_rates_of_the_run_that_chose_and_stops_where_that_was_best(
    trained_run, tiny_config, tmp_path, capsys
):
    chosen = Run.of(tiny_config(train__epochs=3), tmp_path / "results")
    shutil.copytree(trained_run.folder, chosen.folder)
    best = dict(chosen.summary, best_epoch=chosen.metrics.iloc[1].to_dict())
    chosen.finish(chosen.predictions, best)  # as if the second of three epochs had been the best
    capsys.readouterr()
    final = training.train(tiny_config(train__epochs=3, train__final_fit="true"))
    told = capsys.readouterr().out
    assert "2 classes, 12 train, 4 test" in told
    assert "epoch 1, the last" in told
    assert final.folder.name.endswith("split1-seed0-final")
    assert final.metrics.epoch.tolist() == [0, 1]
    # Three steps an epoch, with the validation videos: the third and the sixth of nine on a cosine over all three epochs.
    assert final.metrics.lr.tolist() == pytest.approx([5e-4 + 5e-4 * math.cos(math.pi * step / 9) for step in (2, 5)])
    assert final.summary["best_epoch"]["epoch"] == 1
    assert "val_video_loss" not in final.summary["best_epoch"]


@pytest.mark.parametrize("change", [{"train__final_fit": "true"}, {"train__objective": "masked"}])
def test_what_needs_validation_is_not_done_without(tiny_config, change):
    with pytest.raises(UserError, match=r"need validation; set data\.validation_share above 0"):
        tiny_config(data__validation_share=0, **change)


@pytest.mark.slow
def test_without_a_validation_part_the_last_epoch_is_tested(tiny_config, capsys):
    run = training.train(tiny_config(data__validation_share=0))
    told = capsys.readouterr().out
    assert "2 classes, 12 train, 4 test" in told
    assert "epoch 1, the last" in told
    assert run.summary["best_epoch"]["epoch"] == 1
    assert run.metrics.filter(like="val_").isna().all(axis=None)


def test_epochs_chosen_on_other_data_are_refused(trained_run, tiny_config, tmp_path, tiny_videos):
    videos = shutil.copytree(tiny_videos, tmp_path / "own" / "tiny")
    config = tiny_config(train__epochs=3, data__root=videos)
    shutil.copytree(trained_run.folder, Run.of(config, tmp_path / "results").folder)
    index = (videos / "index.csv").read_text()
    (videos / "index.csv").write_text(
        index.replace(",test", ",x").replace(",validation", ",test").replace(",x", ",validation")
    )
    with pytest.raises(UserError, match="is of other data"):
        training.resolve(tiny_config(train__epochs=3, data__root=videos, train__final_fit="true"))
