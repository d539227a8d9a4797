"""ResNet-50 (He et al. 2015, arXiv 1512.03385), 25,557,032 parameters.

Its stride stands in the 3 x 3 convolution of a block ("v1.5"), as in torchvision's; so
do the names of its weights, so that their files fit.
"""

from __future__ import annotations

import torch
from study_inference import count_macs, images, with_weights, work
from torch import nn

from greenai_core import StudyWork

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Width, blocks and stride of each."""
EXPANSION = 4


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a short cut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = width * EXPANSION
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            projection = nn.Conv2d(before, after, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet50(nn.Module):
    """Images, N x 3 x H x W -> scores, N x classes."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        before = 64
        for number, (width, blocks, stride) in enumerate(STAGES, 1):
            stage = []
            for index in range(blocks):
                stage.append(Bottleneck(before, width, stride if index == 0 else 1))
                before = width * EXPANSION
            self.add_module(f"layer{number}", nn.Sequential(*stage))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for number in range(1, len(STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(self.avgpool(x).flatten(1))


def resnet50(size: int, batch_size: int, device: str) -> StudyWork:
    """One inference of a batch of random square images.

    Args:
        size: pixels of a side.
        batch_size: images in one inference.
        device: ``cpu``, ``cuda`` …
    """
    module, note = with_weights(ResNet50, "resnet50")
    inputs = images(batch_size, size)
    macs = count_macs(ResNet50, inputs)
    return work(module, inputs, device, macs=macs, note=note)
