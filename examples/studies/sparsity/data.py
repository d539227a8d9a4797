"""The images that the studies learn from: real ones if they are on this machine, else made up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .image_files import USUAL_FOLDERS, RawImages, find_cifar10, find_mnist

CLASSES = 10
COARSE = 7
"""Side of the random pattern that a made-up class is an enlargement of."""

SHIFT = 2
NOISE = 1.0
"""Pixels that a made-up image is moved by, and its noise beside a pattern of spread 1."""

FINDERS = {"mnist": find_mnist, "cifar10": find_cifar10}
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
FULL_SIZES = {"mnist": (60_000, 10_000), "cifar10": (50_000, 10_000)}


@dataclass(frozen=True)
class Split:
    """Images, N x C x H x W with mean 0 and spread 1, and their classes."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, generator: torch.Generator | None) -> Iterator[Split]:
        """All full batches; in random order if there is a generator, else with the rest."""
        order = (
            torch.arange(len(self))
            if generator is None
            else torch.randperm(len(self), generator=generator)
        )
        last = len(self) if generator is None else len(self) - len(self) % size
        for start in range(0, last, size):
            picked = order[start : start + size].to(self.images.device)
            yield Split(self.images[picked], self.labels[picked])

    def to(self, device: str) -> Split:
        """The same on a device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class DataSet:
    """What is learnt from and tested on.

    Attributes:
        source: where it is from, in words.
        synthetic: whether it was made up.
    """

    training: Split
    test: Split
    source: str
    synthetic: bool


def load(
    name: str,
    *,
    samples: int | None = None,
    test_samples: int | None = None,
    folders: Sequence[Path] = (),
    device: str = "cpu",
    seed: int = 0,
) -> DataSet:
    """A data set, real if a folder holds it.

    Args:
        name: ``mnist`` or ``cifar10``.
        samples, test_samples: take or make only so many; None for all.
        folders: to look in before the usual ones.
        device: where the images go.
        seed: of made-up images.
    """
    raw = FINDERS[name]((*folders, *USUAL_FOLDERS))
    full, full_test = FULL_SIZES[name]
    counts = (samples or full, test_samples or full_test)
    found = _synthetic(name, *counts, seed) if raw is None else _real(raw, *counts)
    return DataSet(found.training.to(device), found.test.to(device), found.source, found.synthetic)


def _real(raw: RawImages, samples: int, test_samples: int) -> DataSet:
    images = raw.images[:samples].astype(np.float32)
    axes = (0, 2, 3)
    mean, spread = images.mean(axes, keepdims=True), images.std(axes, keepdims=True) + 1e-6

    def split(pixels: np.ndarray, labels: np.ndarray) -> Split:
        scaled = (pixels.astype(np.float32) - mean) / spread
        return Split(torch.from_numpy(scaled), torch.from_numpy(labels.astype(np.int64)))

    tests, test_labels = raw.test_images[:test_samples], raw.test_labels[:test_samples]
    training, test = split(raw.images[:samples], raw.labels[:samples]), split(tests, test_labels)
    source = f"{raw.source}: {len(training)} images, {len(test)} of the test set"
    return DataSet(training, test, source, synthetic=False)


def _synthetic(name: str, samples: int, test_samples: int, seed: int) -> DataSet:
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = SHAPES[name]
    coarse = torch.randn(CLASSES, channels, COARSE, COARSE, generator=generator)
    patterns = functional.interpolate(
        coarse, (height + 2 * SHIFT, width + 2 * SHIFT), mode="bilinear", align_corners=True
    )
    patterns /= patterns.std()

    def split(count: int) -> Split:
        labels = torch.randint(CLASSES, (count,), generator=generator)
        down, right = torch.randint(2 * SHIFT + 1, (2, count), generator=generator)
        rows = down[:, None] + torch.arange(height)
        columns = right[:, None] + torch.arange(width)
        index = torch.arange(count)[:, None, None, None]
        moved = patterns[labels][
            index,
            torch.arange(channels)[None, :, None, None],
            rows[:, None, :, None],
            columns[:, None, None, :],
        ]
        noise = NOISE * torch.randn(moved.shape, generator=generator)
        return Split(moved + noise, labels)

    source = (
        f"made-up images of the shape of {name} ({samples} to learn from, {test_samples} to test "
        "on): one random pattern for each of 10 classes, moved, with noise; the real files are "
        "not on this machine, so accuracies say only that a network learns"
    )
    return DataSet(split(samples), split(test_samples), source, synthetic=True)
