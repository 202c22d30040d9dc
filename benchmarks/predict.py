"""How many videos a second a trained model judges: `python -m benchmarks.predict [--json FILE] [--repeats N]`.

All get the same files, judge each by one clip of 16 frames, and take a turn in every repeat; a ratio is the median over
repeats of the other one's time by ours. R(2+1)D-18 is measured beside the reference's way, VideoMAE small beside the
video-classification pipeline of `transformers`. The weights are random, on which no time depends. Files that are too
short for the pipeline, or that a library cannot open, are left out for all.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import torch
from torchvision.models.video import r2plus1d_18
from transformers import VideoMAEForVideoClassification, VideoMAEImageProcessor, pipeline

from benchmarks import readers
from benchmarks.loader import gather_videos
from data_prep.extract import find_videos
from hmdb_lib import config, models
from hmdb_lib.data.video import scan
from hmdb_lib.inference import trained as portable
from hmdb_lib.inference.classifier import Classifier
from hmdb_lib.models.device import Device, choose_device

VIDEOS, FRAMES, RATE = 12, 16, 4  # a turn's videos; the pipeline takes every fourth frame, about 2 s
CLASSES = [f"class {number}" for number in range(51)]
# Which other one a contestant is measured against.
AGAINST = {
    "ours": "reference",
    "ours, VideoMAE": "pipeline",
    "pipeline, half precision": "pipeline",
}


def main() -> int:
    """Measure, print the table, write it as JSON."""
    parser = argparse.ArgumentParser("python -m benchmarks.predict", description="How fast videos are judged.")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write a list of {name, videos_per_s, against, ratio}"
    )
    parser.add_argument("--repeats", type=int, default=3, help="turns of every contestant (default: %(default)s)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    device = choose_device()
    print(f"{device.reason}; {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        root = gather_videos(Path(folder)) / "videos"
        files = [root / path for path in find_videos(root)]
        files = [file for file in files if scan(file).frames > RATE * (FRAMES - 1) and _opens(file)]
        print(f"{VIDEOS} videos, of {len(files)} files")
        seconds = interleave(contestants(list(islice(cycle(files), VIDEOS)), device), arguments.repeats)
    rows = []
    print(f"{'name':<28}{'videos/s':>10}{'ratio':>8}  against")
    for name, times in seconds.items():
        against = AGAINST.get(name, name)
        ratio = statistics.median(base / own for base, own in zip(seconds[against], times, strict=True))
        rows.append(
            {"name": name, "videos_per_s": VIDEOS / statistics.median(times), "against": against, "ratio": ratio}
        )
        print("{name:<28}{videos_per_s:10.2f}{ratio:8.2f}  {against}".format(**rows[-1]))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


def contestants(files: list[Path], device: Device) -> dict[str, Callable[[], object]]:
    """Each judges all the files when it is called."""
    names = [str(file) for file in files]
    read = readers.reference(files)
    baseline = r2plus1d_18(num_classes=len(CLASSES)).to(device.kind).eval()

    @torch.inference_mode()
    def reference() -> None:
        for number in range(len(files)):
            clip = read(number, 0.5).transpose(0, 1)[None].to(device.kind)  # 1 C T H W
            baseline(clip).softmax(1).cpu()

    def pipe(dtype: torch.dtype) -> Callable[[], object]:
        shape = models.build_backbone("videomae_small").config
        shape.num_labels = len(CLASSES)
        model = VideoMAEForVideoClassification(shape)
        how = {"image_processor": VideoMAEImageProcessor(), "device": device.kind, "dtype": dtype}
        judge = pipeline("video-classification", model.to(dtype).eval(), **how)
        return lambda: judge(names, frame_sampling_rate=RATE)

    ours = {row: classifier(row, device) for row in ("baseline", "videomae_small")}
    found = {
        "reference": reference,
        "ours": lambda: ours["baseline"].predict(files, clips=1),
        "pipeline": pipe(torch.float32),
        "ours, VideoMAE": lambda: ours["videomae_small"].predict(files, clips=1),
    }
    half = device.dtype
    return found | ({"pipeline, half precision": pipe(half)} if half != torch.float32 else {})


def classifier(row: str, device: Device) -> Classifier:
    """A row's model with random weights, judging by one crop."""
    chosen = config.load(row, ["data=hmdb51", "evaluate.crops=1"])
    model = models.build(classes=len(CLASSES), **chosen.architecture())
    return Classifier(
        portable.Trained(Path("random"), chosen, CLASSES, model.mean, model.std, model.state_dict(), {}), device
    )


def interleave(judges: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each in every repeat, all in turn, after one turn that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in judges}
    for repeat in range(repeats + 1):
        for name, judge in judges.items():
            start = time.perf_counter()
            judge()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _opens(file: Path) -> bool:
    try:
        readers.reference([file])(0, 0.5)
    except Exception as error:  # whatever it was, it is another library's
        print(f"{file.name}: left out, {type(error).__name__}")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
