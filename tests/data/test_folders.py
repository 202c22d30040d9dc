"""What a folder of one's own says about its videos, classes and parts."""

import unicodedata
from pathlib import Path

import pytest

from hmdb_lib.config import load as load_config
from hmdb_lib.data.find import find_videos
from hmdb_lib.data.folders import check_classes, read_folder, role_of
from hmdb_lib.data.load import load
from hmdb_lib.data.splits import read_videos
from hmdb_lib.environment import Place
from hmdb_lib.errors import UserError

PARTS = ("train", "val", "test")


def make(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def many(folder, count=12, ending=".avi"):
    return [f"{folder}/{name:c}{ending}" for name in range(ord("a"), ord("a") + count)]


def read(root, split=1, share=0.0):
    return read_videos("folder", root, split, share, seed=0)


def roles(root, split=1):
    return dict(read(root, split)[["path", "role"]].itertuples(index=False))


def index(root, *lines):
    (root / "index.csv").write_text("\n".join(lines), encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *(
            (name, "train")
            for name in ("train", "Train", "training", "train_set", "trainset", "videos_train", "TRAIN ")
        ),
        *((name, "validation") for name in ("val", "Val", "valid", "validate", "validation", "dev", "eval", "val_256")),
        *((name, "test") for name in ("test", "testing", "test_set", "Test-split", "test01")),
        *((name, None) for name in ("running", "trainer", "test_drive", "train_station", "evaluate me", "", "devil")),
    ],
)
def test_parts_are_known_by_many_names(name, role):
    assert role_of(name) == role


@pytest.mark.parametrize(
    "names", [("Train", "valid", "testing"), ("train_set", "dev", "Test"), ("training", "eval", "test")]
)
def test_folders_of_parts_may_be_called_otherwise(tmp_path, names):
    make(tmp_path, *(f"{part}/{label}/{label}{part}x.mp4" for part in names for label in ("run", "walk")))
    assert read(tmp_path, share=0.1).role.value_counts().to_dict() == {"train": 2, "validation": 2, "test": 2}


def test_parts_may_lie_inside_the_class_folders(tmp_path):
    make(tmp_path, *(f"{label}/{part}/{label}{part}x.mp4" for part in PARTS for label in ("run", "walk")))
    videos = read(tmp_path, share=0.1)
    assert set(videos.label) == {"run", "walk"}
    assert videos.role.value_counts().to_dict() == {"train": 2, "validation": 2, "test": 2}


def test_a_class_may_be_called_as_a_part_is(tmp_path):
    make(tmp_path, *many("train"), *many("bus"))
    assert set(read(tmp_path).label) == {"train", "bus"}


def test_videos_beside_the_parts_are_told(tmp_path, capsys):
    make(tmp_path, *(f"{part}/{label}/{label}{part}x.mp4" for part in PARTS for label in ("run", "walk")))
    make(tmp_path, "extra/run/one.mp4", "train/two.mp4")
    assert len(read(tmp_path)) == 6
    assert "2 videos are left out, such as extra/run/one.mp4: they name no part" in capsys.readouterr().out


def test_hidden_and_system_entries_are_neither_classes_nor_videos(tmp_path):
    make(tmp_path, *many("a"), *many("b"))
    hidden = (
        ".ipynb_checkpoints/x.avi",
        ".trash/x.avi",
        "@eaDir/x.avi",
        "__MACOSX/a/x.avi",
        "a/._clip.avi",
        "a/.DS_Store",
    )
    make(tmp_path, *hidden, "a/@eaDir/a.avi", "$RECYCLE.BIN/x.avi")
    assert len(read(tmp_path)) == 24


def test_linked_class_folders_are_followed_and_a_circle_ends(tmp_path, tmp_path_factory):
    make(tmp_path, *many("a"))
    elsewhere = make(tmp_path_factory.mktemp("elsewhere"), *many("b"))
    (tmp_path / "b").symlink_to(elsewhere / "b")
    (tmp_path / "a" / "up").symlink_to(tmp_path / "a")
    assert read(tmp_path).label.value_counts().to_dict() == {"a": 12, "b": 12}


