"""Every trap that real video files hold, each on a file made here, and on HMDB51's own clips where they are present."""

import math
import shutil
import struct
import subprocess
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import torch
from av.stream import Disposition
from torchvision.transforms.functional import resize

from hmdb_lib.data.video import Size, VideoError, read_frames, scan, write_video
from hmdb_lib.errors import UserError

ODD_NAMES = ["Yes!!!_#1&2_(HQ)_[x]_+;~@.avi", "with blanks.avi", "http:colon.avi", "50%d.avi", "größe.avi"]


def ramp(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Flat grey frames, each brighter than the one before by 8 (mod 200): brightness tells the index."""
    values = 20 + 8 * np.arange(count) % 200
    return np.broadcast_to(values[:, None, None, None], (count, height, width, 3)).astype(np.uint8)


def encode(
    path: Path, frames: np.ndarray, codec: str, pix_fmt: str = "yuv420p", stamps: list[int] | None = None
) -> Path:
    """A file made with PyAV directly; `stamps` are presentation times in milliseconds, 30 fps without them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        if stamps:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image)
            if stamps:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def packets(path: Path) -> list[tuple[int, int]]:
    """Place and size in the file of each packet's data."""
    header = 8 if path.suffix == ".avi" else 0
    with av.open(str(path)) as container:
        return [(packet.pos + header, packet.size) for packet in container.demux(video=0) if packet.size]


def blank_out(path: Path, which: list[tuple[int, int]]) -> None:
    data = bytearray(path.read_bytes())
    for place, size in which:
        data[place : place + size] = bytes(size)
    path.write_bytes(data)


def assert_is_ramp(frames: np.ndarray, expected: np.ndarray) -> None:
    assert frames.shape == expected.shape
    assert frames.dtype == np.uint8
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), expected.mean(axis=(1, 2, 3)), atol=3.9)  # a step is 8


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    write_video(path, ramp(20), 30)
    return path


def test_what_is_written_is_read_back(clip):
    timeline = scan(clip)
    assert (timeline.frames, timeline.fps, timeline.width, timeline.height) == (20, 30.0, 64, 48)
    assert timeline.duration == pytest.approx(20 / 30)
    np.testing.assert_allclose(timeline.times, np.arange(20) / 30)
    assert_is_ramp(read_frames(clip, range(20)), ramp(20))


def test_colours_keep_their_channels(tmp_path):
    red = np.zeros((3, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    write_video(tmp_path / "red.avi", red, 30)
    assert np.abs(read_frames(tmp_path / "red.avi", [1])[0].mean(axis=(0, 1)) - [200, 0, 0]).max() < 6


def test_indices_may_repeat_and_stand_in_any_order(clip):
    assert_is_ramp(read_frames(clip, [7, 3, 3, 19, 0]), ramp(20)[[7, 3, 3, 19, 0]])


def test_size_is_height_then_width(clip):
    assert_is_ramp(read_frames(clip, [0, 5], size=(24, 40)), ramp(20, 24, 40)[[0, 5]])


@pytest.mark.parametrize("width", [34, 40, 88, 98, 424])
def test_a_frame_that_is_not_scaled_is_whole_at_any_width(tmp_path, width):
    write_video(tmp_path / "a.avi", np.full((2, 48, width, 3), 150, np.uint8), 30)
    for size in (None, (48, width)):
        assert np.abs(read_frames(tmp_path / "a.avi", [0, 1], size).astype(int) - 150).max() <= 3


@pytest.mark.parametrize("wanted", [[20], [3, 4000], [-1, 3]])
def test_an_index_outside_the_video_is_an_error(clip, wanted):
    with pytest.raises(VideoError, match=r"clip\.avi: frame .* was asked for"):
        read_frames(clip, wanted)


@pytest.mark.parametrize("count", [1, 17, 1062])
def test_short_and_long_clips_have_every_frame(tmp_path, count):
    write_video(tmp_path / "clip.avi", ramp(count), 30)
    assert scan(tmp_path / "clip.avi").frames == count
    assert_is_ramp(read_frames(tmp_path / "clip.avi", [0, count - 1]), ramp(count)[[0, count - 1]])


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_only_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(Path(name), ramp(3), 30)
    assert Path(name).is_file()
    assert scan(name).frames == 3
    assert_is_ramp(read_frames(name, [2]), ramp(3)[2:])


def test_frames_keep_the_decoders_order_though_their_times_do_not(tmp_path):
    path = encode(tmp_path / "b_frames.avi", ramp(20), "libx264")
    with av.open(str(path)) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    assert stamps != sorted(stamps), "this file no longer holds the trap"
    assert_is_ramp(read_frames(path, range(20)), ramp(20))
    np.testing.assert_allclose(scan(path).times, np.arange(20) / 30)


def test_a_header_that_promises_a_frame_too_many_is_not_believed(clip):
    data = bytearray(clip.read_bytes())
    place = data.index(b"strh") + 8 + 32  # dwLength of the AVI stream header
    struct.pack_into("<I", data, place, 21)
    clip.write_bytes(data)
    with av.open(str(clip)) as container:
        assert container.streams.video[0].frames == 21
    assert scan(clip).frames == 20
    assert_is_ramp(read_frames(clip, [19]), ramp(20)[19:])


def test_metadata_that_is_not_utf8_does_not_matter(tmp_path):
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "PLACEHOLDER"
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height = 64, 48
        container.mux(stream.encode(av.VideoFrame.from_ndarray(ramp(1)[0])))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"PLACEHOLDER", b"\xe9\xff\xfe\x80\xe9\xe9\xe9\xe9\xe9\xe9\xe9"))
    assert scan(path).frames == 1
    assert len(read_frames(path, [0])) == 1


