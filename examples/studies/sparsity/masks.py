"""Which weights of a network are kept; what counts as a weight.

A weight is an element of the matrix or kernel of a linear layer or convolution. Biases and
the parameters of batch normalisation are neither pruned nor counted: so the figures agree
with those that the papers print.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

Masks = Mapping[str, Tensor]
"""Name of a weight -> of its shape, True where it is kept."""


def weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that can be pruned, by name."""
    return {
        f"{name}.weight" if name else "weight": layer.weight
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }


def count_weights(network: nn.Module) -> int:
    """How many there are."""
    return sum(weight.numel() for weight in weights(network).values())


def count_nonzero(network: nn.Module) -> int:
    """Weights that are not 0."""
    return sum(int(weight.count_nonzero()) for weight in weights(network).values())


def count_nonzero_linear(network: nn.Module) -> int:
    """The same, but all weights of convolutions."""
    return sum(
        int(weight.count_nonzero()) if weight.dim() == 2 else weight.numel()
        for weight in weights(network).values()
    )


def count_others(network: nn.Module) -> int:
    """Biases and parameters of batch normalisation, which are never pruned."""
    everything: int = sum(parameter.numel() for parameter in network.parameters())
    return everything - count_weights(network)


def kept_of(total: int, sparsity: float | str) -> int:
    """How many of ``total`` weights are kept: the nearest whole number, halves up.

    Raises:
        ValueError: the sparsity is not from 0 to below 1, or nothing would be kept.
    """
    share: Fraction = 1 - Fraction(str(sparsity))
    if not 0 < share <= 1:
        raise ValueError(f"a sparsity of {sparsity} is no share: give 0.95 for 95 %")
    kept: int = math.floor(total * share + Fraction(1, 2))
    if not kept:
        raise ValueError(f"a sparsity of {sparsity} leaves none of {total} weights")
    return kept


def best(scores: Mapping[str, Tensor], kept: int) -> dict[str, Tensor]:
    """Keep exactly so many weights, those of the highest scores in all layers together.

    Raises:
        ValueError: a score is no number, or there are fewer weights than that.
    """
    flat = torch.cat([score.detach().flatten() for score in scores.values()]).cpu().numpy()
    if not np.isfinite(flat).all():
        raise ValueError("a score is NaN or infinite: the network's loss is no number")
    if not 0 < kept <= len(flat):
        raise ValueError(f"{kept} of {len(flat)} weights cannot be kept")
    chosen = np.zeros(len(flat), bool)
    chosen[np.argpartition(-flat, kept - 1)[:kept]] = True
    masks, start = {}, 0
    for name, score in scores.items():
        part = torch.from_numpy(chosen[start : start + score.numel()])
        masks[name] = part.reshape(score.shape).to(score.device)
        start += score.numel()
    return masks


def count_kept(masks: Masks) -> int:
    """Weights kept in all layers."""
    return sum(int(mask.sum()) for mask in masks.values())


def apply(network: nn.Module, masks: Masks) -> None:
    """Set the weights that are not kept to 0."""
    with torch.no_grad():
        for name, weight in weights(network).items():
            weight.mul_(masks[name])


def hold(network: nn.Module, masks: Masks) -> None:
    """Apply the masks, and let training leave the other weights at 0.

    Their gradients are set to 0. Weight decay and momentum then leave them alone too.
    """
    apply(network, masks)
    for name, weight in weights(network).items():
        factor = masks[name].to(weight.dtype)
        weight.register_hook(lambda gradient, factor=factor: gradient * factor)
