"""The layers of an ONNX model: the nodes that ONNX Runtime really runs."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from greenai_core import (
    CallTime,
    Layer,
    LayerCall,
    LayerParameters,
    ModelError,
    ModelInputError,
    ProfiledPass,
    loading,
)

from . import onnx_macs, onnx_profile
from .onnx_numbering import beside, number_nodes, place_of
from .onnx_origins import Op, ops_of, origins
from .onnx_profile import MICROSECOND
from .onnx_rows import layers_of, rows_of
from .onnx_run_graph import OpenSession, RunGraph

UNSETTLED = 2
"""Passes of a new session that are left out: its memory is found in them."""

CLOSE = 1e-3
"""Relative difference of outputs that sums in another order may make on a GPU."""


class OnnxLayered:
    """A model node by node: implements ``greenai_core.RepeatableLayered``.

    Args:
        path: of the file.
        open_session: opens models as the file itself is opened.
        outputs: names of the outputs, in the order of ``predict``.
        parameters: of the nodes of the file.
        device: ``cpu``, or ``cuda`` and its number.

    Raises:
        ModelLoadError: ONNX Runtime does not write down what it runs.
    """

    def __init__(
        self,
        path: Path,
        open_session: OpenSession,
        outputs: Sequence[str],
        parameters: Sequence[LayerParameters],
        device: tuple[str, int],
    ) -> None:
        import onnx

        self._path = path
        self._device = device
        self._outputs = list(outputs)
        with loading(path, "ONNX Runtime"):
            self._graph = RunGraph(path, open_session)
            model = onnx.load(str(path), load_external_data=False)
        self._file = ops_of(model.graph)
        functions = frozenset(function.name for function in model.functions)
        self._origins = origins(self._file, self._graph.ops, _stored(model.graph), functions)
        self._rows = rows_of(self._file, self._graph.ops, self._origins)
        self._layers = layers_of(self._rows, self._elements(parameters))
        self._place = {row.name: place for place, row in enumerate(self._rows)}
        self._session: Any = None
        self._again: dict[tuple[str, int], Any] = {}

    def layers(self) -> tuple[Layer, ...]:
        """The nodes that run, under the scopes that their names tell."""
        return self._layers

    def calls(self, prepared: Mapping[str, Any]) -> tuple[LayerCall, ...]:
        """Each node as a model of its own, on the inputs that it had in one pass.

        A node is left out whose inputs are no tensors, or that hands its input on: by itself it
        would be a copy. What a node was given is kept until its call is forgotten; its model
        is made when it is first replayed.

        Raises:
            ModelInputError: the inputs do not fit.
        """
        import numpy as np
        import onnxruntime

        values = self._values(prepared)
        number = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(1, np.float32))
        nothing = functools.partial(self._graph.nothing, on_gpu=self._device[0] != "cpu")
        empty = self._replay(nothing, {"number": number})
        calls = []
        for place, row in enumerate(self._rows):
            if self._graph.hands_on(place):
                continue
            wanted = self._graph.takes(place)
            given = {name: values[name] for name in wanted if name in values}
            if len(given) == len(wanted) and all(value.is_tensor() for value in given.values()):
                alone = functools.partial(self._graph.alone, place, given)
                calls.append(LayerCall(row.name, 0, self._replay(alone, given), empty))
        return tuple(calls)

    def repeated(self, prepared: Mapping[str, Any], layer: str, times: int) -> Callable[[], object]:
        """A pass in which one node is done so many times; see ``RepeatableLayered``.

        Raises:
            ModelError: the layer is no node, it hands its input on, or its outputs differ from
                time to time.
        """
        if layer not in self._place:
            raise ModelError(
                f"{layer} is a part of the names of nodes, not a node: repeat one of its nodes"
            )
        if self._graph.hands_on(self._place[layer]):
            raise ModelError(
                f"{layer} only gives its input another shape, which is free in the pass; done "
                "again it would be a copy"
            )
        session = self._repeating(layer, times)

        def work() -> Any:
            return self._run(session, prepared)

        if times > 1 and not _same(self._run(self._plain(), prepared), work()):
            raise ModelError(
                f"{layer} is in a model that gives other outputs each time, so that doing it "
                "again cannot be told from doing something else"
            )
        return work

    def macs(self, prepared: Mapping[str, Any]) -> Mapping[str, int]:
        """Multiply-accumulates of one pass by node, where shapes tell them.

        The file is run once as it is, on the CPU.
        """
        inputs = {name: _array(value) for name, value in prepared.items()}
        events = onnx_macs.shapes_of_nodes(self._path, inputs, self._numbered())
        by_node = _macs_of_nodes(events, self._file)
        parts = Counter(origin.inside for origin in self._origins)
        found = {}
        for row, origin in zip(self._rows, self._origins, strict=True):
            known = [by_node[place] for place in origin.made_of if place in by_node]
            # Those of a function are of all its nodes together.
            is_whole = origin.inside is None or parts[origin.inside] == 1
            if known and len(known) == len(origin.made_of) and is_whole:
                found[row.name] = sum(known)
        return found

    def _numbered(self) -> onnx_macs.Content:
        """The file with its nodes named by their places.

        Names may be missing, and what ONNX Runtime calls a node then may be the name of another.
        """
        import onnx

        with loading(self._path, "ONNX Runtime"):
            model = onnx.load(str(self._path), load_external_data=False)
        number_nodes(model.graph)
        folder = beside(model, self._path)
        return onnx_macs.Content(model.SerializeToString(), folder)

    def _elements(self, parameters: Sequence[LayerParameters]) -> list[int]:
        """Parameters of each node that runs: of all that it was made of."""
        of_label: Counter[str] = Counter()
        for entry in parameters:
            of_label[entry.name] += entry.trainable + entry.non_trainable
        elements = []
        for origin in self._origins:
            ops = [self._file[place] for place in (*origin.made_of, *origin.folded)]
            labels = dict.fromkeys(label for op in ops for label in (op.label, *op.inner))
            elements.append(sum(of_label.pop(label, 0) for label in labels))
        return elements

    def _plain(self) -> Any:
        if self._session is None:
            with self._named():
                self._session = self._graph.session()
        return self._session

    def _repeating(self, layer: str, times: int) -> Any:
        """The session of one repeated node; those of other nodes are let go of."""
        if times == 1:
            return self._plain()
        if (layer, times) not in self._again:
            self._again = {key: kept for key, kept in self._again.items() if key[0] == layer}
            with self._named():
                self._again[layer, times] = self._graph.again(self._place[layer], times)
        return self._again[layer, times]

    def _run(self, session: Any, prepared: Mapping[str, Any]) -> Any:
        run = session.run if self._device[0] == "cpu" else session.run_with_ort_values
        with self._named():
            return run(self._outputs, dict(prepared))

    def _values(self, prepared: Mapping[str, Any]) -> dict[str, Any]:
        """Every tensor of one pass, as ONNX Runtime values; without those that cannot be."""
        with self._named():
            session = self._graph.exposed()
            names = [entry.name for entry in session.get_outputs()]
            values = {name: _value(given) for name, given in prepared.items()}
            if None in values.values():  # text comes and goes as arrays only
                made = map(_value, session.run(names, dict(prepared)))
            else:
                made = session.run_with_ort_values(names, values)
            values.update(zip(names, made, strict=True))
        return {name: value for name, value in values.items() if value is not None}

    def _replay(
        self, open_session: Callable[[], Any], given: Mapping[str, Any]
    ) -> Callable[[], object]:
        bound: list[tuple[Any, Any]] = []

        def bind() -> None:
            session = open_session()
            binding = session.io_binding()
            for name, value in given.items():
                binding.bind_ortvalue_input(name, self._on_device(value))
            for entry in session.get_outputs():
                binding.bind_output(entry.name, *self._device)
            bound.append((session, binding))

        def replay() -> object:
            with self._named():
                if not bound:
                    bind()
                session, binding = bound[0]
                session.run_with_iobinding(binding)
            return binding

        return replay

    def _on_device(self, value: Any) -> Any:
        """A value where the pass had it: outputs that are asked for come to the CPU."""
        import onnxruntime

        kind, number = self._device
        if kind == "cpu" or value.device_name().lower() == kind:
            return value
        return onnxruntime.OrtValue.ortvalue_from_numpy(value.numpy(), kind, number)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of ONNX Runtime, which share no base class, with the file they are about."""
        try:
            yield
        except (ModelError, KeyboardInterrupt):
            raise
        except Exception as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise ModelInputError(
                f"{self._path}: ONNX Runtime cannot run its nodes one by one ({line}). Measure "
                "it as a whole with `greenai bench`"
            ) from error