def test_videos_that_lie_deeper_belong_to_the_class_above_and_are_told(tmp_path, capsys):
    make(tmp_path, *many("a/day1"), *many("b"), "loose.avi")
    assert read(tmp_path).label.value_counts().to_dict() == {"a": 12, "b": 12}
    told = capsys.readouterr().out
    assert "12 videos lie deeper than <class>/<video>, such as a/day1/a.avi: class a" in told
    assert "1 videos are left out, such as loose.avi: they lie in no class folder" in told


@pytest.mark.parametrize("ending", [".3gp", ".wmv", ".flv", ".gif", ".ts", ".mts", ".vob", ".ogv", ".MP4"])
def test_other_endings_of_videos_are_read(tmp_path, ending):
    make(tmp_path, *many("a", ending=ending), *many("b"))
    assert len(read(tmp_path)) == 24


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (many("a"), "all 12 videos are of one class, a, and there is none to tell it from$"),
        (many("UCF/a") + many("UCF/b"), r"all 24 videos are of one class, UCF, .*; is data\.root=.*UCF meant\?"),
        (
            many("Run") + many("run "),
            "the classes 'Run' and 'run ' differ in case, accents or blanks alone; rename one",
        ),
        (many("train/a") + many("test/b"), "b is in the test part and never trained; .* data.classes"),
    ],
)
def test_classes_that_make_no_sense_are_told_before_training(tmp_path, paths, told):
    root = make(tmp_path / "root", *paths)
    config = load_config(overrides=["data=folder", f"data.root={root}", "data.validation_share=0", "data.group='(.*)'"])
    with pytest.raises(UserError, match=told):
        load(config, Place("local", tmp_path, tmp_path))


def test_a_class_folder_without_a_video_is_told(tmp_path, capsys):
    make(tmp_path, *many("a"), *many("b"), "c/readme.txt", "frames-8x8/a/x.frames")
    check_classes(read(tmp_path), tmp_path)
    assert f"{tmp_path}: c holds no video and no class" in capsys.readouterr().out


def ucf(root, folder="ucfTrainTestlist"):
    names = {a: [f"v_{a}_g{g:02}_c{c:02}.avi" for g in range(1, 7) for c in (1, 2)] for a in ("Archery", "Basketball")}
    make(root, *(f"{a}/{name}" for a, files in names.items() for name in files))
    (root / folder).mkdir(exist_ok=True)
    for split in (1, 2, 3):
        test = {f"g0{2 * split - 1}", f"g0{2 * split}"}
        lines = {True: [], False: []}
        for number, (label, files) in enumerate(names.items(), 1):
            for name in files:
                tests = name.split("_")[2] in test
                lines[tests].append(f"{label}/{name}" + ("" if tests else f" {number}"))
        (root / folder / f"trainlist0{split}.txt").write_text("\n".join(lines[False]))
        (root / folder / f"testlist0{split}.txt").write_text("\r\n".join(lines[True]))
    (root / folder / "classInd.txt").write_text("1 Archery\n2 Basketball\n")
    return root


def test_the_lists_of_ucf101_are_read_split_by_split(tmp_path, capsys):
    ucf(tmp_path)
    for split in (1, 2, 3):
        videos = read(tmp_path, split)
        assert videos.role.value_counts().to_dict() == {"train": 16, "test": 8}
        tested = videos[videos.role == "test"]
        assert {group[-3:] for group in tested.group} == {f"g0{2 * split - 1}", f"g0{2 * split}"}
        assert (videos.label == videos.path.str.split("/").str[0]).all()
    assert (
        "parts: as ucfTrainTestlist/testlist03.txt, ucfTrainTestlist/trainlist03.txt list them"
        in capsys.readouterr().out
    )
    with pytest.raises(UserError, match=r"data\.split=4: .* the folds 1, 2, 3"):
        read(tmp_path, 4)


