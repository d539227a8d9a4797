"""The networks of the studies, as plain sequences, so that they can be shrunk afterwards."""

from __future__ import annotations

import torch
from torch import nn

VGG_D = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Channels of the convolutions of configuration D of Simonyan and Zisserman (arXiv 1409.1556),
0 for a halving."""

VGG_19 = (64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[512] * 4, 0, *[512] * 4, 0)
"""Configuration E, with one linear layer behind."""

VGG_HIDDEN = 512
LENET_HIDDEN = (300, 100)
CLASSES = 10


def lenet_300_100(hidden: tuple[int, int] = LENET_HIDDEN) -> nn.Sequential:
    """784 pixels, two hidden layers, ten classes: 266,200 weights."""
    first, second = hidden
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(28 * 28, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, CLASSES),
    )


def lenet_5_caffe() -> nn.Sequential:
    """Caffe's LeNet-5: 430,500 weights of 28 x 28 images."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, CLASSES),
    )


def vgg_d(width: float = 1.0) -> nn.Sequential:
    """VGG-D for 32 x 32 images, two hidden layers of 512: 15,239,872 weights.

    Args:
        width: channels and neurons of each layer, as a share of the real network's.
    """
    return _vgg(VGG_D, width, linear_layers=3)


def vgg_19(width: float = 1.0) -> nn.Sequential:
    """VGG-19 for 32 x 32 images with one linear layer: 20,024,000 weights."""
    return _vgg(VGG_19, width, linear_layers=1)


def _vgg(plan: tuple[int, ...], width: float, linear_layers: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for channels in plan:
        if not channels:
            layers.append(nn.MaxPool2d(2))
            continue
        after = max(1, round(channels * width))
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
        layers.append(nn.ReLU())
        before = after
    layers.append(nn.Flatten())
    hidden = max(1, round(VGG_HIDDEN * width))
    for _ in range(linear_layers - 1):
        layers += [nn.Linear(before, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
        before = hidden
    return nn.Sequential(*layers, nn.Linear(before, CLASSES))


def initialise(network: nn.Module, seed: int, gain: str = "xavier") -> None:
    """Random weights, biases 0.

    Args:
        network: whose weights are drawn.
        seed: of the draw.
        gain: ``xavier`` (variance 2/(in + out), as SNIP's paper has it) or ``kaiming``
            (2/in, as FORCE's has it).
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if gain == "xavier":
                nn.init.xavier_normal_(layer.weight, generator=generator)
            else:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


NETWORKS = {
    "lenet-300-100": (lenet_300_100, "mnist"),
    "lenet-5-caffe": (lenet_5_caffe, "mnist"),
    "vgg-d": (vgg_d, "cifar10"),
    "vgg-19": (vgg_19, "cifar10"),
}
"""Name -> what makes it, and the data set that it is for."""
