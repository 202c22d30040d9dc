"""What happens to a batch of clips on the device: crop, flip, normalise. All of it for the whole batch, from uint8."""

from collections.abc import Sequence

import torch
from torch import Tensor


def random_crop_flip(clips: Tensor, crop: int, flip: bool) -> Tensor:
    """One random square crop a clip, half of the clips mirrored; uint8 B T H W C in and out.

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
    """`count` square crops of each clip, evenly along its longer side, centred on the other; one is the centre.

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
    """uint8 B T H W C to float32 B C T H W, zero mean and unit deviation by channel (`mean`, `std` in 0..1).

    Only the view changes order, so the result is channels-last in memory: the fast layout of 3D convolutions.
    """
    scale = torch.tensor([1 / (255 * s) for s in std], device=clips.device)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=clips.device)
    return torch.addcmul(shift, clips.float(), scale).permute(0, 4, 1, 2, 3)  # B C T H W
