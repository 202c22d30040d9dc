"""The repository's promises about itself: who may import whom, and dependencies that agree."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import nbformat
import pytest
import yaml

from hmdb_lib.environment import ROOT
from hmdb_lib.inference import hub

# Each room may import those before it, and nothing after it: data flows one way.
LAYERS = re.findall(
    r"\w+",
    """
    errors files environment progress
    config
    models
    data
    results
    plots
    data_prep
    features
    training
    inference
    studies widgets
    notebook doctor cli __main__
""",
)
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "huggingface-hub": "huggingface_hub"}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REPOSITORY = PYPROJECT["project"]["urls"]["Repository"].removeprefix("https://github.com/")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def room(module):
    """The room of `hmdb_lib.<room>...`, or `data_prep`, or None for what is not ours."""
    package, _, rest = module.partition(".")
    return {"hmdb_lib": rest.partition(".")[0], "data_prep": "data_prep"}.get(package)


def imported(file):
    """The rooms that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from filter(None, map(room, modules))


def against_the_flow(file, own):
    return {name for name in imported(file) if name != own and LAYERS.index(name) > LAYERS.index(own)}


@pytest.mark.parametrize(
    "file",
    sorted(file for folder in ("hmdb_lib", "data_prep") for file in (ROOT / folder).rglob("*.py")),
    ids=lambda file: file.relative_to(ROOT).as_posix(),
)
def test_imports_run_the_way_data_flows(file):
    own = room(".".join(file.relative_to(ROOT).with_suffix("").parts))
    assert own == "__init__" or against_the_flow(file, own) == set()


def test_an_import_against_the_flow_is_seen(tmp_path):
    file = tmp_path / "config.py"
    file.write_text("def late():\n    from hmdb_lib import training\n")
    assert against_the_flow(file, "config") == {"training"}


@pytest.mark.parametrize("library", ["av", "transformers"])
def test_one_file_alone_imports_a_library_that_the_house_keeps_in_one_room(library):
    users = {
        file.relative_to(ROOT).as_posix()
        for folder in ("hmdb_lib", "data_prep")
        for file in (ROOT / folder).rglob("*.py")
        if re.search(rf"^\s*(import|from) {library}\b", file.read_text(), re.MULTILINE)
    }
    assert len(users) <= 1


@pytest.mark.parametrize(
    "name",
    [
        *("plots/curves", "plots/classes", "plots/clips", "results/tables", "results/metrics", "results/statistics"),
        *("data/splits", "config"),
    ],
)
def test_analysis_needs_no_torch(name):
    source = (ROOT / "hmdb_lib" / f"{name}.py").read_text()
    assert not re.search(r"^\s*(import|from) (torch|lightning)", source, re.MULTILINE)


def name_and_range(requirement):
    requirement = requirement.split(";")[0]
    name = re.match(r"[\w.-]+", requirement)[0]
    return name.lower(), requirement[len(name) :].replace(" ", "")


def lock_file():
    return tomllib.loads((ROOT / "uv.lock").read_text())["package"]


def test_pip_conda_and_the_lock_file_list_the_same_dependencies():
    project = PYPROJECT["project"]
    pip = dict(map(name_and_range, project["dependencies"]))
    *conda, by_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    listed = dict(map(name_and_range, conda))
    assert listed.pop("python") == project["requires-python"]
    assert {listed.pop("pip"), listed.pop("ffmpeg")} == {""}
    listed |= dict(map(name_and_range, by_pip["pip"][:-1]))
    assert listed == {CONDA_NAMES.get(name, name): versions for name, versions in pip.items()}
    own = next(package for package in lock_file() if package["name"] == "hmdb-lib")
    assert {dependency["name"] for dependency in own["dependencies"]} == set(pip)


def test_the_model_card_names_the_projects_own_address():
    assert PYPROJECT["project"]["urls"]["Repository"] == hub.REPOSITORY


def test_conda_installs_this_project_by_pip():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda[-1]["pip"][-1] == "-e ."


def test_pre_commit_runs_the_versions_that_the_lock_file_holds():
    locked = {package["name"]: package.get("version") for package in lock_file()}
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    pinned = {hook["repo"].rpartition("/")[2].removesuffix("-pre-commit"): hook["rev"].lstrip("v") for hook in hooks}
    assert [pinned["ruff"], pinned["nbstripout"]] == [locked["ruff"], locked["nbstripout"]]


def repositories(text):
    """Every `owner/name` on GitHub that a text names, Colab's way of writing it too."""
    return set(re.findall(r"(?:github\.com|colab\.research\.google\.com/github)/([\w.-]+/[\w-]+)", text))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_badges_and_set_up_cell_name_the_repository(file):
    notebook = nbformat.read(file, as_version=4)
    set_up = next(cell.source for cell in notebook.cells if "set-up" in cell.metadata.get("tags", []))
    assert repositories(notebook.cells[0].source) == repositories(set_up) == {REPOSITORY}


def test_no_file_names_the_repository_under_another_owner():
    name = REPOSITORY.partition("/")[2]
    for file in (*NOTEBOOKS, *ROOT.glob("*.md"), *ROOT.glob("*.cff"), *(ROOT / "hmdb_lib").rglob("*.py")):
        named = repositories(file.read_text(encoding="utf-8"))
        assert {other for other in named if other.endswith(f"/{name}")} <= {REPOSITORY}, file


def test_the_citation_is_whole_and_agrees_with_pyproject():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = PYPROJECT["project"]
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}  # what the format requires
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]
    assert citation["repository-code"] == project["urls"]["Repository"]


def test_ci_tests_every_python_that_the_project_names_with_pinned_actions():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    python = "Programming Language :: Python :: "
    named = {line.removeprefix(python) for line in PYPROJECT["project"]["classifiers"] if line.startswith(python)}
    assert set(jobs["fast"]["strategy"]["matrix"]["python"]) == named - {"3"}
    used = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert [action for action in used if not re.search(r"@v\d", action)] == []


@pytest.mark.parametrize("file", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda file: file.name)
def test_the_files_for_github_are_yaml(file):
    assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict)


def test_the_bug_form_asks_for_what_a_reader_needs_to_see_the_bug():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text(encoding="utf-8"))
    required = [field["id"] for field in form["body"] if field["validations"]["required"]]
    assert required == ["doctor", "command", "expected", "seen"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel unpacked, as pip would lay it."""
    if not shutil.which("uv"):
        pytest.skip("no uv")
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(["uv", "build", "--wheel", "--out-dir", folder, ROOT], capture_output=True, text=True)
    if built.returncode and "hatchling" in built.stderr and "fetch" in built.stderr:
        pytest.skip("hatchling cannot be had here")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_the_installed_wheel_finds_its_rows_and_puts_results_where_one_stands(installed, tmp_path):
    program = """
import pathlib
from hmdb_lib import config, environment
from hmdb_lib.results.tables import published
assert "wheel" in config.__file__, config.__file__
assert config.load("baseline").model.head == "pool"
assert len(published()) > 5
assert environment.place().results == pathlib.Path.cwd() / "results"
"""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HMDB_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=clean | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
