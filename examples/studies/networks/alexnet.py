"""AlexNet in its form of one tower (Krizhevsky, "One weird trick", 2014, arXiv 1404.5997).

Five convolutions and three linear layers, 61,100,840 parameters; the names of its
weights are those of torchvision's, so that their files fit. An adaptive pooling before
the linear layers lets it take images of any size from 63 pixels on.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from study_inference import count_macs, images, with_weights, work
from torch import nn

from greenai_core import StudyWork

SMALLEST = 63
POOLED = 6
CONVOLUTIONS = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
"""Channels, kernel, stride and padding of each."""
POOLS_AFTER = (0, 1, 4)
HIDDEN = 4096


class AlexNet(nn.Module):
    """Images, N x 3 x H x W -> scores, N x classes."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for index, (channels, kernel, stride, padding) in enumerate(CONVOLUTIONS):
            layers += [nn.Conv2d(before, channels, kernel, stride, padding), nn.ReLU(inplace=True)]
            if index in POOLS_AFTER:
                layers.append(nn.MaxPool2d(3, 2))
            before = channels
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED)
        widths = (before * POOLED**2, HIDDEN, HIDDEN)
        head: list[nn.Module] = []
        for width, wider in pairwise(widths):
            head += [nn.Dropout(), nn.Linear(width, wider), nn.ReLU(inplace=True)]
        self.classifier = nn.Sequential(*head, nn.Linear(HIDDEN, classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


def alexnet(size: int, batch_size: int, device: str) -> StudyWork:
    """One inference of a batch of random square images.

    Args:
        size: pixels of a side, 63 or more.
        batch_size: images in one inference.
        device: ``cpu``, ``cuda`` …

    Raises:
        ValueError: the images are too small for the three poolings.
    """
    if size < SMALLEST:
        raise ValueError(f"AlexNet takes images of {SMALLEST} pixels or more, not of {size}")
    module, note = with_weights(AlexNet, "alexnet")
    inputs = images(batch_size, size)
    macs = count_macs(AlexNet, inputs)
    return work(module, inputs, device, macs=macs, note=note)
