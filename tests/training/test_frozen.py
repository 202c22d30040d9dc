"""Training on stored tokens: the same as with the frozen backbone in the loop, and a run like any other."""

import pytest
import torch
from helpers.cut_off import assert_same, stop_after
from torch.nn import functional as F

from hmdb_lib.data.loader import ClipData, collate
from hmdb_lib.data.transforms import normalise
from hmdb_lib.environment import place
from hmdb_lib.features.extract import Tokens, Views
from hmdb_lib.features.load import FeatureData
from hmdb_lib.inference.classifier import load_model
from hmdb_lib.models.backbones.base import Backbone
from hmdb_lib.models.device import choose_device
from hmdb_lib.results.runs import results_table
from hmdb_lib.training import experiment as training
from hmdb_lib.training.modules import HeadClassifier

SMALL = {"perceiver__latents": 8, "perceiver__width": 64}


@pytest.fixture
def frozen_config(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setenv("HMDB_DATA", str(tmp_path / "data"))
    return lambda row="baseline", **changes: tiny_config(row, model__frozen="all", train__views=2, **SMALL | changes)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float16, 1e-3), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize("row", [pytest.param("cross1_self1", marks=pytest.mark.slow), "baseline"])
def test_losses_are_those_of_the_frozen_backbone_in_the_loop(frozen_config, row, dtype, close):
    config = frozen_config(row)
    clips = training.read_data(config, place())
    torch.manual_seed(0)
    model = training.build_model(config, 2)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    tokens = Tokens(config, model.backbone, choose_device("cpu", "fp32"), place(), dtype)
    batches = [collate([Views(clips, clips.tables["train"], config)[n] for n in pair]) for pair in ((0, 1), (2, 3))]
    stored = FeatureData(clips, config, tokens)._training_clips()
    features = [
        collate([(n, stored.labels[n], stored.tokens[stored.paths[n]]) for n in pair]) for pair in ((0, 1), (2, 3))
    ]

    def losses(predict):
        model.load_state_dict(start)
        model.train()
        optimizer = HeadClassifier(config, model).make_optimizer(fused=False)
        for step in range(20):
            optimizer.zero_grad()
            loss = F.cross_entropy(predict(step % 2), batches[step % 2]["labels"])
            loss.backward()
            optimizer.step()
            yield loss.item()

    in_the_loop = list(losses(lambda n: model(normalise(batches[n]["clips"], model.mean, model.std))))
    on_features = list(losses(lambda n: HeadClassifier(config, model).predict_training(features[n])[0]))
    assert in_the_loop[-1] < in_the_loop[0]
    assert on_features == pytest.approx(in_the_loop, rel=close)


@pytest.mark.slow
def test_a_frozen_run_is_recorded_as_any_other_and_says_what_it_is(frozen_config):
    run = training.train(frozen_config())
    assert run.folder.parts[-2:] == ("baseline-frozen", run.folder.name)
    assert run.summary["name"] == "baseline-frozen"
    assert run.summary["parameters"]["trainable"] == run.summary["parameters"]["classifier"]
    assert len(run.metrics) == 2
    assert len(run.predictions) == 4
    assert results_table(run.folder.parents[2]).name.tolist() == ["baseline-frozen"]


@pytest.mark.slow
def test_the_backbone_computes_nothing_in_training_once_its_tokens_are_stored(frozen_config, monkeypatch):
    training.train(frozen_config(train__epochs=1))
    monkeypatch.setattr(Backbone, "train", lambda self, mode=True: self)
    tokens = Backbone.tokens
    monkeypatch.setattr(training.Tokens, "_compute", lambda *of: pytest.fail("computed"))
    assert Backbone.tokens is tokens
    assert training.train(frozen_config(train__epochs=1, name="again")).finished


@pytest.mark.slow
@pytest.mark.parametrize("features", ["tokens", "4x4"])
def test_the_checkpoint_holds_the_whole_model_and_predicts_what_the_test_found(frozen_config, tiny_videos, features):
    run = training.train(frozen_config("cross1_self1", data__features=features))
    recorded = run.predictions.set_index("video")
    path = recorded.index[0]
    (predicted,) = load_model(run).predict(tiny_videos / path).videos
    assert predicted.probabilities[0] == pytest.approx(recorded.bright[path], abs=2e-3)


@pytest.mark.slow
def test_seeds_and_heads_share_one_store(frozen_config, tmp_path):
    training.train(frozen_config("cross1_self1", train__epochs=1, model__pretrained=_weights(frozen_config, tmp_path)))
    training.train(
        frozen_config("baseline", train__epochs=1, seed=1, model__pretrained=_weights(frozen_config, tmp_path))
    )
    assert len(list((tmp_path / "data" / "features").iterdir())) == 1


def _weights(frozen_config, folder):
    """A file of backbone weights, the same at every call."""
    torch.manual_seed(0)
    state = training.build_model(frozen_config(), 2).backbone.state_dict()
    torch.save(state, folder / "backbone.pt")
    return folder / "backbone.pt"


@pytest.mark.slow
def test_an_interrupted_frozen_run_goes_on_and_ends_with_the_same_digits(frozen_config, monkeypatch):
    whole = training.train(frozen_config(name="whole"))
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            training.train(frozen_config(name="cut"))
    assert_same(whole, training.train(frozen_config(name="cut")))


def test_one_crop_of_each_clip_chooses_the_epoch_also_where_the_test_part_does_by_as_many_clips(frozen_config):
    config = frozen_config(train__choose_on="test", evaluate__crops=3, evaluate__validation_clips=2)
    clips = training.read_data(config, place())
    model = training.build_model(config, 2)
    features = FeatureData(clips, config, Tokens(config, model.backbone, choose_device("cpu", "fp32"), place()))
    loaders = features.val_dataloader(), features.test_dataloader()
    assert [sum(len(batch["videos"]) for batch in loader) for loader in loaders] == [4 * 2, 4 * 2 * 3]


def test_batches_are_those_of_the_clips_but_for_what_they_hold(frozen_config):
    config = frozen_config()
    clips = training.read_data(config, place())
    model = training.build_model(config, 2)
    features = FeatureData(clips, config, Tokens(config, model.backbone, choose_device("cpu", "fp32"), place()))
    for loader in (ClipData.train_dataloader, ClipData.val_dataloader, ClipData.test_dataloader):
        for batch, other in zip(loader(clips), loader(features), strict=True):
            assert torch.equal(batch["labels"], other["labels"])
            assert torch.equal(batch["videos"], other["videos"])
            assert other["clips"].shape == (len(batch["clips"]), 8, 32, 32, 16)
