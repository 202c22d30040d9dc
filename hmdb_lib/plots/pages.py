"""Turn figures and frames into HTML that needs no other file."""

import base64
import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image


def picture(figure: Figure, dpi: int = 140) -> str:
    """Make a figure into HTML of an embedded PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, bbox_inches="tight")
    return _embedded(file, "png")


def film(clip: np.ndarray, times: np.ndarray, speed: float = 1.0) -> str:
    """Make frames uint8 T H W C, shown at `times` (seconds), into HTML of a film that loops."""
    first, *others = map(Image.fromarray, clip)
    file = io.BytesIO()
    # Browsers slow down films of less than 20 ms a frame.
    pause = max(20, round(1000 * (times[-1] - times[0]) / max(len(clip) - 1, 1) / speed))
    first.save(file, "gif", save_all=True, append_images=others, duration=pause, loop=0)
    return _embedded(file, "gif")


def _embedded(file: io.BytesIO, kind: str) -> str:
    content = base64.b64encode(file.getvalue()).decode()
    return f'<img style="max-width: 100%" alt="" src="data:image/{kind};base64,{content}"/>'
