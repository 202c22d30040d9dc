"""The sample data set can be learned, asks for time, and teaches the attention where the figure is."""

import copy

import numpy as np
import pytest
import torch
from helpers import architectures
from torch import Tensor, nn
from torchvision.ops import Permute

from data_prep.drawn.sample import figure_boxes
from hmdb_lib.data.sampling import ClipRule
from hmdb_lib.data.splits import read_videos
from hmdb_lib.data.video import read_frames, scan
from hmdb_lib.models.explain import rollout, to_frames

PAIRS = ("catch", "throw", "sit", "stand")


def whole_clips(videos, folder) -> Tensor:
    """24 frames over each whole video at 48 x 48, their mean picture taken away: B C T H W."""
    clips = []
    for path in videos.path:
        timeline = scan(folder / path)
        rule = ClipRule(24, clip_seconds=timeline.duration)
        clips.append(read_frames(folder / path, rule.spread(timeline, 1)[0], (48, 48)))
    clips = torch.from_numpy(np.stack(clips)).float().permute(0, 4, 1, 2, 3) / 255
    return clips - clips.mean((2, 3, 4), keepdim=True)


def motion(clips: Tensor) -> Tensor:
    """What differs from the clip's mean frame, and from the frame before: B 2C T H W."""
    return torch.cat([clips - clips.mean(2, keepdim=True), clips.diff(dim=2, prepend=clips[:, :, :1])], 1)


def figure_masks(videos, root) -> Tensor:
    """Where the figure's box is in the frames of `whole_clips`: bool B T H W."""
    masks = []
    for path in videos.path:
        timeline = scan(root / "videos" / path)
        frames = ClipRule(24, clip_seconds=timeline.duration).spread(timeline, 1)[0]
        scale = 48 / np.array([timeline.width, timeline.height] * 2)
        x0, y0, x1, y1 = (figure_boxes(root, path)[frames] * scale).T[..., None, None]  # T 1 1
        y, x = np.mgrid[:48, :48] + 0.5
        masks.append((x > x0) & (x < x1) & (y > y0) & (y < y1))
    return torch.from_numpy(np.stack(masks))


def small_cnn() -> nn.Sequential:
    """B 6 T H W to B 64 T/2 H/8 W/8."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((6, 16, (1, 2, 2)), (16, 32, (1, 2, 2)), (32, 64, 2)):
        layers += [nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def fit(net: nn.Module, clips: Tensor, labels: Tensor, steps: int) -> None:
    """Train on every third frame of 16 random clips a step, half of them mirrored."""
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    net.train()
    for step in range(steps):
        batch = torch.randperm(len(clips))[:16]
        mirrored = clips[batch][:, :, step % 3 :: 3]
        mirrored[::2] = mirrored[::2].flip(-1)
        loss = nn.functional.cross_entropy(net(motion(mirrored)), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    net.eval()


@pytest.fixture(scope="module")
def videos(full_sample):
    return read_videos("sample", full_sample, 1, 0.1, seed=0)


@pytest.fixture(scope="module")
def test(videos):
    return torch.tensor((videos.role == "test").to_numpy(copy=True))


@pytest.fixture(scope="module")
def classes(videos):
    return sorted(videos.label.unique())


@pytest.fixture(scope="module")
def labels(videos, classes):
    return torch.tensor([classes.index(label) for label in videos.label])


@pytest.fixture(scope="module")
def clips(videos, full_sample):
    return whole_clips(videos, full_sample / "videos")


@pytest.mark.slow
def test_unseen_sources_are_told_apart_and_backward_pairs_only_by_the_order_of_frames(clips, labels, classes, test):
    torch.manual_seed(0)
    net = nn.Sequential(
        *(small_cnn(), nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(512, len(classes)))
    )
    fit(net, clips[~test], labels[~test], 400)
    clips, labels = clips[test][:, :, 1::3], labels[test]
    pairs = torch.isin(labels, torch.tensor([classes.index(label) for label in PAIRS]))
    with torch.no_grad():
        right = net(motion(clips)).argmax(1) == labels
        shuffled = torch.stack(
            [net(motion(clips[:, :, torch.randperm(8)])).argmax(1) == labels for _ in range(5)]
        ).float()
    assert right.float().mean() > 0.5  # chance is 0.125
    assert right[pairs].float().mean() > 0.6
    assert shuffled[:, pairs].mean() < right[pairs].float().mean() - 0.3


def mass_on_figure(model: nn.Module, clips: Tensor, masks: Tensor) -> Tensor:
    """How many times the figure's share of the area its share of the attention is, for each clip (B,)."""
    maps = to_frames(rollout(model, motion(clips)), clips)
    mass = (maps * masks).sum((1, 2, 3)) / maps.sum((1, 2, 3))
    return mass / masks.float().mean((1, 2, 3))


@pytest.fixture
def one_thread():
    """The same digits on any number of cores: sums are taken in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_attention_learns_to_lie_on_the_moving_figure_and_random_weights_lose_that(
    videos, clips, labels, classes, test, full_sample, one_thread
):
    torch.manual_seed(0)
    model = architectures.build("hybrid", len(classes), blocks=1, latents=16, width=128, dropout=0.1)
    model.backbone = nn.Sequential(*small_cnn(), Permute([0, 2, 3, 4, 1]))  # as many channels, far less work
    fit(model, clips[~test], labels[~test], 200)
    shuffled = copy.deepcopy(model)
    with torch.no_grad():
        for weights in shuffled.parameters():
            weights.copy_(weights.flatten()[torch.randperm(weights.numel())].view_as(weights))
    unseen = clips[test][:, :, 1::3], figure_masks(videos, full_sample)[test][:, 1::3]
    learned = mass_on_figure(model, *unseen)
    assert learned.mean() > 1.6  # the figure's box takes 0.24 of the area: of the attention it takes 0.4 and more
    assert (learned > 1).float().mean() > 0.9
    assert mass_on_figure(shuffled, *unseen).mean() < 1.2
