"""What is committed under results/ follows from the predictions that are committed beside it."""

import pandas as pd
import pytest

from hmdb_lib.environment import ROOT
from hmdb_lib.results.check import check_run, check_table
from hmdb_lib.results.runs import Run, read_predictions
from hmdb_lib.studies.clip_length import Lengths, length_table
from hmdb_lib.studies.learning_curve import curve_table

RESULTS = ROOT / "results"
FOLDERS = sorted(file.parent for file in (RESULTS / "runs").glob("*/*/summary.json"))


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_committed_run_adds_up(folder):
    assert check_run(Run(folder)) == []


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted((RESULTS / "tables").glob("*.csv")), ids=lambda file: file.stem)
def test_a_committed_table_says_what_the_predictions_of_its_runs_say(file):
    assert check_table(file) == []


def test_every_number_of_a_learning_curve_or_of_other_lengths_has_predictions_beside_it():
    """There is none now: the first ones did not keep their predictions, and were taken out."""
    for file in RESULTS.glob("learning_curves/*.csv"):
        table = pd.read_csv(file)
        predictions = read_predictions(file.with_name(f"{file.stem}-predictions.csv.gz"))
        pd.testing.assert_frame_equal(curve_table(table, predictions), table, check_dtype=False)
    for file in RESULTS.glob("runs/*/*/lengths.csv"):
        predictions = read_predictions(file.with_name("lengths-predictions.csv.gz"))
        table = length_table(predictions, Run(file.parent).config.data.frames)
        expected = pd.read_csv(file).drop(columns="seconds_a_video")
        pd.testing.assert_frame_equal(table.astype({"frames": str}), expected.astype({"frames": str}))
        native = pd.read_csv(file.with_name("lengths_native.csv"), dtype={"frames": str})
        pd.testing.assert_frame_equal(Lengths(table, predictions).by_native_length(), native)
