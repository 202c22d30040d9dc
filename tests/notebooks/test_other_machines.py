"""Notebooks on imitations of Colab and Kaggle: another Python with a torch of its own, and those services' folders.

The kernel of a notebook runs in namespaces of its own, where /content and /kaggle are the test's, and where a test
can take away the network. Skips where that takes other rights, or where there is no uv, Python 3.12 or registry.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import nbformat
import pytest
from helpers.tiny_hmdb51 import mount_small_disk, write_folders
from nbclient import NotebookClient
from traitlets.config import Config

from hmdb_lib.environment import ROOT

pytestmark = pytest.mark.slow
TORCH = ["torch==2.8.0", "torchvision==0.23.0"]  # the oldest that the project takes
# What else Colab and Kaggle bring. The rest is left to the set-up cell.
THEIRS = ["ipykernel", "ipywidgets", "jupyterlab", "matplotlib", "numpy==2.0.2", "pandas==2.2.2", "scikit-learn"]
THEIRS += ["scipy", "seaborn", "tensorboard", "transformers"]
GIVEN = 'import torch, torchvision; print(torch.__version__.split("+")[0], torchvision.__version__.split("+")[0])'

STATUS = """
print(hl.resolve(hl.load_config(quick=True, data="sample")))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A Python 3.12 with what those services bring."""
    if not shutil.which("uv"):
        pytest.skip("no uv")
    folder = tmp_path_factory.mktemp("python")
    # pyenv's are not on the path until one is chosen.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    version = next(pyenv.glob("versions/3.12.*/bin/python3.12"), "3.12")
    python = folder / "bin" / "python"
    make = ["uv", "venv", "--quiet", "--allow-existing", "--seed", "--python", version, folder]
    fill = ["uv", "pip", "install", "--quiet", "--python", python, *TORCH, *THEIRS]
    for command in (make, fill):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot make a Python 3.12 with a torch: {done.stderr.strip().splitlines()[0]}")
    yield python
    shutil.rmtree(folder)  # pytest would keep gigabytes


@pytest.fixture
def machine(python, tmp_path, monkeypatch):
    """A function that runs code in a kernel of its own: `(script, cells, network=True, **environment)`.

    `script` is of the shell: it mounts what this machine has, and goes into the folder where the kernel starts.
    Returns what each cell printed.
    """
    points = [Path("/content"), Path("/kaggle")]
    try:
        made = [point for point in points if not point.exists() and not point.mkdir()]
        subprocess.run(["unshare", "--mount", "--net", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot make a machine's folders: {error}")
    kernel = tmp_path / "jupyter" / "kernels" / "elsewhere" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("HMDB_REPO", f"file://{ROOT}")

    def run(script, cells, network=True, **environment):
        spaces = ["unshare", "--mount", *([] if network else ["--net"])]
        start = ["sh", "-ec", f'{script}\nexec "$@"', "sh", str(python), "-m", "ipykernel_launcher", "-f"]
        spec = {"argv": [*spaces, *start, "{connection_file}"], "display_name": "", "language": "python"}
        kernel.write_text(json.dumps(spec | {"env": environment}))
        # Sockets in files reach into a kernel without a network.
        with tempfile.TemporaryDirectory() as folder:  # the name of a socket is short
            sockets = Config(ConnectionFileMixin={"transport": "ipc", "ip": f"{folder}/kernel"})
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
            options = {"kernel_name": "elsewhere", "config": sockets, "timeout": 300, "allow_errors": True}
            done = NotebookClient(notebook, **options).execute()
        return ["".join(map(text_of, cell.outputs)) for cell in done.cells]

    yield run
    for point in made:
        point.rmdir()


def text_of(output):
    return output.get("text") or "\n".join(output.get("traceback", []))


def faults(printed):
    """Lines of errors, in one line or with a traceback."""
    return [line for text in printed for line in text.splitlines() if "rror: " in line]


def code_of(name, parameters="quick = True"):
    """A notebook's code cells, with other parameters than it has."""
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    set_up, own, *others = [cell.source for cell in cells if cell.cell_type == "code"]
    return [set_up, f"{own}\n{parameters}", *others]


def test_on_colab_the_torch_that_is_there_stays_and_drive_keeps_the_results(machine, full_sample, tmp_path):
    drive, module = tmp_path / "drive", tmp_path / "colab" / "google" / "colab" / "drive.py"
    drive.mkdir()
    module.parent.mkdir(parents=True)
    module.write_text(
        "import pathlib, subprocess\n"
        "def mount(folder):\n"
        "    place = pathlib.Path(folder, 'MyDrive')\n"
        "    place.mkdir(parents=True)\n"
        f"    subprocess.run(['mount', '--bind', '{drive}', place], check=True)\n"
    )
    colab = {"COLAB_RELEASE_TAG": "release-colab", "PYTHONPATH": str(tmp_path / "colab")}
    new_machine = f"""
        mount -t tmpfs tmpfs /content
        mkdir /content/data
        ln -s {full_sample} /content/data/sample
        cd /content"""

    cells = code_of("00_start_here")
    before, set_up, *others, after = machine(new_machine, [GIVEN, *cells, GIVEN], **colab)
    assert "colab; no GPU, " in set_up
    assert "\ndata: /content/data\nresults: /content/drive/MyDrive/hmdb_results\n" in set_up
    assert set_up.splitlines()[-1].startswith("no GPU: Runtime > Change runtime type > T4 GPU")
    assert "test accuracy" in "".join(others)
    assert not faults(others)
    assert before == after == "2.8.0 0.23.0\n"

    _, printed = machine(new_machine, [cells[0], STATUS], **colab)
    assert printed.startswith("finished: ")


def test_on_kaggle_a_full_disk_is_told_and_a_second_pass_needs_no_network(machine, full_sample, tmp_path):
    write_folders(tmp_path / "input" / "hmdb51-videos")
    set_up, *start_here = code_of("00_start_here")
    _, *get_data = code_of("01_get_data", 'size = {"classes": 2, "videos": 8, "train": 2, "test": 1}')
    train = next(cell for cell in start_here if "hl.train(" in cell)
    kaggle = {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}
    with mount_small_disk(tmp_path / "working", "100m") as working:
        session = f"""
            mount -t tmpfs tmpfs /kaggle
            mkdir -p /kaggle/input /kaggle/working /kaggle/temp/data
            mount --bind {tmp_path}/input /kaggle/input
            mount -o remount,bind,ro /kaggle/input
            mount --bind {working} /kaggle/working
            ln -s {full_sample} /kaggle/temp/data/sample
            cd /kaggle/working"""
        first, *_, trained = machine(session, [set_up, *start_here[:2], train], **kaggle)
        assert "\ndata: /kaggle/temp/data\nresults: /kaggle/working/results\n" in first
        assert "\nno GPU: Settings > Accelerator > GPU T4 x2" in first
        assert re.match(r"only 0\.[01] GB are free for results", first.splitlines()[-1])  # the clone takes most of it
        (told,) = faults([trained])
        assert "the disk is full; free some of it (on Colab: " in told

        subprocess.run(["mount", "-o", "remount,size=2g", working], check=True)
        second, *others = machine(session, [set_up, *get_data, *start_here], network=False, **kaggle)
        assert second.startswith("kaggle; no GPU, ")
        assert "videos: Kaggle input; " in "".join(others)
        assert "\nwhole\n" in "".join(others)
        assert "test accuracy" in "".join(others)
        assert not faults(others)
