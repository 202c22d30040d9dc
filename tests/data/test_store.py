"""Reading the frame store: the videos' own clips, sooner."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers.frames import ODD, smooth_frames

from data_prep.extract import Setting, extract
from hmdb_lib import config
from hmdb_lib.data.load import choose_source
from hmdb_lib.data.loader import ClipData, EpochSampler, TrainClips, Videos
from hmdb_lib.data.sampling import ClipRule
from hmdb_lib.data.store import FrameStore
from hmdb_lib.data.video import Size, VideoError, scan, write_video
from hmdb_lib.errors import UserError
from hmdb_lib.training import experiment as training

SIZE = (48, 64)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three videos, one with an odd name, and their stores: JPEG in frames-48x64, raw in raw, tar files in shards."""
    root = tmp_path_factory.mktemp("dataset")
    for path, count in {ODD: 40, "wave/a.avi": 70, "wave/b.mp4": 9}.items():
        (root / "videos" / path).parent.mkdir(parents=True, exist_ok=True)
        write_video(root / "videos" / path, smooth_frames(count), 30)
    extract(root, Setting(SIZE), workers=1, dataset="hmdb51")
    extract(root, Setting(SIZE, None), root / "raw", workers=1, dataset="hmdb51")
    extract(root, Setting(SIZE), root / "shards", workers=1, shards=2, dataset="hmdb51")
    return root


def paths_of(dataset):
    return [ODD, "wave/a.avi", "wave/b.mp4"]


def random_clips(source, paths, seed):
    table = pd.DataFrame({"path": paths, "target": 0})
    clips = TrainClips(table, source, ClipRule(frames=8, clip_seconds=1.0))
    return [clips[key] for key in EpochSampler(len(paths), seed, lambda: 0)]


@pytest.mark.parametrize(("store", "error"), [("raw", 0), ("frames-48x64", 3), ("shards", 3)])
def test_the_same_seed_gives_the_same_clips_from_a_store_as_from_the_videos(dataset, store, error):
    videos = Videos(dataset / "videos", SIZE)
    for seed in range(3):
        pairs = zip(
            random_clips(videos, paths_of(dataset), seed),
            random_clips(FrameStore(dataset / store), paths_of(dataset), seed),
            strict=True,
        )
        for (number, _, wanted), (other, _, clip) in pairs:
            assert other == number
            assert clip.shape == wanted.shape
            # By 6 to 8 do these videos' frames differ from their neighbours: within 3, none is another one.
            assert np.abs(clip.astype(int) - wanted).mean(axis=(0, 2, 3, 4)).max() <= error


@pytest.mark.parametrize("store", ["raw", "frames-48x64", "shards"])
def test_the_times_of_a_store_are_those_of_the_videos(dataset, store):
    for path in paths_of(dataset):
        timeline, wanted = FrameStore(dataset / store).timeline(path), scan(dataset / "videos" / path)
        assert timeline.times.tolist() == wanted.times.tolist()
        assert timeline.fps == wanted.fps


@pytest.mark.parametrize("store", ["raw", "frames-48x64", "shards"])
def test_indices_may_repeat_and_stand_in_any_order(dataset, store):
    source = FrameStore(dataset / store)
    every = source.read("wave/a.avi", np.arange(70))
    order = np.array([7, 3, 3, 69, 0, 7])
    assert np.array_equal(source.read("wave/a.avi", order), every[order])


@pytest.mark.parametrize("index", [-1, 9])
def test_a_frame_that_a_video_does_not_have_is_refused_by_name(dataset, index):
    with pytest.raises(VideoError, match=r"b\.mp4.*frame"):
        FrameStore(dataset / "raw").read("wave/b.mp4", np.array([0, index]))


