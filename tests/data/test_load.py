"""From a configuration to its loaders."""

import shutil

import numpy as np
import pandas as pd
import pytest

from hmdb_lib.config import load as load_config
from hmdb_lib.data.load import data_root, describe_shortfall, load
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


def test_what_is_missing_is_told_by_part_and_stays_listed(tiny_config, tiny_videos, place, tmp_path, capsys):
    folder = tmp_path / "videos"
    shutil.copytree(tiny_videos, folder)
    index = pd.read_csv(folder / "index.csv")
    gone = index.path[index.split == "test"].iloc[0]
    (folder / gone).unlink()
    data = load(tiny_config(data__root=folder, data__max_lost=0.5), place)
    assert data.shortfall == "2 classes, 3 of 4 test videos: 1 missing"
    assert f"data: {data.shortfall}\n" in capsys.readouterr().out
    assert data.listed("test").path.tolist() == [*data.tables["test"].path, gone]


@pytest.mark.parametrize(
    ("test", "classes", "told"),
    [
        (1530, 51, ""),
        (1498, 51, "51 classes, 1,498 of 1,530 test videos: 32 missing"),
        (1530, 50, "50 classes of 51, 3,500 of 3,570 train videos: 70 missing, 1,500 of 1,530 test videos: 30 missing"),
    ],
)
def test_hmdb51_is_held_against_its_official_counts(test, classes, told):
    count = {"train": 3570, "test": 1530}
    parts = [
        pd.DataFrame({"role": role, "label": np.arange(number) % 51, "present": np.arange(number) % 51 < classes})
        for role, number in count.items()
    ]
    videos = pd.concat(parts, ignore_index=True)
    videos.loc[videos.index[-(1530 - test) :] if test < 1530 else [], "present"] = False
    assert describe_shortfall(videos, official=True) == told


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