class ProfiledOnnxLayered(OnnxLayered):
    """The same on the CPU, where ONNX Runtime's profiler sees the work itself.

    On a GPU it sees how long nodes take to be handed over. Implements
    ``greenai_core.ProfiledLayered``.
    """

    def profiled(self, prepared: Mapping[str, Any], passes: int) -> tuple[ProfiledPass, ...]:
        """Passes of a session that writes down the times of its nodes.

        What is in graphs inside a node (If, Loop, Scan) is in its time, and so is what
        writing that down costs.

        Raises:
            ModelInputError: the inputs do not fit.
            ModelError: the profiler did not write down one pass to its end.
        """
        names = [node.name for node in self._graph.model.graph.node]
        took = []
        with self._named():
            session = self._graph.session(profiled=True)
            try:
                for _ in range(UNSETTLED + passes):
                    began = time.perf_counter()
                    self._run(session, prepared)
                    took.append(time.perf_counter() - began)
            finally:
                events = onnx_profile.read(session.end_profiling())
        found = onnx_profile.passes_of(events, names)
        whole = [
            self._pass(seconds, *told)
            for seconds, told in list(zip(took, found, strict=False))[UNSETTLED:]
            if told is not None
        ]
        if not whole:
            raise ModelError(
                f"{self._path}: the profiler of ONNX Runtime wrote down no whole pass, so its "
                f"nodes have no times ({len(names):,} nodes). Measure it as a whole with "
                "`greenai bench`"
            )
        return tuple(whole)

    def _pass(self, seconds: float, model_s: float, nodes_s: Sequence[float]) -> ProfiledPass:
        calls = [CallTime("", None, model_s)]
        calls += [CallTime(row.name, 0, one) for row, one in zip(self._rows, nodes_s, strict=True)]
        return ProfiledPass(tuple(calls), seconds, MICROSECOND)


