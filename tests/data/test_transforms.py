"""What happens to a batch on the device."""

import pytest
import torch

from hmdb_lib.data.transforms import erase, even_crops, mix, normalise, rand_augment, random_crop_flip

CLIPS = torch.randint(0, 256, (4, 3, 20, 30, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def windows(clip, crop):
    for top in range(clip.shape[1] - crop + 1):
        for left in range(clip.shape[2] - crop + 1):
            yield clip[:, top : top + crop, left : left + crop]


def test_a_training_crop_is_one_window_of_its_clip_the_same_in_every_frame():
    cut = random_crop_flip(CLIPS, 16, flip=False)
    assert all(
        any(torch.equal(part, window) for window in windows(clip, 16)) for part, clip in zip(cut, CLIPS, strict=True)
    )


def test_about_half_of_the_clips_are_mirrored_and_only_when_asked():
    torch.manual_seed(0)
    clip = CLIPS[:1, :, :, :20]  # a crop as large as the clip leaves nothing but the mirror
    mirrored = [
        torch.equal(cut, clip[0].flip(2)) for cut in random_crop_flip(clip.expand(200, -1, -1, -1, -1), 20, flip=True)
    ]
    assert 70 < sum(mirrored) < 130
    assert torch.equal(random_crop_flip(clip, 20, flip=False), clip)


def test_the_same_seed_cuts_alike():
    torch.manual_seed(1)
    first = random_crop_flip(CLIPS, 16, flip=True)
    torch.manual_seed(1)
    assert torch.equal(first, random_crop_flip(CLIPS, 16, flip=True))


def test_one_crop_is_the_centre_and_three_reach_both_sides():
    assert torch.equal(even_crops(CLIPS, 16, 1), CLIPS[:, :, 2:18, 7:23])
    three = even_crops(CLIPS, 20, 3).unflatten(0, (4, 3))
    assert torch.equal(three[:, 0], CLIPS[:, :, :, :20])
    assert torch.equal(three[:, 2], CLIPS[:, :, :, 10:])


def test_crops_of_an_upright_clip_go_down_its_height():
    upright = CLIPS.transpose(2, 3)
    assert torch.equal(even_crops(upright, 20, 3)[2], upright[0, :, 10:])


def test_normalised_clips_have_the_stated_mean_and_are_channels_last():
    clips = normalise(CLIPS, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    assert clips.shape == (4, 3, 3, 20, 30)
    assert clips.is_contiguous(memory_format=torch.channels_last_3d)
    expected = (CLIPS[1, 2, 3, 4].float() / 255 - torch.tensor([0.4, 0.5, 0.6])) / torch.tensor([0.2, 0.25, 0.3])
    assert torch.allclose(clips[1, :, 2, 3, 4], expected, atol=1e-5)


def test_randaugment_keeps_shape_and_type_and_changes_clips_apart():
    torch.manual_seed(0)
    changed = rand_augment(CLIPS[:1].expand(8, -1, -1, -1, -1))
    assert (changed.shape, changed.dtype, type(changed)) == ((8, 3, 20, 30, 3), torch.uint8, torch.Tensor)
    assert len({clip.sum().item() for clip in changed}) > 1


def test_an_erased_box_is_the_same_in_all_frames_of_a_clip():
    torch.manual_seed(0)
    clips = torch.ones(4, 3, 5, 20, 30)
    erased = erase(clips, 1.0)
    assert all(0 < (clip == 0).float().mean() < 1 for clip in erased)
    assert torch.equal(erased, erased[:, :, :1].expand_as(erased))
    assert erase(clips, 0.0) is clips


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_mixed_clips_have_labels_in_the_same_shares(mixup, cutmix):
    torch.manual_seed(0)
    clips = torch.zeros(2, 3, 4, 16, 16)
    clips[1] = 1  # so that a clip's mean is its share of the second
    mixed, targets = mix(clips, torch.tensor([0, 1]), 2, mixup, cutmix)
    assert mixed.shape == clips.shape
    assert torch.allclose(mixed.mean((1, 2, 3, 4)), targets[:, 1], atol=1e-5)


def test_without_mixing_labels_stay_numbers():
    labels = torch.tensor([0, 1])
    assert mix(torch.zeros(2, 3, 4, 16, 16), labels, 2, 0.0, 0.0)[1] is labels
