"""What `hmdb doctor` says of a machine before anything on it fails."""

import importlib.metadata

import pytest
import torch
from helpers.system import dead_mount, read_only

from hmdb_lib import doctor
from hmdb_lib.cli import main
from hmdb_lib.environment import Place


@pytest.fixture
def places(tmp_path, monkeypatch):
    for name in ("data", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"HMDB_{name.upper()}", str(tmp_path / name))
    return tmp_path


def test_a_machine_on_which_all_works_is_told_so(places, capsys):
    code, printed = main(["doctor"]), capsys.readouterr().out
    assert "nothing that would fail" in printed
    assert code == 0
    assert "torch 2" in printed
    assert f"results: {places / 'results'}" in printed
    assert "token for the hub: " in printed


def test_folders_that_cannot_be_written_are_told_together(places, capsys):
    with read_only(places / "data"), dead_mount(places / "results"):
        assert main(["doctor"]) == 2
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("would fail: ")]
    assert len(told) == 2
    assert f"{places / 'data'}" in told[0]
    assert "is read-only" in told[0]
    assert f"{places / 'results'}: its disk or Drive is no longer connected" in told[1]


def test_packages_that_are_missing_or_known_to_fail_are_told():
    torch_here = importlib.metadata.version("torch").partition("+")[0]
    asked = ["no-such-package>=1", f"torch!={torch_here}", "numpy>=1", 'nothing; python_version < "3"']
    missing, bad = doctor.package_problems(asked)
    assert missing == 'no-such-package is missing: pip install "no-such-package>=1"'
    assert bad == f'torch {importlib.metadata.version("torch")}: pip install "torch!={torch_here}"'


def test_a_gpu_for_which_torch_has_no_code_is_told(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla P100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"])
    assert doctor.examine() == 2
    assert "would fail: Tesla P100: this build of torch has no code for it (sm_60" in capsys.readouterr().out


def test_a_disk_that_is_nearly_full_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "RUN", 1e18)
    (told,) = doctor.folder_problems("results", tmp_path)
    assert f"results: {tmp_path}: only " in told


def test_colab_without_drive_is_told(tmp_path):
    (told,) = doctor.drive_problems(Place("colab", tmp_path, tmp_path))
    assert told.startswith("Drive is not mounted: results end with the session")
    assert doctor.drive_problems(Place("local", tmp_path, tmp_path)) == []
