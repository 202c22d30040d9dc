"""Draw the pictures of a results folder: of each table its accuracies, its learning curves, and what its rows cost."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hmdb_lib import config
from hmdb_lib.errors import UserError
from hmdb_lib.files import whole_file
from hmdb_lib.plots import architecture, classes
from hmdb_lib.plots.curves import COLOURS, PAGE, STAR, STYLE
from hmdb_lib.results.statistics import average_videos
from hmdb_lib.results.tables import Written, marked, pool_runs, read_written, table_files

ACROSS = 4  # rows of a table beside each other


def read_tables(results: Path) -> list[Written]:
    """Read all tables of a results folder as `read_drawn` does, and tell of those that it refuses."""
    found = []
    for file in table_files(results):
        try:
            found.append(read_drawn(file))
        except UserError as error:
            print(error)
    return found


def read_drawn(file: Path) -> Written:
    """Read a table of a results folder with its finished runs; rows without one are left out. Raises UserError."""
    written = read_written(file)
    frame = written.frame.dropna(subset=["accuracy", "cnn_parameters"])
    if not len(frame):
        raise UserError(f"{file}: none of its rows has a finished run; hmdb study goes on with them")
    return written._replace(frame=frame, runs={row: written.runs[row] for row in map(str, frame.index)})


def draw(results: Path, folder: Path | None = None) -> list[Path]:
    """Draw every table of a results folder into `folder` (None: its figures/); return the files, sorted.

    `<table>.png`: accuracies with their intervals, a panel a data set. `<table>-<data>-curves.png`: loss and accuracy
    of training and validation, row by row. `<table>-<data>-confusion.png`: which classes the row that validation would
    choose takes for which, its runs averaged, where sources are enough for an interval. `<table>-rows.png`: in what the
    rows of every table of experiments.yaml differ. `parameters.png`: what the rows cost, of tables at their own sizes
    (without name=...) where there are any. The same results give the same bytes. Raises UserError where there is no table.
    """
    tables = read_tables(results)
    if not tables:
        raise UserError(f"{results / 'tables'}: no table yet; hmdb study makes them")
    figures = {"parameters": parameters([table for table in tables if table.title in config.tables()] or tables)}
    for names in sorted({table.title for table in tables}):
        figures[names] = accuracies([table for table in tables if table.title == names])
    for name, table in config.tables().items():
        figures[f"{name}-rows"] = architecture.rows(
            {row: config.load(row, ["data.dataset=hmdb51"]) for row in table["rows"]}
        )
    for table in tables:
        best = table.frame.index[table.frame.best_on_validation & table.frame.accuracy_low.notna()]
        for row in best:
            pooled = pool_runs(table.runs[row])
            predictions = average_videos(pooled)
            figure = classes.confusion(predictions)
            figure.suptitle(f"{row}, {table.judged}{', runs averaged' * (len(predictions) < len(pooled))}", size=8)
            figures[f"{table.stem}-confusion"] = figure
        if any(len(run.metrics) for runs in table.runs.values() for run in runs):
            figures[f"{table.stem}-curves"] = learning_curves(table)
    folder = folder or results / "figures"
    return [save(figure, folder / f"{name}.png") for name, figure in sorted(figures.items())]


@mpl.rc_context(STYLE)
def accuracies(tables: Sequence[Written]) -> Figure:
    """Draw the test accuracy of each row with its 95 % interval over source videos, a panel a data set.

    Hollow: too few sources for an interval. Rows are named as in the table.
    """
    heights = [len(table.frame) for table in tables]
    size = (PAGE, 0.45 + sum(0.55 + 0.2 * height for height in heights))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(tables), 1, sharex=True, squeeze=False, height_ratios=[2 + h for h in heights])
    for axes, table in zip(panels[:, 0], tables, strict=True):
        frame = table.frame[["accuracy", "accuracy_low", "accuracy_high"]] * 100
        errors = np.stack([frame.accuracy - frame.accuracy_low, frame.accuracy_high - frame.accuracy]).clip(min=0)
        for place, (known, line) in enumerate(zip(frame.accuracy_low.notna(), frame.itertuples(), strict=True)):
            error, fill = (errors[:, [place]], COLOURS[0]) if known else (None, "white")
            axes.errorbar(line.accuracy, place, xerr=error, fmt="o", color=COLOURS[0], mfc=fill, capsize=2.5)
        names = marked(table.frame)
        axes.set_yticks(range(len(names)), names)
        axes.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, 100))
        axes.set_title(table.judged, loc="left")
    star = any((table.frame.chosen_on == "test").any() for table in tables)
    told = "test accuracy, %, 95 % interval over sources; hollow: too few for one"
    panels[-1, 0].set_xlabel(told + f"; {STAR}" * star)
    return figure


@mpl.rc_context(STYLE)
def learning_curves(table: Written) -> Figure:
    """Draw loss and accuracy of training (dashed) and validation (full), row by row: thin a run, thick their mean.

    A star: the epoch was chosen on the test part, which then stands in for validation.
    """
    on_test = set(table.frame.index[table.frame.chosen_on == "test"])
    rows = [row for row, runs in table.runs.items() if any(len(run.metrics) for run in runs)]
    across, lines = min(ACROSS, len(rows)), -(-len(rows) // ACROSS)
    figure = Figure(figsize=(PAGE, 0.5 + 2.6 * lines), layout="constrained")
    panels = figure.subplots(2 * lines, across, squeeze=False, sharex=True, sharey="row")
    for number, row in enumerate(rows):
        column = panels[2 * (number // across) : 2 * (number // across) + 2, number % across]
        column[0].set_title(f"{row}{'*' * (row in on_test)}", fontsize=7)
        for axes, measure in zip(column, ("loss", "accuracy"), strict=True):
            for part, colour, style in (("train", COLOURS[1], "--"), ("val", COLOURS[0], "-")):
                name = f"{part}_video_{measure}"
                kept = [
                    run.metrics.reindex(columns=["epoch", name]).set_index("epoch")[name] for run in table.runs[row]
                ]
                curves = pd.concat(kept, axis=1)
                axes.plot(curves.index, curves, style, color=colour, linewidth=0.5, alpha=0.4)
                axes.plot(curves.index, curves.mean(axis=1), style, color=colour, linewidth=1.6)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        column[1].set_xlabel("epoch, from 0")
    for place, axes in enumerate(panels[:, 0]):
        axes.set_ylabel(("loss (nats)", "accuracy")[place % 2])
        axes.set_ylim(0, 1.02 if place % 2 else None)
    for axes in panels.ravel():
        axes.set_visible(bool(axes.lines))
    told = "dashed: training, full: validation; thin: one run, thick: the mean of the runs"
    figure.suptitle(f"{table.judged}\n{told}" + f"\n{STAR}, not on validation" * bool(on_test.intersection(rows)))
    return figure


@mpl.rc_context(STYLE)
def parameters(tables: Sequence[Written]) -> Figure:
    """Draw the parameters of every row, backbone and attention, beside the published study's (ring: their sum).

    A row that has other sizes in other tables has a line for each, which names the first table that has it so.
    """
    table = pd.concat([table.frame.assign(row=table.frame.index, table=table.stem) for table in tables])
    table = table.drop_duplicates(["row", "cnn_parameters", "attention_parameters"])
    several = table.row.duplicated(keep=False)
    table = table.set_axis(table.row.where(~several, table.row + ", " + table.table))
    parts = pd.DataFrame({"backbone": table.cnn_parameters, "all but the backbone": table.attention_parameters}) / 1e6
    parts = parts.loc[parts.sum(axis=1).sort_values(kind="stable").index]
    figure = Figure(figsize=(PAGE, 0.8 + 0.19 * len(parts)), layout="constrained")
    axes, places = figure.subplots(), range(len(parts))
    left = np.zeros(len(parts))
    for (name, values), colour, hatch in zip(parts.items(), COLOURS, ("", "////"), strict=False):
        axes.barh(places, values, left=left, color=colour, hatch=hatch, edgecolor="white", label=str(name))
        left += values.to_numpy()
    theirs = table.loc[parts.index, "published_hmdb51_cnn_million"] + table.loc[
        parts.index, "published_hmdb51_attention_million"
    ].fillna(0)
    axes.plot(theirs, places, "o", color="black", mfc="none", label="published, R(2+1)D and attention")
    axes.set_yticks(places, parts.index)
    axes.set(xlabel="millions of parameters", ylim=(-0.6, len(parts) - 0.4))
    axes.grid(False, axis="y")
    axes.legend(loc="lower right")
    return figure


def save(figure: Figure, file: Path) -> Path:
    """Write a figure as a PNG in which nothing but the figure stands; return the file."""
    with whole_file(file, keep_suffix=True) as part:
        figure.savefig(part, dpi=140, metadata={"Software": None}, pil_kwargs={"optimize": True})
    return file
