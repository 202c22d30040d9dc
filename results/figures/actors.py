"""Where attention looks on real clips: `uv run python results/figures/actors.py <run> <run of the average>`.

Both runs judge the same videos, and the first one's checkpoint is there. Written: into ../actors.csv, for the clips whose
actor has a box in it (taken by hand: pixels of the crop, in the middle frame), the box's share of the picture and of the
attention on that frame; and actors.png: clips that only attention, and clips that only the average, gets right.
"""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from hmdb_lib import environment
from hmdb_lib.inference import overlay
from hmdb_lib.inference.classifier import Classifier
from hmdb_lib.plots import curves as plots
from hmdb_lib.results.metrics import classes_of, correct
from hmdb_lib.results.runs import Run
from hmdb_lib.training import experiment as training

FIGURES = Path(__file__).parent
BOXES = FIGURES.parent / "actors.csv"
FRAMES, CLIPS = (1, 3, 5), 6  # of a clip; on either side


def shares(classifier: Classifier, videos: Path) -> pd.DataFrame:
    """Compute the share of the picture, and of the attention on the middle frame, that lies in each actor's box."""
    boxes = pd.read_csv(BOXES)[["path", "left", "top", "right", "bottom"]]
    found = []
    for path, left, top, right, bottom in boxes.itertuples(index=False):
        clip = classifier.clip(videos / path)
        frame = overlay.maps(classifier, clip)[len(clip) // 2]  # H W
        inside = frame[top:bottom, left:right]
        found.append({"of_picture": inside.size / frame.size, "of_attention": inside.sum() / frame.sum()})
    return boxes.join(pd.DataFrame(found).round(4))


def picked(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """List the videos that the first model is right about and the second one wrong, the surest first, one of a class."""
    names = classes_of(first)
    table = first.assign(sure=first[names].max(axis=1), said=second[names].astype(float).idxmax(axis=1))
    table = table[correct(first) & ~correct(second)].sort_values("sure", ascending=False, kind="stable")
    return table.drop_duplicates("label").head(CLIPS)


def sheet(classifier: Classifier, videos: Path, sides: dict[str, pd.DataFrame]) -> Figure:
    """Draw frames under attention, a line a clip, the sides beside each other."""
    figure = Figure(figsize=(5.4, 0.98 * CLIPS + 0.3), layout="constrained")
    for part, (title, table) in zip(figure.subfigures(1, len(sides)), sides.items(), strict=True):
        part.suptitle(title, size=8)
        panels = part.subplots(CLIPS, len(FRAMES), squeeze=False)
        for axes in panels.flat:
            axes.set_axis_off()
        for line, video in zip(panels, table.to_dict("records"), strict=False):
            clip = classifier.clip(videos / video["video"])
            pictures = overlay.overlay_frames(clip.numpy(), overlay.maps(classifier, clip))
            for axes, frame in zip(line, FRAMES, strict=True):
                axes.imshow(pictures[frame][:, clip.shape[2] :])
            line[1].set_title(f"{video['label']}, the other: {video['said']}", size=7)
    return figure


def main(run: Run, average: Run) -> None:
    """Write the shares and draw the sheet."""
    classifier = Classifier.load(run.folder)
    videos = training.read_data(run.config, environment.place()).folder
    table = shares(classifier, videos)
    table.to_csv(BOXES, index=False)
    print(table.round(2).to_string())
    print(f"mean share of the picture {table.of_picture.mean():.3f}, of the attention {table.of_attention.mean():.3f}")
    first, second = run.predictions, average.predictions
    sides = {"attention right, the average wrong": picked(first, second)}
    sides["the average right, attention wrong"] = picked(second, first)
    plots.save(sheet(classifier, videos, sides), FIGURES / "actors")


if __name__ == "__main__":
    main(Run(Path(sys.argv[1])), Run(Path(sys.argv[2])))
