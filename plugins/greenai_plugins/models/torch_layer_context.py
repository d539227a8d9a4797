"""A layer of a PyTorch network done several times inside a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from greenai_core import ModelError

from .torch_runtime import flatten

CLOSE = 1e-3
"""Relative difference of outputs that sums in another order may make on a GPU."""


def repeated(
    network: Any,
    run: Callable[[], Any],
    layer: str,
    times: int,
    names: Sequence[str] = (),
) -> Callable[[], object]:
    """A pass in which each call of a layer is done so many times; its outputs stay the same.

    Args:
        network: in evaluation mode.
        run: one pass through it, which gives its outputs.
        layer: name of the layer.
        times: 1 for a plain pass.
        names: of the modules that do its calls, where these are several.

    Raises:
        ModelError: the layer works in place, or keeps a state, so that doing it again is
            not doing the same.
    """
    modules = [way for name in names or (layer,) for way in ways(network.get_submodule(name))]
    if any(getattr(module, "inplace", False) is True for module in modules):
        raise ModelError(f"{layer} works in place, so that its inputs are there only once")

    def work() -> Any:
        with _doing(modules, times):
            return run()

    if times > 1 and not _same(run(), work()):
        raise ModelError(
            f"{layer} gives other outputs when it is done again: it keeps a state or draws at "
            "random"
        )
    return work


def ways(module: Any, *, next_only: bool = False) -> list[Any]:
    """The modules that do the calls of one, which is itself.

    A module of an exported program that was called with inputs of other shapes is one module
    for each call, which take turns: doing one again would be doing the next one.

    Args:
        module: as it is called.
        next_only: the one that does the next call.
    """
    several = getattr(module, "_call_modules", None)
    if not isinstance(several, list):
        return [module]
    if next_only:
        return [several[module._num_calls]]
    return list({id(way): way for way in several}.values())


@contextmanager
def _doing(modules: Sequence[Any], times: int) -> Iterator[None]:
    """While it lasts, each call of these modules is done so many times."""
    # A forward of the instance is found before that of its class. Not by an assignment, which
    # TorchScript's modules would hand on to what they are made of.
    own = [vars(module).get("forward") for module in modules]
    try:
        for module in modules:
            vars(module)["forward"] = _several(module.forward, times)
        yield
    finally:
        for module, before in zip(modules, own, strict=True):
            vars(module).pop("forward", None)
            if before is not None:
                vars(module)["forward"] = before


def _several(once: Callable[..., Any], times: int) -> Callable[..., Any]:
    def several(*args: Any, **kwargs: Any) -> Any:
        for _ in range(times - 1):
            once(*args, **kwargs)
        return once(*args, **kwargs)

    return several


def _same(one: Any, other: Any) -> bool:
    import torch

    left, right = flatten(one), flatten(other)
    return len(left) == len(right) and all(
        torch.allclose(a, b, rtol=CLOSE, atol=CLOSE * _size(a), equal_nan=True)
        for (_, a), (_, b) in zip(left, right, strict=True)
    )


def _size(tensor: Any) -> float:
    return (
        float(tensor.detach().abs().max()) if tensor.numel() and tensor.is_floating_point() else 0.0
    )
