"""Who trains, validates and tests."""

import pandas as pd
import pytest
from helpers.tiny_hmdb51 import write_folders

from hmdb_lib.config import load
from hmdb_lib.data.hmdb51 import read_split
from hmdb_lib.data.sources import source_group
from hmdb_lib.data.splits import hold_out, limit, limit_sources, limit_training, read_videos
from hmdb_lib.environment import place
from hmdb_lib.errors import UserError
from hmdb_lib.training.experiment import read_data


@pytest.fixture
def mini(real_data, tmp_path):
    """The real clips and the official lists, laid out as the kit expects them."""
    (tmp_path / "videos").symlink_to(real_data / "hmdb51_mini")
    (tmp_path / "splits").symlink_to(real_data / "hmdb51_splits")
    return tmp_path


def test_a_name_gives_its_source():
    name = "wave/(HQ)_Rock_Climbing_-_Free_Solo_climb_f_cm_np1_le_med_2.avi"
    assert source_group(name) == "(HQ)_Rock_Climbing_-_Free_Solo_climb"


@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_official_lists_are_whole_and_share_no_source(real_data, split):
    videos = read_split(real_data / "hmdb51_splits", split)
    groups = videos.path.map(source_group)
    assert videos.role.value_counts().to_dict() == {"train": 3570, "test": 1530, "unused": 1666}
    assert not set(groups[videos.role == "train"]) & set(groups[videos.role == "test"])


@pytest.mark.parametrize("split", [1, 2, 3])
def test_validation_is_a_stratified_tenth_that_shares_no_source_with_training(real_data, split):
    videos = read_split(real_data / "hmdb51_splits", split)
    videos = videos[videos.role == "train"].assign(group=videos.path.map(source_group))
    for seed in range(10):
        held = hold_out(videos, 0.1, seed)
        train, validation = videos[~held], videos[held]
        shares = validation.label.value_counts().reindex(videos.label.unique(), fill_value=0)
        assert not set(train.group) & set(validation.group)
        assert len(train) + len(validation) == 3570
        assert shares.between(5, 9).all()  # of 70 clips a class


def test_another_seed_holds_out_other_sources(real_data):
    videos = read_split(real_data / "hmdb51_splits", 1)
    videos = videos[videos.role == "train"].assign(group=videos.path.map(source_group))
    assert (hold_out(videos, 0.1, 0) != hold_out(videos, 0.1, 1)).any()


def test_the_real_clips_have_their_official_labels_and_roles(mini, real_data):
    index = pd.read_csv(real_data / "hmdb51_mini" / "index.csv")
    for split in (1, 2, 3):
        listed = read_split(mini / "splits", split).set_index("path")
        for clip in index.itertuples():
            official = {0: "unused", 1: "train", 2: "test"}[getattr(clip, f"split{split}")]
            row = listed.loc[f"{clip.label}/{clip.name}"]
            assert (row.label, row.role) == (clip.label, official)


def test_listed_videos_that_are_not_on_disk_are_marked(mini, real_data):
    videos = read_videos("hmdb51", mini, 3, 0.1, seed=0)
    assert len(videos) == 5100
    index = pd.read_csv(real_data / "hmdb51_mini" / "index.csv")
    assert videos.present.sum() == (index.split3 > 0).sum()


@pytest.mark.slow
def test_the_real_clips_come_out_of_the_loaders_with_their_labels(mini):
    changes = [
        "data=hmdb51",
        f"data.root={mini}",
        "data.workers=0",
        "data.split=3",
        "data.max_lost=0.999",
        "model.pretrained=none",
    ]
    data = read_data(load(overrides=changes), place())
    seen = {}
    loaders = {"train": data.train_dataloader(), "validation": data.val_dataloader(), "test": data.test_dataloader()}
    for role, loader in loaders.items():
        for batch in loader:
            assert batch["clips"].shape[1:] == (16, 128, 171, 3)
            assert not batch["unreadable"]
            for number, label in zip(batch["videos"].tolist(), batch["labels"].tolist(), strict=True):
                seen[data.tables[role].path[number]] = (role.replace("validation", "train"), data.classes[label])
    official = read_split(mini / "splits", 3).set_index("path")
    assert len(seen) == 7
    assert seen == {path: (official.role[path], official.label[path]) for path in seen}


def test_a_fold_of_the_index_tests_and_the_others_train(real_data):
    videos = read_videos("folder", real_data / "ut_interaction", 3, 0.1, seed=0)
    index = pd.read_csv(real_data / "ut_interaction" / "index.csv").set_index("path")
    tests = videos[videos.role == "test"]
    assert set(tests.path) == set(index.index[index.fold == 3])
    assert videos.groupby("group").role.nunique().max() == 1


def test_class_folders_without_an_index_are_cut_by_source(tmp_path):
    for label in ("run", "walk"):
        (tmp_path / label).mkdir()
        for source in range(10):
            for number in range(2):
                (tmp_path / label / f"s{source}_{label}_f_cm_np1_le_med_{number}.avi").touch()
    videos = read_videos("folder", tmp_path, 1, 0.1, seed=0)
    assert videos.groupby("group").role.nunique().max() == 1
    assert videos.role.value_counts().to_dict() == {"train": 28, "test": 8, "validation": 4}


def test_without_a_validation_share_all_but_the_test_videos_train(tmp_path):
    for part in ("train", "val", "test"):
        (tmp_path / part / "run").mkdir(parents=True)
        (tmp_path / part / "run" / f"{part}.avi").touch()
    assert read_videos("folder", tmp_path, 1, 0, seed=0).role.tolist() == ["train", "train", "test"]
    assert read_videos("folder", tmp_path, 1, 0.1, seed=0).role.tolist() == ["train", "validation", "test"]


