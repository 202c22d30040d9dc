"""The repository's promises about itself: who may import whom, and dependencies that agree."""

import ast
import re
import tomllib

import pytest
import yaml

from hmdb_lib.config import ROOT

# Which of our modules each of ours may import. The arrows run one way; an import against them fails here.
MAY_IMPORT = {
    "errors": set(),
    "cores": set(),
    "hmdb51": {"errors"},
    "config": {"errors"},
    "environment": {"errors"},
    "video": {"errors"},
    "cost": {"errors"},
    "models": {"errors", "models"},
    "clips": {"video"},
    "splits": {"errors", "hmdb51"},
    "frames": {"video"},
    "data": {"clips", "cores", "errors", "frames", "video"},
    "waiting": {"frames"},
    "transforms": set(),
    "evaluation": set(),
    "plots": set(),
    "plots_classes": {"evaluation", "plots", "uncertainty"},
    "plots_clips": {"plots"},
    "widgets": {"cost", "data", "errors", "models", "plots", "plots_classes", "plots_clips", "runs"},
    "runs": {"config", "errors"},
    "optimise": {"config"},
    "learner": {"config", "errors", "optimise", "runs", "transforms"},
    "classifier": {"config", "evaluation", "learner", "runs", "transforms"},
    "pretraining": {"learner", "models", "transforms"},
    "batch_size": {"config", "environment", "errors", "models", "optimise", "runs", "transforms"},
    "recording": {
        *("classifier", "cost", "data", "environment", "evaluation", "learner", "plots", "plots_clips", "pretraining"),
        *("transforms", "uncertainty"),
    },
    "training": {
        *("batch_size", "classifier", "clips", "config", "data", "environment", "errors", "models", "pretraining"),
        *("recording", "rescue", "runs", "splits", "waiting", "data_prep.sample"),
    },
    "rescue": {"errors", "runs"},
    "uncertainty": {"errors"},
    "tables": {"runs", "uncertainty"},
    "launch": {"environment", "errors"},
    "study": {"config", "cost", "data", "environment", "errors", "launch", "models", "runs", "tables", "training"},
    "stages": {"config", "environment", "errors", "runs", "study", "tables", "training", "uncertainty"},
    "longer": {"environment", "predict", "runs", "splits", "training", "uncertainty"},
    "command": {
        *(
            "config",
            "cost",
            "environment",
            "errors",
            "export",
            "hub",
            "models",
            "overlay",
            "predict",
            "study",
            "tables",
            "training",
        ),
    },
    "portable": {"config", "errors", "models", "runs"},
    "windows": {"clips", "video"},
    "predictions": set(),
    "predict": {
        *("clips", "cores", "environment", "errors", "hmdb51", "models", "portable", "predictions", "transforms"),
        *("video", "windows"),
    },
    "export": {"errors", "portable", "transforms"},
    "hub": {"errors", "portable"},
    "camera": set(),
    "overlay": {"errors", "inside", "models", "plots_clips", "predict", "transforms", "video", "windows"},
    "tryout": {"camera", "errors", "overlay", "plots_classes", "plots_clips", "predict", "widgets"},
    "inside": {"errors", "models"},
    "live": {"plots"},
    "notebook": {"environment", "errors"},
    "__main__": {"command"},
    "__init__": set(),
}
DATA_PREP_MAY_IMPORT = {"data_prep", "video", "frames", "hmdb51", "errors", "cores"}
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "huggingface-hub": "huggingface_hub"}


def imported(file):
    """Names of our own modules that a file imports, wherever in it: `models`, `data_prep.sample`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "hmdb_lib":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hmdb_lib":
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "data_prep":
            yield node.module
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "hmdb_lib":
                    yield alias.name.removeprefix("hmdb_lib.")


@pytest.mark.parametrize(
    "file", sorted((ROOT / "hmdb_lib").rglob("*.py")), ids=lambda f: f.relative_to(ROOT).as_posix()
)
def test_imports_run_the_way_data_flows(file):
    module = file.relative_to(ROOT / "hmdb_lib").parts[0].removesuffix(".py")
    assert set(imported(file)) <= MAY_IMPORT[module]


@pytest.mark.parametrize("file", sorted((ROOT / "data_prep").rglob("*.py")), ids=lambda f: f.name)
def test_data_prep_shares_only_what_it_may(file):
    assert {name.split(".")[0] for name in imported(file)} <= DATA_PREP_MAY_IMPORT


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
    "name", ["plots", "plots_classes", "plots_clips", "tables", "evaluation", "uncertainty", "splits", "config"]
)
def test_analysis_needs_no_torch(name):
    source = (ROOT / "hmdb_lib" / f"{name}.py").read_text()
    assert not re.search(r"^\s*(import|from) (torch|lightning)", source, re.MULTILINE)


def name_and_range(requirement):
    requirement = requirement.split(";")[0]
    name = re.match(r"[\w.-]+", requirement)[0]
    return name.lower(), requirement[len(name) :].replace(" ", "")


def test_pip_conda_and_the_lock_file_list_the_same_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pip = dict(map(name_and_range, project["dependencies"]))
    *conda, by_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    listed = dict(map(name_and_range, conda))
    assert listed.pop("python") == project["requires-python"]
    assert {listed.pop("pip"), listed.pop("ffmpeg")} == {""}
    listed |= dict(map(name_and_range, by_pip["pip"][:-1]))
    assert listed == {CONDA_NAMES.get(name, name): versions for name, versions in pip.items()}
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    own = next(package for package in lock if package["name"] == "hmdb-lib")
    assert {dependency["name"] for dependency in own["dependencies"]} == set(pip)


def test_conda_installs_this_project_by_pip():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda[-1]["pip"][-1] == "-e ."
