"""Crop, flip, augment and normalize a whole batch of clips on the device, from uint8."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

if TYPE_CHECKING:
    from hmdb_lib.config import Data, Train


def random_crop_flip(clips: Tensor, crop: int, flip: bool) -> Tensor:
    """Cut one random square crop of each clip and mirror half of the clips; uint8 B T H W C in and out.

    Draws from torch's global generator, which the training run seeds anew each epoch.
    """
    height, width = clips.shape[2:4]
    tops = torch.randint(height - crop + 1, (len(clips),)).tolist()
    lefts = torch.randint(width - crop + 1, (len(clips),)).tolist()
    mirrored = (torch.rand(len(clips)) < 0.5).tolist() if flip else [False] * len(clips)
    cut = [
        clip[:, top : top + crop, left : left + crop].flip(2)
        if mirror
        else clip[:, top : top + crop, left : left + crop]
        for clip, top, left, mirror in zip(clips, tops, lefts, mirrored, strict=True)
    ]
    return torch.stack(cut)


def even_crops(clips: Tensor, crop: int, count: int) -> Tensor:
    """Cut `count` square crops of each clip, evenly along its longer side, centred on the other; one is the centre.

    uint8 B T H W C in, (B count) T crop crop C out; the crops of a clip follow one another.
    """
    height, width = clips.shape[2:4]
    shares = [0.5] if count == 1 else [place / (count - 1) for place in range(count)]
    cut = []
    for share in shares:
        along, across = (width, height) if width >= height else (height, width)
        near, middle = round(share * (along - crop)), (across - crop) // 2
        top, left = (middle, near) if width >= height else (near, middle)
        cut.append(clips[:, :, top : top + crop, left : left + crop])
    return torch.stack(cut, 1).flatten(0, 1)


def normalise(clips: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalize uint8 B T H W C to float32 B C T H W, zero mean and unit deviation by channel (`mean`, `std` in 0..1).

    Only the view changes order, so the result is channels-last in memory: the fast layout of 3D convolutions.
    """
    scale = torch.tensor([1 / (255 * s) for s in std], device=clips.device)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=clips.device)
    return torch.addcmul(shift, clips.float(), scale).permute(0, 4, 1, 2, 3)  # B C T H W


def augment(
    batch: Mapping[str, Any], classes: int, data: "Data", train: "Train", mean: Sequence[float], std: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Crop, flip, augment and normalize a training batch: clips float B C T H W and their targets, see `mix`."""
    clips = random_crop_flip(batch["clips"], data.crop, data.flip)
    if train.randaugment:
        clips = rand_augment(clips)
    clips = erase(normalise(clips, mean, std), train.erasing)
    return mix(clips, batch["labels"], classes, train.mixup, train.cutmix)


def rand_augment(clips: Tensor) -> Tensor:
    """Apply RandAugment (arXiv 1909.13719) as torchvision has it, drawn once a clip; uint8 B T H W C in and out."""
    augment = v2.RandAugment()
    changed = [augment(tv_tensors.Video(clip.permute(0, 3, 1, 2))) for clip in clips]  # T C H W
    return torch.stack(changed).permute(0, 1, 3, 4, 2).as_subclass(Tensor)  # B T H W C


def erase(clips: Tensor, chance: float) -> Tensor:
    """Erase at random (arXiv 1708.04896): with this chance a clip loses one box, the same in all its frames.

    Normalised float B C T H W in and out; the box becomes zero, the mean colour.
    """
    if not chance:
        return clips
    eraser = v2.RandomErasing(p=chance)
    return torch.stack([eraser(clip.transpose(0, 1)).transpose(0, 1) for clip in clips])


def mix(clips: Tensor, labels: Tensor, classes: int, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Blend clips by mixup (arXiv 1710.09412) or CutMix (arXiv 1905.04899); where both are on, each half of the time.

    Each number is the Beta parameter, 0 for off. Normalised float B C T H W in and out; the targets are the labels
    (B,), or with mixing their shares (B, classes).
    """
    kinds = [v2.MixUp(alpha=mixup, num_classes=classes)] if mixup else []
    kinds += [v2.CutMix(alpha=cutmix, num_classes=classes)] if cutmix else []
    if not kinds:
        return clips, labels
    mixed, targets = v2.RandomChoice(kinds)(tv_tensors.Video(clips.transpose(1, 2)), labels)  # B T C H W
    return mixed.transpose(1, 2).as_subclass(Tensor), targets
