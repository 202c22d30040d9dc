"""`hmdb figures`: the pictures of a results folder, drawn from its tables and runs alone."""

import pytest
from helpers.made_results import write_results

from hmdb_lib import cli
from hmdb_lib.errors import UserError
from hmdb_lib.plots import figures


@pytest.fixture
def results(tmp_path):
    return write_results(tmp_path)


@pytest.mark.slow
def test_a_table_gives_its_accuracies_its_curves_and_what_its_rows_cost(results):
    files = figures.draw(results)
    assert {file.name for file in files} >= {"depth.png", "depth-tiny-frozen-curves.png", "parameters.png"}
    assert {"depth-tiny-frozen-confusion.png", "attention_depth-rows.png"} <= {file.name for file in files}
    assert all(file.parent == results / "figures" for file in files)


def test_the_same_results_give_the_same_bytes(results, tmp_path):
    (table,) = figures.read_tables(results)
    first, second = (
        figures.save(figures.accuracies([table]), tmp_path / name).read_bytes() for name in ("1.png", "2.png")
    )
    assert first == second


def test_each_row_has_its_accuracy_where_the_table_has_it(results):
    (table,) = figures.read_tables(results)
    axes = figures.accuracies([table]).axes[0]
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert points == pytest.approx((table.frame.accuracy * 100).tolist())
    assert axes.get_title(loc="left") == "tiny, frozen: 80 test videos of 10 sources"  # both runs judge them


def test_a_star_in_a_picture_says_what_it_says_in_the_table(results):
    (table,) = figures.read_tables(results)
    table = table._replace(frame=table.frame.assign(chosen_on=["test", "validation"], best_on_validation=[False, True]))
    axes = figures.accuracies([table]).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["baseline*", "cross1_self1 (best on validation)"]
    assert axes.get_xlabel().endswith("*: epoch chosen on the test part")


def test_a_row_of_two_sizes_has_its_parameters_under_the_name_of_each_table(results):
    (table,) = figures.read_tables(results)
    small = table._replace(data="small", frame=table.frame.assign(cnn_parameters=[1e6, 2e6]))
    names = [label.get_text() for label in figures.parameters([table, small]).axes[0].get_yticklabels()]
    assert sorted(names) == ["baseline, depth-small-frozen", "baseline, depth-tiny-frozen", "cross1_self1"]


@pytest.mark.slow
def test_confusions_count_each_video_once_though_two_runs_judged_it(results, monkeypatch):
    drawn, confusion = [], figures.classes.confusion
    monkeypatch.setattr(figures.classes, "confusion", lambda of: drawn.append(of) or confusion(of))
    figures.draw(results)
    assert [len(of) for of in drawn] == [80]


def test_curves_are_of_every_run_and_of_their_mean(results):
    (table,) = figures.read_tables(results)
    axes = figures.learning_curves(table).axes[0]
    full = [line for line in axes.lines if line.get_linestyle() == "-"]
    one, other, mean = (line.get_ydata() for line in full)
    assert (one + other) / 2 == pytest.approx(mean)
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] >= max(one.max(), other.max())


def test_a_table_whose_runs_have_gone_is_told_and_the_others_are_drawn(results, capsys):
    for file in (results / "tables").iterdir():
        (results / "tables" / file.name.replace("depth", "other")).write_text(file.read_text())
    other = next((results / "tables").glob("other*.csv"))
    other.write_text(other.read_text().replace("cross1_self1", "gone"))
    assert [table.names for table in figures.read_tables(results)] == ["depth"]
    assert "other-tiny-frozen.csv: the runs of gone have gone from " in capsys.readouterr().out


def test_a_folder_without_a_table_is_told_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path))
    assert cli.main(["figures"]) == 2
    assert "no table yet; hmdb study makes them" in capsys.readouterr().err
    with pytest.raises(UserError, match="no table yet"):
        figures.draw(tmp_path)