def test_a_variable_rate_keeps_its_times(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    write_video(tmp_path / "a" / "v.mp4", smooth_frames(6), 30)
    uneven = scan(tmp_path / "a" / "v.mp4")
    uneven.times[:] = [0, 0.1, 0.15, 0.5, 0.9, 1.0]

    def scan_uneven(path, each, size):
        scan(path, each, size)
        return uneven

    monkeypatch.setattr("data_prep.extract.scan", scan_uneven)
    extract(tmp_path, Setting(SIZE), workers=1)
    assert FrameStore(tmp_path / "frames-48x64").timeline("a/v.mp4").times.tolist() == uneven.times.tolist()


def test_larger_frames_are_made_smaller_on_reading(dataset):
    extract(dataset, Setting(96), dataset / "large", workers=1, dataset="hmdb51")
    read = FrameStore(dataset / "large", SIZE).read("wave/a.avi", np.array([0, 5]))
    wanted = Videos(dataset / "videos", SIZE).read("wave/a.avi", np.array([0, 5]))
    assert read.shape == wanted.shape
    assert np.abs(read.astype(int) - wanted).mean() < 3


def test_what_a_store_lacks_comes_from_the_videos_and_is_said(dataset, tmp_path, capsys):
    shutil.copytree(dataset / "raw", tmp_path / "part")
    (tmp_path / "part" / "wave" / "a.avi.frames").unlink()
    videos = Videos(dataset / "videos", SIZE)
    source = choose_source(str(tmp_path / "part"), dataset, videos, paths_of(dataset))
    assert "1 of 3 from the videos (wave/a.avi" in capsys.readouterr().out
    assert np.array_equal(source.read("wave/a.avi", np.array([4])), videos.read("wave/a.avi", np.array([4])))
    assert source.timeline("wave/a.avi").frames == 70


@pytest.mark.parametrize("damage", ["cut off", "header"])
def test_a_torn_file_is_passed_over(dataset, tmp_path, damage):
    shutil.copytree(dataset / "raw", tmp_path / "torn")
    file = tmp_path / "torn" / "wave" / "a.avi.frames"
    data = bytearray(file.read_bytes())
    if damage == "cut off":
        del data[len(data) // 2 :]
    else:
        data[-200] ^= 255
    file.write_bytes(data)
    missed = FrameStore(tmp_path / "torn", SIZE).look(paths_of(dataset), dataset / "videos")
    assert missed == {"wave/a.avi": "torn"}


def test_a_hidden_file_that_macos_puts_beside_a_shard_is_no_shard(dataset, tmp_path):
    shutil.copytree(dataset / "shards", tmp_path / "shards")
    (tmp_path / "shards/._shard-00001-of-00002.tar").write_bytes(b"Mac OS X")
    assert FrameStore(tmp_path / "shards", SIZE).look(paths_of(dataset), dataset / "videos") == {}


def test_a_damaged_image_is_an_unreadable_video_and_no_crash(dataset, tmp_path):
    shutil.copytree(dataset / "frames-48x64", tmp_path / "torn")
    file = tmp_path / "torn" / "wave" / "b.mp4.frames"
    data = bytearray(file.read_bytes())
    data[:2] = b"no"
    file.write_bytes(data)
    with pytest.raises(VideoError, match=r"b\.mp4.*torn"):
        FrameStore(tmp_path / "torn").read("wave/b.mp4", np.array([0]))


def test_a_video_that_changed_after_extraction_is_read_itself(dataset, tmp_path):
    shutil.copytree(dataset / "videos", tmp_path / "videos")
    write_video(tmp_path / "videos" / "wave" / "a.avi", smooth_frames(12), 30)
    missed = FrameStore(dataset / "raw", SIZE).look(paths_of(dataset), tmp_path / "videos")
    assert missed == {"wave/a.avi": "stale: the video has changed"}


def test_a_video_of_the_same_size_that_changed_after_extraction_is_read_itself(dataset, tmp_path):
    shutil.copytree(dataset / "videos", tmp_path / "videos")
    file = tmp_path / "videos" / "wave" / "a.avi"
    file.write_bytes(bytes(file.stat().st_size))
    missed = FrameStore(dataset / "raw", SIZE).look(paths_of(dataset), tmp_path / "videos")
    assert missed == {"wave/a.avi": "stale: the video has changed"}


def test_videos_that_were_copied_with_new_dates_are_those_that_were_extracted(dataset, tmp_path):
    shutil.copytree(dataset / "videos", tmp_path / "videos")
    for path in paths_of(dataset):
        os.utime(tmp_path / "videos" / path, (1, 1))
    assert not FrameStore(dataset / "raw", SIZE).look(paths_of(dataset), tmp_path / "videos")


@pytest.mark.parametrize(
    ("store", "size", "said"),
    [
        ("auto", Size(*SIZE, False), "decoded from the video files .* faster:\\n .* --size 48 64 --no-antialias"),
        ("auto", SIZE, "read from frame store .*frames-48x64 \\(JPEG, quality 90\\)\n"),
        ("auto", (40, 64), "decoded from the video files .* this makes it faster:\\n .* --size 40 64"),
        ("none", SIZE, "decoded from the video files"),
    ],
)
def test_one_line_says_what_is_read(dataset, capsys, store, size, said):
    choose_source(store, dataset, Videos(dataset / "videos", size), paths_of(dataset))
    assert pd.Series(capsys.readouterr().out).str.fullmatch(rf"frames: {said}.*\n?").all()


def test_a_store_that_cannot_serve_is_refused_when_it_was_asked_for(dataset):
    videos = Videos(dataset / "videos", (96, 128))
    with pytest.raises(UserError, match=r"has none of the 3 videos for data\.resize .*too small: 48x64"):
        choose_source(str(dataset / "raw"), dataset, videos, paths_of(dataset))
    with pytest.raises(UserError, match="there is no such folder; python -m data_prep extract"):
        choose_source("nowhere", dataset, videos, paths_of(dataset))


def test_a_manifest_saves_the_first_look_at_every_video(dataset, tmp_path):
    (tmp_path / "manifest.csv").write_text("path,frames,fps\nwave/a.avi,70,29.97002997002997\nwave/b.mp4,,\n")
    videos = Videos(dataset / "videos", SIZE, tmp_path / "manifest.csv")
    assert list(videos.timelines) == ["wave/a.avi"]
    assert videos.timeline("wave/a.avi").times.tolist() == (np.arange(70) / 29.97002997002997).tolist()
    assert videos.timeline("wave/b.mp4").frames == 9


def test_a_video_that_changed_after_the_manifest_is_counted_itself(dataset, tmp_path):
    size = (dataset / "videos/wave/b.mp4").stat().st_size
    (tmp_path / "manifest.csv").write_text(f"path,frames,fps,bytes\nwave/a.avi,20,25.0,1\nwave/b.mp4,9,30.0,{size}\n")
    videos = Videos(dataset / "videos", SIZE, tmp_path / "manifest.csv")
    assert list(videos.timelines) == ["wave/b.mp4"]
    assert (videos.timeline("wave/a.avi").frames, videos.timeline("wave/a.avi").fps) == (70, 30)


def test_a_manifest_that_is_none_is_told(dataset, tmp_path):
    (tmp_path / "manifest.csv").write_text("something,else\n1,2\n")
    with pytest.raises(UserError, match=r"manifest\.csv: is not a manifest"):
        Videos(dataset / "videos", SIZE, tmp_path / "manifest.csv")


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose
def test_workers_give_the_same_batches_from_a_store_as_this_process(dataset):
    def batches(workers):
        table = pd.DataFrame({"path": paths_of(dataset), "label": ["a", "b", "b"], "group": "g", "role": "train"})
        how = ["data=hmdb51", "data.frames=4", "data.clip_seconds=0.5", "train.batch_size=1", f"data.workers={workers}"]
        data = ClipData(table, FrameStore(dataset / "frames-48x64"), config.load(overrides=how))
        return [batch["clips"] for batch in data.train_dataloader()]

    assert all(one.equal(two) for one, two in zip(batches(0), batches(2), strict=True))


def test_a_run_reads_the_store_beside_its_videos(tiny_config, tiny_videos, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(tiny_videos, root)
    extract(root, Setting((66, 88), None), workers=1)
    capsys.readouterr()
    experiment = tiny_config(data__root=root, train__epochs=1)
    source = training.read_data(experiment, training.environment.place()).source
    assert "frames: read from frame store" in capsys.readouterr().out
    assert not source.passed_over


def test_a_store_serves_only_recipes_that_resize_as_it_did(dataset, tmp_path):
    plain, paths = Size(*SIZE, antialias=False), paths_of(dataset)
    extract(dataset, Setting(plain, None), tmp_path / "plain", workers=1, dataset="hmdb51")
    for store, size, reason in [
        (dataset / "raw", plain, "made with antialiasing"),
        (tmp_path / "plain", Size(*SIZE), "made without antialiasing"),
        (tmp_path / "plain", Size(24, 32, antialias=False), "of another size: 48x64"),
    ]:
        assert set(FrameStore(store, size).look(paths, dataset / "videos").values()) == {reason}
    with pytest.raises(UserError, match=r"has none of the 3 videos for data\.resize .*made with antialiasing"):
        choose_source(str(dataset / "raw"), dataset, Videos(dataset / "videos", plain), paths)
    store = choose_source(str(tmp_path / "plain"), dataset, Videos(dataset / "videos", plain), paths)
    frames = np.array([0, 5])
    assert np.array_equal(
        store.read("wave/a.avi", frames), Videos(dataset / "videos", plain).read("wave/a.avi", frames)
    )


def test_a_recipe_without_antialiasing_has_a_store_of_its_own_beside_the_other(dataset):
    done = extract(dataset, Setting(Size(*SIZE, antialias=False)), workers=1, dataset="hmdb51")
    assert (done.kept, done.videos) == (0, 3)
    source = choose_source("auto", dataset, Videos(dataset / "videos", Size(*SIZE, antialias=False)), paths_of(dataset))
    assert source.folder == dataset / "frames-48x64-no-antialias"
    assert not source.passed_over
    shutil.rmtree(source.folder)
