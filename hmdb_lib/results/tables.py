"""Tables as a reader wants them: our numbers beside the published ones. Needs no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from hmdb_lib.environment import shipped
from hmdb_lib.results.runs import Run, write_whole
from hmdb_lib.results.statistics import accuracy_interval, compare, pool

PUBLISHED = shipped("results/published.csv")


def published() -> pd.DataFrame:
    """Read the published numbers, one line a row: losses, accuracy, millions of parameters, and a note.

    Example:
        >>> hl.published()[["val_accuracy", "attention_million"]]

    """
    return pd.read_csv(PUBLISHED).drop(columns="table").drop_duplicates("row").set_index("row")


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
        "publ.: as the study published it; GFLOP of one clip forward, 2 x multiply-adds"
    )
    return "\n".join([shown.fillna("").to_string(), legend, *notes])


def study(runs: Mapping[str, Sequence[Run]], reference: str) -> pd.DataFrame:
    """Compute the study's columns as plain numbers, one line a row; results/README.md explains them.

    `runs` has the finished runs of each row, over any splits and seeds; a row without one has a line without numbers.
    Losses are means over the runs, at the epoch that each chose. The accuracy is over all predictions of all runs.
    """
    theirs = published().add_prefix("published_hmdb51_").drop(columns="published_hmdb51_note")
    pools = {row: pool_runs(of_row) for row, of_row in runs.items() if of_row}
    lines: dict[str, dict[str, Any]] = {row: {"runs": len(of_row)} for row, of_row in runs.items()}
    for row, predictions in pools.items():
        summaries = pd.json_normalize([run.summary for run in runs[row]])
        means = summaries.reindex(columns=["best_epoch.train_video_loss", "best_epoch.val_video_loss"]).mean()
        accuracy = accuracy_interval(predictions)
        lines[row] |= {
            "chosen_on": runs[row][0].config.train.choose_on,
            "videos": len(predictions),
            "train_loss": means.iloc[0],
            "validation_loss": means.iloc[1],
            "accuracy": accuracy.value,
            "accuracy_low": accuracy.low,
            "accuracy_high": accuracy.high,
            "accuracy_spread": summaries["test.accuracy"].std(),
            "cnn_parameters": summaries["parameters.cnn"].iloc[0],
            "attention_parameters": (summaries["parameters.total"] - summaries["parameters.cnn"]).iloc[0],
            "flops": summaries["flops"].iloc[0],
        }
        if row != reference and reference in pools:
            versus = compare(predictions, pools[reference])
            lines[row] |= {
                "reference": reference,
                "difference": versus.difference,
                "difference_low": versus.low,
                "difference_high": versus.high,
                "mcnemar_p": versus.p,
                "compared_videos": versus.videos,
            }
    columns = [
        *("runs", "chosen_on", "videos", "train_loss", "validation_loss", "accuracy", "accuracy_low", "accuracy_high"),
        *("accuracy_spread", "reference", "difference", "difference_low", "difference_high", "mcnemar_p"),
        *("compared_videos", "cnn_parameters", "attention_parameters", "flops"),
    ]
    ours = pd.DataFrame.from_dict(lines, orient="index").reindex(columns=columns)
    return ours.join(theirs).rename_axis("row")


def study_text(table: pd.DataFrame, data: str) -> pd.DataFrame:
    """Format the table of `study`: texts alone, the published numbers under a heading that names their data."""
    ours, theirs = f"ours ({data})", "published (HMDB51)"
    lines: list[Any] = list(table.itertuples())

    def text(column: str, form: str = "{:.3g}", scale: float = 1) -> pd.Series:
        return pd.Series(table[column] * scale).map(form.format, na_action="ignore")

    shown = {
        ("", "row"): [f"{line.Index}*" if line.chosen_on == "test" else line.Index for line in lines],
        (ours, "train loss"): text("train_loss"),
        (ours, "val. loss"): text("validation_loss"),
        (ours, "accuracy, %"): [_accuracy(line) for line in lines],
        (ours, "difference, points"): [_difference(line) for line in lines],
        (ours, "p"): text("mcnemar_p", "{:.3f}"),
        (ours, "CNN, M"): text("cnn_parameters", "{:.1f}", 1e-6),
        (ours, "attention, M"): text("attention_parameters", "{:.1f}", 1e-6),
        (theirs, "train loss"): text("published_hmdb51_train_loss"),
        (theirs, "val. loss"): text("published_hmdb51_val_loss"),
        (theirs, "accuracy, %"): text("published_hmdb51_val_accuracy", "{:.1f}", 100),
        (theirs, "CNN, M"): text("published_hmdb51_cnn_million", "{:.1f}"),
        (theirs, "attention, M"): text("published_hmdb51_attention_million", "{:.1f}"),
    }
    return pd.DataFrame(shown).reset_index(drop=True).astype(object).fillna("-")


def study_styled(table: pd.DataFrame, data: str) -> Styler:
    """Style the table of `study` for a notebook: `study_text`, the best accuracy of ours set off."""
    best = table.accuracy.reset_index(drop=True).idxmax() if table.accuracy.notna().any() else None

    def bold(line: pd.Series) -> list[str]:
        return ["font-weight: bold" if line.name == best else ""] * len(line)

    return study_text(table, data).style.apply(bold, axis=1).hide(axis="index")


def write_study(table: pd.DataFrame, data: str, caption: str, stem: Path) -> list[Path]:
    """Write the table of `study` as <stem>.csv (plain numbers), .md and .tex (needs booktabs), the caption in both."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    shown = study_text(table, data)
    flat = shown.set_axis([": ".join(filter(None, names)) for names in shown.columns], axis=1)
    escaped = caption.translate({ord(sign): rf"\{sign}" for sign in "_%#&$"})
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


def pool_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """Put the predictions of runs of one row into one table; see `statistics.pool`."""
    return pool({(run.config.data.split, run.config.seed): run.predictions for run in runs})


def _accuracy(line: Any) -> str:
    if pd.isna(line.accuracy):
        return "-"
    spread = "" if pd.isna(line.accuracy_spread) else f" ± {100 * line.accuracy_spread:.1f}"
    return f"{100 * line.accuracy:.1f}{spread} {_range(line.accuracy_low, line.accuracy_high, '.1f')}"


def _difference(line: Any) -> str:
    if pd.isna(line.difference):
        return "-"
    return f"{100 * line.difference:+.1f} {_range(line.difference_low, line.difference_high, '+.1f')}"


def _range(low: float, high: float, form: str) -> str:
    return "[too few sources for an interval]" if pd.isna(low) else f"[{100 * low:{form}}, {100 * high:{form}}]"
