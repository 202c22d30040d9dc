"""A trained model goes to a hub with its card and comes back the same; the hub is a stand-in on this machine."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.finished_run import write_finished_run
from helpers.web import serve

from hmdb_lib.errors import UserError
from hmdb_lib.inference import hub, trained as portable


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
    assert pulled.config == own.config.changed("data", root=Path(own.config.data.root).name)
    assert all(torch.equal(value, own.state[name]) for name, value in pulled.state.items())


def test_the_card_tells_the_accuracy_with_its_interval_the_protocol_and_the_limits(web, hybrid_run):
    hub.push(hybrid_run.folder, "someone/model", endpoint=web.url)
    card = web.commits["someone/model"]["README.md"].decode()
    assert "Test accuracy **75.0 %** [30.0, 95.0] (95 % interval over source videos) on 4 videos" in card
    assert "The epoch was chosen on validation" in card
    assert "1,000,000 parameters, 2.0 GFLOP a clip" in card
    assert "## Limits" in card


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data__validation_share": 0}, "No part was held out to choose the epoch: the last was taken."),
        ({"train__choose_on": "test"}, "The epoch was chosen on test, which flatters."),
        ({"train__final_fit": True}, "A final fit: it trained on the validation videos too"),
    ],
)
def test_the_card_tells_how_the_epoch_was_chosen(tiny_config, tmp_path, changes, told):
    run = write_finished_run(tiny_config(**changes), tmp_path / "run")
    card = str(hub.card(portable.read(run.folder)))
    assert told in card
    assert "chosen on validation" not in card


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "pretrained", "shown"),
    [
        ("r2plus1d_18", "/home/me/secret/run", "run"),
        ("r2plus1d_18", "C:\\Users\\me\\weights.pt", "weights.pt"),
        ("r2plus1d_18", "secret/run", "run"),
        ("r2plus1d_18", "kinetics400", "kinetics400"),
        ("videomae_small", "MCG-NJU/videomae-small", "MCG-NJU/videomae-small"),
    ],
)
def test_the_card_names_given_weights_without_the_folders_they_lay_in(hybrid_run, backbone, pretrained, shown):
    trained = portable.read(hybrid_run.folder)
    config = trained.config.changed("model", backbone=backbone, pretrained=pretrained)
    lines = str(hub.card(replace(trained, config=config))).splitlines()
    assert f"- Started from: {shown}." in lines


def test_the_card_holds_uneven_classes_against_the_commonest(hybrid_run):
    trained = portable.read(hybrid_run.folder)
    facts = trained.facts | {"commonest_class": 0.9}
    assert "always saying the commonest class names 90.0 %" in str(hub.card(replace(trained, facts=facts)))


@pytest.fixture
def at_once(monkeypatch):
    """Let the hub's client try again at once."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


def test_a_model_that_is_not_there_is_told_in_a_line(web):
    with pytest.raises(UserError, match=r"^someone/nothing: .* it answers 404, .*; is the name right\?") as told:
        hub.pull("someone/nothing", endpoint=web.url)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "log in with hf auth login, or set HF_TOKEN"), (403, "it needs the right to write")]
)
@pytest.mark.parametrize("path", ["/api/repos/create", "/commit/"])
def test_a_hub_that_refuses_a_model_is_told_with_its_reason(web, hybrid_run, status, advice, path):
    web.refusals[path] = status
    with pytest.raises(UserError, match=f"it answers {status}, you have no right here; .*{advice}") as told:
        hub.push(hybrid_run.folder, "someone/model", endpoint=web.url)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "log in with hf auth login, or set HF_TOKEN"), (403, "the token may not do that")]
)
def test_a_hub_that_refuses_to_give_a_model_is_told_with_its_reason(web, status, advice):
    web.refusals["/resolve/"] = status
    with pytest.raises(UserError, match=f"it answers {status}, you have no right here; .*{advice}"):
        hub.pull("someone/model", endpoint=web.url)


@pytest.mark.parametrize("path", ["/api/repos/create", "/preupload/", "/commit/"])
def test_a_line_that_is_cut_while_a_model_goes_up_is_told(web, hybrid_run, at_once, path):
    web.refusals[path] = "die"
    with pytest.raises(UserError, match=r"^someone/model: .*it cannot be reached: .*is there internet") as told:
        hub.push(hybrid_run.folder, "someone/model", endpoint=web.url)
    assert "\n" not in str(told.value)


def test_a_line_that_is_cut_before_or_while_a_model_comes_is_told(web, hybrid_run, at_once):
    hub.push(hybrid_run.folder, "someone/model", endpoint=web.url)
    web.pages["/someone/model/resolve/main/model.safetensors"].faults = [("cut", 1000)] * 20
    with pytest.raises(UserError, match=r"^someone/model: .*it cannot be reached: .*is there internet") as told:
        hub.pull("someone/model", endpoint=web.url)
    assert "\n" not in str(told.value)
    web.refusals["/resolve/"] = "die"
    with pytest.raises(UserError, match="it cannot be reached: "):
        hub.pull("someone/model", endpoint=web.url)


@pytest.mark.parametrize("name", ["model", "a/b/c", "", "a b/c"])
def test_a_name_without_a_user_is_told_before_anything_is_sent(web, hybrid_run, name):
    for act in (lambda: hub.push(hybrid_run.folder, name, endpoint=web.url), lambda: hub.pull(name, endpoint=web.url)):
        with pytest.raises(UserError, match="is not <user>/<name>"):
            act()
    assert web.requests == []
