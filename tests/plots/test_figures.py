"""`hmdb figures`: the pictures of a results folder, drawn from its tables and runs alone."""

import pytest
from helpers.made import made_metrics, made_predictions

from hmdb_lib import cli
from hmdb_lib.errors import UserError
from hmdb_lib.plots import figures
from hmdb_lib.results import tables
from hmdb_lib.results.runs import Run

ROWS = {"baseline": 0, "cross1_self1": 1}


@pytest.fixture
def results(tmp_path):
    """A results folder with a table of two rows over two splits, whose backbones were frozen."""
    runs = {row: [] for row in ROWS}
    for row, seed in ROWS.items():
        for split in (1, 2):
            run = Run(tmp_path / "runs" / f"{row}-frozen" / f"tiny-split{split}-seed0")
            run.folder.mkdir(parents=True)
            (run.folder / "config.yaml").write_text(f"row: {row}\ndata: {{split: {split}}}\n")
            made_metrics(6, shift=split).to_csv(run.folder / "metrics.csv", index=False)
            best = {"train_video_loss": 1.0, "val_video_loss": 2.0, "val_video_accuracy": 0.5}
            summary = {"test": {"accuracy": 0.5}, "best_epoch": best, "parameters": {"cnn": 2e6, "total": 3e6}}
            run.finish(made_predictions(seed=seed), summary | {"flops": 1e9})
            runs[row].append(run)
    frame = tables.study(runs, "baseline")
    tables.write_study(frame, "tiny", "made", tmp_path / "tables" / "depth-tiny-frozen")
    return tmp_path


def test_a_table_gives_its_accuracies_its_curves_and_what_its_rows_cost(results):
    files = figures.draw(results)
    assert [file.name for file in files] == ["depth.png", "depth-tiny-frozen-curves.png", "parameters.png"]
    assert all(file.parent == results / "figures" for file in files)


def test_the_same_results_give_the_same_bytes(results, tmp_path):
    first, second = (figures.draw(results, tmp_path / name) for name in ("first", "second"))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_each_row_has_its_accuracy_where_the_table_has_it(results):
    (table,) = figures.read_tables(results)
    axes = figures.accuracies([table]).axes[0]
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert points == pytest.approx((table.frame.accuracy * 100).tolist())
    assert axes.get_title(loc="left") == "tiny, frozen: 160 test videos of 10 sources"


def test_curves_are_of_every_run_and_of_their_mean(results):
    (table,) = figures.read_tables(results)
    axes = figures.learning_curves(table).axes[0]
    full = [line for line in axes.lines if line.get_linestyle() == "-"]
    one, other, mean = (line.get_ydata() for line in full)
    assert (one + other) / 2 == pytest.approx(mean)
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] >= max(one.max(), other.max())


def test_a_folder_without_a_table_is_told_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path))
    assert cli.main(["figures"]) == 2
    assert "no table yet; hmdb study makes them" in capsys.readouterr().err
    with pytest.raises(UserError, match="no table yet"):
        figures.draw(tmp_path)
