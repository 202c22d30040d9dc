"""Near-duplicates across parts."""

import shutil

import av
import numpy as np
import pandas as pd
import pytest

from hmdb_lib import config
from hmdb_lib.cli import main
from hmdb_lib.data.video import read_frames, scan, write_video
from hmdb_lib.errors import UserError
from hmdb_lib.studies.audit import audit, near_pairs, suspects_of
from hmdb_lib.training import experiment as training


@pytest.fixture
def leaking(tiny_videos, tmp_path):
    """The tiny data set, in which a test video is a training video encoded once more, a little brighter."""
    root = shutil.copytree(tiny_videos, tmp_path / "leaking")
    rows = pd.read_csv(root / "index.csv").set_index("path")
    train, test = (
        next(p for p in rows.index if rows.split[p] == part and rows.label[p] == "dark") for part in ("train", "test")
    )
    frames = read_frames(root / train, range(scan(root / train).frames))
    write_video(root / test, np.clip(frames.astype(int) + 10, 0, 255).astype(np.uint8), 30)
    return root, train, test


@pytest.mark.slow
def test_a_copy_in_the_test_part_is_found_named_and_drawn(tiny_config, leaking, capsys, tmp_path):
    root, train, test = leaking
    settings = tiny_config(data__root=root, train__epochs=1)
    training.train(settings)
    pairs = audit(settings)
    found = pairs.iloc[0]
    assert {found.video, found.other_video} == {train, test}
    assert found.correlation > 0.95
    said = capsys.readouterr().out
    assert "1 of 4 test clips nearly agree with a training or validation clip" in said
    assert "without the suspects" in said
    stem = tmp_path / "results" / "audits" / "leaking-split1"
    assert len(pd.read_csv(stem.with_suffix(".csv"))) == len(pairs)
    assert stem.with_suffix(".png").exists()


def test_audits_of_two_splits_of_a_folder_with_a_dot_in_its_name_are_two_files(tiny_config, tiny_videos, tmp_path):
    root = shutil.copytree(tiny_videos, tmp_path / "videos.v2")
    (root / "index.csv").unlink()  # folds are cut
    audits = tmp_path / "results" / "audits"
    for split in (1, 2):
        audit(tiny_config(data__root=root, data__split=split))
    assert {file.name for file in audits.glob("*.csv")} == {"videos.v2-split1.csv", "videos.v2-split2.csv"}


@pytest.mark.slow
def test_pairs_are_found_though_the_rows_folder_holds_another_experiment(tiny_config, leaking, capsys):
    training.train(tiny_config(data__root=leaking[0], train__epochs=1))
    assert len(audit(tiny_config(data__root=leaking[0], train__epochs=2)))
    assert "holds another experiment" in capsys.readouterr().out


def spoil(videos):
    """Write videos anew so that they open and their first frame can be read, but not those from the middle on."""
    for video in videos:
        write_video(video, read_frames(video, range(12)), 30, "libx264")
        with av.open(str(video)) as container:
            packets = [(packet.pos + 8, packet.size) for packet in container.demux(video=0) if packet.size]
        content = bytearray(video.read_bytes())
        for place, size in packets[4:8]:
            content[place : place + size] = bytes(size)
        video.write_bytes(content)


@pytest.mark.skipif("libx264" not in av.codecs_available, reason="this build of FFmpeg has no libx264")
def test_clips_that_cannot_be_read_are_counted_and_one_is_named(tiny_config, leaking, capsys):
    root, _, test = leaking
    spoil([root / test])
    pairs = audit(tiny_config(data__root=root))
    assert f"1 of 16 clips cannot be read, such as {root / test}, and were not compared" in capsys.readouterr().out
    assert test not in {*pairs.video, *pairs.other_video}


@pytest.mark.skipif("libx264" not in av.codecs_available, reason="this build of FFmpeg has no libx264")
def test_data_of_which_no_clip_can_be_read_are_refused_in_a_line(tiny_config, leaking):
    root = leaking[0]
    spoil(sorted(root.rglob("*.avi")))
    with pytest.raises(UserError, match=r"^16 of 16 clips cannot be read, such as .*\.avi: nothing is left to compare"):
        audit(tiny_config(data__root=root))


def test_the_command_lists_them_too(tiny_config, leaking, capsys):
    assert (
        main(["audit", "baseline", "data=folder", f"data.root={leaking[0]}", "data.workers=0", "--above", "0.9"]) == 0
    )
    assert "1 of 4 test clips" in capsys.readouterr().out


def test_pairs_are_those_of_two_parts_or_of_one_class():
    one = np.random.default_rng(0).integers(0, 256, (8, 18, 24, 3), dtype=np.uint8)
    other = np.random.default_rng(1).integers(0, 256, (8, 18, 24, 3), dtype=np.uint8)
    videos = pd.DataFrame(
        {"path": list("abcde"), "label": ["x", "x", "y", "y", "y"], "role": ["train", "train", "train", "test", "test"]}
    )
    pairs = near_pairs(videos, np.stack([one, one, one, other, one]), 0.95)
    assert {frozenset(pair) for pair in zip(pairs.video, pairs.other_video, strict=True)} == {
        frozenset(pair) for pair in ("ab", "ae", "be", "ce")
    }
    assert suspects_of(pairs) == {"e"}
    assert near_pairs(videos, np.stack([one, other, 255 - one, one[::-1], other[::-1]]), 0.95).empty


@pytest.mark.slow
def test_three_test_clips_of_jhmdb_have_a_near_duplicate_in_training(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path / "results"))
    index = pd.read_csv(real_data / "jhmdb" / "index.csv")
    root = tmp_path / "jhmdb"
    root.mkdir()
    for folder in (real_data / "jhmdb").iterdir():
        if folder.is_dir():
            (root / folder.name).symlink_to(folder)
    table = index[["path", "label"]].assign(split=index.hmdb51_split1)
    table[table.split.isin(["train", "test"])].to_csv(root / "index.csv", index=False)
    settings = config.load("baseline", ["data=folder", f"data.root={root}", "data.validation_share=0"])
    assert len(suspects_of(audit(settings))) == 3
