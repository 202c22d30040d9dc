"""`hmdb report`: one HTML file of a table or a run, whole without a network."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers.made import made_predictions
from helpers.made_results import write_results

from hmdb_lib import cli
from hmdb_lib.data.video import write_video
from hmdb_lib.errors import UserError
from hmdb_lib.studies.report import write_report


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """The folder of the made predictions' videos."""
    folder = tmp_path_factory.mktemp("videos")
    for name in made_predictions().video:
        write_video(folder / f"{name}.avi", np.zeros((4, 24, 32, 3), np.uint8), 10)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory, videos):
    """A results folder."""
    return write_results(tmp_path_factory.mktemp("results"), videos)


@pytest.fixture
def results(written, monkeypatch):
    monkeypatch.setenv("HMDB_RESULTS", str(written))
    return written


@pytest.fixture(scope="module")
def page(written):
    """The report of its table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HMDB_RESULTS", str(written))
        return write_report("depth-tiny-frozen").read_text()


@pytest.mark.slow
def test_a_report_needs_no_other_file_and_plays_its_clips(page):
    assert set(re.findall(r'(?:src|href)="(\w+):', page)) == {"data"}
    assert page.count("data:image/gif") == page.count("<figure>") > 12
    assert page.count("data:image/png") >= 5


@pytest.mark.slow
def test_a_report_says_what_can_be_claimed_how_it_was_done_and_what_it_cost(page):
    assert "as it was done." in page
    assert "no difference is shown, for the interval holds zero." in page
    assert "Does attention over the CNN" in page
    assert "0:02:00" in page
    assert "baseline/tiny-split1-seed0" in page


@pytest.mark.slow
def test_failures_and_confusions_are_of_each_video_once_though_two_runs_judged_it(page):
    videos = re.findall(r"but \w+ 0\.\d\d: (v\d+)\.avi", page)
    assert len(videos) == len(set(videos)) == 12
    assert set(re.findall(r"taken for \w+: \d+ of (\d+)", page)) == {"20"}


@pytest.mark.slow
def test_a_run_has_a_report_too(results, tmp_path):
    file = write_report("baseline-frozen/tiny-split1-seed0", tmp_path / "mine.html")
    page = file.read_text()
    assert "split 1, seed" in page
    assert "Largest changes of classes" not in page


@pytest.fixture
def flattered(tmp_path, monkeypatch):
    """A function that gives the report of a table whose first row is marked so."""
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path))
    file = write_results(tmp_path) / "tables" / "depth-tiny-frozen.csv"

    def report(**marks):
        table = pd.read_csv(file, index_col="row")
        table.loc["baseline", list(marks)] = list(marks.values())
        table.to_csv(file)
        return write_report("depth-tiny-frozen").read_text()

    return report


@pytest.mark.slow
def test_a_report_says_of_a_row_that_its_epoch_was_chosen_on_the_test_part(flattered):
    assert "Its epoch was chosen on the test part, which flatters." in flattered(chosen_on="test")


@pytest.mark.slow
def test_a_report_says_of_a_row_that_its_weights_have_seen_test_videos(flattered):
    assert "Its weights have seen 7 test videos" in flattered(seen_test_videos=7)


@pytest.mark.slow
def test_a_report_says_where_validation_chooses_no_row(flattered):
    assert "the first row, for validation chooses none" in flattered(best_on_validation=False)


def test_a_table_whose_runs_have_gone_is_told_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path))
    shutil.rmtree(write_results(tmp_path) / "runs")
    with pytest.raises(UserError, match="the runs of baseline, cross1_self1 have gone from "):
        write_report("depth-tiny-frozen")


@pytest.mark.slow
def test_without_the_videos_the_report_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path))
    write_results(tmp_path)
    page = write_report("depth-tiny-frozen").read_text()
    assert "whose videos are not on this machine" in page
    assert "data:image/gif" not in page


def test_a_name_that_is_neither_is_told_in_a_line(results, capsys):
    with pytest.raises(UserError, match="neither a table nor a finished run"):
        write_report("nothing")
    assert cli.main(["report", "nothing"]) == 2
    assert "the tables are depth-tiny-frozen" in capsys.readouterr().err