def test_a_variable_rate_gives_the_presentation_times(tmp_path):
    stamps = [0, 40, 80, 120, 520, 560, 1560, 1600, 1640, 1680]
    path = encode(tmp_path / "phone.mp4", ramp(10), "libx264", stamps=stamps)
    timeline = scan(path)
    np.testing.assert_allclose(timeline.times, np.array(stamps) / 1000, atol=1e-3)
    assert timeline.fps == pytest.approx(9 / 1.68, rel=1e-3)
    assert_is_ramp(read_frames(path, range(10)), ramp(10))


def test_a_long_pause_is_part_of_a_variable_rate(tmp_path):
    stamps = [0, 40, 80, 50_000, 50_040]
    timeline = scan(encode(tmp_path / "screen.mp4", ramp(5), "libx264", stamps=stamps))
    np.testing.assert_allclose(timeline.times, np.array(stamps) / 1000, atol=1e-3)


@pytest.mark.parametrize("start", [0, 3_600_000], ids=["back to the start", "an hour on"])
def test_times_that_jump_where_files_were_joined_give_an_even_grid_in_the_decoders_order(tmp_path, start):
    files = [
        encode(tmp_path / f"{first}.ts", ramp(20), "mpeg4", stamps=[first + 40 * number for number in range(20)])
        for first in (0, start)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(file.read_bytes() for file in files))
    timeline = scan(joined)
    assert timeline.is_even
    assert (timeline.frames, timeline.fps) == (40, pytest.approx(25))
    assert_is_ramp(read_frames(joined, range(20, 40)), ramp(20))


# x' = ax + cy, y' = bx + dy -> what is then seen
MATRICES = {
    "as stored": ((1, 0, 0, 1), lambda image: image),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "upside down and mirrored": ((1, 0, 0, -1), lambda image: image[::-1]),
    "180": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "90 clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, 3)),
    "90 counterclockwise": ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
    "transposed": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    "transposed, 180": ((0, -1, -1, 0), lambda image: np.rot90(image.swapaxes(0, 1), 2)),
}
# Four shades, so that no two of the eight look alike.
CORNERS = (
    np.kron([[220, 150], [90, 30]], np.ones((16, 32)))[None, :, :, None].repeat(3, 3).repeat(3, 0).astype(np.uint8)
)


