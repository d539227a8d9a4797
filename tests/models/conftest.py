"""Small model files and the networks they come from; libraries are imported in fixtures only."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the helpers that tests share

NETWORK = '''
import torch
from torch import nn


class SmallNet(nn.Module):
    """Convolution, batch normalisation, linear: 112 + 8 + 725 parameters, 8 statistics."""

    def __init__(self, classes=5):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(4 * 6 * 6, classes)

    def forward(self, image):
        return self.head(torch.flatten(self.act(self.norm(self.conv(image))), 1))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.dense = nn.Linear(4, 4)

    def forward(self, input_ids, features, scale=None):
        mixed = self.words(input_ids) + self.dense(features)
        return {"mixed": mixed if scale is None else mixed * scale, "parts": (mixed, mixed)}


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.out = nn.Linear(4, 10, bias=False)
        self.out.weight = self.words.weight
        self.register_buffer("position_ids", torch.arange(10))

    def forward(self, x):
        return self.out(self.words(x))


def make_small(classes=5):
    return SmallNet(classes)


def not_a_network():
    return 7
'''


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A user's script ``their_networks.py`` in the current folder, imported."""
    import importlib

    (tmp_path / "their_networks.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("their_networks", None)
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("their_networks")


@pytest.fixture
def small(networks: ModuleType) -> Any:
    """A ``SmallNet`` with random weights and statistics, in evaluation mode."""
    import torch

    torch.manual_seed(7)
    net = networks.SmallNet()
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.1)
    return net.eval()


@pytest.fixture
def image() -> Any:
    """One batch of two small images."""
    import numpy as np

    return np.random.default_rng(3).random((2, 3, 8, 8), dtype=np.float32)


@pytest.fixture
def saved(small: Any, tmp_path: Path) -> Path:
    """The state dict of ``small``."""
    import torch

    torch.save(small.state_dict(), tmp_path / "small.pt")
    return tmp_path / "small.pt"


@pytest.fixture
def expected(small: Any, image: Any) -> Any:
    """What ``small`` makes of ``image``."""
    import torch

    with torch.no_grad():
        return small(torch.tensor(image)).numpy()


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    """An ONNX file with one Gemm of 15 parameters."""
    import onnx_files

    return onnx_files.linear(tmp_path)
