"""Frames and file names that test readers of video."""

import numpy as np

ODD = "golf/Yards!!!_&_[a;b]_(#1) 100%_golf_f_nm_np1_fr_med_1.avi"


def smooth_frames(count, height=96, width=128):
    """Moving waves, which JPEG keeps closely; each frame is another."""
    y, x = np.mgrid[:height, :width]
    return [
        np.stack([128 + 100 * np.sin((x + 3 * n) / 30), 128 + 100 * np.cos((y + 5 * n) / 25), x * 0 + 40 + 2 * n], -1)
        .round()
        .astype(np.uint8)
        for n in range(count)
    ]
