"""Which frames make a clip."""

import numpy as np
import pytest

from hmdb_lib.config import load
from hmdb_lib.data.sampling import ClipRule
from hmdb_lib.data.video import Timeline
from hmdb_lib.errors import UserError


def even(frames, fps=30.0):
    return Timeline(np.arange(frames) / fps, fps, 320, 240)


def test_a_two_second_clip_spans_sixty_frames_from_its_first_to_its_last():
    clip = ClipRule(16, clip_seconds=2.0).random(even(60), draw=0.7)
    assert (clip[0], clip[-1], len(clip)) == (0, 59, 16)
    assert set(np.diff(clip)) <= {3, 4}


def test_a_configuration_gives_the_rule():
    data = load(
        overrides=["data=hmdb51", "data.frames=8", "data.clip_seconds=null", "data.frame_step=2", "data.short=last"]
    ).data
    assert ClipRule.of(data) == ClipRule(8, frame_step=2, short="last")


def test_a_frame_step_takes_every_so_many_frames():
    assert ClipRule(4, frame_step=2).random(even(7), draw=0.5).tolist() == [0, 2, 4, 6]


def test_random_clips_reach_both_ends_of_a_long_video():
    rule, video = ClipRule(16, clip_seconds=2.0), even(1062)
    clips = np.array([rule.random(video, draw) for draw in np.linspace(0, 1, 200, endpoint=False)])
    assert clips.min() == 0
    assert clips.max() >= 1055
    assert rule.random(video, 1 - 1e-9)[-1] in (1060, 1061)


@pytest.mark.parametrize(
    ("short", "clip"),
    [
        ("loop", [0, 4, 8, 12, 16, 3, 7, 11]),
        ("last", [0, 4, 8, 12, 16, 16, 16, 16]),
        ("stretch", [0, 2, 4, 6, 9, 11, 13, 16]),
    ],
)
def test_a_short_video_is_extended_by_the_stated_rule(short, clip):
    assert ClipRule(8, frame_step=4, short=short).random(even(17), draw=0.9).tolist() == clip


@pytest.mark.parametrize("frames", [8, 16])
def test_a_loop_that_ends_with_the_video_shows_its_first_frame_whatever_rounding_says(frames):
    for length, rate in ((59, 30.0), (59, 29.97), (59, 25.0)):  # at 30 a second the clip's last moment is the end
        clip = ClipRule(frames, clip_seconds=60 / rate).random(even(length, rate), 0.0)
        assert clip[-1] == 0, (length, rate)


def test_time_not_frame_number_decides_in_a_video_of_another_rate():
    fast, slow = even(120, fps=60.0), even(30, fps=15.0)
    rule = ClipRule(16, clip_seconds=1.0)
    shown = [video.times[rule.spread(video, 2)[1]] for video in (fast, slow)]
    assert np.abs(shown[0] - shown[1]).max() <= 1 / 15


def test_a_variable_rate_is_sampled_by_its_times():
    times = np.concatenate([np.arange(10) / 10, 1 + np.arange(30) / 30])  # a second at 10 fps, a second at 30
    video = Timeline(times, 20.0, 320, 240)
    clip = ClipRule(8, clip_seconds=2.0).random(video, draw=0)
    moments = np.linspace(0, 1.95, 8)
    assert (np.abs(times[clip] - moments) <= 0.1).all()


def test_spread_clips_reach_from_the_first_frame_to_the_last():
    clips = ClipRule(16, clip_seconds=2.0).spread(even(240), 10)
    assert clips.shape == (10, 16)
    assert (clips[0, 0], clips[-1, -1]) == (0, 239)


def test_consecutive_clips_leave_out_a_last_shorter_one():
    clips = ClipRule(16, clip_seconds=2.0).consecutive(even(190))
    assert clips[:, 0].tolist() == [0, 60, 120]
    assert clips.max() == 179
    assert len(ClipRule(16, clip_seconds=2.0).consecutive(even(119))) == 1


def test_a_single_spread_clip_is_centred():
    clip = ClipRule(3, frame_step=1).spread(even(9), 1)
    assert clip.tolist() == [[3, 4, 5]]


