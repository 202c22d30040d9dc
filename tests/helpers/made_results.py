"""A results folder with a table of two rows over two splits, whose backbones were frozen."""

from pathlib import Path

from helpers.made import made_metrics, made_predictions
from hmdb_lib.results import tables
from hmdb_lib.results.runs import Run


def write_results(folder: Path, videos: Path | str = "nowhere") -> Path:
    """The table is results/tables/depth-tiny-frozen; its videos lie, or do not, in the class folders of `videos`."""
    runs = {"baseline": [], "cross1_self1": []}
    for row, of_row in runs.items():
        for split in (1, 2):
            run = Run(folder / "runs" / f"{row}-frozen" / f"tiny-split{split}-seed0")
            run.folder.mkdir(parents=True)
            data = f"data: {{dataset: folder, root: '{videos}', split: {split}}}\n"
            (run.folder / "config.yaml").write_text(f"row: {row}\n{data}model: {{frozen: all}}\n")
            made_metrics(6, shift=split).to_csv(run.folder / "metrics.csv", index=False)
            predictions = made_predictions(seed=list(runs).index(row))
            predictions["video"] += ".avi"
            best = {"train_video_loss": 1.0, "val_video_loss": 2.0, "val_video_accuracy": 0.5}
            summary = {"row": row, "test": {"accuracy": 0.5}, "best_epoch": best, "flops": 1e9, "device": "cpu"}
            summary |= {"parameters": {"cnn": 2e6, "total": 3e6}, "seconds": {"training": 60.0, "test": 5.0}}
            run.finish(predictions, summary | {"commit": "abc", "versions": {"torch": "2.8"}})
            of_row.append(run)
    tables.write_study(
        tables.study(runs, "baseline"),
        "tiny",
        "depth on tiny, split 1, 2, seed 0; as it was done.",
        folder / "tables" / "depth-tiny-frozen",
    )
    return folder
