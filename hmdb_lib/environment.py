"""Where am I: Colab, Kaggle or a machine of my own? Which folders, which device, which precision, and why."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from hmdb_lib.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Place:
    """A machine's kind and its two folders."""

    name: str  # colab, kaggle or local
    data: Path
    results: Path

    @property
    def best_dataset(self) -> str:
        """What `data.dataset: auto` stands for here: hmdb51 where its videos are, else the sample data set."""
        return "hmdb51" if (self.data / "hmdb51" / "videos").is_dir() else "sample"


@dataclass(frozen=True)
class Device:
    """What computes, in which number format, and one line that says why."""

    kind: str  # cuda, mps or cpu
    precision: str  # bf16, fp16 or fp32
    name: str
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[self.precision]


def place() -> Place:
    """Folders of this machine. `HMDB_DATA` and `HMDB_RESULTS` name others.

    Colab keeps results on the mounted Drive where there is one, so that they outlive the session; videos stay on its
    own disk, which is far faster than Drive.
    """
    drive = Path("/content/drive/MyDrive")
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        name, data, results = "kaggle", Path("/kaggle/temp/data"), Path("/kaggle/working/results")
    elif os.environ.get("COLAB_RELEASE_TAG"):
        name, data = "colab", Path("/content/data")
        results = drive / "hmdb_results" if drive.is_dir() else ROOT / "results"
    else:
        name, data, results = "local", ROOT / "data", ROOT / "results"
    data, results = os.environ.get("HMDB_DATA", data), os.environ.get("HMDB_RESULTS", results)
    return Place(name, Path(data).expanduser(), Path(results).expanduser())


def device(kind: str = "auto", precision: str = "auto") -> Device:
    """The device and the precision to train with; the one place where both are chosen.

    Raises UserError when a device is asked for that is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if kind != "auto" and not there[kind]:
        available = ", ".join(name for name, yes in there.items() if yes)
        raise UserError(
            f"train.device={kind}: there is none here (there is: {available}); on Colab: Runtime > Change runtime type"
        )
    chosen = next(name for name, yes in there.items() if yes) if kind == "auto" else kind
    name = torch.cuda.get_device_name() if chosen == "cuda" else chosen
    best, reason = _best_precision(chosen)
    if precision != "auto":
        best, reason = precision, "as asked for"
    return Device(chosen, best, name, f"{name}, {best}: {reason}")


def _best_precision(kind: str) -> tuple[str, str]:
    if kind == "cuda":
        major, minor = torch.cuda.get_device_capability()
        if major >= 8:
            return "bf16", f"compute capability {major}.{minor} has bf16"
        if major == 7:
            return "fp16", f"compute capability {major}.{minor} has fast fp16 but no bf16"
        return "fp32", f"compute capability {major}.{minor} has no fast half precision"
    if kind == "mps":
        return "fp32", "3D convolutions are safest in fp32 on Apple's GPUs"
    flags = Path("/proc/cpuinfo")
    if flags.exists() and re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags.read_text()):
        return "bf16", "this processor has bf16 instructions"
    return "fp32", "this processor has no bf16 instructions"
