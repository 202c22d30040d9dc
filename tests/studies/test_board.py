"""How a study's runs go: one table in a notebook that fills, lines elsewhere."""

from types import SimpleNamespace

import pytest
from helpers.made import made_metrics, made_predictions

from hmdb_lib.results.runs import Run
from hmdb_lib.studies import board
from hmdb_lib.training import launch
from hmdb_lib.training.launch import Command


class Job(SimpleNamespace):
    def __str__(self):
        return self.name


@pytest.fixture
def jobs(tiny_config, tmp_path):
    return [Job(name=name, config=tiny_config(), run=Run(tmp_path / name)) for name in ("baseline", "gru")]


@pytest.fixture
def shown(monkeypatch):
    """What the one place of a notebook has shown, in order."""
    shown = []
    monkeypatch.setattr(board, "Spot", lambda: SimpleNamespace(show=shown.append))
    monkeypatch.setattr(board, "in_notebook", lambda: True)
    return shown


def test_a_notebook_shows_one_table_that_fills_and_prints_nothing(shown, jobs, capsys):
    table = board.Board(jobs)
    table.tell("[1/2] baseline; about 0:01:00 left")
    assert shown[-1].count("0 of 2") == 2
    run = jobs[0].run
    run.folder.mkdir()
    made_metrics(1).to_csv(run.folder / "metrics.csv")
    table.look_at(jobs[0])
    assert shown[-1].count("1 of 2") == 1
    assert "left; running for 0 s" in shown[-1]
    run.finish(made_predictions(), {"test": {"accuracy": 0.625}})
    table.look_at(jobs[0])
    assert "62.5" in shown[-1]
    table.end()
    assert "left" not in shown[-1]
    assert capsys.readouterr().out == ""


def test_elsewhere_each_line_is_printed_and_no_run_is_read(jobs, capsys):
    lines = board.Board(jobs)
    lines.tell("[1/2] baseline")
    lines.look_at(jobs[0])
    lines.end()
    assert capsys.readouterr().out == "[1/2] baseline\n"


def test_a_run_is_watched_while_it_goes(monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "TRAIN", ["-c", "import time; time.sleep(0.5)"])
    monkeypatch.setattr(launch, "WATCH", 0.1)
    watched = []
    ends = launch.one_by_one([Command([], tmp_path / "log.txt")], lambda number: True, watched.append)
    assert list(ends) == [(0, None), (0, 0)]
    assert len(watched) >= 2
    assert set(watched) == {0}


def test_the_best_epoch_of_a_run_that_is_chosen_on_test_is_not_called_one_on_validation(shown, jobs, tiny_config):
    on_test = Job(name="chosen on test", config=tiny_config(train__choose_on="test"), run=jobs[1].run)
    on_validation, other = board.Board([jobs[0], on_test]).lines.values()
    assert "best epoch on validation, %" in on_validation
    assert "best epoch on test, %" in other
    assert "best epoch on validation, %" not in other
