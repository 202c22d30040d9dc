"""Where a trained model looked, written over the video."""

import av
import numpy as np
import pytest
from helpers import architectures
from helpers.finished_run import write_finished_run

from hmdb_lib import cli as command
from hmdb_lib.data.video import read_frames, scan, write_video
from hmdb_lib.inference import overlay
from hmdb_lib.inference.classifier import Classifier
from hmdb_lib.models.explain import latent_maps

HYBRID = {"row": "cross1_self1", "model__blocks": 1, "perceiver__latents": 8, "perceiver__width": 64}
BASELINE = {"row": "baseline", "model__blocks": 1}
CLIP = {"data__clip_seconds": 1}


@pytest.fixture(scope="module")
def run(tiny_experiment, tmp_path_factory):
    return write_finished_run(tiny_experiment(**HYBRID, **CLIP), tmp_path_factory.mktemp("hybrid") / "run")


@pytest.fixture(scope="module")
def classifier(run):
    return Classifier.load(run.folder, "cpu", "fp32")


@pytest.fixture
def video(tmp_path):
    """Two and a half seconds."""
    frames = np.random.default_rng(0).integers(0, 256, (50, 66, 88, 3), dtype=np.uint8)
    write_video(tmp_path / "mine.avi", frames, 20)
    return tmp_path / "mine.avi"


def shell(run, video, file, *words):
    return command.main(["look", str(video), "--checkpoint", str(run.folder), "--to", str(file), *words])


@pytest.mark.slow
@pytest.mark.parametrize("changes", [HYBRID, BASELINE], ids=["hybrid", "baseline"])
def test_the_command_writes_the_whole_video_at_the_clips_rate(tiny_config, tmp_path, video, changes, capsys):
    run = write_finished_run(tiny_config(**changes, **CLIP), tmp_path / "run")
    assert shell(run, video, tmp_path / "seen" / "mine.mp4") == 0
    written = scan(tmp_path / "seen" / "mine.mp4")
    assert written.duration == pytest.approx(2.5, abs=1 / 8)
    assert (written.fps, written.height, written.width) == (8, 256, 512)  # a crop of 64, four-fold
    assert "written: " in capsys.readouterr().out
    assert [file.name for file in (tmp_path / "seen").iterdir()] == ["mine.mp4"]


@pytest.mark.parametrize("way", [{"data__sampling": "segments"}, {"data__short": "stretch"}, {"data__short": "loop"}])
def test_a_video_of_three_seconds_is_shown_to_its_end_at_its_speed(tiny_config, tmp_path, way):
    grey = (np.full((72, 96, 3), 2 * number, np.uint8) for number in range(90))  # brightness tells the frame
    write_video(tmp_path / "ramp.avi", grey, 30)
    run = write_finished_run(tiny_config(**BASELINE, data__clip_seconds=2, **way), tmp_path / "run")
    overlay.write(Classifier.load(run.folder, "cpu", "fp32"), tmp_path / "ramp.avi", tmp_path / "seen.mp4")
    written = scan(tmp_path / "seen.mp4")
    shown = read_frames(tmp_path / "seen.mp4", range(written.frames))[:, :20, :20].mean((1, 2, 3)) / 2
    assert written.duration == pytest.approx(3, abs=0.05)
    assert np.abs(shown / 30 - written.times).max() < 0.3, "seconds of the video by those of what is written"
    assert np.diff([-1, *shown, 90]).max() < 10


@pytest.mark.slow
def test_the_left_half_is_what_the_model_sees_and_the_right_half_is_coloured_by_where_it_looks(
    classifier, video, tmp_path, monkeypatch
):
    spot = np.zeros((8, 64, 64))
    spot[:, :32, :32] = 1
    monkeypatch.setattr(overlay, "maps", lambda *arguments: spot)
    overlay.write(classifier, video, tmp_path / "seen.mp4")
    first = read_frames(tmp_path / "seen.mp4", [0], (64, 128))[0].astype(float)
    bright, dark = first[8:24, 72:88].mean(), first[40:56, 104:120].mean()
    assert bright > dark + 50
    seen = read_frames(video, [0], (66, 88))[0][1:65, 12:76]
    assert np.abs(first[:, :64] - seen).mean() < 25  # both were compressed


