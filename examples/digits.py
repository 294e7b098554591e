"""The digits of scikit-learn as a data set in torchvision's style, long-tailed: small data for the other examples."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset

COUNTS = [90, 60, 40, 27, 18, 12, 9, 6, 5, 4]
"""Training images of the classes, in an order that is not that of the labels."""


class Digits(Dataset):
    """Three equal channels, from 0 to 1; 40 test images per class, and few training images of some."""

    def __init__(self, train: bool, size: int = 8) -> None:
        pixels, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(10)
        parts = [
            np.flatnonzero(labels == k)[slice(40, 40 + COUNTS[order[k]]) if train else slice(40)] for k in range(10)
        ]
        chosen = np.concatenate(parts)
        images = torch.from_numpy(pixels[chosen] / 16).float().reshape(-1, 1, 8, 8)
        images = torch.nn.functional.interpolate(images, size=size)
        self.data, self.targets = images.expand(-1, 3, -1, -1), labels[chosen].tolist()
        self.classes = [str(k) for k in range(10)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.data[i], self.targets[i]