def with_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """A file of `CORNERS` with a display matrix in its header."""
    encode(path, CORNERS, "libx264")
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)  # 16.16 fixed point
    struct.pack_into(">9i", data, data.index(b"tkhd") + 4 + 40, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("matrix", "seen"), MATRICES.values(), ids=MATRICES)
def test_a_turned_or_mirrored_video_is_read_upright(tmp_path, matrix, seen):
    path = with_matrix(tmp_path / "phone.mp4", matrix)
    upright = seen(CORNERS[0])
    timeline = scan(path)
    assert (timeline.height, timeline.width) == upright.shape[:2]
    np.testing.assert_allclose(read_frames(path, [1])[0], upright, atol=20)
    half = read_frames(path, [1], size=(upright.shape[0] // 2, upright.shape[1] // 2))[0]
    assert np.abs(half.astype(float) - upright[::2, ::2]).mean() < 5


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg here")
@pytest.mark.parametrize("matrix", [matrix for matrix, _ in MATRICES.values()], ids=MATRICES)
def test_a_turned_or_mirrored_video_looks_as_in_ffmpeg(tmp_path, matrix):
    path = with_matrix(tmp_path / "phone.mp4", matrix)
    raw = ["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    shown = subprocess.run(["ffmpeg", "-v", "error", "-i", path, *raw], capture_output=True, check=True).stdout
    own = read_frames(path, [0])[0]
    np.testing.assert_allclose(own, np.frombuffer(shown, np.uint8).reshape(own.shape), atol=3)


def test_a_store_of_frames_shows_a_turned_video_upright_too(tmp_path):
    seen = []
    scan(with_matrix(tmp_path / "phone.mp4", (0, 1, 1, 0)), seen.append)
    np.testing.assert_allclose(seen[0], CORNERS[0].swapaxes(0, 1), atol=20)


@pytest.mark.parametrize("fps", [0.25, 0.5])
def test_a_video_below_one_frame_a_second_has_its_times(tmp_path, fps):
    write_video(tmp_path / "slow.avi", ramp(5), fps)
    timeline = scan(tmp_path / "slow.avi")
    assert (timeline.frames, timeline.fps, timeline.duration) == (5, fps, 5 / fps)
    np.testing.assert_allclose(timeline.times, np.arange(5) / fps)


@pytest.mark.parametrize(("height", "width"), [(47, 33), (240, 427), (17, 64)])
def test_odd_sizes(tmp_path, height, width):
    write_video(tmp_path / "odd.avi", ramp(4, height, width), 30)
    timeline = scan(tmp_path / "odd.avi")
    assert (timeline.height, timeline.width) == (height, width)
    assert_is_ramp(read_frames(tmp_path / "odd.avi", range(4)), ramp(4, height, width))
    assert_is_ramp(read_frames(tmp_path / "odd.avi", range(4), size=(31, 17)), ramp(4, 31, 17))


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [("ffv1", "gray"), ("libx264", "yuv422p"), ("libx264", "yuv420p10le"), ("ffv1", "yuv422p10le"), ("ffv1", "bgra")],
)
def test_other_pixel_formats_become_rgb(tmp_path, codec, pix_fmt):
    path = encode(tmp_path / "clip.mkv", ramp(5), codec, pix_fmt)
    assert_is_ramp(read_frames(path, range(5)), ramp(5))
    assert_is_ramp(read_frames(path, range(5), size=(20, 30)), ramp(5, 20, 30))


def test_an_audio_track_is_left_alone(tmp_path):
    path = tmp_path / "sound.avi"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=16000)
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height = 64, 48
        for image in ramp(10):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 533), np.int16), layout="mono")
            silence.sample_rate = 16000
            container.mux(sound.encode(silence))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    assert scan(path).frames == 10
    assert_is_ramp(read_frames(path, range(10)), ramp(10))


