"""Single layers of a PyTorch network done again, forward and backward, as in a training step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .torch_runtime import Feed, flatten


class Use:
    """One call of a layer in a step, with its inputs and the gradients of its outputs.

    Attributes:
        name: of the layer.
        leaf: whether it called no other layer.
    """

    def __init__(self, name: str, module: Any, feed: Feed) -> None:
        self.name = name
        self.leaf = True
        self._module = module
        self._feed: Feed | None = feed
        self._gradients: dict[int, Any] = {}
        self._graph: Any = None

    def container(self) -> None:
        """It calls others, so its inputs are not needed."""
        self.leaf = False
        self._feed = None

    def came_out(self, output: Any) -> None:
        """Note the gradients of its outputs when they are known."""
        for at, (_, tensor) in enumerate(flatten(output)):
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient, at=at: self._keep(at, gradient))

    def _keep(self, at: int, gradient: Any) -> None:
        self._gradients[at] = gradient.detach().clone()

    def forward(self) -> Any:
        """The forward pass, with all that is kept for the backward pass."""
        import torch

        if self._feed is None:
            raise AssertionError("only layers that call no other are done again")
        in_place = getattr(self._module, "inplace", False) is True
        if in_place:  # else it would be fed its own output
            self._module.inplace = False
        try:
            with torch.enable_grad():
                return self._module(*self._feed.args, **self._feed.kwargs)
        finally:
            if in_place:
                self._module.inplace = True

    def backward(self) -> Any:
        """The backward pass alone; its graph is built the first time.

        Gradients are given back, not added to those of the parameters.
        """
        import torch

        if self._graph is None:
            self._graph = self._built()
        outputs, wanted, gradients = self._graph
        if not outputs or not wanted:
            return None
        return torch.autograd.grad(outputs, wanted, gradients, retain_graph=True, allow_unused=True)

    def _built(self) -> tuple[list[Any], list[Any], list[Any]]:
        outputs, gradients = [], []
        for at, (_, tensor) in enumerate(flatten(self.forward())):
            if tensor.requires_grad and at in self._gradients:
                outputs.append(tensor)
                gradients.append(self._gradients[at])
        given = [] if self._feed is None else [self._feed.args, dict(self._feed.kwargs)]
        wanted = [tensor for _, tensor in flatten(given) if tensor.requires_grad]
        wanted += [p for p in self._module.parameters() if p.requires_grad]
        return outputs, wanted, gradients

    def works(self) -> bool:
        """Whether it can be done by itself; tried once."""
        if not self.leaf:
            return False
        try:
            self.forward()
            self.backward()
        except Exception:  # noqa: BLE001  # a layer's own code may raise anything
            return False
        self._graph = None  # most of them are never asked again
        return True


@contextmanager
def captured(network: Any) -> Iterator[list[Use]]:
    """While it lasts the calls of layers are noted; the hooks go away in any case.

    Inputs are copied, so that a replay sees what the layer saw even if another one works in
    place.
    """
    uses: list[Use] = []
    opened: list[Use] = []
    names = {id(module): name for name, module in network.named_modules()}

    def before(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if opened:
            opened[-1].container()
        opened.append(Use(names[id(module)], module, Feed(_frozen(args), _frozen(kwargs))))

    def after(module: Any, args: Any, output: Any) -> None:
        use = opened.pop()
        if use.leaf:
            use.came_out(output)
            uses.append(use)

    handles = []
    try:
        for name, module in network.named_modules():
            if name:
                handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
                handles.append(module.register_forward_hook(after))
        yield uses
    finally:
        for handle in handles:
            handle.remove()


def _frozen(value: Any) -> Any:
    """A copy that stands by itself, and wants gradients where the original did."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if hasattr(value, "_fields"):
        return type(value)(*map(_frozen, value))
    if type(value) in (tuple, list):
        return type(value)(map(_frozen, value))
    if isinstance(value, Mapping):
        return {key: _frozen(inner) for key, inner in value.items()}
    return value
