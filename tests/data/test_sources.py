"""Which source a clip was cut from, by its name."""

import pandas as pd
import pytest

from hmdb_lib import config
from hmdb_lib.data.sources import find_groups, source_group
from hmdb_lib.data.splits import make_folds, read_videos
from hmdb_lib.errors import UserError


def make(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def read(root, split=1, **changes):
    return read_videos("folder", root, split, 0, seed=0, **changes)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("Free_Solo_climb_f_cm_np1_le_med_2.avi", "Free_Solo_climb"),
        ("Free_Solo_climb_f_cm_np1_le_med_2.mp4", "Free_Solo_climb"),
        ("climb/Free_Solo_climb_f_cm_np1_le_med_2.AVI", "Free_Solo_climb"),
        ("Free_Solo_climb_f_cm_np1_le_med_2.mkv", "Free_Solo_climb"),
        ("v_ApplyEyeMakeup_g08_c01.avi", "v_ApplyEyeMakeup_g08"),
        ("person01_handclapping_d4_uncomp.avi", "person01"),
        ("S001C002P003R002A013_rgb.avi", "P003"),
        ("-3B32lodo2M_000059_000069.mp4", "-3B32lodo2M"),
    ],
)
def test_a_name_as_a_public_data_set_has_it_gives_its_source(name, source):
    assert source_group(name) == source


@pytest.mark.parametrize(
    ("name", "other", "source"),
    [
        ("a/match (31).mp4", "a/game.mp4", "match"),
        ("a/match_31.mp4", "a/game.mp4", "match"),
        ("a/match-part2.mp4", "a/game.mp4", "match"),
        ("a/match clip 2.mp4", "a/game.mp4", "match"),
        ("a/1.5 m dive_3.mp4", "a/game.mp4", "1.5 m dive"),
    ],
)
def test_numbered_cuts_of_a_video_share_its_name(name, other, source):
    assert find_groups([name, other]).tolist() == [source, "a/game"]


@pytest.mark.parametrize("name", ["{:03}", "run ({})", "run_{}", "clip{}", "video_{:04}"])
def test_numbers_that_only_count_the_files_of_a_folder_make_no_source(name):
    paths = [f"{label}/{name.format(number)}.mp4" for label in ("run", "walk") for number in range(100)]
    assert find_groups(paths).nunique() == 200


def test_a_name_that_is_a_source_in_one_folder_is_the_same_source_in_all():
    paths = [f"goal/match_{n}.mp4" for n in range(3)] + ["foul/match_3.mp4", "foul/Match_4.mp4", "foul/game_1.mp4"]
    assert find_groups(paths).tolist() == ["match"] * 5 + ["game"]


