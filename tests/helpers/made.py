"""Made metrics, tables, predictions and clips for figures."""

import numpy as np
import pandas as pd

CLASSES = ["brush_hair", "cartwheel", "catch", "chew"]
ROWS = ["baseline", "cross1_self1", "blocks4_cross2_self12"]


def made_metrics(epochs, shift=0.0):
    epoch = np.arange(epochs)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train_video_loss": 4 * np.exp(-epoch / 5),
            "val_video_loss": 2 + 2 * np.exp(-epoch / 5) + shift,
            "train_video_accuracy": 1 - np.exp(-epoch / 5),
            "val_video_accuracy": 0.7 - 0.6 * np.exp(-epoch / 5),
        }
    )


def made_table(rows=3):
    table = pd.DataFrame(
        {
            "train_loss": [0.54, 0.12, np.nan],
            "validation_loss": [1.12, 1.27, np.nan],
            "accuracy": [0.727, 0.703, np.nan],
            "accuracy_low": [0.70, 0.68, np.nan],
            "accuracy_high": [0.75, 0.725, np.nan],
            "cnn_parameters": [31e6, 31e6, np.nan],
            "attention_parameters": [2.6e4, 7.6e6, np.nan],
            "flops": [81e9, 83e9, np.nan],
        },
        index=pd.Index(ROWS, name="row"),
    )
    return table.head(rows)


def made_predictions(videos=80, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(videos) % len(CLASSES)
    probabilities = random.dirichlet(np.ones(len(CLASSES)), videos)
    probabilities[np.arange(videos), labels] += 0.3
    table = pd.DataFrame(probabilities / 1.3, columns=CLASSES)
    table.insert(0, "video", [f"v{n}" for n in range(videos)])
    table.insert(1, "group", [f"g{n // 8}" for n in range(videos)])
    table.insert(2, "label", np.array(CLASSES)[labels])
    return table


def made_clip(frames=16):
    return np.random.default_rng(0).integers(0, 256, (frames, 48, 64, 3), dtype=np.uint8)


def made_batch(clips=2):
    """As read, and normalised, cropped and with the channels in front as a model gets them."""
    before = np.stack([made_clip()] * clips)
    return before, np.moveaxis(before[:, :, :40, :40] / 128 - 1, -1, 1)
