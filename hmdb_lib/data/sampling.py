"""Choose the frames of a clip by their times, the same for videos and for a frame store."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hmdb_lib.data.video import Timeline
from hmdb_lib.errors import UserError

if TYPE_CHECKING:
    from hmdb_lib.config import Data


@dataclass(frozen=True)
class ClipRule:
    """Cut clips of `frames` frames: over `clip_seconds`, or `frame_step` frames apart (exactly one is set).

    `short` says what a video that is shorter than the clip does: `loop` starts over, `last` holds its last frame,
    `stretch` spreads the clip's frames over all of the video's. A frame that stays on show for longer than the clip's
    step is taken as often as that.
    With `sampling` segments a clip is one frame from each of `frames` equal parts of the whole video (Temporal Segment
    Networks, arXiv 1608.00859): a random one to train on, evenly spread ones to judge by; the other settings say
    nothing.
    """

    frames: int
    clip_seconds: float | None = None
    frame_step: float | None = None
    short: str = "loop"
    sampling: str = "window"

    @classmethod
    def of(cls, data: "Data") -> "ClipRule":
        """Take the rule from a configuration's section `data`."""
        return cls(data.frames, data.clip_seconds, data.frame_step, data.short, data.sampling)

    def seconds(self, fps: float) -> float:
        """Return how long a clip lasts in a video of so many frames a second; with segments it has no length of its own."""
        return self.clip_seconds or self.frames * (self.frame_step or 1) / fps

    def longer(self, frames: int) -> "ClipRule":
        """Make the rule for clips of another number of frames, at the same frames a second."""
        seconds = None if self.clip_seconds is None else self.clip_seconds * frames / self.frames
        return replace(self, frames=frames, clip_seconds=seconds)

    def whole(self, timeline: Timeline) -> np.ndarray:
        """Give the frame indices (T,) of a video from its first frame to its last, as one clip of whatever length it takes.

        A video that is shorter than a clip gives that clip. With segments it is the middle frame of each.
        """
        if self.sampling == "segments":
            return self._in_parts(timeline, 0.5)
        count = math.floor(self._end(timeline) / self._step(timeline) + 1e-6) + 1
        if count <= self.frames:
            return self._at(timeline, 0.0)
        moments = np.arange(count) * self._step(timeline)
        return np.searchsorted(timeline.times, moments + 1e-6, side="right") - 1

    def random(self, timeline: Timeline, draw: float) -> np.ndarray:
        """Draw the frame indices (T,) of a clip that starts anywhere it fits; `draw` in [0, 1) says where.

        With segments it seeds where in its part each frame lies.
        """
        if self.sampling == "segments":
            return self._in_parts(timeline, np.random.default_rng(int(draw * 2**53)).random(self.frames))
        return self._at(timeline, draw * self._room(timeline))

    def consecutive(self, timeline: Timeline) -> np.ndarray:
        """Give the frame indices (clips, T) of clips one after the other from the start, without a last, shorter one.

        How the published study cut its test videos: most are judged by their first clip alone.
        """
        length = self._step(timeline) * (self.frames - 1) + min(self._step(timeline), 1 / timeline.fps)
        count = max(1, math.floor(timeline.duration / length + 1e-6))
        return np.stack([self._at(timeline, number * length) for number in range(count)])

    def spread(self, timeline: Timeline, count: int | None) -> np.ndarray:
        """Give the frame indices (count, T) of clips from the first frame to the last, evenly spaced; one clip is centred.

        `count` None gives as many clips as it takes for every frame of the video to be in one. With segments, clip k of
        n takes the frame in the middle of the k-th of n equal pieces of each part.
        """
        if self.sampling == "segments":
            count = count or self._frames_in_a_part(timeline)
            return np.stack([self._in_parts(timeline, (number + 0.5) / count) for number in range(count)])
        room = self._room(timeline)
        if count is None:
            starts = self._covering(timeline, room)
        else:
            starts = np.linspace(0, room, count) if count > 1 else np.array([room / 2])
        return np.stack([self._at(timeline, start) for start in starts])

    def judging(self, timeline: Timeline, clips: int | str) -> np.ndarray:
        """Give the frame indices (clips, T) of those that a video is judged by: a number of them, `all` or `consecutive`."""
        if clips == "consecutive":
            return self.consecutive(timeline)
        if clips != "all" and (not isinstance(clips, int) or clips < 1):
            raise UserError(f"clips={clips}: give a number from 1 on, all or consecutive")
        return self.spread(timeline, clips if isinstance(clips, int) else None)

    def _in_parts(self, timeline: Timeline, shares: np.ndarray | float) -> np.ndarray:
        """Frame indices (T,), each so far into its part; `shares` (T,) or one for all, in [0, 1)."""
        moments = (np.arange(self.frames) + shares) / self.frames * timeline.duration
        return self._shown(timeline, moments)

    def _frames_in_a_part(self, timeline: Timeline) -> int:
        """Count the clips that see every frame: pieces no longer than the shortest time that a frame is shown."""
        shown = np.diff(np.append(timeline.times, timeline.duration))
        return max(1, math.ceil(timeline.duration / self.frames / max(float(shown.min()), 1e-3) - 1e-6))

    def _step(self, timeline: Timeline) -> float:
        """Compute the seconds from one frame of the clip to the next. Both ends of the window are in the clip.

        In a video of fewer frames a second than the clip has, each frame of the clip stands for an equal part of it.
        """
        if self.frame_step is not None:
            step = self.frame_step / timeline.fps
        else:
            assert self.clip_seconds is not None
            step = self._step_over(self.clip_seconds, timeline)
        return min(step, self._step_over(timeline.duration, timeline)) if self.short == "stretch" else step

    def _step_over(self, seconds: float, timeline: Timeline) -> float:
        both_ends = (seconds - 1 / timeline.fps) / max(self.frames - 1, 1)
        return max(both_ends, seconds / self.frames)

    def _end(self, timeline: Timeline) -> float:
        """Compute the last moment that a clip may take: the last frame's, or later while that stays on show."""
        return float(timeline.times[-1]) + max(0.0, 1 / timeline.fps - self._step(timeline))

    def _room(self, timeline: Timeline) -> float:
        """Compute the seconds by which the clip's start can move."""
        return max(0.0, self._end(timeline) - self._step(timeline) * (self.frames - 1))

    def _covering(self, timeline: Timeline, room: float) -> np.ndarray:
        # Between two frames of a clip lie at most `phases` - 1 others: as many shifted copies see them all.
        frame = 1 / timeline.fps
        phases = math.ceil(self._step(timeline) * timeline.fps - 1e-6)
        tile = self._step(timeline) * (self.frames - 1) + phases * frame
        tiles = np.minimum(np.arange(math.floor(room / tile) + 2) * tile, room)
        # A shifted copy may run over the end; it is then extended as a short video is.
        return np.unique((tiles[:, None] + np.arange(phases) * frame).round(6))

    def _at(self, timeline: Timeline, start: float) -> np.ndarray:
        moments = start + np.arange(self.frames) * self._step(timeline)
        if self.short == "loop":
            over = moments > self._end(timeline) + 1e-6
            # The margin: the end of the video, as rounding has it, is its start.
            moments = np.where(over, (moments + 1e-6) % timeline.duration, moments)
        return self._shown(timeline, moments)

    def _shown(self, timeline: Timeline, moments: np.ndarray) -> np.ndarray:
        # The frame on show at a moment; the margin forgives the rounding of times that are frame times themselves.
        indices = np.searchsorted(timeline.times, moments + 1e-6, side="right") - 1
        return indices.clip(0, timeline.frames - 1)
