"""How a network is made, pruned and trained in a study, and what one run of that costs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from greenai_core import Session

from . import arguments, energy, masks, training
from .data import DataSet, load
from .networks import NETWORKS, initialise

MOMENTUM = 0.9
FindMasks = Callable[[nn.Sequential, DataSet, int], Mapping[str, Tensor]]
"""Network, data and seed -> what is kept."""


@dataclass(frozen=True)
class Recipe:
    """One setting of one network.

    Attributes:
        network: one of ``NETWORKS``.
        width: of its layers, as a share; for VGG only.
        samples: to learn from; None for all of the data set.
        epochs, batch_size, learning_rate: of gradient descent with momentum 0.9.
        decay_steps: steps after which the rate is divided by 10.
        weight_decay: of all parameters.
        gain: see ``networks.initialise``.
    """

    network: str
    epochs: int
    batch_size: int
    learning_rate: float
    decay_steps: int
    samples: int | None = None
    width: float = 1.0
    weight_decay: float = 5e-4
    gain: str = "xavier"

    def changed_by(self, given: argparse.Namespace) -> Recipe:
        """With the values that the user gave."""
        names = ("epochs", "batch_size", "learning_rate", "samples", "width")
        wanted = {name: getattr(given, name, None) for name in names}
        return replace(self, **{name: value for name, value in wanted.items() if value})

    def data(self, given: argparse.Namespace) -> DataSet:
        """The images it learns from."""
        return load(
            NETWORKS[self.network][1],
            samples=self.samples,
            test_samples=max(self.samples // 2, 100) if self.samples else None,
            folders=given.data,
            device=given.device,
        )

    def make(self, seed: int, device: str) -> nn.Sequential:
        """The network, freshly initialised."""
        build: Callable[..., nn.Sequential] = NETWORKS[self.network][0]
        network = build(self.width) if self.network.startswith("vgg") else build()
        initialise(network, seed, self.gain)
        return network.to(device)

    def learner(self, network: nn.Module) -> Callable[[], None]:
        """What changes the weights once the gradients are there."""
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=self.learning_rate,
            momentum=MOMENTUM,
            weight_decay=self.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, self.decay_steps, gamma=0.1)

        def update() -> None:
            optimizer.step()
            schedule.step()

        return update


@dataclass(frozen=True)
class Run:
    """A trained network, and a row of the table for it."""

    network: nn.Sequential
    row: dict[str, Any]


def run(
    recipe: Recipe,
    data: DataSet,
    measured: Session,
    seed: int,
    device: str,
    sparsity: str = "0",
    find: FindMasks | None = None,
) -> Run:
    """Make, prune (if there is a way to) and train, each in a window of its own."""
    network = recipe.make(seed, device)
    cost: dict[str, Any] = {"pruning_j": None, "pruning_s": None}
    if find is not None:
        with measured.window("pruning") as window:
            masks.hold(network, find(network, data, seed))
        cost = {"pruning_j": window.result.energy_j, "pruning_s": window.result.duration_s}
    lesson = training.train(
        network,
        data,
        recipe.learner(network),
        measured,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=seed,
    )
    row = {
        "network": recipe.network,
        "seed": seed,
        "pruned": find is not None,
        "sparsity": sparsity,
        "weights": masks.count_nonzero(network),
        "other_parameters": masks.count_others(network),
        "accuracy": lesson.accuracies[-1],
        "accuracy_best": max(lesson.accuracies),
        "loss": lesson.losses[-1],
        **energy.joules(lesson.whole),
        **cost,
    }
    return Run(network, row)


def compare_steps(
    recipe: Recipe,
    data: DataSet,
    measured: Session,
    given: argparse.Namespace,
    find: FindMasks,
) -> Any:
    """One training step without and with pruning, in turn on the same batch."""
    size = recipe.batch_size
    batch = next(data.training.batches(size, torch.Generator().manual_seed(0)))
    seed = given.seeds[0]
    dense, pruned = recipe.make(seed, given.device), recipe.make(seed, given.device)
    masks.hold(pruned, find(pruned, data, seed))
    works = {}
    for label, network in (("unpruned", dense.train()), ("masked", pruned.train())):
        update = recipe.learner(network)
        works[label] = lambda network=network, update=update: training.step(network, batch, update)
    return energy.in_turn(
        measured,
        works,
        samples=size,
        device=given.device,
        unit="step",
        settings=arguments.comparing(given),
    )


COLUMNS = {
    "network": "network",
    "sparsity": "pruned",
    "seed": "seed",
    "weights": "weights",
    "accuracy_best": "best accuracy",
    "accuracy": "last",
    "duration_s": "s",
    "energy_j": "J",
    "energy_low_j": "from",
    "energy_high_j": "to",
    "pruning_j": "J of pruning",
}
"""Of the table of ``run``."""

STEP_COLUMNS = {
    "network": "network",
    "variant": "training step",
    "energy_j": "J",
    "seconds_s": "s",
    "ratio": "J / unpruned",
    "ratio_low": "from",
    "ratio_high": "to",
    "verdict": "verdict",
}
"""Of the table of ``compare_steps``."""
