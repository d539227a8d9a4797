"""Small networks that share layers, for tests of telling layers apart."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn


class Block(nn.Module):
    """A shared layer, a functional operation, and one that works in place."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.shared(self.act(self.shared(x))) + torch.tanh(x)


class Net(nn.Module):
    """The block is used twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.block = Block()
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.norm(self.block(self.block(self.stem(x)))).mean(dim=(2, 3)))


class Sized(nn.Module):
    """Computes something else for each size of image."""

    def forward(self, x):
        return torch.sin(x) * x.shape[-1]


class Several(nn.Module):
    """One layer on images of three sizes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.shared = Sized()
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        x = self.shared(self.stem(x))
        x = self.shared(self.pool(x))
        return self.shared(self.pool(x)).mean(dim=(2, 3))
