"""Train a network with greenai's windows around it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from greenai_core import Session
from greenai_core.results import WindowResult

from .data import DataSet, Split

TEST_BATCH = 500


@dataclass(frozen=True)
class Lesson:
    """How a training went.

    Attributes:
        whole: from its beginning to its end, with the tests after each epoch.
        epochs: the training in each epoch, without the test.
        losses: mean of each epoch.
        accuracies: on the test set after each.
    """

    whole: WindowResult
    epochs: tuple[WindowResult, ...]
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]


def train(
    network: nn.Module,
    data: DataSet,
    update: Callable[[], None],
    measured: Session,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    name: str = "training",
) -> Lesson:
    """Learn from all full batches, and test after each epoch.

    Args:
        network: that learns.
        data: what from.
        update: changes the weights once the gradients are there.
        measured: an open session.
        epochs: times to go through the data.
        batch_size: samples in a step.
        seed: of the order.
        name: of the windows.

    Raises:
        ArithmeticError: the loss is no number any more.
    """
    generator = torch.Generator().manual_seed(seed)
    windows, losses, accuracies = [], [], []
    with measured.window(name) as whole:
        for number in range(1, epochs + 1):
            with measured.window(f"{name}, epoch {number}") as window:
                losses.append(_epoch(network, data.training, update, batch_size, generator))
            windows.append(window)
            accuracies.append(accuracy(network, data.test))
    return Lesson(whole.result, tuple(w.result for w in windows), tuple(losses), tuple(accuracies))


def _epoch(
    network: nn.Module,
    split: Split,
    update: Callable[[], None],
    batch_size: int,
    generator: torch.Generator,
) -> float:
    network.train()
    total = torch.zeros((), device=split.images.device)
    steps = 0
    for batch in split.batches(batch_size, generator):
        total += step(network, batch, update)
        steps += 1
    if not steps:
        raise ValueError(f"{len(split)} samples make no batch of {batch_size}")
    mean = float(total) / steps
    if not math.isfinite(mean):
        raise ArithmeticError("the loss is no number any more: try a smaller --learning-rate")
    return mean


def step(network: nn.Module, batch: Split, update: Callable[[], None]) -> torch.Tensor:
    """One forward pass, backward pass and update; the loss."""
    network.zero_grad()
    loss = functional.cross_entropy(network(batch.images), batch.labels)
    loss.backward()
    update()
    return loss.detach()


def accuracy(network: nn.Module, split: Split) -> float:
    """Share of the samples in the right class."""
    network.eval()
    right = 0
    with torch.no_grad():
        for batch in split.batches(TEST_BATCH, None):
            right += int((network(batch.images).argmax(dim=1) == batch.labels).sum())
    return right / len(split)
