"""Tables as a reader wants them: our numbers beside the published ones. Needs no torch."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pandas.io.formats.style import Styler

from hmdb_lib.environment import place, shipped
from hmdb_lib.errors import UserError
from hmdb_lib.results.intervals import holm
from hmdb_lib.results.metrics import UNEVEN, imbalance, mean_class_accuracy
from hmdb_lib.results.runs import OWN_WAY, Run, write_whole
from hmdb_lib.results.statistics import (
    ENOUGH_SHARED,
    Comparison,
    accuracy_interval,
    average_runs,
    compare,
    pool,
    range_text,
    run_spreads,
    seeds_of,
)

# Of a table: its names and changes, its data, splits and seeds.
CAPTION = re.compile(r"^(.*?) on (.+?), split ([\d, ]+), seed ([\d, ]+);", re.MULTILINE)
KINDS = "(?:-frozen)?(?:-final)?(?:-quick)?"  # at the end of a table's name
PUBLISHED = shipped("results/published.csv")
# What a perceiver's attention does: column -> value of summary.json.
LOOKED = {
    "attention_entropy": "attention.entropy",
    "attention_shared": "attention.shared",
    "gate_variance": "attention.gate.variance_share",
}
ATTENTION = [
    *LOOKED,
    "gate_gain",
    "gate_gain_low",
    "gate_gain_high",
    "gate_gain_sources",
]  # left out where no row has any
EPOCH = ["train_video_loss", "val_video_loss", "val_video_accuracy"]  # of the chosen epoch


def published() -> pd.DataFrame:
    """Read the published numbers, one line a row: losses, accuracy, millions of parameters, and a note.

    Example:
        >>> hl.published()[["val_accuracy", "attention_million"]]

    """
    return pd.read_csv(PUBLISHED).drop(columns="table").drop_duplicates("row").set_index("row")


def read_table(name: str | None = None, results: Path | None = None) -> pd.DataFrame:
    """Read a table of rows, one line a row: plain numbers, as results/README.md explains them; its name is in `.attrs`.

    Args:
        name: of a file of results/tables, without its ending; None: the one with the most test videos.
        results: a results folder; None: this machine's.

    Raises UserError where there is none.

    Example:
        >>> hl.read_table("attention_depth-hmdb51")[["accuracy", "accuracy_low", "accuracy_high"]]

    """
    results = Path(results or place().results)
    folder, found = results / "tables", {file.stem: file for file in table_files(results)}
    if not found or (name and name not in found):
        raise UserError(
            f"{folder}: no table {name or ''}; there are {', '.join(found) or 'none: hmdb study makes them'}"
        )
    read = {stem: pd.read_csv(file, index_col="row") for stem, file in found.items() if name in (None, stem)}
    stem = max(read, key=lambda stem: read[stem].videos.fillna(0).max())
    read[stem].attrs["name"] = stem
    return read[stem]


def table_files(results: Path) -> list[Path]:
    """List the tables of a results folder, and tell of any other CSV there that it is left out."""
    found = []
    for file in sorted((results / "tables").glob("*.csv")):
        with file.open(encoding="utf-8", errors="replace") as lines:
            columns = lines.readline().strip().split(",")
        if columns[0] == "row" and "accuracy" in columns:
            found.append(file)
        else:
            print(f"{file}: is no table of hmdb study, which has the columns row and accuracy; it is left out")
    return found


class Written(NamedTuple):
    """Hold a table that `hmdb study` wrote, and the finished ones of the runs that its caption names, row by row.

    `kinds` follows the data set in its file's name (`-frozen`); `name` is the one that the runs were given, or empty.
    """

    names: str
    name: str
    data: str
    kinds: str
    frame: pd.DataFrame
    runs: dict[str, list[Run]]

    @property
    def title(self) -> str:
        """Return what its rows and runs are called, without the data."""
        return f"{self.names}{'-' * bool(self.name)}{self.name}"

    @property
    def stem(self) -> str:
        """Return the name of its files."""
        return f"{self.title}-{self.data}{self.kinds}"

    @property
    def judged(self) -> str:
        """Say which data, and how many."""
        videos, sources = self.frame.videos.max(), self.frame.sources.max()
        return f"{self.data}{self.kinds.replace('-', ', ')}: {videos:.0f} test videos of {sources:.0f} sources"


def read_written(file: Path) -> Written:
    """Read a file of results/tables with the finished runs beside it, seed by seed.

    Raises UserError where its caption does not say which they are, or where a row's runs have gone.
    """
    frame = pd.read_csv(file, index_col="row")
    page = file.with_suffix(".md")
    told = CAPTION.search(page.read_text(encoding="utf-8")) if page.is_file() else None
    # Behind the data a caption may say more, and a folder's name may hold anything: the file's name has it too.
    told_of = [told[2][:end] for end in range(len(told[2]), 0, -1)] if told else []
    fits = (re.fullmatch(rf"(.+)-({re.escape(data)})({KINDS})", file.stem) for data in told_of)
    fit = next(filter(None, fits), None)
    if not told or not fit:
        raise UserError(f"{page}: does not say of which data, splits and seeds the table is; run hmdb study again")
    title, data, kinds = fit.groups()
    splits, seeds = (sorted({int(number) for number in of.split(",")}) for of in told.groups()[2:])
    names = "+".join(itertools.takewhile(lambda word: "=" not in word, told[1].split(", ")))
    if not f"{title}-".startswith(f"{names}-"):  # a caption in one's own words
        names = title.partition("-")[0]
    name = title[len(names) + 1 :]
    numbered = [f"{data}-split{split}-seed{seed}{kinds.removeprefix('-frozen')}" for seed in seeds for split in splits]
    runs = {}
    for row in map(str, frame.index):
        if row == row_of(row):
            folder = file.parents[1] / "runs" / f"{row}{'-' * bool(name)}{name}"
            frozen = folder.with_name(f"{folder.name}-frozen")
            # Where some rows train their backbone, those that do not have runs under the other name.
            folders = [frozen] if kinds.startswith("-frozen") else [folder, frozen]
            found = ([run for run in map(Run, map(of.joinpath, numbered)) if run.finished] for of in folders)
            runs[row] = next(filter(None, found), [])
    if gone := [row for row, of_row in runs.items() if not of_row and pd.notna(frame.accuracy[row])]:
        raise UserError(
            f"{file}: the runs of {', '.join(gone)} have gone from {file.parents[1] / 'runs'}; bring them back or remove "
            "the table"
        )
    return Written(names, name, data, kinds, frame, runs)


def cost_text(costs: pd.DataFrame) -> str:
    """Format a table of `hmdb_lib.models.cost.table` for the terminal: millions and GFLOP, beside the published millions."""
    theirs = published().reindex(costs.index)
    attention = costs.cross_attention + costs.self_attention + costs.classifier
    shown = pd.DataFrame(
        {
            "CNN": costs.cnn.map("{:,}".format),
            "cross att.": costs.cross_attention.map("{:,}".format),
            "self att.": costs.self_attention.map("{:,}".format),
            "classifier": costs.classifier.map("{:,}".format),
            "CNN M": (costs.cnn / 1e6).map("{:.1f}".format),
            "publ.": theirs.cnn_million.map("{:.1f}".format, na_action="ignore"),
            "att. M": (attention / 1e6).map("{:.1f}".format),
            "publ. ": theirs.attention_million.map("{:.1f}".format, na_action="ignore"),
            "GFLOP": (costs.flops / 1e9).map("{:.1f}".format),
            "M": costs.tokens,
            "N": costs.latents,
            "N M + L N^2": costs.pairs.map("{:,}".format),
        }
    )
    if "seconds_forward" in costs:
        shown["forward s"] = costs.seconds_forward.map("{:.2f}".format)
        shown["training s"] = costs.seconds_training.map("{:.2f}".format)
        shown["forward GB"] = (costs.bytes_forward / 1e9).map("{:.2f}".format)
        shown["training GB"] = (costs.bytes_training / 1e9).map("{:.2f}".format)
    notes = [f"{row}: {note}" for row, note in theirs.note.dropna().items()]
    legend = (
        "parameters by component; M tokens, N latents, L self-attention layers; att. M: all but the CNN, in millions;\n"
        "publ.: of the published study; GFLOP of one clip forward, 2 x multiply-adds"
    )
    return "\n".join([shown.fillna("").to_string(), legend, *notes])


def study(
    runs: Mapping[str, Sequence[Run]],
    reference: str,
    against: Mapping[str, str] | None = None,
    judged: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Compute a table's columns as plain numbers, one line a row; results/README.md explains them.

    `runs` has the finished runs of each row, over any splits and seeds; a row without one has a line without numbers.
    `against` has the reference of rows that have another one. `judged` has ways in which a row's runs were judged once
    more: each is a line under its row, with the difference to the row, without the spread between runs, which are the
    same ones.
    Losses are means over the runs, at the epoch that each chose. The accuracy is over all predictions of all runs. A row
    with several seeds has a line more, of the mean of their probabilities. Where classes are uneven (`metrics.UNEVEN`) there
    are three columns more.
    """
    theirs = published().add_prefix("published_hmdb51_").drop(columns="published_hmdb51_note")
    pools = {row: pool_runs(of_row) for row, of_row in runs.items() if of_row}
    spreads = run_spreads(pools)
    averages = {row: average_runs(predictions) for row, predictions in pools.items()}
    seeds = {row: seeds_of(predictions) for row, predictions in pools.items()}
    lines: dict[str, dict[str, Any]] = {}
    for row, of_row in runs.items():
        lines[row] = {"runs": len(of_row)}
        to = (against or {}).get(row, reference)
        if row not in pools:
            continue
        predictions = pools[row]
        summaries = pd.json_normalize([run.summary for run in of_row])
        first = summaries.iloc[0]
        means = summaries.reindex(columns=[f"best_epoch.{name}" for name in EPOCH]).mean().set_axis(EPOCH)
        spread, spread_from = spreads[row]
        lines[row] |= {
            "chosen_on": of_row[0].config.chosen_on,
            "trials": of_row[0].config.trials,
            "videos": predictions.video.nunique(),
            **accuracy_interval(predictions, spread).columns(),
            "train_loss": means.train_video_loss,
            "validation_loss": means.val_video_loss,
            "validation_accuracy": means.val_video_accuracy,
            "accuracy_spread": summaries["test.accuracy"].std(),
            "spread_between_runs": spread_from,
            "mean_class_accuracy": mean_class_accuracy(predictions),
            "imbalance": summaries.get("imbalance", pd.Series([imbalance(predictions.label)])).max(),
            "commonest_class": summaries.get("commonest_class", pd.Series([math.nan])).mean(),
            "seen_test_videos": summaries.get("seen_test_videos", pd.Series([0])).fillna(0).max(),
            "cnn_parameters": first["parameters.cnn"],
            "attention_parameters": first.get("parameters.total", math.nan) - first["parameters.cnn"],  # probes: none
            "flops": first.get("flops", math.nan),
        }
        looked = summaries.reindex(columns=list(LOOKED.values())).mean()
        lines[row] |= dict(zip(LOOKED, looked, strict=True))
        if gated := [run for run in of_row if run.predictions_without_gate is not None]:
            gain = compare(pool_runs(gated), pool_runs(gated, without_gate=True))
            lines[row] |= {"gate_gain": gain.difference, "gate_gain_low": gain.low, "gate_gain_high": gain.high}
            lines[row] |= {"gate_gain_sources": gain.sources}
        if row != to and to in pools and predictions.video.isin(pools[to].video).any():
            versus = compare(predictions, pools[to], (spread, spreads[to][0]), partial=True)
            lines[row] |= _against(to, versus)
        ways = (judged or {}).get(row, ())
        again = {(run.config.data.split, run.config.seed): run.judged for run in of_row} if ways else {}
        for way in ways:
            if all(way in of_run for of_run in again.values()):
                by_way, own = (pool({run: of_run[one] for run, of_run in again.items()}) for one in (way, OWN_WAY))
                lines[f"{row}: {way}"] = {
                    **{"runs": len(of_row), "chosen_on": lines[row]["chosen_on"], "videos": by_way.video.nunique()},
                    **accuracy_interval(by_way, spread).columns(),
                    "spread_between_runs": spread_from,
                    **_against(row, compare(by_way, own)),
                }
        if (averaged := averages.get(row)) is not None:
            name = f"{{}} ({seeds[row]} runs averaged)"
            line = lines[name.format(row)] = {
                **{"runs": seeds[row] * averaged.index.nunique(), "videos": averaged.video.nunique()},
                **accuracy_interval(averaged).columns(),
                "mean_class_accuracy": mean_class_accuracy(averaged),
            }
            other = averages.get(to)
            if "difference" in lines[row] and other is not None and seeds[row] == seeds[to]:
                line |= _against(name.format(to), compare(averaged, other, partial=True)) | {"p": math.nan}
    columns = [
        *("runs", "chosen_on", "trials", "videos", "sources", "train_loss", "validation_loss", "validation_accuracy"),
        *("best_on_validation", "accuracy", "accuracy_low", "accuracy_high", "accuracy_spread", "spread_between_runs"),
        *("reference", "difference", "difference_low", "difference_high", "difference_sources", "p", "p_holm"),
        *("compared_videos", "videos_of_either", "seen_test_videos", "cnn_parameters", "attention_parameters", "flops"),
    ]
    if max((line.get("imbalance", 1) for line in lines.values()), default=1) > UNEVEN:
        columns += ["mean_class_accuracy", "imbalance", "commonest_class"]
    ours = pd.DataFrame.from_dict(lines, orient="index").reindex(columns=[*columns, *ATTENTION])
    if ours[ATTENTION].isna().all(axis=None):
        ours = ours.drop(columns=ATTENTION)
    compared = ours.p.notna()
    ours.loc[compared, "p_holm"] = holm(
        ours.p[compared].to_numpy(float), planned=len(runs) - 1 + sum(map(len, (judged or {}).values()))
    )
    cuts = {row: {run.config.data.group for run in of_row} for row, of_row in runs.items() if of_row}
    cut = cuts.get(reference, next(iter(cuts.values()), set()))
    alike = [cuts.get(row) == cut for row in ours.index]
    ours["best_on_validation"] = ours.index.isin(_best_on_validation(ours[alike]))
    return ours.join(theirs).rename_axis("row")


