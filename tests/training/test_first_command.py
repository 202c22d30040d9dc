"""The first command learns: on the sample data set heads train on the embedded backbone's frozen tokens."""

import numpy as np
import pytest

from hmdb_lib.config import load
from hmdb_lib.results.runs import Run
from hmdb_lib.training import experiment as training

BACKWARDS = {"sit": "stand", "stand": "sit", "catch": "throw", "throw": "catch"}


@pytest.fixture(scope="module")
def train(full_sample, tmp_path_factory):
    """Train a row as the first command does; what one run has computed of the frozen backbone, the next finds."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "data").mkdir()
    (folder / "data" / "sample").symlink_to(full_sample)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HMDB_DATA", str(folder / "data"))
        patch.setenv("HMDB_RESULTS", str(folder / "results"))
        yield lambda row, seed: training.train(load(row, [f"seed={seed}", "data=sample"]))


def right_within_pairs(run: Run) -> float:
    """Share of the videos that are told from the same motion played backwards, the other classes left out."""
    table = run.predictions
    table = table[table.label.isin(BACKWARDS.keys())]
    right = [row[row["label"]] > row[BACKWARDS[row["label"]]] for row in table.to_dict("records")]
    return float(np.mean(right))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_attention_ends_far_above_chance_and_tells_motions_from_their_backward_twins(train, seed):
    run = train("cross1_self1", seed)
    assert run.summary["test"]["accuracy_low"] > 0.65  # chance is 0.125
    assert right_within_pairs(run) >= 0.85


@pytest.mark.slow
def test_the_average_of_the_same_tokens_cannot_tell_a_motion_from_its_backward_twin(train):
    assert 0.3 < right_within_pairs(train("baseline", 0)) < 0.7
