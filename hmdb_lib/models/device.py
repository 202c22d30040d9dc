"""Choose the device and the precision, in one place, and say why."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from hmdb_lib.errors import UserError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Device:
    """Name what computes, in which number format, and why in that one."""

    kind: str  # cuda, mps or cpu
    precision: str  # bf16, fp16 or fp32
    name: str
    why: str

    @property
    def reason(self) -> str:
        """Say all of it in a line."""
        return f"{self.name}, {self.precision}: {self.why}"

    @property
    def dtype(self) -> torch.dtype:
        """Return the precision as torch names it."""
        return DTYPES[self.precision]

    def autocast(self) -> torch.autocast:
        """Compute in this precision inside the `with` block."""
        return torch.autocast(self.kind, self.dtype, enabled=self.dtype != torch.float32)


def choose_device(kind: str = "auto", precision: str = "auto") -> Device:
    """Choose the device and the precision. Raises UserError for a device that is not there, or has no code in torch."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if kind != "auto" and not there[kind]:
        available = ", ".join(name for name, yes in there.items() if yes)
        raise UserError(
            f"train.device={kind}: there is none here (there is: {available}); on Colab: Runtime > Change runtime type"
        )
    chosen = next(name for name, yes in there.items() if yes) if kind == "auto" else kind
    if chosen == "cuda" and (told := lacks_code()):
        raise UserError(told)
    name = torch.cuda.get_device_name() if chosen == "cuda" else chosen
    best, reason = _best_precision(chosen)
    if precision != "auto":
        best, reason = precision, "as asked for"
    return Device(chosen, best, name, reason)


def lacks_code() -> str | None:
    """Say that the installed torch has no code for the GPU, and what to choose; None where it has."""
    (major, minor), architectures = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
    if has_architecture((major, minor), architectures):
        return None
    return (
        f"{torch.cuda.get_device_name()}: this build of torch has no code for it (sm_{major}{minor}, torch "
        f"{torch.__version__} has {', '.join(architectures)}); on Kaggle choose GPU T4 x2 (Settings > Accelerator), "
        "elsewhere install another torch, or set train.device=cpu"
    )


def has_architecture(capability: tuple[int, int], architectures: Iterable[str]) -> bool:
    """Tell whether code for one of these runs on a GPU: sm_XY on XY and later of X, compute_XY on XY and all later."""
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        number = "".join(filter(str.isdigit, digits))
        built = int(number[:-1]), int(number[-1])
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False


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