def study_text(table: pd.DataFrame, data: str) -> pd.DataFrame:
    """Format the table of `study`: texts alone, the published numbers under a heading that names their data."""
    ours, theirs = f"ours ({data})", "published (HMDB51)"
    lines: list[Any] = list(table.itertuples())

    def text(column: str, form: str = "{:.3g}", scale: float = 1) -> pd.Series:
        return pd.Series(table[column] * scale).map(form.format, na_action="ignore")

    attention = {}
    if "gate_gain" in table:
        attention = {
            (ours, "entropy of attention"): text("attention_entropy", "{:.2f}"),
            (ours, "shared by latents"): text("attention_shared", "{:.2f}"),
            (ours, "variance through the gate, %"): text("gate_variance", "{:.1f}", 100),
            (ours, "the gate adds, points"): [
                _points(line.gate_gain, line.gate_gain_low, line.gate_gain_high, line.gate_gain_sources)
                for line in lines
            ],
        }
    shown = {
        ("", "row"): marked(table),
        (ours, "runs"): text("runs", "{:.0f}"),
        (ours, "trials"): text("trials", "{:.0f}"),
        (ours, "train loss, plain"): text("train_loss"),
        (ours, "val. loss, plain"): text("validation_loss"),
        (ours, "val. accuracy, %"): text("validation_accuracy", "{:.1f}", 100),
        (ours, "test accuracy, %"): [_accuracy(line) for line in lines],
        **(
            {(ours, "mean over classes, %"): text("mean_class_accuracy", "{:.1f}", 100)}
            if "mean_class_accuracy" in table
            else {}
        ),
        (ours, "difference, points"): [_difference(line) for line in lines],
        (ours, "p"): text("p", "{:.3f}"),
        (ours, "p, Holm"): text("p_holm", "{:.3f}"),
        (ours, "spread between runs"): table.spread_between_runs,
        (ours, "CNN, M"): text("cnn_parameters", "{:.1f}", 1e-6),
        (ours, "attention, M"): text("attention_parameters", "{:.1f}", 1e-6),
        **attention,
        (theirs, "train loss"): text("published_hmdb51_train_loss"),
        (theirs, "val. loss"): text("published_hmdb51_val_loss"),
        (theirs, "accuracy, %"): text("published_hmdb51_val_accuracy", "{:.1f}", 100),
        (theirs, "CNN, M"): text("published_hmdb51_cnn_million", "{:.1f}"),
        (theirs, "attention, M"): text("published_hmdb51_attention_million", "{:.1f}"),
    }
    return pd.DataFrame(shown).reset_index(drop=True).astype(object).fillna("-")


