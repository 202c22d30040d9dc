"""Classes of unequal size: what is printed, and what can be done."""

from collections import Counter

import pytest
import torch

from hmdb_lib import models
from hmdb_lib.data.loader import EpochSampler
from hmdb_lib.training import experiment as training
from hmdb_lib.training.modules import VideoClassifier, weighed_cross_entropy


@pytest.fixture
def uneven_videos(tiny_videos, tmp_path):
    """The tiny data set with three of four bright training videos, and one of two test videos, taken away."""
    lines = (tiny_videos / "index.csv").read_text().splitlines()
    gone = [line for line in lines if line.startswith("bright") and line.endswith("train")][1:]
    gone += [line for line in lines if line.startswith("bright") and line.endswith("test")][1:]
    root = tmp_path / "uneven"
    root.mkdir()
    for label in ("bright", "dark"):
        (root / label).symlink_to(tiny_videos / label)
    (root / "index.csv").write_text("\n".join(line for line in lines if line not in gone))
    return root


@pytest.mark.slow
def test_uneven_classes_have_their_mean_accuracy_beside_the_accuracy_and_the_commonest_class_beside_chance(
    tiny_config, uneven_videos, capsys
):
    config = tiny_config(data__root=uneven_videos, train__epochs=1)
    run = training.train(config)
    mean = run.summary["test"]["mean_class_accuracy"]
    assert (run.summary["imbalance"], run.summary["commonest_class"]) == (4, pytest.approx(2 / 3))
    said = capsys.readouterr().out
    assert f", mean over classes {mean:.3f}, on 3 videos (chance 0.500, always the commonest class 0.667)" in said
    assert f", mean over classes {mean:.3f}, on 3 videos" in str(training.resolve(config))


@pytest.mark.slow
def test_even_classes_have_their_accuracy_alone(trained_run, tiny_experiment, monkeypatch):
    monkeypatch.setenv("HMDB_RESULTS", str(trained_run.folder.parents[2]))
    assert trained_run.summary["imbalance"] == 1
    assert "mean over classes" not in str(training.resolve(tiny_experiment(train__epochs=3)))


@pytest.mark.slow
def test_balanced_weights_make_classes_count_alike_in_the_loss(tiny_config, uneven_videos, monkeypatch):
    seen = []
    step = VideoClassifier.training_step

    def look(self, batch, number):
        seen.append(self.weight)
        return step(self, batch, number)

    monkeypatch.setattr(VideoClassifier, "training_step", look)
    training.train(tiny_config(data__root=uneven_videos, train__epochs=1, train__class_weights="balanced"))
    assert seen[0].tolist() == pytest.approx([5 / 2 / 1, 5 / 2 / 4])  # bright has 1 training video of 5, dark 4
    assert (seen[0] * torch.tensor([1, 4])).sum() == pytest.approx(5), "the mean over training videos is 1"


def test_without_weights_the_loss_is_the_plain_one(tiny_config):
    config = tiny_config()
    assert VideoClassifier(config, models.build(classes=2, **config.architecture())).weight is None


def test_a_balanced_sampler_draws_each_class_as_often_and_the_same_again():
    labels = [0] * 60 + [1] * 5
    sampler = EpochSampler(65, 0, lambda: 3, classes=labels)
    drawn = list(sampler)
    assert len(drawn) == 65
    assert drawn == list(sampler)
    counts = Counter(
        labels[number] for epoch in range(40) for number, _ in EpochSampler(65, 0, lambda e=epoch: e, classes=labels)
    )
    assert 0.45 < counts[1] / sum(counts.values()) < 0.55
    places = [place for number, place in drawn if number == drawn[0][0]]
    assert len(set(places)) == len(places), "a video drawn again gives another clip"


@pytest.mark.slow
def test_a_run_draws_its_classes_evenly_on_request(tiny_config, uneven_videos):
    config = tiny_config(data__root=uneven_videos, train__sampler="balanced", train__epochs=1)
    data = training.load_data(config)
    numbers = [n for batch in data.train_dataloader() for n in batch["labels"].tolist()]
    assert len(numbers) == 4
    assert training.train(config).finished


def test_smoothing_gives_a_rare_class_no_more_than_a_common_one():
    """Of 60 common videos to 2 rare ones the weights of torch's own loss teach that a common video is a rare one."""
    weight = torch.tensor([62 / 2 / 60, 62 / 2 / 2])
    answer = torch.zeros(2, requires_grad=True)  # one answer for all videos of the common class
    optimizer = torch.optim.LBFGS([answer], max_iter=50)

    def loss():
        optimizer.zero_grad()
        found = weighed_cross_entropy(answer[None], torch.tensor([0]), weight, 0.1)
        found.backward()
        return found

    optimizer.step(loss)
    assert answer.softmax(0).tolist() == pytest.approx([0.95, 0.05], abs=1e-3)


def test_mixed_clips_weigh_as_much_as_their_classes_do():
    logits, weight = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0.5, 4.0])
    shares = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    each = -(shares * logits.log_softmax(1)).sum(1)
    by_hand = (each[0] * 0.5 + each[1] * (0.125 + 3.0)) / (0.5 + 3.125)
    assert weighed_cross_entropy(logits, shares, weight, 0.0).item() == pytest.approx(by_hand.item())
