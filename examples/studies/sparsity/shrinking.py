"""Structured execution: channels and neurons that do nothing are taken out of the network.

Two kinds do nothing: those whose output is the same for every input, because all weights
into them are 0, and those that nobody reads, because all weights out of them are 0. The
function stays the same: what a constant output adds to the next layer goes into its bias.
Where zero padding makes that differ at the borders of the image, all constant channels
of a layer are joined into one.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .layers import Weighted


@dataclass
class _Stage:
    """A layer with weights, and what stands between it and the next one.

    Attributes:
        weight: out x in x (kernel, flattened; 1 for a linear layer whose inputs are neurons;
            the places of a channel for one behind ``Flatten``).
    """

    layer: Weighted
    weight: Tensor
    bias: Tensor
    after: list[nn.Module]

    @property
    def rectified(self) -> bool:
        """Whether a ReLU follows."""
        return any(isinstance(module, nn.ReLU) for module in self.after)

    @property
    def padded(self) -> bool:
        """Whether zeros are put around the image, so that a constant is none at its border."""
        return isinstance(self.layer, nn.Conv2d) and any(self.layer.padding)

    def constants(self) -> tuple[Tensor, Tensor]:
        """Which outputs are the same for every input, and what each is then."""
        fixed = ~self.weight.flatten(1).any(dim=1)
        return fixed, self.bias.clamp(min=0) if self.rectified else self.bias


ALLOWED = (nn.ReLU, nn.MaxPool2d, nn.Flatten)
"""Between layers: what leaves constants constant and channels apart."""


def shrink(network: nn.Sequential) -> nn.Sequential:
    """The same function by a smaller network.

    Args:
        network: what ``layers.fold`` gave, of convolutions, linear layers, ReLU, max pooling
            and flattening.

    Raises:
        ValueError: it holds something else.
    """
    head, stages = _stages(network)
    while _pass(stages):
        pass
    built: list[nn.Module] = list(head)
    for stage in stages:
        built += [_rebuilt(stage), *stage.after]
    return nn.Sequential(*built).eval().requires_grad_(False)


def widths(network: nn.Module) -> tuple[int, ...]:
    """Outputs of each layer with weights."""
    return tuple(m.weight.shape[0] for m in network.modules() if isinstance(m, Weighted))


def _stages(network: nn.Sequential) -> tuple[list[nn.Module], list[_Stage]]:
    head: list[nn.Module] = []
    stages: list[_Stage] = []
    for layer in copy.deepcopy(network):
        if isinstance(layer, Weighted):
            inputs = stages[-1].weight.shape[0] if stages else layer.weight.shape[1]
            weight = layer.weight.detach().reshape(layer.weight.shape[0], inputs, -1)
            bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach()
            stages.append(_Stage(layer, weight, bias.to(weight.device), []))
        elif not isinstance(layer, ALLOWED) or (
            isinstance(layer, nn.MaxPool2d) and layer.padding != 0
        ):
            raise ValueError(f"a network with {type(layer).__name__} cannot be shrunk here")
        else:
            (stages[-1].after if stages else head).append(layer)
    return head, stages


def _pass(stages: list[_Stage]) -> bool:
    """One look at all layers; whether anything could be taken out."""
    before = [len(stage.bias) for stage in stages]
    for stage, following in itertools.pairwise(stages):
        _drop_constant(stage, following)
    for stage, following in reversed(list(itertools.pairwise(stages))):
        _keep(stage, following, following.weight.transpose(0, 1).flatten(1).any(dim=1))
    return before != [len(stage.bias) for stage in stages]


def _drop_constant(stage: _Stage, following: _Stage) -> None:
    fixed, values = stage.constants()
    if not fixed.any():
        return
    adds = (following.weight * values[None, :, None])[:, fixed]
    nonzero = bool(adds.any())
    if not following.padded or not nonzero:
        following.bias = following.bias + adds.sum(dim=(1, 2))
        _keep(stage, following, ~fixed)
        return
    first = int(fixed.nonzero()[0])
    # One channel that is 1 everywhere stands for all of them.
    following.weight = following.weight.clone()
    following.weight[:, first] = adds.sum(dim=1)
    stage.bias = stage.bias.clone()
    stage.bias[first] = 1.0
    keep = ~fixed
    keep[first] = True
    _keep(stage, following, keep)


def _keep(stage: _Stage, following: _Stage, keep: Tensor) -> None:
    """Leave only some outputs; one at least, since a layer has to have any."""
    keep = keep.clone()
    if not keep.any():
        keep[0] = True
        following.weight = torch.zeros_like(following.weight)
    stage.weight, stage.bias = stage.weight[keep], stage.bias[keep]
    following.weight = following.weight[:, keep]


def _rebuilt(stage: _Stage) -> nn.Module:
    out, channels, places = stage.weight.shape
    layer = stage.layer
    made: Weighted
    if isinstance(layer, nn.Conv2d):
        made = nn.Conv2d(
            channels, out, layer.kernel_size, layer.stride, layer.padding, layer.dilation
        )  # fmt: skip
    else:
        made = nn.Linear(channels * places, out)
    with torch.no_grad():
        made.weight.copy_(stage.weight.reshape(made.weight.shape))
        assert made.bias is not None
        made.bias.copy_(stage.bias)
    return made.to(stage.weight.device)
