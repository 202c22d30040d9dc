"""The notebooks: thin, alike where they must be, and run from top to bottom."""

import ast
import re
import shutil
import subprocess
import sys

import nbformat
import papermill
import pytest
import yaml
from helpers.tiny_hmdb51 import VIDEOS, files_in, mirror
from helpers.web import serve

from hmdb_lib.environment import ROOT

FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))
SCREEN = 60  # lines
every_notebook = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def cells(file, kind):
    return [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == kind]


def code_lines(cell):
    return [line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def tagged(file, tag):
    return [cell.source for cell in cells(file, "code") if tag in cell.metadata.get("tags", [])]


def written(file):
    """Patterns below the folder that holds data/ and results/, which the notebook says it writes."""
    line = next(line for line in cells(file, "markdown")[0].source.splitlines() if line.startswith("- **Writes**"))
    return re.findall(r"`((?:data|results)/.*?)`", line)


@every_notebook
def test_a_notebook_is_thin(file):
    sizes = [len(code_lines(cell)) for cell in cells(file, "code")]
    assert max(sizes) <= 20
    assert sum(sizes) <= 80


@every_notebook
def test_a_notebook_defines_no_class_and_trains_in_no_loop(file):
    tree = ast.parse("\n".join(cell.source for cell in cells(file, "code")))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert "backward(" not in ast.unparse(tree)


@every_notebook
def test_a_notebook_imports_one_thing_of_ours(file):
    imports = [
        ast.unparse(node)
        for node in ast.walk(ast.parse("\n".join(cell.source for cell in cells(file, "code"))))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    ours = [line for line in imports if re.search(r"\b(hmdb_lib|data_prep)\b", line)]
    assert ours == ["import hmdb_lib as hl"]


@every_notebook
def test_a_notebook_opens_with_title_badges_and_four_lines_and_ends_with_what_we_saw(file):
    first, *_, last = cells(file, "markdown")
    assert first.source.startswith("# ")
    assert re.findall(r"^- \*\*(\w+)\*\*: \S", first.source, re.MULTILINE) == ["Question", "Needs", "Writes", "Time"]
    assert last.source.startswith("## What we saw")


@every_notebook
def test_the_header_speaks_of_a_t4_and_of_two_cpu_cores(file):
    time = next(line for line in cells(file, "markdown")[0].source.splitlines() if line.startswith("- **Time**"))
    assert "T4" in time
    assert "two CPU cores" in time


@every_notebook
def test_the_badges_open_this_very_file(file):
    addresses = re.findall(r"\]\((https://[^)]*ipynb)\)", cells(file, "markdown")[0].source)
    assert len(addresses) == 2
    assert all(address.endswith(f"/blob/main/notebooks/{file.name}") for address in addresses)


@every_notebook
def test_the_parameters_cell_is_one_and_holds_what_is_used(file):
    (parameters,) = tagged(file, "parameters")
    names = re.findall(r"^(\w+) = ", parameters, re.MULTILINE)
    code = "\n".join(cell.source for cell in cells(file, "code") if "tags" not in cell.metadata)
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []
    assert "quick" not in names or parameters.startswith("quick = False")


def test_the_set_up_cell_is_the_same_everywhere():
    assert len({tuple(tagged(file, "set-up")) for file in FILES}) == 1


@every_notebook
def test_a_committed_notebook_has_no_outputs_and_no_traces(file):
    notebook = nbformat.read(file, as_version=4)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.display_name == "Python 3", "the name of someone's own environment"
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    assert not any(cell.outputs or cell.execution_count for cell in cells(file, "code"))


@pytest.mark.slow
def test_nbstripout_with_pre_commits_flags_finds_nothing_to_strip():
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (flags,) = [hook["args"] for repo in repositories for hook in repo["hooks"] if hook["id"] == "nbstripout"]
    done = subprocess.run([sys.executable, "-m", "nbstripout", "--verify", *flags, *FILES], capture_output=True)
    assert done.returncode == 0, done.stdout


def test_the_readme_lists_the_notebooks_that_there_are():
    listed = re.findall(r"^\| \[(\w+)\]\(notebooks/\1\.ipynb\)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert listed == [file.stem for file in FILES]


@pytest.fixture(scope="module")
def place(tmp_path_factory, full_sample):
    """One data and one results folder for all: what a notebook wrote, the next one finds."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(full_sample, folder / "data" / "sample")  # drawing it is tested elsewhere
    yield folder
    shutil.rmtree(folder)  # pytest would keep gigabytes of checkpoints


def text_of(output):
    return output.get("text") or output.get("data", {}).get("text/plain", "")


def lines_of(output):
    """What takes up the screen: the lines of a text, the rows of a table, whose text form breaks each of them."""
    html = output.get("data", {}).get("text/html", "")
    return html.count("<tr") or len(text_of(output).splitlines())


@pytest.mark.slow
@every_notebook
def test_a_notebook_runs_from_top_to_bottom_and_writes_what_it_says(file, place, tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_DATA", str(place / "data"))
    monkeypatch.setenv("HMDB_RESULTS", str(place / "results"))
    monkeypatch.setenv("HMDB_WIDGETS", "off")  # nobody looks
    quick = {"quick": True} if "quick" in papermill.inspect_notebook(file) else {}
    done = papermill.execute_notebook(
        file, tmp_path / file.name, quick, cwd=file.parent, progress_bar=False, kernel_name="python3"
    )
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    # Not all warnings call themselves one: Lightning's are a place and a sentence.
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    assert not [output.evalue for output in outputs if output.output_type == "error"]  # what cannot be shown
    assert max(map(lines_of, outputs), default=0) <= SCREEN
    assert not [o for o in outputs if "<Figure" in text_of(o) and "image/png" not in o.data], "a picture as text"
    assert [pattern for pattern in written(file) if not list(place.glob(pattern))] == []


@pytest.mark.slow
def test_the_download_notebook_fetches_a_data_set_from_a_server(tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_DATA", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with serve() as web:
        web.add_hub("CVML-TueAI/HMDB51", mirror())
        monkeypatch.setenv("HF_ENDPOINT", web.url)
        parameters = {"size": {"classes": 2, "videos": 8, "train": 2, "test": 1}}
        file = ROOT / "notebooks" / "01_get_data.ipynb"
        done = papermill.execute_notebook(file, tmp_path / file.name, parameters, cwd=file.parent, progress_bar=False)
    printed = "".join(text_of(output) for cell in done.cells if cell.cell_type == "code" for output in cell.outputs)
    assert "videos: hub, CVML-TueAI/HMDB51" in printed
    assert "\nwhole" in printed
    assert {f"videos/{name}": content for name, content in VIDEOS.items()}.items() <= files_in(
        tmp_path / "hmdb51"
    ).items()
