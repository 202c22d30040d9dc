"""What is committed under results/ follows from the predictions that are committed beside it."""

import pytest

from hmdb_lib.environment import ROOT
from hmdb_lib.results.runs import Run
from hmdb_lib.results.statistics import measure_test

FOLDERS = sorted(file.parent for file in (ROOT / "results" / "runs").glob("*/*/summary.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_committed_summary_says_what_its_predictions_say(folder):
    run = Run(folder)
    recomputed = measure_test(run.predictions)
    if run.config.evaluate.vote == "majority":
        del recomputed["loss"]  # of the clips' probabilities, which predictions.csv does not hold
    test = run.summary["test"]
    assert {name: test[name] for name in recomputed} == pytest.approx(recomputed, rel=1e-4, abs=1e-6, nan_ok=True)
