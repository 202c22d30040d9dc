"""A trained model as one file: what is in it, and what is refused."""

import json
import pickle
import shutil

import pytest
import torch
from helpers.finished_run import TEST, write_finished_run
from safetensors import safe_open
from safetensors.torch import load_file, save_file

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
    assert second.config == run.config
    assert second.classes == ["bright", "dark"]
    assert (second.mean, second.std) == (first.mean, first.std)
    assert second.facts == first.facts
    assert second.facts["test"] == TEST
    assert first.state.keys() == second.state.keys()
    assert all(torch.equal(first.state[key], second.state[key]) for key in first.state)


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
