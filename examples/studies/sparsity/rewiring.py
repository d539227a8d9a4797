"""Deep Rewiring (Bellec, Kappel, Maass and Legenstein, arXiv 1711.05136), from the paper.

A connection has a sign s that never changes and a parameter θ. It is active while θ ≥ 0
and its weight is s · θ; else it is dormant and its weight is 0. After each gradient step

    active:   θ ← θ − η · s · dE/dw − η · α + √(2ηT) · ν     (ν normal, α the L1 strength)

and an active connection whose θ falls below 0 becomes dormant. What then happens is where
the variants differ:

* Deep R: as many dormant connections as were lost, drawn uniformly, become active at
  θ = 0, in the same layer: each layer has a constant number.
* With a global constraint: they are drawn among the dormant ones of all layers: the total
  is constant, layers are free.
* Soft Deep R: nothing is drawn. Dormant connections walk, θ ← max(θ + √(2ηT) · ν, θ_min),
  and those that come above 0 are active. How many are is left to α, T and θ_min.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .masks import weights

DEEP_R = "deep-r"
GLOBAL = "deep-r-global"
SOFT = "soft-deep-r"
VARIANTS = (DEEP_R, GLOBAL, SOFT)


@dataclass(frozen=True)
class RewiringSettings:
    """Constants of the algorithm.

    Attributes:
        learning_rate: η.
        l1: α.
        temperature: T of the noise; 0 for none.
        lowest: θ_min of soft Deep R; None for the one at which, by the prior alone, the
            share of active connections stays what it is at first.
    """

    learning_rate: float
    l1: float
    temperature: float
    lowest: float | None = None

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or self.l1 < 0 or self.temperature < 0:
            raise ValueError(f"η must be above 0, α and T at least 0: {self}")
        if self.lowest is not None and not self.lowest < 0:
            raise ValueError(f"θ_min must be below 0, not {self.lowest}")

    @property
    def noise(self) -> float:
        """Standard deviation of the noise of one step, √(2ηT)."""
        return math.sqrt(2 * self.learning_rate * self.temperature)


def lowest_for(settings: RewiringSettings, share: float) -> float:
    """θ_min at which a share of connections is active, by the prior alone.

    Without a gradient θ ≥ 0 is distributed as exp(−αθ/T), which weighs T/α, and θ < 0
    evenly down to θ_min, which weighs −θ_min.

    Raises:
        ValueError: without noise or L1 there is no such distribution.
    """
    if settings.lowest is not None:
        return settings.lowest
    if not settings.l1 or not settings.temperature:
        raise ValueError("soft Deep R needs noise and L1, or a θ_min of its own")
    return -settings.temperature / settings.l1 * (1 / share - 1)


class _Pool(ABC):
    """Connections that share one budget: those of one layer, or of all."""

    def __init__(self, layers: Sequence[nn.Parameter], generator: torch.Generator) -> None:
        self.layers = layers
        self.sizes = [layer.numel() for layer in layers]
        self.generator = generator
        self.sign = torch.sign(torch.rand(sum(self.sizes), generator=generator) - 0.5)
        self.sign[self.sign == 0] = 1.0

    def gradient(self) -> Tensor:
        """dE/dw of all connections, one after the other."""
        gradients = [layer.grad for layer in self.layers]
        return torch.cat([g.flatten() for g in gradients if g is not None])

    def write(self, values: Tensor) -> None:
        """Put the weights into the layers."""
        with torch.no_grad():
            for layer, part in zip(self.layers, values.split(self.sizes), strict=True):
                layer.copy_(part.reshape(layer.shape))

    def noise(self, count: int, scale: float) -> Tensor:
        """Normal noise of one step."""
        return scale * torch.randn(count, generator=self.generator)

    def active_by_layer(self) -> list[int]:
        """Active connections of each layer."""
        return [int(part.sum()) for part in self.active().split(self.sizes)]

    @abstractmethod
    def active(self) -> Tensor:
        """True where a connection is active."""

    @abstractmethod
    def step(self, settings: RewiringSettings) -> int:
        """One update after a gradient; returns how many connections became active."""


class _Bounded(_Pool):
    """A constant number of active connections: only these have a θ."""

    def __init__(
        self,
        layers: Sequence[nn.Parameter],
        generator: torch.Generator,
        counts: Sequence[int],
        scales: Sequence[float],
    ) -> None:
        super().__init__(layers, generator)
        starts = np.concatenate(([0], np.cumsum(self.sizes)[:-1]))
        self.index = torch.cat(
            [
                int(start) + torch.randperm(size, generator=generator)[:count]
                for start, size, count in zip(starts, self.sizes, counts, strict=True)
            ]
        )
        drawn = [
            scale * torch.randn(count, generator=generator).abs()
            for count, scale in zip(counts, scales, strict=True)
        ]
        self.theta = torch.cat(drawn)
        self.on = torch.zeros(sum(self.sizes), dtype=torch.bool)
        self.on[self.index] = True
        self._show()

    def _show(self) -> None:
        values = torch.zeros(sum(self.sizes))
        values[self.index] = self.sign[self.index] * self.theta
        self.write(values)

    def active(self) -> Tensor:
        return self.on

    def step(self, settings: RewiringSettings) -> int:
        pull = self.sign[self.index] * self.gradient()[self.index]
        eta = settings.learning_rate
        self.theta -= eta * (pull + settings.l1)
        if settings.temperature:
            self.theta += self.noise(len(self.theta), settings.noise)
        lost = self.theta < 0
        count = int(lost.sum())
        if count:
            self.on[self.index[lost]] = False
            drawn = draw_dormant(self.on, count, self.generator)
            self.on[drawn] = True
            self.index[lost] = drawn
            self.theta[lost] = 0.0
        self._show()
        return count


def draw_dormant(on: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """So many different dormant connections, each as likely as any other.

    Args:
        on: True where a connection is active.
        count: at most as many as are dormant.
        generator: of the draw.
    """
    if count * 4 > len(on) - int(on.sum()):
        dormant = (~on).nonzero().flatten()
        return dormant[torch.randperm(len(dormant), generator=generator)[:count]]
    # Few among many: draw until enough are dormant and different, in the order of drawing.
    found = np.empty(0, np.int64)
    while len(found) < count:
        tried = torch.randint(len(on), (2 * count + 8,), generator=generator)
        found = np.concatenate((found, tried[~on[tried]].numpy()))
        _, first = np.unique(found, return_index=True)
        found = found[np.sort(first)]
    return torch.from_numpy(found[:count])


class _Soft(_Pool):
    """Any number of active connections: all have a θ."""

    def __init__(
        self,
        layer: nn.Parameter,
        generator: torch.Generator,
        share: float,
        scale: float,
        settings: RewiringSettings,
    ) -> None:
        super().__init__([layer], generator)
        self.lowest = lowest_for(settings, share)
        count = sum(self.sizes)
        above = scale * torch.randn(count, generator=generator).abs()
        below = self.lowest * (1 - torch.rand(count, generator=generator))
        chosen = torch.rand(count, generator=generator) < share
        self.theta = torch.where(chosen, above, below)
        self._show()

    def _show(self) -> None:
        self.write(self.sign * self.theta.clamp(min=0))

    def active(self) -> Tensor:
        return self.theta >= 0

    def step(self, settings: RewiringSettings) -> int:
        on = self.active()
        pull = self.sign * self.gradient() + settings.l1
        self.theta -= settings.learning_rate * pull * on
        if settings.temperature:
            self.theta += self.noise(len(self.theta), settings.noise)
        self.theta.clamp_(min=self.lowest)
        came = int((self.active() & ~on).sum())
        self._show()
        return came


class DeepRewiring:
    """Trains the weights of a network under Deep R; biases by plain gradient descent.

    Args:
        network: on the CPU; its weights are drawn anew.
        shares: of the connections of each layer that are active at first.
        settings: constants of the algorithm.
        variant: one of ``VARIANTS``.
        seed: of signs, θ, noise and rewiring.

    Raises:
        ValueError: a share is not within 0 to 1 (both excluded), or there are not as many
            as layers.
    """

    def __init__(
        self,
        network: nn.Module,
        shares: Sequence[float],
        settings: RewiringSettings,
        variant: str = DEEP_R,
        seed: int = 0,
    ) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"{variant!r} is none of {', '.join(VARIANTS)}")
        layers = weights(network)
        if len(shares) != len(layers) or not all(0 < share < 1 for share in shares):
            raise ValueError(f"give a share between 0 and 1 for each of {len(layers)} layers")
        self.names = list(layers)
        self.settings = settings
        self.variant = variant
        self.rewired = 0
        """Connections that became active since the beginning."""
        inside = {id(weight) for weight in layers.values()}
        self._others = [p for p in network.parameters() if id(p) not in inside]
        generator = torch.Generator().manual_seed(seed)
        self._pools = _pools(list(layers.values()), shares, settings, variant, generator)

    def step(self) -> None:
        """One update; gradients have to be there."""
        for pool in self._pools:
            self.rewired += pool.step(self.settings)
        with torch.no_grad():
            for parameter in self._others:
                if parameter.grad is not None:
                    parameter.sub_(self.settings.learning_rate * parameter.grad)

    def active(self) -> dict[str, int]:
        """Active connections of each layer."""
        counts = [count for pool in self._pools for count in pool.active_by_layer()]
        return dict(zip(self.names, counts, strict=True))

    def total(self) -> int:
        """Active connections of all layers."""
        return sum(int(pool.active().sum()) for pool in self._pools)

    def masks(self) -> dict[str, Tensor]:
        """True where a connection is active, in the shape of the weights."""
        found = []
        for pool in self._pools:
            parts = pool.active().split(pool.sizes)
            found += [p.reshape(w.shape) for p, w in zip(parts, pool.layers, strict=True)]
        return dict(zip(self.names, found, strict=True))

    def signs(self) -> dict[str, Tensor]:
        """The sign of each connection, in the shape of the weights."""
        found = []
        for pool in self._pools:
            parts = pool.sign.split(pool.sizes)
            found += [p.reshape(w.shape) for p, w in zip(parts, pool.layers, strict=True)]
        return dict(zip(self.names, found, strict=True))


def _pools(
    layers: list[nn.Parameter],
    shares: Sequence[float],
    settings: RewiringSettings,
    variant: str,
    generator: torch.Generator,
) -> list[_Pool]:
    # θ is spread so that a neuron's input has the variance of its inputs, over active ones only.
    scales = [
        math.sqrt(2 / (share * layer[0].numel()))
        for share, layer in zip(shares, layers, strict=True)
    ]
    if variant == SOFT:
        return [
            _Soft(layer, generator, share, scale, settings)
            for layer, share, scale in zip(layers, shares, scales, strict=True)
        ]
    counts = [max(1, int(layer.numel() * s)) for layer, s in zip(layers, shares, strict=True)]
    if variant == GLOBAL:
        return [_Bounded(layers, generator, counts, scales)]
    return [
        _Bounded([layer], generator, [count], [scale])
        for layer, count, scale in zip(layers, counts, scales, strict=True)
    ]
