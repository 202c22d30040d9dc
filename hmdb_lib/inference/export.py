"""Export a trained model for programs without this kit: torch.export (.pt2), ONNX, OpenVINO (.xml), or weights alone.

What .pt2, .onnx and .xml (its weights in a .bin beside it) compute takes cropped clips as they come out of a decoder, uint8 B T H W C in RGB with any B, and
gives logits (B, classes): normalising is part of it, and the description of `portable` lies in the file.
"""

import importlib.util
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from hmdb_lib.data.transforms import normalise
from hmdb_lib.errors import UserError
from hmdb_lib.files import require_disk
from hmdb_lib.inference import trained as portable

DESCRIPTION = "hmdb_lib"  # under this name the description lies in the file
NEEDS = {".onnx": ("onnx", "onnxscript", "onnxruntime"), ".xml": ("openvino",)}
_BESIDE_WEIGHTS = 4e6  # bytes of a file at most: its graph and description
DIFFERENCE = 1e-3  # of a logit, at most, between the exported model and this one


class Whole(nn.Module):
    """Put the normalization before the model."""

    def __init__(self, trained: portable.Trained) -> None:
        super().__init__()
        self.model, self.mean, self.std = trained.build(), trained.mean, trained.std

    def forward(self, clips: Tensor) -> Tensor:
        """Cropped clips uint8 B T H W C to logits (B, classes)."""
        return self.model(normalise(clips, self.mean, self.std))


def write(source: Path | str, file: Path | str) -> None:
    """Write a run's model (see `portable.read`) in the format that the file's ending names.

    An exported model is loaded again and compared with the one it came from, on another number of clips than it was
    made with. Raises UserError for another ending, for a missing library, and where the two differ.
    """
    file = Path(file).expanduser()
    savers = {".pt2": _save_pt2, ".onnx": _save_onnx, ".xml": _save_openvino}
    if file.suffix == portable.ENDING:
        portable.write(source, file)
        return
    if file.suffix not in savers:
        raise UserError(f"{file}: its ending is none of {', '.join([portable.ENDING, *savers])}")
    _check_libraries(file)
    trained = portable.read(source)
    whole = Whole(trained)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Before they write: torch and OpenVINO hide the system's error for a full disk.
    size = sum(weights.nbytes for weights in whole.state_dict().values())
    require_disk(file.parent, size + _BESIDE_WEIGHTS, "the exported model")
    # strict: the other way of tracing takes the batch's size for a constant where a model asks len(tensor).
    shapes = {"clips": {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(whole, (_clips(trained, 2),), dynamic_shapes=shapes, strict=True)
    clips = _clips(trained, 3)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        part = Path(folder) / file.name
        logits = savers[file.suffix](program, trained.describe(), part, clips)
        with torch.inference_mode():
            difference = float((whole(clips) - logits).abs().max())
        if not difference < DIFFERENCE:
            raise UserError(f"{file}: not written, its logits would differ by {difference:.2g} from the model's own")
        for written in sorted(Path(folder).iterdir()):  # .bin before .xml, which reads it
            written.replace(file.with_name(written.name))


def _save_pt2(program: torch.export.ExportedProgram, description: str, file: Path, clips: Tensor) -> Tensor:
    torch.export.save(program, file, extra_files={DESCRIPTION: description})
    with torch.inference_mode():
        return torch.export.load(file).module()(clips)


def _save_onnx(program: torch.export.ExportedProgram, description: str, file: Path, clips: Tensor) -> Tensor:
    import onnxruntime  # noqa: PLC0415 - optional

    onnx = torch.onnx.export(program, dynamo=True, input_names=["clips"], output_names=["logits"], verbose=False)
    assert onnx is not None
    onnx.model.metadata_props[DESCRIPTION] = description
    onnx.save(file, external_data=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"clips": clips.numpy()})[0])


def _save_openvino(program: torch.export.ExportedProgram, description: str, file: Path, clips: Tensor) -> Tensor:
    import openvino  # pyright: ignore[reportMissingImports]  # noqa: PLC0415 - optional

    model = openvino.convert_model(program)
    model.set_rt_info(description, DESCRIPTION)
    openvino.save_model(model, file, compress_to_fp16=False)
    # Where a processor has bf16 OpenVINO computes in it unless told: fast, and too coarse for the comparison.
    compiled = openvino.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return torch.from_numpy(compiled(clips.numpy())[0])


def _check_libraries(file: Path) -> None:
    missing = [name for name in NEEDS.get(file.suffix, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{file}: needs what is not installed: pip install {' '.join(missing)}")


def _clips(trained: portable.Trained, count: int) -> Tensor:
    data = trained.config.data
    noise = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, data.frames, data.crop, data.crop, 3), dtype=torch.uint8, generator=noise)
