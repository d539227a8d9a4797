"""Pruning before training: SNIP (arXiv 1810.02340) and FORCE (arXiv 2006.09081).

Both ask how the loss changes with a switch c in front of each weight θ: at c = 1 for all,
dL/dc = θ · dL/dθ. SNIP takes the weights where that is largest, once. FORCE asks again and
again with fewer and fewer weights switched on, each time how much the loss of *that*
network would change: θ · dL/dθ', the gradient at the pruned network θ' = c · θ. A weight
that is off has such a score too, so it can come back. With the score θ' · dL/dθ' instead
it cannot, and that is iterative SNIP.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .data import Split
from .masks import Masks, apply, best, count_kept, count_weights, kept_of, weights

STEPS = 60
"""Of FORCE, as its paper has it for CIFAR-10."""


@dataclass(frozen=True)
class PruningStep:
    """One step of iterative pruning.

    Attributes:
        kept: weights that are on after it.
        switched_off, came_back: weights that changed in it.
    """

    kept: int
    switched_off: int
    came_back: int


def sensitivities(
    network: nn.Module, batches: Sequence[Split], masks: Masks | None = None, back: bool = True
) -> dict[str, Tensor]:
    """|θ · dL/dθ'| of each weight, L being the mean loss of the batches.

    Args:
        network: with the weights θ of all connections; it is not changed.
        batches: to take the loss on.
        masks: which weights are on; None for all.
        back: whether weights that are off have a score.
    """
    pruned = copy.deepcopy(network).train()
    if masks is not None:
        apply(pruned, masks)
    pruned.zero_grad()
    for batch in batches:
        loss = functional.cross_entropy(pruned(batch.images), batch.labels) / len(batches)
        loss.backward()
    there = weights(network if back else pruned)
    return {
        name: (there[name] * weight.grad).detach().abs()
        for name, weight in weights(pruned).items()
        if weight.grad is not None
    }


def snip(network: nn.Module, batch: Split, sparsity: float | str) -> dict[str, Tensor]:
    """The masks that SNIP finds on one batch."""
    kept = kept_of(count_weights(network), sparsity)
    return best(sensitivities(network, [batch]), kept)


def exponential(total: int, kept: int, steps: int) -> list[int]:
    """Weights left after each step: exp(a·log(kept) + (1 − a)·log(total)), a = step/steps."""
    shares = [step / steps for step in range(1, steps + 1)]
    counts = [round(math.exp(a * math.log(kept) + (1 - a) * math.log(total))) for a in shares]
    return [*counts[:-1], kept]


def force(
    network: nn.Module,
    batches: Iterator[Split],
    sparsity: float | str,
    steps: int = STEPS,
    back: bool = True,
) -> tuple[dict[str, Tensor], list[PruningStep]]:
    """The masks that FORCE finds, one batch a step.

    Args:
        network: freshly initialised; it is not changed.
        batches: at least ``steps`` of them.
        sparsity: share of the weights to prune.
        steps: of pruning.
        back: whether weights may come back; False is iterative SNIP.

    Returns:
        The masks, and what each step did.
    """
    total = count_weights(network)
    masks: dict[str, Tensor] = {
        name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights(network).items()
    }
    done = []
    for kept in exponential(total, kept_of(total, sparsity), steps):
        scores = sensitivities(network, [next(batches)], masks, back)
        if not back:
            # Many scores are exactly 0: what is off must not win a tie.
            scores = {name: score.where(masks[name], -1.0) for name, score in scores.items()}
        found = best(scores, kept)
        off = sum(int((masks[name] & ~found[name]).sum()) for name in masks)
        came = sum(int((found[name] & ~masks[name]).sum()) for name in masks)
        done.append(PruningStep(count_kept(found), off, came))
        masks = found
    return masks, done