@pytest.mark.parametrize("other", ["Film A ", "film a", "Filme\u0301 A"])
def test_a_source_is_the_same_however_the_column_group_spells_it(tmp_path, other):
    first = "Film\u00e9 A" if "\u0301" in other else "Film A"
    make(tmp_path, "run/a.avi", "run/b.avi")
    lines = ["path,label,group,split", f"run/a.avi,run,{first},train", f"run/b.avi,run,{other},test"]
    (tmp_path / "index.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match="1 of 1 sources lie in two parts"):
        read(tmp_path)


def test_a_video_without_a_source_in_the_column_group_is_its_own(tmp_path, capsys):
    make(tmp_path, "run/a.avi", "run/b.avi", "run/c.avi", "run/d.avi")
    lines = ["path,label,group,split", "run/a.avi,run,x,train", *(f"run/{n}.avi,run,,test" for n in "bcd")]
    (tmp_path / "index.csv").write_text("\n".join(lines))
    assert read(tmp_path).group.nunique() == 4
    told = capsys.readouterr().out
    assert "sources: 4 of 4 videos, as the column group of" in told
    assert "; 3 have none there and count as their own source each" in told


def test_one_file_in_two_parts_under_two_names_is_told(tmp_path):
    make(tmp_path, "train/run/a.avi", "val/run/b.avi", "val/run/c.avi")
    (tmp_path / "val/run/b.avi").write_text("video")
    (tmp_path / "test").symlink_to(tmp_path / "val")
    with pytest.raises(UserError, match=r"are one file, which would lie in two parts; remove one of them"):
        read(tmp_path)


def test_copies_of_a_video_in_two_parts_are_told(tmp_path, capsys):
    make(tmp_path, "train/run/a.avi", "test/run/b.avi", "test/run/c.avi")
    for name, content in {"train/run/a.avi": "video", "test/run/b.avi": "video", "test/run/c.avi": "other"}.items():
        (tmp_path / name).write_text(content)
    assert len(read(tmp_path)) == 3
    told = capsys.readouterr().out
    assert (
        "1 pairs of videos in two parts have the same bytes, such as train/run/a.avi (train) and test/run/b.avi" in told
    )


def test_files_of_one_number_in_two_folders_are_two_sources():
    assert find_groups(["a/000.mp4", "b/000.mp4", "b/000.avi"]).tolist() == ["a/000", "b/000", "b/000"]


def test_where_no_name_is_known_one_line_says_so(capsys):
    find_groups(["a/x.mp4", "b/y.mp4"])
    assert "2 of 2 videos: every file counts as its own source; " in capsys.readouterr().out
    find_groups(["a/x.mp4", "b/v_b_g01_c01.mp4"])
    assert "1 named as UCF101, 1 others each count as their own; " in capsys.readouterr().out


def test_a_pattern_of_ones_own_names_the_sources_over_the_names_and_the_index(tmp_path):
    make(tmp_path, *(f"{label}/day{day}-{n}.mp4" for label in "ab" for day in range(6) for n in range(2)))
    assert set(read(tmp_path, group=r"(day\d)").group) == {f"day{day}" for day in range(6)}
    rows = [f"{label}/day{day}-{n}.mp4,{label},g" for label in "ab" for day in range(6) for n in range(2)]
    (tmp_path / "index.csv").write_text("\n".join(["path,label,group", *rows]))
    assert read(tmp_path, group=r"(day\d)").group.nunique() == 6
    with pytest.raises(UserError, match=r"data\.group=\(night.\): finds no source in 24 of 24 paths, such as a/day0-0"):
        read(tmp_path, group="(night.)")


@pytest.mark.parametrize(("pattern", "told"), [("day", "needs a group in brackets"), ("(day", "regular expression")])
def test_a_pattern_that_cannot_name_a_source_is_told(pattern, told):
    with pytest.raises(UserError, match=rf"data\.group=.*{told}"):
        config.load(overrides=[f"data.group='{pattern}'"])


def test_folds_are_disjoint_stratified_and_share_no_source(tmp_path):
    make(tmp_path, *(f"{a}/v_{a}_g{g:02}_c{c:02}.avi" for a in "ab" for g in range(13) for c in range(1 + g % 3)))
    tests = [read(tmp_path, split).query("role == 'test'") for split in (1, 2, 3, 4, 5)]
    assert sorted(path for part in tests for path in part.path) == sorted(read(tmp_path, 1).path)
    for part in tests:
        assert part.label.value_counts().between(4, 6).all(), "of 25 clips a class"
    for split in (1, 2, 3, 4, 5):
        assert read(tmp_path, split).groupby("group").role.nunique().max() == 1
    with pytest.raises(UserError, match=r"data\.split=6: .* data\.folds=5 folds; give 1 to 5"):
        read(tmp_path, 6)
    assert len(read(tmp_path, 3, folds=3)) == 50


def test_folds_that_cannot_be_made_are_told(tmp_path):
    make(tmp_path, "a/x.avi", "a/y.avi", "b/x.avi", "b/y.avi")
    with pytest.raises(UserError, match=r"4 sources cannot make data\.folds=5 folds"):
        read(tmp_path)
    assert make_folds(read(tmp_path, folds=2), 2, tmp_path).value_counts().tolist() == [2, 2]
    make(tmp_path, *(f"c/v_c_g01_c{n:02}.avi" for n in range(5)))
    with pytest.raises(UserError, match=r"class c has one source alone \(v_c_g01\)"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (("train/a/abcdefghijk_000001_000011.mp4", "test/a/abcdefghijk_000021_000031.mp4"), "abcdefghijk"),
        (("train/a/v_a_g01_c01.avi", "test/a/v_a_g01_c02.avi"), "v_a_g01"),
    ],
)
def test_a_source_in_two_folders_of_parts_is_told(tmp_path, parts, told):
    make(
        tmp_path, *parts, *(f"{part}/{label}/{part}{label}.mp4" for part in ("train", "val", "test") for label in "ab")
    )
    with pytest.raises(UserError, match=rf"1 of \d+ sources lie in two parts, such as {told} \(train: .*, test: .*\)"):
        read(tmp_path)
    assert read(tmp_path, group="(.*)").group.is_unique, "every file a source of its own, as the message says"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["a/x.avi,a,g,train", "a/y.avi,a,g,test"], "sources lie in two parts, such as g"),
        (
            ["a/x.avi,a,g,train", "a/x.avi,a,g,test"],
            r"names the video a/x.avi twice, in rows 2 and 3, with role train and",
        ),
        (["a/x.avi,a,g,train", "./a/x.avi,b,g,train"], "twice, in rows 2 and 3, with label a and b"),
        (["a/x.avi,a,g,test", "a/X.avi ,a,g,test"], r"twice, in rows 2 and 3; keep one"),
    ],
)
def test_a_video_twice_or_in_two_parts_is_told(tmp_path, rows, told):
    make(tmp_path, "a/x.avi", "a/y.avi")
    (tmp_path / "index.csv").write_text("\n".join(["path,label,group,split", *rows]))
    with pytest.raises(UserError, match=told):
        read(tmp_path)


