"""The layers of a loaded Keras model, and their uses one by one."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from greenai_core import Layer, LayerCall

from . import keras_runtime as runtime
from . import tensorflow_macs
from .keras_training import compiled, pack

Use: TypeAlias = tuple[str, Any, tuple[Any, ...], dict[str, Any]]
"""Name, layer, and the arguments of one call of it."""


class KerasLayers:
    """A sequential or functional Keras model, layer by layer.

    Leaves are the layers as the model's author placed them; models inside the
    model are their parents. A wrapper (``Bidirectional``) is one leaf.

    Args:
        model: Keras' own.
        where: device it is on.
    """

    def __init__(self, model: Any, where: runtime.Place) -> None:
        self._model = model
        self._where = where
        self._named = list(_walk(model, None, set()))

    def layers(self) -> tuple[Layer, ...]:
        """All layers, parents before children; a weight that they share is the first one's."""
        seen: set[int] = set()
        return tuple(
            Layer(name, type(layer).__name__, 0 if parts(layer) else _elements(layer, seen), parent)
            for name, layer, parent in self._named
        )

    def calls(self, prepared: Sequence[Any]) -> tuple[LayerCall, ...]:
        """The uses of leaves in one forward pass, each ready to be done again.

        Layers with a state, as of random numbers, do not move it on. The pass runs operation
        by operation to see what each layer is given; a replay is compiled, as the model itself
        is when it predicts.
        """
        counts: Counter[str] = Counter()
        calls = []
        for name, layer, args, kwargs in self._uses(prepared):
            replay = self._replay(layer, args, kwargs)
            # Calling a compiled function takes longer than many a layer.
            empty = self._replay(_nothing, args, kwargs)
            calls.append(LayerCall(name, counts[name], replay, empty))
            counts[name] += 1
        return tuple(calls)

    def macs(self, prepared: Sequence[Any]) -> Mapping[str, int]:
        """Multiply-accumulates of one pass by layer; those not known are left out."""
        found: Counter[str] = Counter()
        unknown = set()
        for name, layer, args, kwargs in self._uses(prepared):
            once = functools.partial(layer, *args, **kwargs)
            with runtime.quiet(), _stateless():
                macs, _ = tensorflow_macs.count(runtime.traced(once, ()))
            found[name] += macs or 0
            unknown |= {name} if macs is None else set()
        return {name: macs for name, macs in found.items() if name not in unknown}

    def _uses(self, prepared: Sequence[Any]) -> list[Use]:
        """The uses of leaves in one forward pass, in their order, with what they are given."""
        seen: list[Use] = []
        leaves = [(name, layer) for name, layer, _ in self._named if not parts(layer)]
        tf = runtime.tensorflow()
        try:
            for name, layer in leaves:
                # On the instance, so that it is found before the method of the class;
                # past Keras' own __setattr__, which would track it.
                object.__setattr__(layer, "call", _recorder(name, layer, layer.call, seen))
            with tf.device(self._where.name), _stateless():
                self._model(pack(self._model, prepared), training=False)
        finally:
            for _, layer in leaves:
                if "call" in vars(layer):
                    object.__delattr__(layer, "call")
        return seen

    def _replay(
        self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[[], object]:
        tf = runtime.tensorflow()

        # Tensors go in as arguments: what a function closes over may become a
        # constant of its graph, and its result be computed once and for all.
        def once(given: tuple[Any, ...], named: dict[str, Any]) -> Any:
            with _stateless():
                return layer(*given, **named)

        again = tf.function(once, jit_compile=compiled(self._model, self._where))

        with runtime.quiet(), tf.device(self._where.name):
            again.get_concrete_function(args, kwargs)  # traced now, outside any measurement

        def replay() -> object:
            with tf.device(self._where.name):
                result: object = again(args, kwargs)
            return result

        return replay


def _stateless() -> Any:
    """While it lasts variables of Keras keep what they hold, whatever is assigned to them."""
    return runtime.keras().StatelessScope()


def _nothing(*args: Any, **kwargs: Any) -> Any:
    """A layer that gives back the first tensor that it is given."""
    tf = runtime.tensorflow()
    return tf.identity(next(filter(tf.is_tensor, tf.nest.flatten((args, kwargs)))))


def parts(layer: Any) -> list[Any]:
    """Layers and operations that a model is made of; none for a plain layer."""
    if type(layer).__name__ == "Functional":
        found = layer.operations
    elif type(layer).__name__ == "Sequential":
        found = layer.layers
    else:
        return []
    return [part for part in found if type(part).__name__ != "InputLayer"]


def _walk(model: Any, parent: str | None, seen: set[int]) -> Iterator[tuple[str, Any, str | None]]:
    """Each layer once, however many models inside the model have it, where it comes first."""
    for part in parts(model):
        if id(part) in seen:
            continue
        seen.add(id(part))
        name = f"{parent}/{part.name}" if parent else part.name
        yield name, part, parent
        yield from _walk(part, name, seen)


def _elements(layer: Any, seen: set[int]) -> int:
    """Elements of the weights of a layer that were not seen before."""
    own = 0
    for weight in getattr(layer, "weights", ()):
        if id(weight) not in seen and runtime.is_parameter(weight.dtype):
            own += math.prod(weight.shape)
        seen.add(id(weight))
    return own


def _recorder(
    name: str,
    layer: Any,
    call: Callable[..., Any],
    seen: list[Use],
) -> Callable[..., Any]:
    def record(*args: Any, **kwargs: Any) -> Any:
        seen.append((name, layer, args, kwargs))
        return call(*args, **kwargs)

    return record
