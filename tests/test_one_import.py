"""`import hmdb_lib as hl` is all that a user imports: quick, whole, and each name with an example."""

import inspect
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from helpers.finished_run import write_finished_run
from helpers.made import made_metrics

import hmdb_lib as hl
from hmdb_lib import config
from hmdb_lib.environment import ROOT
from hmdb_lib.errors import UserError


def loaded_by(code):
    """Which of the heavy libraries a fresh Python has loaded after the code."""
    told = f"import sys; {code}; print([name for name in ('torch', 'pandas', 'pydantic', 'av') if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.strip()


def test_the_import_needs_the_standard_library_alone():
    assert loaded_by("import hmdb_lib") == "[]"


@pytest.mark.slow
def test_results_and_figures_are_read_without_torch():
    assert "torch" not in loaded_by("import hmdb_lib as hl; hl.list_runs; hl.results_table; hl.published; hl.plots")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["10_overfitting_curves", "11_parameter_table"])
def test_the_notebooks_of_results_run_without_torch(name, tmp_path):
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code" and "set-up" not in cell.metadata.get("tags", [])]
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('torch')")
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "HMDB_RESULTS": str(ROOT / "results")}
    program = "\n".join(["import hmdb_lib as hl", *code])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "import hmdb_lib.plots.curves, hmdb_lib.widgets.views; "])
def test_rooms_have_their_parts_whatever_was_imported_before(before):
    loaded_by(f"{before}import hmdb_lib as hl; hl.plots.classes, hl.plots.clips, hl.widgets.tryout")


def test_what_dir_shows_is_what_there_is():
    assert dir(hl) == hl.__all__
    assert all(getattr(hl, name) is not None for name in hl.__all__)


@pytest.mark.parametrize("name", sorted(set(hl.__all__) - {"UserError", "plots", "widgets"}))
def test_each_verb_has_a_docstring_with_an_example(name):
    assert f"hl.{name}(" in inspect.getdoc(getattr(hl, name))


def test_a_wrong_name_tells_those_there_are():
    with pytest.raises(AttributeError, match=r"no attribute 'trian'; it has .*train"):
        hl.trian  # noqa: B018


def test_keys_are_given_by_their_dotted_names():
    config = hl.load_config("baseline", quick=True, **{"train.lr": 1e-5, "data.resize": [80, 90]})
    assert (config.row, config.quick, config.train.lr, config.data.resize) == ("baseline", True, 1e-5, [80, 90])


def test_changes_reach_a_configuration_as_they_are_written_for_the_shell():
    given = {"model.pretrained": "none", "data.resize": [80, 90], "train.lr": 1e-5, "data.root": ROOT, "name": "true"}
    words = ["model.pretrained=none", "data.resize=[80, 90]", "train.lr=1.0e-05", f"data.root={ROOT}", "name='true'"]
    assert config.as_overrides(given) == words


def test_the_rows_of_a_table_are_listed_with_their_questions():
    assert list(hl.list_rows("cross_and_self", "baseline")) == ["cross1_self1", "cross1", "self1", "baseline"]
    assert hl.list_rows().keys() == config.rows().keys()
    with pytest.raises(UserError, match="neither a table nor a row"):
        hl.list_rows("cross_and_slef")


def test_the_run_found_has_a_checkpoint_and_where_asked_attention(tiny_config, tmp_path):
    runs = tmp_path / "results" / "runs"  # of `tiny_config`
    for row in ("baseline", "cross1", "cross1_self1"):
        run = write_finished_run(tiny_config(row, hybrid__latents=8, hybrid__width=64), runs / row / "tiny")
        made_metrics(1).to_csv(run.folder / "metrics.csv")
        if row == "cross1":
            run.best.unlink()
    assert hl.find_run().folder == runs / "baseline" / "tiny"
    assert hl.find_run(attention=True).folder == runs / "cross1_self1" / "tiny"
    assert hl.find_run("cross1/tiny").folder == runs / "cross1" / "tiny"
    with pytest.raises(UserError, match="'cross2/tiny' is no finished run; there are baseline/tiny, "):
        hl.find_run("cross2/tiny")


def test_loaded_data_name_their_files(tiny_config):
    files = hl.load_data(tiny_config()).files("test")
    assert len(files) == 4
    assert all(file.is_file() for file in files)


@pytest.mark.slow
def test_frames_are_extracted_at_the_size_that_the_experiment_reads(tiny_config, tiny_videos, tmp_path):
    shutil.copytree(tiny_videos, tmp_path / "videos")
    experiment = tiny_config(data__root=tmp_path / "videos")
    assert hl.extract_frames(experiment).videos == 16
    assert "frame store" in str(hl.load_data(experiment).source)
