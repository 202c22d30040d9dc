"""The sample data set can be learned, and asks for time."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hmdb_lib.clips import ClipRule
from hmdb_lib.splits import read_videos
from hmdb_lib.video import read_frames, scan

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


def small_net(classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((6, 16, (1, 2, 2)), (16, 32, (1, 2, 2)), (32, 64, 2)):
        layers += [nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(512, classes))


@pytest.mark.slow
def test_unseen_sources_are_told_apart_and_backward_pairs_only_by_the_order_of_frames(full_sample):
    videos = read_videos("sample", full_sample, 1, 0.1, seed=0)
    classes = sorted(videos.label.unique())
    labels = torch.tensor([classes.index(label) for label in videos.label])
    clips = whole_clips(videos, full_sample / "videos")
    test = torch.tensor((videos.role == "test").to_numpy(copy=True))

    torch.manual_seed(0)
    net, train_clips, train_labels = small_net(len(classes)), clips[~test], labels[~test]
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=400)
    for step in range(400):
        batch = torch.randperm(len(train_clips))[:16]
        mirrored = train_clips[batch][:, :, step % 3 :: 3]
        mirrored[::2] = mirrored[::2].flip(-1)
        loss = nn.functional.cross_entropy(net(motion(mirrored)), train_labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

    net.eval()
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
