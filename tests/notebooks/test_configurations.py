"""What a notebook asks for with its own parameters is a valid configuration, on a machine with HMDB51 and without."""

import re
from unittest.mock import MagicMock

import nbformat
import pandas as pd
import pytest

import hmdb_lib as hl
from hmdb_lib.environment import ROOT
from hmdb_lib.studies import learning_curve as stages, study

RESULTS_ALONE = ("10_overfitting_curves", "11_parameter_table")
FILES = [file for file in sorted((ROOT / "notebooks").glob("*.ipynb")) if file.stem not in RESULTS_ALONE]


def code_of(file):
    """The cells that use the project, but for the one that sets it up."""
    cells = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    chosen = [
        cell for cell in cells if "parameters" in cell.metadata.get("tags", []) or re.search(r"\bhl\.", cell.source)
    ]
    return [cell.source for cell in chosen if "set-up" not in cell.metadata.get("tags", [])]


@pytest.fixture
def called(tmp_path, monkeypatch):
    """Replace what reads data or trains by functions that only resolve what they are asked for; return their names."""
    monkeypatch.setenv("HMDB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path / "results"))
    called = set()

    def replace(name, work):
        def recorder(*arguments, **named):
            called.add(name)
            return work(*arguments, **named)

        monkeypatch.setattr(hl, name, recorder, raising=False)

    def train(config, live=False):
        return MagicMock(folder=hl.resolve(config).run.folder)

    def run_study(*names, splits, seeds, quick, changes):
        study.plan(names, splits, seeds, [*hl.config.as_overrides(changes), f"quick={quick}".lower()], hl.place())
        return MagicMock()

    def learning_curve(arms, counts, splits, *, updates, changes):
        stages.plan(arms, counts, splits, [0], updates, changes, hl.place())
        return MagicMock()

    def empty_folder(root, *size, **more):
        root.mkdir(parents=True, exist_ok=True)
        return root

    tables = {"train": pd.DataFrame({"group": range(100)})}
    monkeypatch.setattr(stages.training, "read_data", lambda config, place: MagicMock(tables=tables))
    monkeypatch.setattr(hl, "plots", MagicMock(), raising=False)
    monkeypatch.setattr(hl, "widgets", MagicMock(), raising=False)
    replace("train", train)
    replace("run_study", run_study)
    replace("learning_curve", learning_curve)
    for name in ("load_data", "extract_frames", "build_model", "audit"):
        replace(name, lambda config, *arguments, **named: MagicMock(folder=hl.resolve(config).run.folder))
    for name in ("make_pairs", "make_sample", "get_hmdb51"):
        replace(name, empty_folder)
    replace("find_run", lambda *arguments, **named: MagicMock(config=hl.load_config(quick=True, data="sample")))
    for name in ("load_model", "judge_lengths", "cost_table"):
        replace(name, lambda *arguments, **named: MagicMock())
    replace("find_problems", lambda *arguments: [])
    replace("examine", lambda: 0)
    replace("results_table", MagicMock)
    replace("first_hour", lambda hours, quick, changes: hl.load_config(quick=quick, **changes) and [])
    for name in ("audit", "probe"):
        replace(name, lambda config: hl.resolve(config) and MagicMock())
    return called


@pytest.mark.parametrize("has_hmdb51", [True, False], ids=["HMDB51", "sample"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebooks_own_parameters_are_a_valid_configuration(file, has_hmdb51, called, tmp_path):
    if has_hmdb51:
        (tmp_path / "data" / "hmdb51" / "videos").mkdir(parents=True)
    exec("\n".join(code_of(file)), {"hl": hl})
    assert called