def sound_with_cover(path: Path, video: bool) -> Path:
    """A sound file with a cover picture, and a video of 10 frames behind it if asked for."""
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        sound = container.add_stream("aac", rate=16000)
        stream = container.add_stream("mpeg4", rate=30) if video else None
        if stream:
            stream.width, stream.height = 32, 32
        container.mux(cover.encode(av.VideoFrame.from_ndarray(ramp(1)[0])))
        for image in ramp(10, 32, 32):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate = 16000
            container.mux(sound.encode(silence))
            if stream:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        for each in filter(None, (cover, sound, stream)):
            container.mux(each.encode())
    return path


def test_sound_with_a_cover_picture_is_no_video(tmp_path):
    with pytest.raises(VideoError, match=r"song\.mp4: holds no video stream, only sound and a cover picture"):
        scan(sound_with_cover(tmp_path / "song.mp4", video=False))


def test_a_cover_picture_is_not_taken_for_the_video_beside_it(tmp_path):
    path = sound_with_cover(tmp_path / "clip.mp4", video=True)
    timeline = scan(path)
    assert (timeline.frames, timeline.width, timeline.height) == (10, 32, 32)
    assert_is_ramp(read_frames(path, range(10)), ramp(10, 32, 32))


def test_a_change_of_size_within_a_file_keeps_the_first_size(tmp_path):
    first = encode(tmp_path / "a.h264", ramp(4, 48, 64), "libx264")
    second = encode(tmp_path / "b.h264", ramp(4, 32, 32), "libx264")
    first.write_bytes(first.read_bytes() + second.read_bytes())
    assert scan(first).frames == 8
    assert read_frames(first, range(8)).shape == (8, 48, 64, 3)


def unusable(kind: str, folder: Path) -> Path:
    """A path that is not a video one can use."""
    path = folder / f"{kind}.avi"
    match kind:
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "text":
            path.write_text("this is no video\n" * 500)
        case "sound":
            with wave.open(str(path), "wb") as sound:
                sound.setparams((1, 2, 16000, 0, "NONE", "not compressed"))
                sound.writeframes(bytes(3200))
        case "header":
            path.write_bytes(encode(folder / "whole.mp4", ramp(20), "libx264").read_bytes()[:200])
        case "blank":
            blank_out(encode(path, ramp(20), "libx264"), packets(path))
        case "middle":
            blank_out(encode(path, ramp(20), "libx264"), packets(path)[5:6])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no such file"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "not a video file"),
        ("header", "not a video file, or a damaged one"),
        ("sound", "no video stream"),
        ("blank", "not one frame in it decodes"),
        ("middle", "damaged before frame"),
    ],
)
@pytest.mark.parametrize("read", [scan, lambda path: read_frames(path, [19])], ids=["scan", "read_frames"])
def test_an_unusable_file_is_reported_with_its_path_and_reason(tmp_path, capfd, kind, reason, read):
    path = unusable(kind, tmp_path)
    with pytest.raises(VideoError, match=reason) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == "", "libav wrote to stderr"