def test_a_clip_of_a_video_below_one_frame_a_second_runs_forward_and_spans_its_seconds():
    video = even(4, fps=0.25)  # each frame is on show for 4 seconds
    rule = ClipRule(16, clip_seconds=2.0)
    assert rule.spread(video, 1).tolist() == [[1] * 8 + [2] * 8]  # seconds 7 to 9
    assert rule.random(video, 0).tolist() == [0] * 16
    assert rule.random(video, 1 - 1e-9).tolist() == [3] * 16
    assert rule.consecutive(video)[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert rule.whole(video).tolist() == [frame for frame in range(4) for _ in range(32)]


def test_a_clip_shorter_than_a_frame_is_one_frame_on_show():
    rule, video = ClipRule(4, clip_seconds=0.02), even(30)
    assert rule.spread(video, 1).tolist() == [[14, 14, 15, 15]]  # the middle of 1 second lies between these
    assert rule.random(video, 0).tolist() == [0] * 4
    assert len(rule.whole(video)) == 200


@pytest.mark.parametrize("seconds", [0.01, 1 / 30, 0.5, 2.0, 60.0])
@pytest.mark.parametrize("fps", [0.1, 0.25, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_at_any_rate_and_length_frames_run_forward(seconds, fps, frames):
    rule, video = ClipRule(8, clip_seconds=seconds, short="last"), even(frames, fps)
    for clips in (rule.spread(video, 3), rule.spread(video, None), rule.consecutive(video), rule.random(video, 0.5)):
        assert (np.diff(clips) >= 0).all()
        assert clips.min() >= 0
        assert clips.max() < frames
    assert (np.diff(rule.whole(video)) >= 0).all()


@pytest.mark.parametrize("frames", [1, 7, 17, 59, 60, 61, 93, 500, 1062])
@pytest.mark.parametrize("fps", [0.25, 6.0, 30.0])
@pytest.mark.parametrize(
    "rule",
    [
        *(ClipRule(16, clip_seconds=2.0), ClipRule(8, clip_seconds=2.0), ClipRule(16, frame_step=2)),
        ClipRule(16, clip_seconds=2.0, short="stretch"),
    ],
)
def test_all_clips_see_every_frame(frames, fps, rule):
    assert set(rule.spread(even(frames, fps), None).ravel()) == set(range(frames))


@pytest.mark.parametrize("short", ["loop", "last", "stretch"])
def test_no_clip_asks_for_a_frame_that_is_not_there(short):
    for frames in range(1, 130):
        for fps in (23.976, 25.0, 29.97, 30.0):
            rule = ClipRule(16, clip_seconds=2.0, short=short)
            clip = rule.random(even(frames, fps), 0.999999)
            assert clip.min() >= 0
            assert clip.max() < frames


SEGMENTS = ClipRule(4, clip_seconds=2.0, sampling="segments")


def test_segments_train_on_one_random_frame_of_each_equal_part_of_the_whole_video():
    clips = np.array([SEGMENTS.random(even(40), draw) for draw in np.linspace(0, 1, 300, endpoint=False)])
    for part in range(4):
        assert set(clips[:, part]) == set(range(10 * part, 10 * part + 10))
    assert SEGMENTS.random(even(40), 0.3).tolist() == SEGMENTS.random(even(40), 0.3).tolist()
    assert len({tuple(clip - 10 * np.arange(4)) for clip in clips}) > 250, "each part draws a frame of its own"


def test_segments_judge_by_the_middle_of_each_part_or_by_evenly_spread_frames_of_it():
    assert SEGMENTS.spread(even(40), 1).tolist() == [[5, 15, 25, 35]]
    assert SEGMENTS.judging(even(40), 2).tolist() == [[2, 12, 22, 32], [7, 17, 27, 37]]
    assert SEGMENTS.whole(even(40)).tolist() == [5, 15, 25, 35]


@pytest.mark.parametrize("frames", [1, 3, 4, 5, 39, 40, 61, 500])
def test_segments_see_every_frame_when_all_are_asked_for_and_repeat_those_of_a_short_video(frames):
    clips = SEGMENTS.judging(even(frames), "all")
    assert set(clips.ravel()) == set(range(frames))
    assert (np.diff(clips, axis=1) >= 0).all()
    assert (np.diff(SEGMENTS.random(even(frames), 0.7)) >= 0).all()


def test_segments_are_equal_parts_of_the_time_where_the_rate_varies():
    times = np.concatenate([np.arange(10) / 10, 1 + np.arange(30) / 30])  # a second at 10 fps, a second at 30
    clip = ClipRule(2, clip_seconds=2.0, sampling="segments").spread(Timeline(times, 20.0), 1)[0]
    assert times[clip].tolist() == [0.5, 1.5]


def test_a_configuration_asks_for_segments_and_not_for_consecutive_ones():
    changes = ["data.sampling=segments", "data.frames=8"]
    assert ClipRule.of(load(overrides=changes).data).sampling == "segments"
    with pytest.raises(UserError, match=r"evaluate\.clips=consecutive goes with data\.sampling=window alone"):
        load(overrides=[*changes, "evaluate.clips=consecutive"])
