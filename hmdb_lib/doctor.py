"""Examine a machine: print what it has, and what would fail on it before it fails."""

import importlib.metadata
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import huggingface_hub
import numpy as np
import torch
from packaging.requirements import Requirement

from hmdb_lib import environment
from hmdb_lib.data.video import read_frames, write_video
from hmdb_lib.environment import Place, cores
from hmdb_lib.errors import FREE_DISK, UserError
from hmdb_lib.files import is_there, report_refusals
from hmdb_lib.models.device import choose_device, lacks_code
from hmdb_lib.notebook import RUN, installed, missing_packages, requirements

TOLD = ("torch", "torchvision", "lightning", "transformers", "huggingface-hub", "av", "numpy", "pandas")


def examine(place: Place | None = None) -> int:
    """Print versions, device, folders, disk and token, then each thing that would fail; return 2 if there is one.

    Example:
        >>> problems = hl.examine()

    """
    place = place or environment.place()
    print(f"python {platform.python_version()} on {platform.platform()}, {cores()} cores")
    print(*(f"{name} {installed(name) or 'missing'}" for name in TOLD), sep="\n")
    usable = not (torch.cuda.is_available() and lacks_code())
    print(f"device: {choose_device('auto' if usable else 'cpu').reason}\nplace: {place.name}")
    checks: list[Callable[[], Iterable[str]]] = [
        lambda: package_problems(requirements()),
        gpu_problems,
        lambda: folder_problems("data", place.data),
        lambda: folder_problems("results", place.results),
        lambda: drive_problems(place),
        video_problems,
    ]
    problems = []
    for check in checks:
        try:
            with report_refusals():
                problems += check()
        except UserError as error:
            problems.append(str(error))
    token = "there is one" if huggingface_hub.get_token() else "none, which public models do without: hf auth login"
    print(f"token for the hub: {token}")
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        print("the hub is switched off (HF_HUB_OFFLINE): only what its cache holds can be had")
    print(
        *(f"would fail: {problem}" for problem in problems) if problems else ["ready: nothing that would fail"],
        sep="\n",
    )
    return 2 if problems else 0


def package_problems(requirements: Iterable[str]) -> list[str]:
    """List packages that are missing or of a version that is known to fail, and a torchvision of another torch."""
    built_for = importlib.metadata.requires("torchvision") if installed("torchvision") else []
    wanted = [*requirements, *(line for line in built_for or [] if line.startswith("torch"))]
    missing = map(Requirement, missing_packages(wanted, keep=()))
    return [f'{each.name} {installed(each.name) or "is missing"}: pip install "{each}"' for each in missing]


def gpu_problems() -> list[str]:
    """List what keeps torch from the GPU: a build without its architecture, or without CUDA."""
    if not torch.cuda.is_available():
        if (
            not shutil.which("nvidia-smi")
            or subprocess.run(["nvidia-smi"], capture_output=True, check=False).returncode
        ):
            return []
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        return [f"there is a GPU, but torch {torch.__version__} ({built}) cannot use it; install one for its driver"]
    told = lacks_code()
    return [told] if told else []


def folder_problems(what: str, folder: Path) -> list[str]:
    """Print a folder and its free disk; list what keeps this program from writing there."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    print(f"{what}: {folder}, {free / 1e9:.0f} GB free")
    with report_refusals(there), tempfile.TemporaryFile(dir=there) as file:
        file.write(b"can be written")
    return [f"{what}: {folder}: only {free / 1e9:.1f} GB are free; {FREE_DISK}"] if free < RUN else []


def drive_problems(place: Place) -> list[str]:
    """List why results on Colab would end with the session."""
    if place.name != "colab" or is_there(Path("/content/drive/MyDrive")):
        return []
    return ["Drive is not mounted: results end with the session; run the set-up cell of a notebook"]


def video_problems() -> list[str]:
    """Write and read a small video with the libraries of FFmpeg that PyAV carries; raises UserError."""
    with tempfile.TemporaryDirectory() as folder:
        write_video(Path(folder) / "grey.avi", np.full((2, 32, 32, 3), 128, np.uint8), 25)
        grey = read_frames(Path(folder) / "grey.avi", [1]).mean()
    return [] if abs(grey - 128) < 4 else [f"videos: a grey of 128 is read as {grey:.0f}; reinstall av"]
