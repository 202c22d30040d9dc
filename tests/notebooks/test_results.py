"""Notebooks over results that are missing or half made, and a training notebook that is broken off and run again."""

import asyncio
import signal

import nbformat
import pytest
from helpers.finished_run import write_finished_run
from helpers.made import made_metrics, made_predictions
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from hmdb_lib.environment import ROOT
from hmdb_lib.results import runs

pytestmark = pytest.mark.slow


def code_of(name):
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


def client(sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    folder = {"metadata": {"path": str(ROOT / "notebooks")}}
    return NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=300, resources=folder)


def printed(notebook):
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.outputs)


def make_nothing(results):
    pass


def make_halves(results):
    """A run of one epoch, one without an epoch, one whose summary was cut off, one whose metrics were."""
    epoch = {"epoch": 0, "train_video_loss": 2.0, "val_video_loss": 3.0}
    for row in ("begun", "empty", "cut_summary", "cut_metrics"):
        run = runs.Run(results / "runs" / row / "hmdb51-split1-seed0")
        run.folder.mkdir(parents=True)
        if row in ("begun", "cut_summary"):
            run.write_epoch(epoch)
    (results / "runs" / "cut_summary" / "hmdb51-split1-seed0" / "summary.json").write_text('{"row": "cut_')
    (results / "runs" / "cut_metrics" / "hmdb51-split1-seed0" / "metrics.csv").write_text("")


@pytest.mark.parametrize(("make", "found"), [(make_nothing, 0), (make_halves, 2)], ids=["empty", "half made"])
def test_the_analysis_notebooks_run_on_results_that_are(make, found, tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.setenv("HMDB_RESULTS", str(tmp_path))
    names = ["10_overfitting_curves", "11_parameter_table"]
    # In one kernel, to start and import once.
    done = client([source for name in names for source in code_of(name)]).execute()
    assert f"{found} runs in {tmp_path}" in printed(done)
    assert f"0 finished runs in {tmp_path}; 04_train makes the first" in printed(done)
    assert "val_accuracy" in str([cell.outputs for cell in done.cells])


def test_the_attention_shown_is_that_of_a_run_with_attention_and_a_checkpoint(tiny_config, tiny_videos, tmp_path):
    names = sorted(str(file.relative_to(tiny_videos)) for file in tiny_videos.rglob("*.avi"))
    for row in ("baseline", "cross1", "cross1_self1"):
        config = tiny_config(row, perceiver__latents=8, perceiver__width=64)
        run = write_finished_run(config, tmp_path / "results" / "runs" / row / "tiny-split1-seed0")
        made_metrics(2).to_csv(run.folder / "metrics.csv")
        predictions = made_predictions().head(len(names))
        predictions.assign(video=names[: len(predictions)]).to_csv(run.folder / "predictions.csv", index=False)
        if row == "cross1":
            run.best.unlink()
    done = client(code_of("12_errors_and_attention")).execute()
    assert f"run: {tmp_path / 'results' / 'runs' / 'cross1_self1'}" in printed(done)
    assert "data:image/png" in done.cells[-1].outputs[-1]["data"]["text/html"]


def test_a_training_notebook_whose_kernel_dies_goes_on_from_the_last_epoch(tiny_config, tmp_path):
    tiny = tiny_config(train__epochs=5)
    changes = {key: value for key, value in tiny.flat().items() if key not in ("row", "quick")}
    set_up, parameters, *others = code_of("04_train")
    sources = [set_up, f"{parameters}\nrow = 'baseline'\nchanges = {changes}", *others]
    run = runs.Run.of(tiny, tmp_path / "results")

    async def break_off(notebook):
        running = asyncio.ensure_future(notebook.async_execute())
        while len(run.metrics) < 2 and not running.done():
            await asyncio.sleep(0.05)
        await notebook.km.signal_kernel(signal.SIGKILL)
        await running

    with pytest.raises(DeadKernelError):
        asyncio.run(break_off(client(sources)))
    done = len(run.metrics)
    assert 2 <= done < 5
    second = printed(client(sources).execute())
    assert f"epoch {done} of 5 done: {run.folder}" in second
    assert "\ntest accuracy " in second
    assert run.metrics.epoch.tolist() == list(range(5))