@pytest.mark.parametrize(("ending", "codec"), [(".avi", "mpeg4"), (".mkv", "libx264")])
def test_a_truncated_file_gives_the_frames_that_decode(tmp_path, capfd, ending, codec):
    path = tmp_path / f"cut{ending}"
    write_video(path, np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8), 30, codec)
    whole = read_frames(path, range(40))
    place, size = packets(path)[25]
    path.write_bytes(path.read_bytes()[: place + size // 2])
    frames = scan(path).frames
    assert 20 <= frames <= 26
    np.testing.assert_array_equal(read_frames(path, range(20)), whole[:20])
    assert len(read_frames(path, range(frames))) == frames
    with pytest.raises(VideoError, match=f"only frames 0 to {frames - 1}"):
        read_frames(path, [frames])
    assert capfd.readouterr().err == ""


def test_the_same_frames_give_the_same_bytes(tmp_path):
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, ramp(20), 30)
    assert (tmp_path / "a.avi").read_bytes() == (tmp_path / "b.avi").read_bytes()


@pytest.mark.parametrize("fps", [25, 30000 / 1001, 12.5])
def test_the_rate_is_kept(tmp_path, fps):
    write_video(tmp_path / "clip.avi", ramp(10), fps)
    assert scan(tmp_path / "clip.avi").fps == pytest.approx(fps, rel=1e-6)


def test_writing_nothing_or_nowhere_is_an_error(tmp_path):
    with pytest.raises(VideoError, match="no frames to write"):
        write_video(tmp_path / "none.avi", [], 30)
    with pytest.raises(VideoError, match="cannot be written"):
        write_video(tmp_path / "missing" / "clip.avi", ramp(2), 30)
    with pytest.raises(VideoError, match="libx264"):
        write_video(tmp_path / "odd.mp4", ramp(2, 33, 47), 30, "libx264")


@pytest.mark.parametrize("fps", [0, -1, math.nan, math.inf])
def test_writing_at_a_rate_that_cannot_be_is_an_error(tmp_path, fps):
    with pytest.raises(VideoError, match=f"clip.avi: cannot be written at {fps} frames a second"):
        write_video(tmp_path / "clip.avi", ramp(2), fps)
    assert not (tmp_path / "clip.avi").exists()


@pytest.mark.parametrize("size", [0, -4, (0, 64), (48, -1)])
def test_a_size_without_pixels_is_an_error(clip, size):
    with pytest.raises(UserError, match="at least 1 pixel"):
        read_frames(clip, [0], size)


def test_reading_no_frame_is_an_error(clip):
    with pytest.raises(VideoError, match="no frames were asked for"):
        read_frames(clip, [])


def hmdb51_clips(real_data: Path) -> list[tuple[Path, pd.Series]]:
    index = pd.read_csv(real_data / "hmdb51_mini" / "index.csv")
    return [(real_data / "hmdb51_mini" / row.label / row["name"], row) for _, row in index.iterrows()]


def test_hmdb51_clips_have_the_frames_that_decode_and_not_one_more(real_data):
    for path, row in hmdb51_clips(real_data):
        timeline = scan(path)
        assert (timeline.frames, timeline.width, timeline.height, timeline.fps) == (
            row.frames,
            row.width,
            row.height,
            30,
        )
        assert read_frames(path, [row.frames - 1], (64, 64)).shape == (1, 64, 64, 3)
        with pytest.raises(VideoError, match=f"only frames 0 to {row.frames - 1}"):
            read_frames(path, [row.frames_declared - 1])


def test_hmdb51_clips_are_smoother_in_output_order_than_sorted_by_time(real_data):
    def roughness(frames: np.ndarray) -> float:
        return np.abs(np.diff(frames.astype(np.float32), axis=0)).mean()

    # PyAV 19 and later has no such option: no metadata is an error there.
    options = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
    for path, row in hmdb51_clips(real_data):
        with av.open(str(path), **options) as container:
            by_time = np.argsort([frame.pts for frame in container.decode(video=0)])
        frames = read_frames(path, range(row.frames), (60, 80))
        assert (by_time != np.arange(row.frames)).any()
        assert roughness(frames) < roughness(frames[by_time])


def test_hmdb51s_cartwheel_opens_though_its_metadata_is_not_utf8(real_data):
    path = next((real_data / "hmdb51_mini" / "cartwheel").glob("*.avi"))
    assert scan(path).frames == 83


def test_without_antialiasing_frames_are_what_torchvision_makes_of_a_tensor_so(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), dtype=np.uint8)
    write_video(tmp_path / "noise.avi", noise, 30)
    whole = torch.from_numpy(read_frames(tmp_path / "noise.avi", range(3))).permute(0, 3, 1, 2).float()
    wanted = resize(whole, [40, 60], antialias=False).permute(0, 2, 3, 1).numpy()
    plain = read_frames(tmp_path / "noise.avi", range(3), Size(40, 60, antialias=False))
    assert np.abs(plain - wanted).max() <= 0.51, "rounded to whole numbers"
    smooth = read_frames(tmp_path / "noise.avi", range(3), Size(40, 60))
    assert np.array_equal(smooth, read_frames(tmp_path / "noise.avi", range(3), (40, 60)))
    assert smooth.std() < 0.8 * plain.std(), "what lies between the four pixels is not averaged in"