def test_the_lists_of_ucf101_are_read_from_the_folder_that_holds_them_and_the_videos(tmp_path, capsys):
    make(tmp_path, *(f"UCF-101/{a}/v_{a}_g0{n}_c01.avi" for a in ("Archery", "Basketball") for n in (1, 2)))
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "trainlist01.txt").write_text("Archery/v_Archery_g01_c01.avi 1\nBasketball/v_Basketball_g01_c01.avi 2\n")
    (lists / "testlist01.txt").write_text("Archery/v_Archery_g02_c01.avi\nBasketball/v_Basketball_g02_c01.avi\n")
    (lists / "classInd.txt").write_text("1 Archery\n2 Basketball\n")
    videos = read(tmp_path)
    assert videos.groupby("role").label.apply(list).to_dict() == {
        r: ["Archery", "Basketball"] for r in ("train", "test")
    }
    capsys.readouterr()
    read_folder(tmp_path / "UCF-101", find_videos(tmp_path / "UCF-101"), 1)
    assert f"{lists}: its lists of parts are not read; data.root={tmp_path} reads them" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.json", '{"-mAw8NqkKXM": {"annotations": {"label": "run"}, "subset": "train"}}'),  # Kinetics
        ("hmdb51_1.json", '{"database": {"a": {"subset": "training", "annotations": {"label": "run"}}}}'),
    ],
)
def test_lists_in_json_are_told_not_to_be_read(tmp_path, capsys, name, content):
    make(tmp_path, *many("run"), *many("walk"))
    (tmp_path / name).write_text(content)
    read(tmp_path)
    assert f"{name}: is not read: parts are read from lists of paths" in capsys.readouterr().out


@pytest.mark.parametrize("prefix", ["", "videos/"])
def test_the_lists_of_mmaction2_are_read(tmp_path, prefix):
    make(tmp_path, *many(f"{prefix}a b"), *many(f"{prefix}c"))
    lines = [
        f"{path.removeprefix(prefix)} {number}"
        for number, name in enumerate("ac")
        for path in (many(f"{prefix}a b") if number == 0 else many(f"{prefix}c"))
    ]
    (tmp_path / "my_train_split_1_videos.txt").write_text("\n".join(lines[:8] + lines[12:20]))
    (tmp_path / "my_val_split_1_videos.txt").write_text("\n".join(lines[8:12] + lines[20:]))
    videos = read(tmp_path)
    assert videos.groupby("label").role.value_counts().to_dict() == {
        ("a b", "train"): 8,
        ("a b", "test"): 4,
        ("c", "train"): 8,
        ("c", "test"): 4,
    }


def test_videos_in_no_class_folder_have_the_class_of_their_list(tmp_path):
    make(tmp_path, *(f"clips/{name}.mp4" for name in "abcdef"))
    for part, names in {"train": "abcd", "test": "ef"}.items():
        (tmp_path / f"{part}.csv").write_text(
            "\n".join(["filename,action", *(f"clips/{n}.mp4,{n in 'ace'}" for n in names)])
        )
    assert roles(tmp_path) == {f"clips/{n}.mp4": "test" if n in "ef" else "train" for n in "abcdef"}


def test_a_name_in_a_list_is_the_class_though_folders_are_called_otherwise(tmp_path):
    make(tmp_path, *(f"cam{n}/{name}.mp4" for n in (1, 2) for name in "abcd"))
    for part, names in {"train": "abc", "test": "d"}.items():
        lines = [f"cam{n}/{name}.mp4,{'run' if n == 1 else 'walk'}" for n in (1, 2) for name in names]
        (tmp_path / f"{part}.csv").write_text("\n".join(["path,label", *lines]))
    assert set(read(tmp_path).label) == {"run", "walk"}


def test_numbers_in_a_list_are_the_classes_where_folders_hold_several(tmp_path):
    make(tmp_path, *(f"clips/{name}.mp4" for name in "abcdef"))
    (tmp_path / "train.txt").write_text("\n".join(f"clips/{name}.mp4 {'bd'.count(name)}" for name in "abcd"))
    (tmp_path / "test.txt").write_text("clips/e.mp4 0\nclips/f.mp4 1")
    assert dict(read(tmp_path)[["path", "label"]].itertuples(index=False)) == {
        f"clips/{name}.mp4": str("bdf".count(name)) for name in "abcdef"
    }


def test_sources_that_lists_name_are_kept(tmp_path):
    make(tmp_path, *many("run"), *many("walk"))
    for part, names in {"train": "abc", "test": "d"}.items():
        lines = [f"{label}/{name}.avi,{label},film of {label}" for label in ("run", "walk") for name in names]
        (tmp_path / f"{part}.csv").write_text("\n".join(["path,label,group", *lines]))
    with pytest.raises(UserError, match="2 of 2 sources lie in two parts, such as film of run"):
        read(tmp_path)


