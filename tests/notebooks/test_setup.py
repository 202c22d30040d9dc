"""The notebooks' first cell, in an empty folder as on Colab and Kaggle, and in a notebook of this repository."""

import sys

import nbformat
import pytest
from nbclient import NotebookClient

from hmdb_lib import notebook
from hmdb_lib.environment import ROOT
from hmdb_lib.errors import UserError

NOTEBOOK = ROOT / "notebooks" / "00_start_here.ipynb"


def run_cells(folder, *sources):
    """The text that each cell printed, in a kernel of its own that starts in `folder`."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    done = NotebookClient(nbformat.v4.new_notebook(cells=cells), allow_errors=True).execute(cwd=str(folder))
    told = [[output.get("text", output.get("traceback")) for output in cell.outputs] for cell in done.cells]
    return [[text for text in texts if text] for texts in told]  # what is shown and taken away again has none


@pytest.fixture
def set_up():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    return next(cell.source for cell in cells if "set-up" in cell.metadata.get("tags", []))


def test_a_torch_that_is_there_counts_as_good_whatever_its_version(monkeypatch):
    monkeypatch.setattr(notebook, "installed", {"torch": "1.0", "numpy": "1.0", "pandas": "9.0"}.get)
    wanted = ["torch>=2.8", "numpy>=2", "pandas>=2", "tqdm>=4", "pywin32>=1; sys_platform == 'win32'"]
    assert notebook.missing_packages(wanted) == ["numpy>=2", "tqdm>=4"]


def test_an_installed_package_knows_its_requirements_without_its_checkout(tmp_path, monkeypatch):
    of_checkout = notebook.missing_packages(notebook.requirements(), keep=())
    monkeypatch.setattr(notebook, "ROOT", tmp_path)
    assert any(requirement.startswith("lightning") for requirement in notebook.requirements())
    assert notebook.missing_packages(notebook.requirements(), keep=()) == of_checkout


def test_an_install_that_fails_is_one_line_that_says_what_to_click(monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(UserError, match=r"^cannot install nowhere>=1 .*Internet on$"):
        notebook.install(["nowhere>=1"])


def test_uv_installs_where_it_is_there_into_this_python_and_leaves_torch(tmp_path, monkeypatch):
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked; cat "$7" >> {tmp_path}/asked\n')
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    notebook.install(["tqdm>=4"])
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith(f"pip install --quiet --python {sys.executable} -c ")
    assert f"torch=={notebook.installed('torch')}" in asked


@pytest.mark.slow
def test_a_users_error_is_one_line_in_a_notebook(set_up):
    _, outputs = run_cells(ROOT, set_up, "hl.load_config(**{'train.epoch': 3})")
    assert "".join(map(str, outputs)).count("\n") <= 1
    assert "the nearest is train.epochs" in str(outputs)


@pytest.mark.slow
def test_on_colab_the_project_is_cloned_and_results_go_to_this_machine_without_drive(set_up, tmp_path, monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    monkeypatch.setenv("HMDB_REPO", f"file://{ROOT}")
    (outputs,) = run_cells(tmp_path, set_up)
    assert (tmp_path / "hmdb-lib" / "config.yaml").exists()
    assert outputs[0].startswith("colab; ")
    assert f"results: {tmp_path / 'hmdb-lib' / 'results'}" in outputs[0]


@pytest.mark.slow
def test_without_a_network_the_cell_says_so_in_a_line(set_up, tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_REPO", str(tmp_path / "nowhere"))
    (outputs,) = run_cells(tmp_path, set_up)
    assert "is there internet?" in str(outputs)


@pytest.mark.slow
def test_a_stopped_cell_says_so_in_a_line(set_up):
    _, outputs = run_cells(ROOT, set_up, "raise KeyboardInterrupt('2 of 5 epochs are kept')")
    assert outputs == ["stopped: 2 of 5 epochs are kept\n"]