def _macs_of_nodes(events: Sequence[Mapping[str, Any]], file: Sequence[Op]) -> dict[int, int]:
    """By place in the file; nodes that multiply in unknown ways are left out.

    Args:
        events: of the file with its nodes numbered.
        file: its nodes.
    """
    found: Counter[int] = Counter(dict.fromkeys(range(len(file)), 0))
    names = [event["name"].removesuffix(onnx_profile.KERNEL) for event in events]
    told = {place for name in names if (place := place_of(name)) is not None}
    # What a function of the file or of ONNX does has names of ONNX Runtime's own.
    functions = {place for place, op in enumerate(file) if op.type != "Constant"} - told
    unknown: set[int] = set()
    for name, event in zip(names, events, strict=True):
        place, macs = place_of(name), onnx_macs.of_event(event)
        if place is None:
            places = functions or told
            place = next(iter(places)) if len(places) == 1 else None
        else:
            places = {place}
        if macs is None or (place is None and macs):
            unknown |= places
        elif place is not None:
            found[place] += macs
    return {place: macs for place, macs in found.items() if place not in unknown}


def _stored(graph: Any) -> set[str]:
    sparse = (tensor.values.name for tensor in graph.sparse_initializer)
    return {*(tensor.name for tensor in graph.initializer), *sparse}


def _array(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else value


def _value(given: Any) -> Any:
    """As a value of ONNX Runtime; None for text, and for what is no tensor."""
    import numpy as np
    import onnxruntime

    if isinstance(given, onnxruntime.OrtValue):
        return given
    if not isinstance(given, np.ndarray) or given.dtype.kind in "OSU":
        return None
    return onnxruntime.OrtValue.ortvalue_from_numpy(given)


def _same(one: Any, other: Any) -> bool:
    """Whether outputs are the same: arrays, or sequences and maps of them."""
    import numpy as np

    left, right = _array(one), _array(other)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if not isinstance(left, np.ndarray) or left.dtype.kind not in "fc":
        return np.array_equal(left, right)
    return left.shape == right.shape and np.allclose(
        left, right, rtol=CLOSE, atol=CLOSE * float(np.abs(left).max(initial=0)), equal_nan=True
    )
