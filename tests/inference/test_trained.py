"""A trained model as one file: what is in it, and what is refused."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.finished_run import TEST, write_finished_run
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hmdb_lib.config import restore
from hmdb_lib.errors import UserError
from hmdb_lib.inference import trained as portable
from hmdb_lib.results.runs import Run


@pytest.fixture
def run(hybrid_run, tmp_path):
    """A copy, to spoil."""
    return Run(shutil.copytree(hybrid_run.folder, tmp_path / "run"))


@pytest.fixture
def file(run, tmp_path):
    portable.write(run.folder, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def rewritten(file, change):
    """The same weights under another description."""
    with safe_open(file, "pt") as tensors:
        content = json.loads(tensors.metadata()["hmdb_lib"])
    change(content)
    save_file(load_file(file), file, {"hmdb_lib": json.dumps(content)})
    return file


def test_the_file_holds_all_that_the_run_told(run, file):
    first, second = portable.read(run.folder), portable.read(file)
    assert second.config == run.config.changed("data", root=Path(run.config.data.root).name)
    assert second.classes == ["bright", "dark"]
    assert (second.mean, second.std) == (first.mean, first.std)
    assert second.facts == first.facts
    assert second.facts["test"] == TEST
    assert first.state.keys() == second.state.keys()
    assert all(torch.equal(first.state[key], second.state[key]) for key in first.state)


@pytest.mark.parametrize("slash", ["/", "\\"])
def test_what_goes_with_the_weights_names_no_folder_of_this_machine(run, slash):
    trained = portable.read(run.folder)
    lists = {key: f"{slash}me{slash}{key}_here" for key in ("root", "store", "classes")}
    config = trained.config.changed("data", **lists).changed("model", pretrained=f"C:{slash}me{slash}first_run")
    written = json.loads(replace(trained, config=config).describe())["config"]
    assert {key: written["data"][key] for key in lists} == {key: f"{key}_here" for key in lists}
    assert written["model"]["pretrained"] == "first_run"
    assert restore(written).data.name == "root_here"


def test_a_data_set_that_was_trained_from_within_keeps_its_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = portable.read(run.folder)
    written = json.loads(replace(trained, config=trained.config.changed("data", root=".")).describe())["config"]
    assert written["data"]["root"] == tmp_path.name


def told_of(run, **summary):
    """What is told of a run's worth where its summary says so."""
    (run.folder / "summary.json").write_text(json.dumps(run.summary | summary))
    return portable.read(run.folder).worth


def choose_on_test(run):
    file = run.folder / "config.yaml"
    file.write_text(file.read_text().replace("choose_on: validation", "choose_on: test"))


def test_worth_says_that_the_epoch_was_chosen_on_the_test_part(run):
    assert "chosen on" not in told_of(run)
    choose_on_test(run)
    assert "Its epoch was chosen on the test part: on other videos expect less." in told_of(run)


def test_right_answers_are_said_to_be_of_the_part_that_chose_the_epoch(run):
    right = {"best_epoch": {"val_video_right_confidence": 0.9}}
    assert "Of validation's right answers 19 of 20 have a probability of 0.90" in told_of(run, **right)
    choose_on_test(run)
    assert "Of the test part's right answers 19 of 20 have a probability of 0.90" in told_of(run, **right)


def test_worth_says_how_many_test_videos_the_weights_had_learned_from(run):
    assert "It has learned" not in told_of(run, seen_test_videos=0)
    assert "It has learned from 3 of these videos or their sources" in told_of(run, seen_test_videos=3)


@pytest.mark.parametrize(
    ("commonest", "guess"), [(0.9, "always saying the commonest class names 90.0 %"), (0.5, "guessing names 50.0 %")]
)
def test_a_model_is_held_against_the_better_way_to_guess(run, commonest, guess):
    test = TEST | {"accuracy": 0.92, "accuracy_low": 0.83}
    told = told_of(run, test=test, commonest_class=commonest)
    assert f"; {guess}." in told
    assert ("believe no answer" in told) == (commonest > 0.83)


def test_a_run_is_found_by_its_checkpoint_too(run):
    assert portable.read(run.best).config == run.config


def test_another_checkpoint_of_a_run_is_refused_because_the_accuracy_is_not_its_own(run):
    shutil.copy(run.best, run.last)
    with pytest.raises(UserError, match=r"last\.ckpt: is not the run's best\.ckpt"):
        portable.read(run.last)


def test_the_built_model_gives_the_logits_of_the_saved_one(run, file):
    clips = torch.randn(2, 3, 8, 64, 64)
    with torch.inference_mode():
        assert torch.equal(portable.read(run.folder).build()(clips), portable.read(file).build()(clips))


def test_published_runs_keep_their_own_normalisation(tiny_config, tmp_path):
    config = tiny_config(model__blocks=1, data__normalize="published")
    run = write_finished_run(config, tmp_path / "run")
    assert portable.read(run.folder).mean == (0.45, 0.45, 0.45)


def test_a_pickle_named_as_weights_is_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="is not a safetensors file"):
        portable.read(tmp_path / "model.safetensors")
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_that_would_run_code_is_refused(run, tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    torch.save({"state_dict": Trap()}, run.best)
    with pytest.raises(UserError, match="would run code"):
        portable.read(run.folder)
    assert not (tmp_path / "sprung").exists()


def test_weights_without_a_description_are_refused(tmp_path):
    save_file({"fc.weight": torch.zeros(2, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="lacks the description"):
        portable.read(tmp_path / "model.safetensors")


def test_a_description_with_a_broken_setting_is_refused(file):
    rewritten(file, lambda content: content["config"]["data"].update(frames="many"))
    with pytest.raises(UserError, match="lacks the description"):
        portable.read(file)


def test_a_torn_file_is_refused(file):
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match="torn"):
        portable.read(file)


def test_a_class_list_of_the_wrong_length_is_told(file):
    rewritten(file, lambda content: content["classes"].append("third"))
    with pytest.raises(UserError, match=r"names 3 classes, but its weights tell 2 apart"):
        portable.read(file).build()


def test_weights_of_another_architecture_are_told(run, tiny_config, tmp_path):
    other = write_finished_run(tiny_config(model__blocks=1), tmp_path / "other")
    run.best.write_bytes(other.best.read_bytes())
    with pytest.raises(UserError, match="not those of r2plus1d_18 with the head perceiver"):
        portable.read(run.folder).build()


def test_what_does_not_fit_is_not_written(run, tiny_config, tmp_path):
    other = write_finished_run(tiny_config(model__blocks=1), tmp_path / "other")
    run.best.write_bytes(other.best.read_bytes())
    with pytest.raises(UserError, match="not those of r2plus1d_18 with the head perceiver"):
        portable.write(run.folder, tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()


def test_an_unfinished_run_is_told(run):
    (run.folder / "summary.json").unlink()
    with pytest.raises(UserError, match="holds no finished run"):
        portable.read(run.folder)


def test_a_torn_summary_is_told(run):
    (run.folder / "summary.json").write_text('{"classes": [')
    with pytest.raises(UserError, match="is torn or lacks the classes"):
        portable.read(run.folder)


def test_a_place_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        portable.read(tmp_path / "nothing")
