"""The device that computes: only one that the installed torch has code for."""

import pytest
import torch

from hmdb_lib.errors import UserError
from hmdb_lib.models import device


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((7, 5), ["sm_75", "sm_80"], True),
        ((8, 6), ["sm_80"], True),
        ((6, 0), ["sm_75", "sm_80"], False),  # Kaggle's P100
        ((9, 0), ["sm_80"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((10, 0), ["sm_100", "sm_120"], True),
    ],
)
def test_a_gpu_needs_code_of_its_architecture(capability, architectures, runs):
    assert device.has_architecture(capability, architectures) is runs


@pytest.fixture
def p100(monkeypatch):
    """Kaggle's other GPU, and a build of torch that begins with the T4."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla P100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"])


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_a_gpu_without_code_is_refused_before_anything_runs_on_it_and_the_line_says_what_to_choose(p100, asked):
    with pytest.raises(UserError, match=r"Tesla P100: .*no code for it \(sm_60.*choose GPU T4 x2"):
        device.choose_device(asked)


def test_the_processor_may_still_be_asked_for_beside_such_a_gpu(p100):
    assert device.choose_device("cpu").kind == "cpu"


def test_a_gpu_with_code_is_chosen(p100, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_60", "sm_75"])
    assert device.choose_device().kind == "cuda"