@pytest.mark.parametrize("names", [("TRAIN.TXT", "TEST.TXT"), ("Train.CSV", "Test.CSV")])
def test_lists_are_known_by_their_names_in_any_case(tmp_path, names):
    make(tmp_path, *many("run"), *many("walk"))
    for name, files in zip(
        names, (many("run")[:8] + many("walk")[:8], many("run")[8:] + many("walk")[8:]), strict=True
    ):
        (tmp_path / name).write_text("\n".join(files))
    assert read(tmp_path).role.value_counts().to_dict() == {"train": 16, "test": 8}


def test_an_index_is_known_by_its_name_in_any_case(tmp_path):
    make(tmp_path, "a/x.avi", "b/y.avi")
    index(tmp_path, "path,label,split", "a/x.avi,one,train", "b/y.avi,two,test")
    (tmp_path / "index.csv").rename(tmp_path / "Index.CSV")
    assert read(tmp_path).label.tolist() == ["one", "two"]


def test_an_index_with_two_columns_of_parts_is_told(tmp_path):
    index(make(tmp_path, "a/x.avi", "b/y.avi"), "path,label,split,fold", "a/x.avi,a,train,1", "b/y.avi,b,test,2")
    with pytest.raises(UserError, match="has parts in the column split and in the column fold"):
        read(tmp_path)


def test_folds_may_be_counted_from_0(tmp_path):
    make(tmp_path, *many("a", 2), *many("b", 2))
    index(tmp_path, "path,label,fold", "a/a.avi,a,0", "a/b.avi,a,1", "b/a.avi,b,0", "b/b.avi,b,1")
    assert roles(tmp_path, 0) == {"a/a.avi": "test", "a/b.avi": "train", "b/a.avi": "test", "b/b.avi": "train"}


def test_commas_at_the_ends_of_an_index_are_told(tmp_path):
    index(make(tmp_path, "a/x.avi", "b/y.avi"), "path,label,split", "a/x.avi,a,train,", "b/y.avi,b,test,")
    with pytest.raises(UserError, match="names 3 columns, and rows have more; remove commas at their ends"):
        read(tmp_path)


def test_parts_that_do_not_train_are_told_though_a_video_lies_beside_them(tmp_path):
    make(tmp_path, "loose.mp4", "run/test/a.mp4", "walk/test/b.mp4")
    with pytest.raises(UserError, match=r"has no folder train/<class>/ with videos beside its other parts \(test\)"):
        read(tmp_path)


def test_links_whose_file_is_gone_are_listed_and_not_present(tmp_path):
    make(tmp_path, *many("run"), *many("walk"))
    (tmp_path / "run/z.avi").symlink_to(tmp_path / "gone.avi")
    videos = read(tmp_path)
    assert videos.path[~videos.present].tolist() == ["run/z.avi"]


def test_a_list_that_does_not_fit_is_told(tmp_path, capsys):
    make(tmp_path, *many("a"), *many("b"))
    (tmp_path / "train.txt").write_text("other/x.avi 0\n")
    (tmp_path / "notes.txt").write_text("filmed in May\n")
    assert len(read(tmp_path)) == 24
    told = capsys.readouterr().out
    assert f"train.txt: is not read: its first line was looked for as {tmp_path / 'other/x.avi'}, which is not" in told
    assert "notes" not in told


@pytest.mark.parametrize(
    "written", ["./a/x.avi", "a/../a/x.avi", "a\\x.avi", "a/x.avi  ", "A/X.AVI", "a/x.mp4", "{root}/a/x.avi"]
)
def test_a_path_of_the_index_may_be_written_otherwise(tmp_path, written, capsys):
    make(tmp_path, "a/x.avi", "b/y.avi")
    index(tmp_path, "path,label,split", f"{written.format(root=tmp_path)},a,train", "b/y.avi,b,test")
    videos = read(tmp_path)
    assert videos.path.tolist() == ["a/x.avi", "b/y.avi"]
    assert videos.present.all()
    assert "1 paths are written otherwise than their files" in capsys.readouterr().out


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_have_the_other_unicode_form(tmp_path, form, other):
    make(tmp_path, unicodedata.normalize(form, "a/chèvre.avi"), "b/y.avi")
    index(tmp_path, "path,label,split", unicodedata.normalize(other, "a/chèvre.avi") + ",a,train", "b/y.avi,b,test")
    assert read(tmp_path).present.all()


