"""Weights that have learned from test videos are refused, or marked."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from hmdb_lib.errors import UserError
from hmdb_lib.results import seen
from hmdb_lib.results.runs import Run

VIDEOS = pd.DataFrame(
    {"path": [f"run/{n}.avi" for n in range(6)], "group": [f"source{n // 2}" for n in range(6)], "label": "run"}
)


@pytest.fixture
def run(tmp_path):
    """A run that has learned from the first three videos, so that it knows two sources."""
    made = Run(tmp_path / "run")
    made.checkpoints.mkdir(parents=True)
    (made.folder / "config.yaml").touch()
    made.best.touch()
    seen.record(made, VIDEOS.head(3), ["0123456789ab"])
    return made


@pytest.mark.parametrize("given", ["folder", "best"])
def test_a_run_of_another_split_is_refused_in_a_line_that_names_how_many(run, given):
    with pytest.raises(UserError, match=r"has learned from 4 of the 6 test videos or from their sources"):
        seen.check(str(getattr(run, given)), VIDEOS, allowed=False)


def test_where_it_is_allowed_the_number_and_the_list_are_handed_on(run):
    before, count = seen.check(str(run.folder), VIDEOS, allowed=True)
    assert count == 4
    assert "0123456789ab" in before  # what its own first stage had seen
    assert len(before) == 1 + 3 + 2


def test_a_run_that_shares_no_source_with_the_test_part_is_taken(run):
    assert seen.check(str(run.folder), VIDEOS.tail(2), allowed=False)[1] == 0


def test_an_exported_model_carries_its_list(run, tmp_path):
    about = json.dumps({"facts": {"seen": seen.read(run.folder)}})
    save_file({"x": np.zeros(1)}, tmp_path / "model.safetensors", {"hmdb_lib": about})
    with pytest.raises(UserError, match="has learned from 4 of the 6"):
        seen.check(str(tmp_path / "model.safetensors"), VIDEOS, allowed=False)


@pytest.mark.parametrize("pretrained", ["none", "kinetics400"])
def test_published_weights_have_no_list(pretrained):
    assert seen.check(pretrained, VIDEOS, allowed=False) == ([], 0)


def test_a_run_of_before_says_that_it_is_not_known(run, capsys):
    (run.folder / seen.FILE).unlink()
    assert seen.check(str(run.folder), VIDEOS, allowed=False) == ([], 0)
    assert "before runs kept the list" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["mine.ckpt", "weights.safetensors.pt"])
def test_a_file_without_a_list_says_that_no_leak_can_be_seen(tmp_path, capsys, name):
    (tmp_path / name).touch()
    assert seen.check(str(tmp_path / name), VIDEOS, allowed=False) == ([], 0)
    assert "holds no list of the videos it learned from" in capsys.readouterr().out
