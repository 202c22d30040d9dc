"""Tell which machine this is: Colab, Kaggle or one's own; its folders and its cores. Needs the standard library alone."""

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent  # of a checkout; beside other packages where the wheel is installed
IN_CHECKOUT = (ROOT / "experiments.yaml").is_file()
DRIVE = Path("/content/drive/MyDrive")
# What of a checkout changes a number: results and notebooks that users write do not.
CODE = ["hmdb_lib", "data_prep", "train.py", "config.yaml", "experiments.yaml", "pyproject.toml", "uv.lock"]


@dataclass(frozen=True)
class Place:
    """Name a machine's kind (colab, kaggle or local), its data folder and its results folder."""

    name: str
    data: Path
    results: Path

    @property
    def best_dataset(self) -> str:
        """What `data.dataset: auto` means here: hmdb51 where its videos are, else the sample data set."""
        return "hmdb51" if (self.data / "hmdb51" / "videos").is_dir() else "sample"

    @property
    def local(self) -> Path | None:
        """The folder in which runs are trained that are mirrored to `results`: on Colab with Drive, or `HMDB_LOCAL`."""
        given = os.environ.get("HMDB_LOCAL", "/content/runs" if DRIVE in self.results.parents else None)
        return Path(given).expanduser() if given else None

    @property
    def packed(self) -> Path:
        """The folder of prepared data that another session brings back: beside the results, which outlive this one."""
        return self.results.parent / "hmdb_packed"


def place() -> Place:
    """Find the folders of this machine; the environment's `HMDB_DATA` and `HMDB_RESULTS` name others.

    Outside a checkout they lie in the working directory. Colab keeps results on the mounted Drive where there is one,
    so that they outlive the session; videos stay on its own disk, which is far faster than Drive.

    Example:
        >>> hl.place().results

    """
    home = ROOT if IN_CHECKOUT else Path.cwd()
    name, data, results = "local", home / "data", home / "results"
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        name, data, results = "kaggle", Path("/kaggle/temp/data"), Path("/kaggle/working/results")
    elif os.environ.get("COLAB_RELEASE_TAG"):
        name, data = "colab", Path("/content/data")
        results = DRIVE / "hmdb_results" if DRIVE.is_dir() else results
    data, results = os.environ.get("HMDB_DATA", data), os.environ.get("HMDB_RESULTS", results)
    return Place(name, Path(data).expanduser(), Path(results).expanduser())


def shipped(name: str) -> Path:
    """Find a file that comes with the project: in the checkout, or inside the installed package."""
    return ROOT / name if IN_CHECKOUT else PACKAGE / Path(name).name


def cores() -> int:
    """Count the cores this process may use: fewer than the machine's where a scheduler, a container or taskset says so."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS or Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Processes(ProcessPoolExecutor):
    """Run functions in so many new processes, spawned: a fork of a notebook's threads may hang.

    Python's own would run the caller's script in each of them first, all over again, unless what it does stands under
    `if __name__ == "__main__":`. These do not.
    """

    def __init__(self, count: int, initializer: Callable[[], object] | None = None) -> None:
        super().__init__(count, get_context("spawn"), initializer)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Start a process if all are at work; see `concurrent.futures`."""
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")  # has no file to run
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            sys.modules["__main__"] = main


def commit() -> str | None:
    """Name the checkout's commit, with `+changes` where its code or configuration differ, or the installed version."""
    if not IN_CHECKOUT:
        return importlib.metadata.version("hmdb-lib")
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = [*git, "status", "--porcelain", "--", *CODE]
        changed = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")
