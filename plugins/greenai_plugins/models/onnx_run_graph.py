"""The graph that ONNX Runtime runs, and variants of it to measure its nodes with.

ONNX Runtime writes down the graph after its optimisations, which is opened again as it is.
The weights lie beside it, once for all variants, in a folder that goes away with the object.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from .onnx_numbering import number_nodes
from .onnx_origins import Op, inner_graphs, ops_of, outer_names

Change: TypeAlias = Callable[[Any], None]
OpenSession: TypeAlias = Callable[[str, Change], Any]
"""Path of a model and what is done to ONNX Runtime's options before it is opened -> session."""

WEIGHTS = "weights.bin"

HANDS_ON = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators whose output ONNX Runtime leaves where their input is (``Alias`` of its kernels)."""


class RunGraph:
    """An ONNX file as ONNX Runtime runs it.

    Attributes:
        model: an ``onnx.ModelProto`` without the weights; its nodes are in the order in
            which they run and named by their places: ``n0``, ``n1``, …
        ops: its nodes under the names that ONNX Runtime gave them.

    Args:
        path: of the file.
        open_session: opens models as the file itself is opened.

    Raises:
        ModelLoadError: ONNX Runtime cannot write the graph.
    """

    def __init__(self, path: Path, open_session: OpenSession) -> None:
        self._open = open_session
        self._folder = Path(tempfile.mkdtemp(prefix="greenai-onnx-"))
        # Not a TemporaryDirectory: that warns when it is forgotten.
        self._forget = weakref.finalize(self, shutil.rmtree, self._folder, True)
        try:
            self.model, self.ops = self._optimised(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the folder; sessions that are open stay usable."""
        self._forget()

    def session(self, *, profiled: bool = False) -> Any:
        """The graph as it runs; with ``profiled`` it writes down what each node takes."""

        def change(options: Any) -> None:
            if profiled:
                options.enable_profiling = True
                options.profile_file_prefix = str(self._folder / "profile")

        return self._session(self.model, change)

    def exposed(self) -> Any:
        """The graph with each tensor that a node makes as an output."""
        import onnx

        model = self._copy()
        known = {value.name for value in model.graph.output}
        for node in model.graph.node:
            for name in node.output:
                if name and name not in known:
                    model.graph.output.append(onnx.ValueInfoProto(name=name))
        return self._session(model)

    def again(self, place: int, times: int) -> Any:
        """The graph in which one node is done so many times, one after the other."""
        model = self._copy()
        nodes = list(model.graph.node)
        mark = _unused("/again", nodes)
        del model.graph.node[:]
        for at, node in enumerate(nodes):
            for number in range(times - 1 if at == place else 0):
                twin = copy.deepcopy(node)
                twin.name = f"{node.name}{mark}{number}"
                for side, name in enumerate(node.output):
                    twin.output[side] = name and f"{name}{mark}{number}"
                model.graph.node.append(twin)
            model.graph.node.append(node)
        return self._session(model)

    def alone(self, place: int, given: Mapping[str, Any]) -> Any:
        """One node as a model of its own; its weights stay weights.

        Args:
            place: of the node.
            given: what it takes besides, as ONNX Runtime values.
        """
        from onnx import ValueInfoProto, helper

        node = self.model.graph.node[place]
        needed = needs(node)
        model = self._copy(without_graph=True)
        model.graph.name = node.name
        model.graph.node.append(node)
        model.graph.initializer.extend(
            tensor for tensor in self.model.graph.initializer if tensor.name in needed
        )
        # Shapes that are known would be checked in branches, too, that are not taken for them.
        is_open = any(inner_graphs(node))
        model.graph.input.extend(
            helper.make_tensor_value_info(
                name, value.element_type(), None if is_open else value.shape()
            )
            for name, value in given.items()
        )
        model.graph.output.extend(ValueInfoProto(name=name) for name in node.output if name)
        return self._session(model)

    def nothing(self, *, on_gpu: bool = False) -> Any:
        """A model that hands on one number, to see what handing a model over costs.

        Args:
            on_gpu: whether a node does that, since without one the number would come to the
                host and go back; on the CPU it would be a node too many.
        """
        from onnx import TensorProto, helper

        model = self._copy(without_graph=True)
        number = helper.make_tensor_value_info("number", TensorProto.FLOAT, [1])
        same = helper.make_tensor_value_info("same", TensorProto.FLOAT, [1])
        nodes = [helper.make_node("Identity", ["number"], ["same"])] if on_gpu else []
        made = helper.make_graph(nodes, "nothing", [number], [same if on_gpu else number])
        model.graph.CopyFrom(made)
        return self._session(model)

    def hands_on(self, place: int) -> bool:
        """Whether a node gives its input another shape and no more.

        In the pass its output lies where its input does; done by itself, or once more, it
        would be a copy.
        """
        node = self.model.graph.node[place]
        return node.op_type in HANDS_ON and node.domain in ("", "ai.onnx")

    def takes(self, place: int) -> list[str]:
        """Tensors that a node takes and the file does not hold."""
        stored = {tensor.name for tensor in self.model.graph.initializer}
        return [name for name in needs(self.model.graph.node[place]) if name not in stored]

    def _optimised(self, path: Path) -> tuple[Any, list[Op]]:
        import onnx

        written = self._folder / "optimised.onnx"

        def change(options: Any) -> None:
            options.optimized_model_filepath = os.fspath(written)
            options.add_session_config_entry(
                "session.optimized_model_external_initializers_file_name", WEIGHTS
            )

        session = self._open(os.fspath(path), change)
        fed = {entry.name for entry in session.get_inputs()}
        model = onnx.load(os.fspath(written), load_external_data=False)
        written.unlink()
        ops = ops_of(model.graph)
        number_nodes(model.graph)
        # Inputs with a value of their own whose value was shared with another one.
        stored = {tensor.name for tensor in model.graph.initializer}
        kept = [value for value in model.graph.input if value.name in fed | stored]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        return model, ops

    def _copy(self, *, without_graph: bool = False) -> Any:
        model = type(self.model)()
        model.CopyFrom(self.model)
        if without_graph:
            model.graph.Clear()
        return model

    def _session(self, model: Any, more: Change = lambda options: None) -> Any:
        import onnxruntime

        def change(options: Any) -> None:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            # Nodes run in the order in which they stand, which is that of the file's session.
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
            more(options)

        written = self._folder / "variant.onnx"
        written.write_bytes(model.SerializeToString())
        try:
            return self._open(os.fspath(written), change)
        finally:
            written.unlink()


def needs(node: Any) -> Sequence[str]:
    """What a node takes, with what graphs inside it take from outside; each once."""
    inner = sorted(set().union(*map(outer_names, inner_graphs(node))))
    return list(dict.fromkeys(name for name in (*node.input, *inner) if name))


def _unused(text: str, nodes: Sequence[Any]) -> str:
    """It, or more of it, so that it is in the name of no tensor."""
    while any(text in name for node in nodes for name in node.output):
        text += "/"
    return text
