"""Write a report of a table or of a run: one HTML file that needs no network and prints well."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from hmdb_lib import environment
from hmdb_lib.config import rows
from hmdb_lib.data.load import data_root
from hmdb_lib.data.splits import video_folder
from hmdb_lib.data.video import VideoError, read_frames, scan
from hmdb_lib.errors import UserError
from hmdb_lib.plots import classes, curves, figures, pages
from hmdb_lib.results import tables
from hmdb_lib.results.metrics import classes_of, correct, read_only
from hmdb_lib.results.runs import Run, write_whole
from hmdb_lib.results.statistics import average_videos, range_text

SHOWN, FRAMES, WIDTH = 12, 10, 128  # clips of a kind, frames and pixels of each


def write_report(name: str, to: Path | str | None = None) -> Path:
    """Write a report of a table or of a run; return the file.

    It holds the questions, what can be claimed, the protocol, the table with intervals, curves, confusions and failures
    with playing clips where the videos are on this machine, the largest changes of classes, times and provenance.

    Args:
        name: of a file of results/tables without its ending, or of a finished run, as `list_runs` has it.
        to: the file; None: results/reports/<name>.html.

    Raises UserError for a name that is neither.

    Example:
        >>> hl.write_report("attention_depth-hmdb51")

    """
    place = environment.place()
    table, protocol = _find(name, place.results)
    best = next(iter(table.frame.index[table.frame.best_on_validation]), table.frame.index[0])
    pooled = tables.pool_runs(table.runs[best])
    predictions = average_videos(pooled)
    folder = _video_folder(table.runs[best][0], place)
    asked = rows()
    content: dict[str, Any] = {
        "title": name,
        "questions": {
            row: asked.get(runs[0].summary["row"], {}).get("question", "not a row of experiments.yaml")
            for row, runs in table.runs.items()
        },
        "claims": _claims(table),
        "protocol": protocol,
        "table": tables.study_styled(table.frame, table.data).to_html(),
        "figures": _figures(table, best),
        "best": best,
        "why": "" if table.frame.best_on_validation.any() else ", the first row, for validation chooses none",
        "averaged": ", its runs averaged" * (len(predictions) < len(pooled)),
        "without_videos": "" if folder else ", whose videos are not on this machine: no clip can be shown",
        "confused": _confused(predictions, folder),
        "failures": _failures(predictions, folder),
        "cost": _cost(table).to_html(index=False),
        "provenance": _provenance(table).to_html(index=False),
    }
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    page = jinja2.Environment(loader=loader, autoescape=True).get_template("report.html").render(content)
    file = Path(to).expanduser() if to else place.results / "reports" / f"{name.replace('/', '-')}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, page)
    return file


def _find(name: str, results: Path) -> tuple[tables.Written, str]:
    """Find a table with its caption, or make one of a run."""
    files = {file.stem: file for file in tables.table_files(results)}
    if name in files:
        table = figures.read_drawn(files[name])
        return table, files[name].with_suffix(".md").read_text(encoding="utf-8").rstrip().rpartition("\n\n")[2]
    run = Run(results / "runs" / name)
    if not run.finished:
        told = ", ".join(files) or "none"
        raise UserError(f"{name!r} is neither a table nor a finished run of {results}; the tables are {told}")
    config, row = run.config, run.folder.parent.name
    frame = tables.study({row: [run]}, row)
    data, train = config.data, config.train
    epoch = "the last epoch" if config.chosen_on == "last epoch" else f"epoch chosen on {config.chosen_on}"
    protocol = (
        f"{config.data.name}, split {data.split}, seed {config.seed}; backbone {config.model.backbone}, head "
        f"{config.model.head}, weights {config.model.pretrained}, frozen {config.model.frozen}; {train.epochs} epochs, "
        f"clips of {data.frames} x {data.crop} x {data.crop}; {epoch}; a video is judged by "
        f"{config.evaluate.clips} clips."
    )
    return tables.Written(name, "", data.name, "-frozen" * config.frozen, frame, {row: [run]}), protocol


def _claims(table: tables.Written) -> list[str]:
    """Say in sentences what the intervals allow to be said."""
    claims = []
    chance = 100 / len(classes_of(next(iter(table.runs.values()))[0].predictions))
    for row, line in table.frame.to_dict("index").items():
        interval = range_text(100 * line["accuracy_low"], 100 * line["accuracy_high"], line["sources"], ".1f")
        told = f"{row}: {100 * line['accuracy']:.1f} % {interval} of {line['videos']:.0f} test videos; chance is {chance:.1f} %."
        if pd.notna(line["difference"]):
            ends = range_text(
                100 * line["difference_low"], 100 * line["difference_high"], line["difference_sources"], "+.1f"
            )
            told += f" To {line['reference']}: {100 * line['difference']:+.1f} points {ends}: "
            if pd.isna(line["difference_low"]):
                told += "too few sources to claim anything."
            elif line["difference_low"] > 0 or line["difference_high"] < 0:
                told += "a difference, on sources of this kind."
            else:
                told += "no difference is shown, for the interval holds zero."
        if line["chosen_on"] == "test":
            told += " Its epoch was chosen on the test part, which flatters."
        if line["seen_test_videos"] > 0:
            told += (
                f" Its weights have seen {line['seen_test_videos']:.0f} test videos or their sources, which flatters."
            )
        claims.append(told)
    if (table.frame.runs <= 1).any() or "one run" in str(table.frame.spread_between_runs.iloc[0]):
        claims.append("Other seeds may differ by more: the spread between runs is not in these intervals.")
    return claims


def _figures(table: tables.Written, best: str) -> dict[str, str]:
    """Draw all of it; a heading -> HTML."""
    drawn = {"Accuracies": figures.accuracies([table])}
    if any(len(run.metrics) for runs in table.runs.values() for run in runs):
        drawn["Learning curves"] = figures.learning_curves(table)
    if table.frame.train_loss.notna().any() and len(table.frame) > 1:
        drawn["How far validation stays behind training"] = curves.gap_against_attention(table.frame)
    predictions = tables.pool_runs(table.runs[best])
    drawn[f"Classes of {best}"] = classes.confusion(average_videos(predictions))
    drawn[f"Is {best} sure when it is right?"] = classes.reliability(predictions)
    reference = next(iter(table.frame.reference.dropna()), best)
    if reference != best:
        other = tables.pool_runs(table.runs[reference])
        drawn["Largest changes of classes"] = classes.class_change(predictions, other, (best, reference))
    return {heading: pages.picture(figure) for heading, figure in drawn.items()}


def _confused(predictions: pd.DataFrame, folder: Path | None) -> list[dict[str, str]]:
    """List the pairs of classes that are confused most often, with a clip of each."""
    read = read_only(predictions).reset_index(drop=True)
    told = read[classes_of(read)].idxmax(axis=1)
    wrong = read.assign(told=told)[told != read.label]
    pairs = wrong.groupby(["label", "told"], sort=True).video.agg(["size", "first"]).reset_index()
    pairs = pairs.sort_values("size", ascending=False, kind="stable").head(SHOWN)
    of = read.label.value_counts()
    return [
        {
            "film": _film(folder, line["first"]),
            "told": f"{line['label']} taken for {line['told']}: {line['size']} of {of[line['label']]}",
        }
        for line in pairs.to_dict("records")
    ]


def _failures(predictions: pd.DataFrame, folder: Path | None) -> list[dict[str, str]]:
    """List the wrong answers that the model was surest of."""
    read = read_only(predictions).reset_index(drop=True)
    names = classes_of(read)
    wrong = read[~correct(read)]
    wrong = wrong.assign(sure=wrong[names].max(axis=1), chosen=wrong[names].astype(float).idxmax(axis=1))
    surest = wrong.sort_values("sure", ascending=False, kind="stable").head(SHOWN)
    return [
        {
            "film": _film(folder, line["video"]),
            "told": f"{line['label']}, but {line['chosen']} {line['sure']:.2f}: {line['video']}",
        }
        for line in surest.to_dict("records")
    ]


def _video_folder(run: Run, place: environment.Place) -> Path | None:
    folder = video_folder(run.config.data.dataset, data_root(run.config, place))
    return folder if folder.is_dir() else None


def _film(folder: Path | None, video: str) -> str:
    """Make a small film of a test video; empty where it cannot be read."""
    if folder is None:
        return ""
    try:
        timeline = scan(folder / video)
        shown = np.unique(np.linspace(0, timeline.frames - 1, FRAMES).astype(int))
        height = round(WIDTH * timeline.height / timeline.width) if timeline.width else round(WIDTH * 3 / 4)
        return pages.film(read_frames(folder / video, shown, (height, WIDTH)), timeline.times[shown])
    except VideoError:
        return ""


def _cost(table: tables.Written) -> pd.DataFrame:
    lines = []
    for row, runs in table.runs.items():
        seconds = pd.DataFrame([run.summary["seconds"] for run in runs]).sum()
        line = table.frame.loc[row]
        lines.append(
            {
                "row": row,
                "runs": len(runs),
                "training, all runs": str(timedelta(seconds=round(seconds.get("training", 0.0)))),
                "test, all runs": str(timedelta(seconds=round(seconds.get("test", 0.0)))),
                "parameters": f"{line.cnn_parameters + line.attention_parameters:,.0f}",
                "GFLOP a clip": f"{line.flops / 1e9:.2f}",
                "on": ", ".join(sorted({run.summary["device"] for run in runs})),
            }
        )
    return pd.DataFrame(lines)


def _provenance(table: tables.Written) -> pd.DataFrame:
    lines = []
    for row, runs in table.runs.items():
        for run in runs:
            summary = run.summary
            versions = ", ".join(f"{name} {version}" for name, version in summary.get("versions", {}).items())
            lines.append(
                {
                    "run": f"{row}/{run.folder.name}",
                    "test accuracy": f"{summary['test']['accuracy']:.3f}",
                    "commit": str(summary.get("commit")),
                    "versions": versions,
                    "of the data missing": summary.get("shortfall") or "nothing",
                }
            )
    return pd.DataFrame(lines)
