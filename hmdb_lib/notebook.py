"""Set up a notebook: install missing packages, find the folders, print errors in one line.

Imported before anything is installed, so the top of this file needs the standard library alone.
"""

import importlib.metadata
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
import traceback
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hmdb_lib.errors import FREE_DISK, UserError
from hmdb_lib.files import report_refusals

ROOT = Path(__file__).resolve().parents[1]
KEEP = ("torch", "torchvision")  # Colab's and Kaggle's fit their GPUs: never replaced
DRIVE = Path("/content/drive")
RUN = 2e9  # bytes: the four checkpoints of 500 MB that the largest row keeps while it trains


def set_up() -> None:
    """Install what is missing, mount Drive on Colab, and say which device, data and results folder there are.

    Example:
        >>> hl.set_up()

    """
    _tell_errors_in_a_line()
    missing = missing_packages(requirements())
    if missing:
        print(f"installing {', '.join(missing)}")
        install(missing)
    _show_figures()
    _mount_drive()
    from data_prep.pack import find_pack  # noqa: PLC0415 - what it needs may just have been installed
    from hmdb_lib import environment, progress  # noqa: PLC0415 - as above

    waiting = progress.Spot() if progress.in_notebook() else None
    if waiting:
        waiting.show("loading torch ...")
    from hmdb_lib.models.device import choose_device  # noqa: PLC0415 - torch may just have been installed

    place, device = environment.place(), choose_device()
    if waiting:
        waiting.show("")
    gpu = "no GPU" if device.kind == "cpu" else f"GPU {device.name}"
    versions = f"Python {platform.python_version()}, torch {installed('torch')}"
    print(f"{place.name}; {gpu}, {environment.cores()} cores, {versions}")
    print(f"computes in {device.precision}: {device.why}\ndata: {place.data}\nresults: {place.results}")
    if device.kind == "cpu" and place.name != "local":
        click = {"colab": "Runtime > Change runtime type > T4 GPU", "kaggle": "Settings > Accelerator > GPU T4 x2"}
        print(f"no GPU: {click[place.name]}, then run this cell again; quick = True needs none")
    if place.best_dataset == "sample" and (packed := find_pack(place)):
        print(f"packed: {packed}; hl.unpack() brings it to {place.data}")
    there = next(folder for folder in (place.results, *place.results.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if free < RUN:
        print(f"only {free / 1e9:.1f} GB are free for results, and a run takes up to {RUN / 1e9:.0f}: {FREE_DISK}")


def requirements() -> list[str]:
    """List the project's requirements, from its checkout, or as it was installed."""
    own = ROOT / "pyproject.toml"
    if own.exists():
        return tomllib.loads(own.read_text(encoding="utf-8"))["project"]["dependencies"]
    return importlib.metadata.requires("hmdb-lib") or []


def missing_packages(requirements: Iterable[str], keep: Sequence[str] = KEEP) -> list[str]:
    """List those of a project's requirements that this Python lacks, or has at a version outside their range.

    One of `keep` that is there counts as good whatever its version.
    """
    from packaging.requirements import Requirement  # noqa: PLC0415 - Jupyter brings it

    missing = []
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = installed(requirement.name)
        good = version and (requirement.name in keep or requirement.specifier.contains(version, prereleases=True))
        if not good:
            missing.append(f"{requirement.name}{requirement.specifier}")
    return missing


def installed(name: str) -> str | None:
    """Return a package's version, or None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def install(requirements: list[str]) -> None:
    """Install with uv, or pip where that is not there, the torch and torchvision that are there held fast.

    Raises UserError with what to click.
    """
    kept = [f"{name}=={version}" for name in KEEP if (version := installed(name))]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(kept))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if uv := shutil.which("uv"):
            pip = [uv, "pip", "install", "--quiet", "--python", sys.executable]
        done = subprocess.run([*pip, "-c", str(constraints), *requirements], capture_output=True, text=True)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "ERROR" in line.upper()), "it failed").strip()
        raise UserError(
            f"cannot install {', '.join(requirements)} ({reason}); is there internet? On Kaggle: Settings > Internet on"
        )


def _mount_drive() -> None:
    try:
        from google.colab import drive  # pyright: ignore[reportMissingImports]  # noqa: PLC0415 - on Colab alone
    except ImportError:
        return
    try:
        drive.mount(str(DRIVE))
    except Exception as error:  # Colab raises what it likes when the user closes the question
        print(f"Drive is not mounted ({error}): results stay on this machine and end with it; run this cell again")


def _show_figures() -> None:
    """Ours never pass through pyplot, whose first figure would tell the kernel to show them as pictures."""
    try:
        shell = get_ipython()  # pyright: ignore[reportUndefinedVariable] - Jupyter puts it there
    except NameError:
        return
    shell.run_line_magic("matplotlib", "inline")
    import matplotlib as mpl  # noqa: PLC0415 - it may just have been installed

    mpl.rcParams["figure.dpi"] = 150  # figures are as wide as a paper's column, which is a third of a screen at 72


def _tell_errors_in_a_line() -> None:
    try:
        shell = get_ipython()  # pyright: ignore[reportUndefinedVariable] - Jupyter puts it there
    except NameError:
        return

    def tell(shell: Any, kind: type, error: BaseException, trace: Any, tb_offset: int | None = None) -> list[str]:
        rooms = {frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in traceback.walk_tb(trace)}
        if isinstance(error, KeyboardInterrupt):
            print(f"stopped: {error}" if str(error) else "stopped; run the cell again")
            return ["stopped"]
        try:
            with report_refusals() if rooms & {"hmdb_lib", "data_prep"} else nullcontext():
                raise error
        except UserError as told:
            print(f"error: {told}", file=sys.stderr)
            return [str(told)]
        except Exception:  # what users' own cells open
            shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
            return []

    shell.set_custom_exc((UserError, OSError, UnicodeEncodeError, KeyboardInterrupt), tell)
