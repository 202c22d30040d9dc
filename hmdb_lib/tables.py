"""Tables as a reader wants them: our numbers beside the published ones. Needs no torch."""

from pathlib import Path

import pandas as pd

PUBLISHED = Path(__file__).resolve().parents[1] / "results" / "published.csv"


def published() -> pd.DataFrame:
    """The study's own numbers, one line a row: losses, accuracy, millions of parameters, and a note where they differ."""
    return pd.read_csv(PUBLISHED).drop(columns="table").drop_duplicates("row").set_index("row")


def cost_text(costs: pd.DataFrame) -> str:
    """A table of `hmdb_lib.cost.table` for the terminal: millions and GFLOP, beside the published millions."""
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