def test_a_class_is_never_held_out_whole():
    videos = pd.DataFrame({"label": ["a", "b", "b"], "group": ["x", "y", "z"]})
    assert hold_out(videos, 0.5, seed=0).groupby(videos.label).sum().to_dict() == {"a": 0, "b": 1}


def test_a_link_whose_video_is_gone_counts_as_not_on_disk(tmp_path):
    root = write_folders(tmp_path / "hmdb51")
    first = min((root / "videos/golf").iterdir())
    first.unlink()
    first.symlink_to(tmp_path / "gone.avi")
    videos = read_videos("hmdb51", root, 1, 0, 0)
    assert videos.path[~videos.present].tolist() == [f"golf/{first.name}"]


def test_a_limit_keeps_so_many_of_a_class_in_each_part():
    videos = pd.DataFrame(
        {"path": map(str, range(8)), "label": ["a", "b"] * 4, "role": ["train"] * 6 + ["test"] * 2, "present": True}
    )
    assert limit(videos, 1).groupby(["role", "label"]).size().tolist() == [1, 1, 1, 1]


def test_more_sources_keep_the_ones_of_fewer_and_leave_the_other_parts_alone():
    videos = pd.DataFrame({"group": [f"g{n // 2}" for n in range(12)], "role": ["train"] * 10 + ["test"] * 2})
    kept = [limit_sources(videos, count, seed=3) for count in (1, 3, None)]
    groups = [set(table.group[table.role == "train"]) for table in kept]
    assert [len(found) for found in groups] == [1, 3, 5]
    assert groups[0] < groups[1] < groups[2]
    assert all((table.role == "test").sum() == 2 for table in kept)


def test_kinetics_layout_has_its_parts_in_folders(tmp_path):
    for part, count in (("train", 20), ("val", 2)):
        for label in ("abseiling", "air drumming"):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(count):
                (tmp_path / part / label / f"{part[0]}{number:010d}_000001_000011.mp4").touch()
    videos = read_videos("folder", tmp_path, 1, 0.1, seed=0)
    assert videos.role.value_counts().to_dict() == {"train": 36, "test": 4, "validation": 4}
    assert videos.path[videos.role == "test"].str.startswith("val/").all()
    assert set(videos.label) == {"abseiling", "air drumming"}
    (tmp_path / "val").rename(tmp_path / "validate")
    (tmp_path / "train").rename(tmp_path / "was")
    with pytest.raises(UserError, match="has no folder train"):
        read_videos("folder", tmp_path, 1, 0.1, seed=0)


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ("name,label\na.avi,x\n", "needs the columns path and label"),
        ("path,label,fold\nx/a.avi,x,2\n", "data.split=1: .* the folds 2"),
        ("path,label,split\nx/a.avi,x,trian\n", "holds 'trian'"),
    ],
)
def test_an_index_that_does_not_fit_is_told(tmp_path, index, told):
    (tmp_path / "index.csv").write_text(index)
    with pytest.raises(UserError, match=told):
        read_videos("folder", tmp_path, 1, 0.1, seed=0)


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(UserError, match=r"has no folder videos/"):
        read_videos("hmdb51", tmp_path, 1, 0.1, seed=0)
    with pytest.raises(UserError, match=r"neither index.csv nor"):
        read_videos("folder", tmp_path, 1, 0.1, seed=0)
    with pytest.raises(UserError, match="no such folder"):
        read_videos("folder", tmp_path / "nowhere", 1, 0.1, seed=0)


def test_fewer_videos_of_a_class_train_and_the_other_parts_stay():
    videos = pd.DataFrame(
        {"label": ["a"] * 9 + ["b"] * 5, "role": (["train"] * 7 + ["test"] * 2) + ["train"] * 4 + ["test"]}
    )
    videos["path"] = [str(number) for number in range(14)]
    kept = {count: limit_training(videos, count, seed=1) for count in (2, 5, None)}
    sizes = {count: table[table.role == "train"].label.value_counts().to_dict() for count, table in kept.items()}
    assert sizes == {2: {"a": 2, "b": 2}, 5: {"a": 5, "b": 4}, None: {"a": 7, "b": 4}}
    assert all((table.role == "test").sum() == 3 for table in kept.values())
    assert set(kept[2].path) < set(kept[5].path)
    assert set(limit_training(videos, 2, seed=2).path) != set(kept[2].path)


@pytest.mark.parametrize("given", ["list", "file"])
def test_some_classes_alone_are_taken(tiny_videos, tmp_path, given):
    root = tmp_path / "three"
    lines = ["path,label,group,split"]
    for label in ("bright", "dark", "third"):
        (root / label).mkdir(parents=True)
        for source in (tiny_videos / ("dark" if label == "third" else label)).iterdir():
            (root / label / source.name).symlink_to(source)
            part = ("train", "train", "validation", "test")[int(source.stem) // 2 % 4]
            lines.append(f"{label}/{source.name},{label},{label}{source.stem},{part}")
    (root / "index.csv").write_text("\n".join(lines))
    (tmp_path / "classes.txt").write_text("third\nbright \n")

    def classes(which):
        return read_data(load(overrides=["data=folder", f"data.root={root}", f"data.classes={which}"]), place()).classes

    assert classes({"list": "[third, bright]", "file": tmp_path / "classes.txt"}[given]) == ["bright", "third"]
    with pytest.raises(UserError, match=r"has no class 'brigth'; the nearest of 3 is 'bright'"):
        classes("[brigth, dark]")
    with pytest.raises(UserError, match=r"data\.classes=nowhere\.txt: is neither a list nor a text file"):
        classes("nowhere.txt")
