"""A trained model goes to a hub with its card and comes back the same; the hub is a stand-in on this machine."""

import pytest
import torch
from helpers.web import serve

from hmdb_lib.errors import UserError
from hmdb_lib.inference import hub
from hmdb_lib.inference import trained as portable


@pytest.fixture
def web(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # the stand-in is here
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with serve() as server:
        yield server


def test_a_model_that_was_pushed_is_pulled_with_the_same_weights(web, hybrid_run):
    hub.push(hybrid_run.folder, "someone/model", endpoint=web.url)
    pulled = portable.read(hub.pull("someone/model", endpoint=web.url))
    own = portable.read(hybrid_run.folder)
    assert pulled.config == own.config
    assert all(torch.equal(value, own.state[name]) for name, value in pulled.state.items())


def test_the_card_tells_the_accuracy_with_its_interval_the_protocol_and_the_limits(web, hybrid_run):
    hub.push(hybrid_run.folder, "someone/model", endpoint=web.url)
    card = web.commits["someone/model"]["README.md"].decode()
    assert "Test accuracy **75.0 %** [30.0, 95.0] (95 % interval over source videos) on 4 videos" in card
    assert "The epoch was chosen on validation" in card
    assert "1,000,000 parameters, 2.0 GFLOP a clip" in card
    assert "## Limits" in card


def test_a_model_that_is_not_there_is_told_in_a_line(web):
    with pytest.raises(UserError, match=r"^someone/nothing: the hub does not answer as hoped \(.*\)$"):
        hub.pull("someone/nothing", endpoint=web.url)
