"""From a configuration to its loaders."""

import shutil

import pytest

from hmdb_lib.config import load as load_config
from hmdb_lib.data.load import data_root, load
from hmdb_lib.environment import Place
from hmdb_lib.errors import UserError
from hmdb_lib.training.experiment import read_data


@pytest.fixture
def place(tmp_path):
    return Place("local", tmp_path / "data", tmp_path / "results")


def test_the_data_lies_in_the_folder_of_the_machine_unless_the_configuration_names_another(place, tmp_path):
    assert data_root(load_config(overrides=["data=sample"]), place) == place.data / "sample"
    own = load_config(overrides=["data=sample", f"data.root={tmp_path}"])
    assert data_root(own, place) == tmp_path


def test_a_configuration_gives_the_loaders_that_training_reads(tiny_config, place, capsys):
    config = tiny_config(data__short="last", evaluate__clips=3)
    data = load(config, place)
    said = capsys.readouterr().out
    assert "2 classes, 8 train, 4 validation, 4 test" in said
    assert "frames: decoded from the video files" in said
    assert (data.rule.short, data.test_clips, data.batch_size) == ("last", 3, 4)
    wanted = read_data(config, place)
    assert said == capsys.readouterr().out
    assert all(
        one["clips"].equal(other["clips"])
        for one, other in zip(data.train_dataloader(), wanted.train_dataloader(), strict=True)
    )


def test_a_final_fit_trains_on_the_validation_videos_too(tiny_config, place):
    assert len(load(tiny_config(train__final_fit=True), place).tables["train"]) == 12


def test_a_missing_sample_data_set_is_not_made_but_the_command_that_makes_it_told(place):
    config = load_config(overrides=["data=sample"])
    with pytest.raises(
        UserError, match=rf"the sample data set is not there; hmdb sample {place.data / 'sample'} makes"
    ):
        load(config, place)
    assert not place.data.exists()


def test_a_folder_that_is_not_named_is_told(place):
    with pytest.raises(UserError, match=r"data=folder needs data\.root"):
        load(load_config(overrides=["data=folder"]), place)


def test_an_unreadable_video_stops_an_experiment_that_asks_for_it(tiny_config, tiny_videos, place, tmp_path):
    root = tmp_path / "broken"
    shutil.copytree(tiny_videos, root)
    (root / "bright" / "0.avi").write_text("this is not a video")
    with pytest.raises(UserError, match=r"1 of 16 videos cannot be read .*0\.avi"):
        load(tiny_config(data__root=root, data__on_error="stop"), place)