def test_a_folder_may_be_named_over_another(tmp_path, monkeypatch):
    make(tmp_path / "vids", "a/x.avi", "b/y.avi")
    index(tmp_path / "vids", "path,label,split", "A/X.AVI,a,train", "./b/y.avi,b,test")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    videos = read_videos("folder", Path("../vids"), 1, 0.0, seed=0)
    assert videos.path.tolist() == ["a/x.avi", "b/y.avi"]
    assert videos.present.all()


def test_a_name_that_two_files_fit_means_neither(tmp_path):
    make(tmp_path, "a/x.avi", "a/X.avi", "b/y.avi", "b/z.avi")
    index(tmp_path, "path,label,split", "a/x.AVI,a,train", "b/z.avi,b,train", "b/y.avi,b,test")
    assert read(tmp_path).present.tolist() == [False, True, True]


def test_videos_elsewhere_are_read_from_where_the_index_says(tmp_path, tmp_path_factory):
    elsewhere = make(tmp_path_factory.mktemp("elsewhere"), "x.avi")
    make(tmp_path / "root", "b/y.avi")
    make(tmp_path, "beside/z.avi")
    index(
        tmp_path / "root", "path,label,split", f"{elsewhere}/x.avi,a,train", "b/y.avi,b,test", "../beside/z.avi,a,test"
    )
    videos = read(tmp_path / "root")
    assert videos.present.all()
    assert videos.path.tolist() == [f"{elsewhere}/x.avi", "b/y.avi", f"{tmp_path}/beside/z.avi"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ("path,label,split", "a/x.avi,a,train", "a/y.avi,a,"),
            "row 3: the column split holds ''; expected train, val",
        ),
        (("path,label,split", "a/x.avi,,train"), "row 2: the column label is empty"),
        (("path,label,fold", "a/x.avi,a,one"), "row 2: the column fold holds 'one'; expected a whole number"),
        (("path,category,split", "a/none.avi,a,train", "a/x.avi,a,test"), "no train videos .* not there: .*a/none.avi"),
        (("id,text", "a/x.avi,a"), "needs the columns path and label, .* it has id, text, and lacks label and path"),
    ],
)
def test_an_index_with_something_missing_is_told_with_its_row(tmp_path, lines, told):
    index(make(tmp_path, "a/x.avi", "a/y.avi"), *lines)
    with pytest.raises(UserError, match=told):
        read(tmp_path)


def test_the_column_split_knows_many_names_of_parts(tmp_path):
    make(tmp_path, *many("a", 6))
    parts = ("Train", "training", "Val", "valid", "TEST", "unused")
    index(tmp_path, "Filename,Class,Subset", *(f"{p},a,{part}" for p, part in zip(many("a", 6), parts, strict=True)))
    assert read(tmp_path, share=0.1).role.tolist() == ["train", "train", "validation", "validation", "test"]


@pytest.mark.parametrize("name", ["None", "NA", "null", "nan", "true", "1", "1.0"])
def test_a_class_may_be_called_as_a_missing_value_is(tmp_path, name):
    make(tmp_path, *many("a"))
    lines = [
        f"{path},{label},g{number}" for number, (path, label) in enumerate(zip(many("a"), [name, "b"] * 6, strict=True))
    ]
    assert set(read(index(tmp_path, "path,label,group", *lines)).label) == {name, "b"}


def test_videos_of_hmdb51_with_another_ending_are_the_listed_ones(tmp_path):
    for part in ("one", "two"):
        make(tmp_path, f"videos/run/{part}_run_f_cm_np1_le_med_0.mp4")
    (tmp_path / "splits").mkdir()
    lines = [f"{part}_run_f_cm_np1_le_med_0.avi {role} " for part, role in (("one", 1), ("two", 2))]
    (tmp_path / "splits" / "run_test_split1.txt").write_text("\n".join(lines))
    videos = read_videos("hmdb51", tmp_path, 1, 0, seed=0)
    assert videos.present.all()
    assert videos.group.tolist() == ["one_run", "two_run"]
    assert videos.path.str.endswith(".mp4").all()
