"""`import hmdb_lib as hl` is all that a user imports: quick, whole, and each name with an example."""

import inspect
import os
import subprocess
import sys

import nbformat
import pytest

import hmdb_lib as hl
from hmdb_lib.environment import ROOT


def loaded_by(code):
    """Which of the heavy libraries a fresh Python has loaded after the code."""
    told = f"import sys; {code}; print([name for name in ('torch', 'pandas', 'pydantic', 'av') if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.strip()


def test_the_import_needs_the_standard_library_alone():
    assert loaded_by("import hmdb_lib") == "[]"


def test_results_and_figures_are_read_without_torch():
    assert "torch" not in loaded_by("import hmdb_lib as hl; hl.list_runs; hl.results_table; hl.published; hl.plots")


@pytest.mark.parametrize("name", ["10_overfitting_curves", "11_parameter_table"])
def test_the_notebooks_of_results_run_without_torch(name, tmp_path):
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code" and "set-up" not in cell.metadata.get("tags", [])]
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('torch')")
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "HMDB_RESULTS": str(ROOT / "results")}
    program = "\n".join(["import hmdb_lib as hl", *code])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr


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