def test_data_with_parts_of_their_own_have_no_other_split(tmp_path):
    make(tmp_path, *(f"{part}/{label}/{part}{label}.mp4" for part in ("train", "val", "test") for label in "ab"))
    with pytest.raises(UserError, match=r"data\.split=2: .* has parts of its own, one split alone"):
        read(tmp_path, 2)
    (tmp_path / "index.csv").write_text("path,label,split\ntrain/a/traina.mp4,a,train\ntest/a/testa.mp4,a,test")
    with pytest.raises(UserError, match=r"data\.split=3: .*index\.csv has parts of its own, one split alone"):
        read(tmp_path, 3)


def test_films_of_real_clips_that_are_in_two_parts_of_a_split_are_counted(real_data, tmp_path):
    """HMDB51's split 1 keeps clips of a film and class together, not those of a film."""
    clips = pd.read_csv(real_data / "jhmdb" / "index.csv", keep_default_na=False)
    table = clips[["path", "label", "group"]].assign(split=clips.hmdb51_split1.replace("", "unused"))
    table.to_csv(tmp_path / "index.csv", index=False)
    with pytest.raises(UserError, match="25 of 336 sources lie in two parts, such as "):
        read(tmp_path)


def test_real_clips_cut_at_random_are_tested_on_films_that_trained(real_data, tmp_path, capsys):
    for folder in (folder for folder in (real_data / "jhmdb").iterdir() if folder.is_dir()):
        (tmp_path / folder.name).symlink_to(folder)
    by_source, at_random = read(tmp_path), read(tmp_path, group=config.rows()["random_cut"]["data.group"])
    source = by_source.set_index("path").group
    shares = []
    for videos in (by_source, at_random):
        train, test = (source[videos.path[videos.role == part]] for part in ("train", "test"))
        shares.append(test.isin(train).mean())
    assert shares == [0, pytest.approx(0.774, abs=0.05)]
    assert "sources: 928 of 928 videos, as data.group=(.*) finds them" in capsys.readouterr().out
