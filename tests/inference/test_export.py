"""Exported models compute what the model does, for any number of clips, and say what they are."""

import importlib.util
import json

import onnx
import onnxruntime
import pytest
import torch
from helpers.tiny_hmdb51 import mount_small_disk

from hmdb_lib import cli as command
from hmdb_lib.errors import UserError
from hmdb_lib.files import report_refusals
from hmdb_lib.inference import export, trained as portable


def eager(run, clips):
    with torch.inference_mode():
        return export.Whole(portable.read(run.folder))(clips).numpy()


def some(count):
    return torch.randint(0, 256, (count, 8, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(9))


@pytest.mark.slow
def test_an_onnx_model_gives_the_logits_for_any_number_of_clips(hybrid_run, tmp_path):
    export.write(hybrid_run.folder, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        (logits,) = session.run(None, {"clips": some(count).numpy()})
        assert abs(logits - eager(hybrid_run, some(count))).max() < 1e-3
    described = {prop.key: prop.value for prop in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(described["hmdb_lib"])["classes"] == ["bright", "dark"]


@pytest.mark.slow
def test_a_torch_program_gives_the_logits_for_any_number_of_clips(hybrid_run, tmp_path):
    export.write(hybrid_run.folder, tmp_path / "model.pt2")
    described = {"hmdb_lib": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=described)
    for count in (1, 5):
        assert abs(program.module()(some(count)).detach().numpy() - eager(hybrid_run, some(count))).max() < 1e-3
    assert json.loads(described["hmdb_lib"])["classes"] == ["bright", "dark"]


@pytest.mark.slow
def test_an_openvino_model_gives_the_logits_for_any_number_of_clips(hybrid_run, tmp_path):
    openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")
    export.write(hybrid_run.folder, tmp_path / "out" / "model.xml")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["model.bin", "model.xml"]
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.compile_model(tmp_path / "out" / "model.xml", "CPU", exact)
    for count in (1, 5):
        assert abs(model(some(count).numpy())[0] - eager(hybrid_run, some(count))).max() < 1e-3
    described = openvino.Core().read_model(tmp_path / "out" / "model.xml").get_rt_info("hmdb_lib").astype(str)
    assert json.loads(described)["classes"] == ["bright", "dark"]


@pytest.mark.slow
def test_an_export_that_computes_something_else_is_not_written(hybrid_run, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "DIFFERENCE", -1.0)
    with pytest.raises(UserError, match="would differ"):
        export.write(hybrid_run.folder, tmp_path / "model.pt2")
    assert list(tmp_path.rglob("*.pt2")) == []


@pytest.mark.parametrize("ending", [".safetensors", ".pt2", ".onnx"])
def test_a_disk_that_is_too_small_is_told_and_keeps_nothing_half_written(hybrid_run, tmp_path, ending):
    with mount_small_disk(tmp_path / "disk", "200k") as disk:
        with pytest.raises(UserError, match=r"free"), report_refusals():
            export.write(hybrid_run.folder, disk / f"model{ending}")
        assert list(disk.iterdir()) == []


def test_an_ending_that_means_nothing_is_told(hybrid_run, tmp_path):
    with pytest.raises(UserError, match=r"none of \.safetensors, \.pt2, \.onnx, \.xml"):
        export.write(hybrid_run.folder, tmp_path / "model.h5")


def test_the_command_writes_the_portable_file(hybrid_run, tmp_path, capsys):
    assert command.main(["export", str(hybrid_run.folder), "--to", str(tmp_path / "out" / "model.safetensors")]) == 0
    assert portable.read(tmp_path / "out" / "model.safetensors").classes == ["bright", "dark"]


def test_the_command_tells_bad_input_in_one_line(tmp_path, capsys):
    assert command.main(["export", str(tmp_path / "nothing"), "--to", str(tmp_path / "model.onnx")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_missing_library_is_told(hybrid_run, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(UserError, match="pip install onnxscript"):
        export.write(hybrid_run.folder, tmp_path / "model.onnx")
