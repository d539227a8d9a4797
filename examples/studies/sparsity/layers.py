"""A trained sequence without batch normalisation, and what its layers compute."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d
Weighted: TypeAlias = nn.Conv2d | nn.Linear


def fold(network: nn.Sequential) -> nn.Sequential:
    """The same function in evaluation mode, with batch normalisation inside the layer before it.

    y = γ(Wx + b − μ)/σ + β is the layer with weights γW/σ and bias γ(b − μ)/σ + β. Weights
    that are 0 stay 0.
    """
    folded: list[nn.Module] = []
    for layer in copy.deepcopy(network).eval():
        if isinstance(layer, Norm):
            before = folded[-1]
            if not isinstance(before, Weighted):
                raise ValueError("batch normalisation must stand behind a layer with weights")
            _fold_into(before, layer)
        else:
            folded.append(layer)
    return nn.Sequential(*folded).eval().requires_grad_(False)


def _fold_into(layer: Weighted, norm: Norm) -> None:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("batch normalisation without running statistics cannot be folded")
    with torch.no_grad():
        scale = norm.weight / torch.sqrt(variance + norm.eps)
        bias = torch.zeros_like(mean) if layer.bias is None else layer.bias
        layer.weight *= scale.reshape(-1, *[1] * (layer.weight.dim() - 1))
        layer.bias = nn.Parameter(scale * (bias - mean) + norm.bias)


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of one sample, in layers with weights.

    Attributes:
        dense: with all weights.
        nonzero: with those that are not 0.
        mixed: in convolutions all, in linear layers those that are not 0.
    """

    dense: int
    nonzero: int
    mixed: int


def work(network: nn.Module, sample: Tensor) -> Work:
    """Count what one forward pass multiplies.

    Args:
        network: in evaluation mode, with ``Conv2d`` and ``Linear`` layers.
        sample: an input with one sample.
    """
    dense = nonzero = mixed = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal dense, nonzero, mixed
        assert isinstance(layer, Weighted)
        places = output[0, 0].numel() if output.dim() == 4 else 1
        all_of_them = places * layer.weight.numel()
        some = places * int(layer.weight.count_nonzero())
        dense += all_of_them
        nonzero += some
        mixed += some if isinstance(layer, nn.Linear) else all_of_them

    layers = [layer for layer in network.modules() if isinstance(layer, Weighted)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.no_grad():
            network(sample)
    finally:
        for hook in hooks:
            hook.remove()
    return Work(dense, nonzero, mixed)