def row_of(label: str) -> str:
    """Name the row that a line of `study` is of: its own, that of its runs averaged, or of them judged in another way."""
    return re.split(r" \(\d+ runs averaged\)$|: ", label)[0]


def marked(table: pd.DataFrame) -> list[str]:
    """Name the lines of `study` with what must be known of each; `*`: its epoch was chosen on the test part."""
    labels = list(map(str, table.index))
    rows = table.reindex([row_of(label) for label in labels])
    known = zip(labels, rows.chosen_on, table.best_on_validation, rows.seen_test_videos, strict=True)
    return [
        label
        + "*" * (chosen_on == "test")
        + " (best on validation)" * bool(best)
        + f" (its weights have seen {seen:.0f} test videos)" * (seen > 0)
        for label, chosen_on, best, seen in known
    ]


def study_styled(table: pd.DataFrame, data: str) -> Styler:
    """Style the table of `study` for a notebook: `study_text`, the row that validation would choose set off."""
    best = table.best_on_validation.to_numpy()

    def bold(line: pd.Series) -> list[str]:
        return ["font-weight: bold" if best[line.name] else ""] * len(line)

    return study_text(table, data).style.apply(bold, axis=1).hide(axis="index")


def write_study(table: pd.DataFrame, data: str, caption: str, stem: Path) -> list[Path]:
    """Write the table of `study` as <stem>.csv (plain numbers), .md and .tex (needs booktabs), the caption in both."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    shown = study_text(table, data)
    flat = shown.set_axis([": ".join(filter(None, names)) for names in shown.columns], axis=1)
    signs = {sign: rf"\{sign}" for sign in "_%#&${}"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    escaped = caption.translate(str.maketrans(signs | {"\\": r"\textbackslash{}"}))
    latex = shown.to_latex(
        index=False, escape=True, multicolumn_format="c", caption=escaped, label=f"tab:{stem.name}", position="t"
    )
    files = {
        "csv": table.to_csv(),
        "md": f"{flat.to_markdown(index=False, disable_numparse=True)}\n\n{caption}\n",
        # Wider than a column of text: a starred table takes the whole page.
        "tex": latex.replace("{table}", "{table*}"),
    }
    for ending, text in files.items():
        write_whole(stem.with_name(f"{stem.name}.{ending}"), text)
    return [stem.with_name(f"{stem.name}.{ending}") for ending in files]


def pool_runs(runs: Sequence[Run], *, without_gate: bool = False) -> pd.DataFrame:
    """Put the predictions of runs of one row into one table; see `statistics.pool`."""
    found = {}
    for run in runs:
        experiment = run.config
        found[experiment.data.split, experiment.seed] = (
            run.predictions_without_gate if without_gate else run.predictions
        )
    return pool(found)


def _against(reference: str, versus: Comparison) -> dict[str, Any]:
    told = {"reference": reference, "difference_sources": versus.sources}
    return versus.columns() | told | {"compared_videos": versus.videos, "videos_of_either": versus.of}


def _best_on_validation(table: pd.DataFrame) -> pd.Index:
    """Name the row with the highest validation accuracy, of equals the lowest loss; none chosen on the test part.

    `table` has the rows whose videos are cut by the same sources: a validation part that leaks flatters itself. A row
    with fewer runs than others has other validation videos, which may be easier: it is none.
    """
    fair = table[(table.chosen_on == "validation") & table.validation_accuracy.notna()]
    fair = fair[fair.runs == fair.runs.max()]
    return fair.sort_values(["validation_accuracy", "validation_loss"], ascending=[False, True]).index[:1]


def _accuracy(line: Any) -> str:
    if pd.isna(line.accuracy):
        return "-"
    spread = "" if pd.isna(line.accuracy_spread) else f" ± {100 * line.accuracy_spread:.1f}"
    return f"{100 * line.accuracy:.1f}{spread} {range_text(100 * line.accuracy_low, 100 * line.accuracy_high, line.sources, '.1f')}"


def _difference(line: Any) -> str:
    if pd.isna(line.difference):
        return "-"
    few = line.compared_videos < ENOUGH_SHARED * line.videos_of_either
    shared = f", on {line.compared_videos:.0f} of {line.videos_of_either:.0f} videos" * few
    return _points(line.difference, line.difference_low, line.difference_high, line.difference_sources) + shared


def _points(difference: float, low: float, high: float, sources: float) -> str:
    if pd.isna(difference):
        return "-"
    return f"{100 * difference:+.1f} {range_text(100 * low, 100 * high, sources, '+.1f')}"