def test_the_chosen_latents_are_averaged(classifier, video):
    clip = classifier.clip(video)
    expected = latent_maps(classifier.model, classifier.normalised(clip[None]))[0, [1, 5]].mean(0)
    np.testing.assert_allclose(overlay.maps(classifier, clip, [1, 5]), expected, rtol=1e-5)
    assert not np.allclose(overlay.maps(classifier, clip), expected)


@pytest.mark.slow
def test_a_figure_is_written_where_the_ending_says_so(run, video, tmp_path):
    assert shell(run, video, tmp_path / "seen.png", "--latents", "0") == 0
    assert (tmp_path / "seen.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_names_and_bars_are_written_onto_the_whole_video(run, classifier, video, tmp_path):
    file = tmp_path / "labelled.mp4"
    assert command.main(["predict", str(video), "--checkpoint", str(run.folder), "--to", str(file)]) == 0
    written, given = scan(file), scan(video)
    assert (written.frames, written.fps) == (given.frames, given.fps)
    assert (written.height, written.width) == (224, 298)  # 66 x 88, made larger
    before, after = (read_frames(path, [0], (224, 298))[0].astype(float) for path in (video, file))
    change = (after - before).mean((0, 1), where=np.arange(224)[:, None, None] < 12)
    assert change[2] > change[0] + 5  # the bar is blue
    assert np.abs(after[60:] - before[60:]).mean() < 15


@pytest.mark.slow
@pytest.mark.skipif("libx264" not in av.codecs_available, reason="this build of FFmpeg has no libx264")
def test_an_mp4_is_of_the_kind_that_browsers_play(classifier, video, tmp_path):
    overlay.write_labelled(classifier, classifier.predict(video).videos[0], tmp_path / "labelled.mp4")
    overlay.write(classifier, video, tmp_path / "seen.mp4")
    for name in ("labelled", "seen"):
        with av.open(tmp_path / f"{name}.mp4") as container:
            assert container.streams.video[0].codec_context.name == "h264"


@pytest.mark.slow
def test_a_labelled_video_says_where_an_answer_is_too_unsure(classifier, video, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(overlay, "write_on", lambda frame, lines: written.append(lines) or frame)
    monkeypatch.setitem(classifier.trained.facts, "best_epoch", {"val_video_right_confidence": 0.99})
    overlay.write_labelled(classifier, classifier.predict(video, window=1).videos[0], tmp_path / "labelled.mp4")
    assert len(written) == 50
    assert all(lines[0] == ("none of these", 0.0) for lines in written)
    assert len({str(lines) for lines in written}) == 3  # one a window


def test_several_videos_do_not_go_into_one_file(run, video, tmp_path, capsys):
    words = ["predict", str(video), str(video), "--checkpoint", str(run.folder), "--to", str(tmp_path / "a.mp4")]
    assert command.main(words) == 2
    assert "takes one video" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("mine.avi", ["seen.gif"], "its ending is none of"),
        ("mine.avi", ["seen.mp4", "--latents", "8"], "the model's count from 0 to 7"),
        ("missing.avi", ["seen.mp4"], "no such file"),
    ],
)
def test_bad_input_is_told_in_one_line(run, video, tmp_path, capsys, name, words, told):
    assert shell(run, video.with_name(name), tmp_path / words[0], *words[1:]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not list(tmp_path.glob("seen*"))


@pytest.mark.parametrize("name", ["predict", "look"])
def test_a_video_is_never_written_over_itself(run, video, tmp_path, capsys, name):
    own = tmp_path / "own.avi"
    own.write_bytes(video.read_bytes())
    assert command.main([name, str(own), "--checkpoint", str(run.folder), "--to", str(own)]) == 2
    assert "is the video itself" in capsys.readouterr().err
    assert own.read_bytes() == video.read_bytes()


def test_a_transformer_is_looked_into_too(classifier, video, monkeypatch):
    clip = classifier.clip(video)
    model = architectures.build("videomae", 2, variant="small", frames=len(clip), size=64).eval()
    monkeypatch.setattr(classifier, "model", model)
    seen = overlay.maps(classifier, clip)
    assert seen.shape == clip.shape[:3]
    assert (seen >= 0).all()
