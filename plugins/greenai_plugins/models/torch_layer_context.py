"""A layer of a PyTorch network done several times inside a pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenai_core import ModelError

from .torch_runtime import flatten

CLOSE = 1e-3
"""Relative difference of outputs that sums in another order may make on a GPU."""


def repeated(network: Any, run: Callable[[], Any], layer: str, times: int) -> Callable[[], object]:
    """A pass in which each call of a layer is done so many times; its outputs stay the same.

    Args:
        network: in evaluation mode.
        run: one pass through it, which gives its outputs.
        layer: name of the layer.
        times: 1 for a plain pass.

    Raises:
        ModelError: the layer works in place, or keeps a state, so that doing it again is
            not doing the same.
    """
    module = network.get_submodule(layer)
    if getattr(module, "inplace", False) is True:
        raise ModelError(f"{layer} works in place, so that its inputs are there only once")

    def work() -> Any:
        # A forward of the instance is found before that of its class.
        own = vars(module).get("forward")
        once = module.forward

        def several(*args: Any, **kwargs: Any) -> Any:
            for _ in range(times - 1):
                once(*args, **kwargs)
            return once(*args, **kwargs)

        module.forward = several
        try:
            return run()
        finally:
            if own is None:
                del module.forward
            else:
                module.forward = own

    if times > 1 and not _same(run(), work()):
        raise ModelError(
            f"{layer} gives other outputs when it is done again: it keeps a state or draws at "
            "random"
        )
    return work


def _same(one: Any, other: Any) -> bool:
    import torch

    left, right = flatten(one), flatten(other)
    return len(left) == len(right) and all(
        torch.allclose(a, b, rtol=CLOSE, atol=CLOSE * _size(a), equal_nan=True)
        for (_, a), (_, b) in zip(left, right, strict=True)
    )


def _size(tensor: Any) -> float:
    return float(tensor.detach().abs().max()) if tensor.numel() and tensor.is_floating_point() else 0.0
