"""The lines of a study's board in a notebook."""

from helpers.made import made_metrics

from hmdb_lib import config
from hmdb_lib.results.runs import Run
from hmdb_lib.studies import board
from hmdb_lib.studies.study import Job


def test_the_best_epoch_of_a_run_that_is_chosen_on_test_is_not_called_one_on_validation(tmp_path, monkeypatch):
    monkeypatch.setattr(board, "in_notebook", lambda: True)
    jobs = []
    for part in ("validation", "test"):
        experiment = config.load(overrides=[f"train.choose_on={part}", f"name={part}"])
        run = Run(tmp_path / part)
        run.folder.mkdir()
        made_metrics(6).to_csv(run.folder / "metrics.csv", index=False)
        jobs.append(Job([], experiment, run))
    on_validation, on_test = board.Board(jobs).lines.values()
    assert "best epoch on validation, %" in on_validation
    assert "best epoch on test, %" in on_test
    assert "best epoch on validation, %" not in on_test
