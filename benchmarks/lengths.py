"""How time and memory grow with the clip: `python -m benchmarks.lengths [--json FILE] [--frames 16 32 64]`.

Every method's forward pass at each number of frames, each in a process of its own; for the methods on a CNN also what
stands behind it alone, because the CNN's own cost is linear. The exponent is that of a straight line through the
logarithms. Theory for N latents, M tokens, L self-attention layers: the hybrid N M + L N^2, a transformer over all
tokens M^2, and M is proportional to the frames.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from hmdb_lib import config, models
from hmdb_lib.models import cost
from hmdb_lib.models.streaming import classify_in_parts

CLASSES, PART = 51, 16
ROWS = ("cross1_self1", "blocks4_cross1_self6", "bert_32frames", "videomae_small")
THEORY = {
    "cross1_self1": "N M + L N^2",
    "blocks4_cross1_self6": "N M + L N^2",
    "bert_32frames": "T'^2 of few",
    "videomae_small": "M^2",
}


class Given(nn.Module):
    """Stands in for a backbone: tokens of the right shape, at no cost."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.channels, self.grid, self.times = backbone.channels, backbone.grid, backbone.times

    def forward(self, clips: Tensor) -> Tensor:
        """Clips B 3 T H W to tokens B T' H' W' C."""
        return clips.new_ones(len(clips), *self.grid(*clips.shape[2:4]), self.channels)


class InParts(nn.Module):
    """A hybrid that reads the same clip in parts."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> Tensor:
        """Logits B classes; no part is made before its turn."""
        shape, frames = (1, 3, PART, *clips.shape[3:]), clips.shape[2]
        return classify_in_parts(self.model, lambda: (torch.ones(shape) for _ in range(frames // PART)), frames)


def build(row: str, kind: str) -> nn.Module:
    """A row's model: whole, its head alone, or reading in parts."""
    model = models.build(classes=CLASSES, **config.load(row, ["data=hmdb51"]).architecture())
    if kind == "head":
        model.backbone = Given(model.backbone)
    return InParts(model).eval() if kind == "in parts" else model


def _exponent(lines: list[dict[str, float]], of: str) -> float:
    return np.polyfit(np.log([line["frames"] for line in lines]), np.log([line[of] for line in lines]), 1)[0]


def main() -> int:
    """Measure, print the table, write it as JSON."""
    parser = argparse.ArgumentParser("python -m benchmarks.lengths", description="How cost grows with the clip.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a list of {name, frames, seconds, bytes}")
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 32, 64], help="multiples of 16")
    parser.add_argument("--repeats", type=int, default=3, help="timed passes (default: %(default)s)")
    arguments = parser.parse_args()
    kinds = [(row, kind) for row in ROWS for kind in ("whole", "head") if (row, kind) != ("videomae_small", "head")]
    kinds.append(("cross1_self1", "in parts"))
    rows = []
    for row, kind in tqdm(kinds, "methods"):
        size = config.load(row, ["data=hmdb51"]).data.crop
        for frames in arguments.frames:
            make = partial(build, row, kind)
            found = cost.measure(make, frames, size, repeats=arguments.repeats, passes=["forward"])
            found = {"seconds": found["seconds_forward"], "bytes": found["bytes_forward"]}
            rows.append({"name": f"{row}, {kind}", "frames": frames} | found)
    print(f"{'method':<34}{'frames':>7}{'s':>9}{'MB':>8}")
    for row in rows:
        print("{name:<34}{frames:7}{seconds:9.3f}{megabytes:8.0f}".format(**row, megabytes=row["bytes"] / 1e6))
    print(f"\n{'exponents of':<34}{'time':>9}{'memory':>9}{'theory of time':>17}")
    for row, kind in kinds:
        own = [line for line in rows if line["name"] == f"{row}, {kind}"]
        theory = THEORY[row] if kind == "head" or row == "videomae_small" else "CNN: M"
        print(f"{f'{row}, {kind}':<34}{_exponent(own, 'seconds'):9.2f}{_exponent(own, 'bytes'):9.2f}{theory:>17}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
