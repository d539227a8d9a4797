"""How long the modules of a TorchScript program take in a pass, stamped by its own graph.

Hooks do not fire in a program. But a copy of its graph can look at the clock before and after
each call: ``prim::TimePoint`` is an operation that the compiler neither drops nor moves. The
graphs of modules that call others are copied into the one around them, as the compiler does
before it runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenai_core import CallTime

from .torchscript_calls import CALL, MAX_DEPTH, Call, has_parts, path_of

CLOCK = "prim::TimePoint"
"""Gives the nanoseconds of a monotonic clock."""

NANOSECOND = 1e-9

RUNS_TO_COMPILE = 3
"""PyTorch's executor looks at the types in one run, compiles in the next, and is then ready."""


class Stamped:
    """A program that tells when the calls of its modules began and ended.

    Args:
        program: PyTorch's script object.
        probes: stamps at each end of a call, of which the outermost count; 0: only the
            program itself is stamped.
    """

    def __init__(self, program: Any, probes: int) -> None:
        import torch

        self._program = program
        self._probes = probes
        self._graph = program._get_method("forward").graph.copy()
        self._myself = next(iter(self._graph.inputs())).debugName()
        self._calls: list[tuple[str, int | None]] = [("", None)]
        self._stamps: list[tuple[Any, Any]] = []
        own = list(self._graph.nodes())
        began, ended = self._clock(), self._clock()
        self._graph.prependNode(began)
        self._graph.appendNode(ended)
        self._stamps.append((began.output(), ended.output()))
        if probes:
            self._stamp(own, 0, 0)
        self._outputs = len(list(self._graph.outputs()))
        for pair in self._stamps:
            for value in pair:
                self._graph.registerOutput(value)
        self._graph.makeMultiOutputIntoTuple()
        self._run = torch._C._create_function_from_graph("greenai_stamped", self._graph)
        self._is_ready = False

    def times(self, args: Sequence[Any]) -> tuple[CallTime, ...]:
        """The calls of one pass, the program itself first.

        Args:
            args: of the program.
        """
        for _ in range(0 if self._is_ready else RUNS_TO_COMPILE):
            self._run(self._program, *args)
        self._is_ready = True
        stamps = self._run(self._program, *args)[self._outputs :]
        seconds = [
            (ended - began) * NANOSECOND
            for began, ended in zip(stamps[::2], stamps[1::2], strict=True)
        ]
        return tuple(
            CallTime(name, parent, one)
            for (name, parent), one in zip(self._calls, seconds, strict=True)
        )

    def _stamp(self, nodes: Sequence[Any], parent: int, depth: int) -> None:
        """Stamps around the calls among some nodes, and in the graphs of what they call."""
        for node in nodes:
            call = self._call(node)
            if call is None:
                continue
            within = parent
            if call.name != self._calls[parent][0]:  # else another method of the same module
                within = len(self._calls)
                self._calls.append((call.name, parent))
                self._around(node)
            if depth < MAX_DEPTH and has_parts(call) and _is_open(node):
                self._stamp(self._inlined(node, call), within, depth + 1)

    def _call(self, node: Any) -> Call | None:
        """What a node calls; None if it is no call of a module."""
        path = path_of(node.inputsAt(0), self._myself) if node.kind() == CALL else None
        if path is None:
            return None
        called = self._program
        for part in path:
            called = called.getattr(part)
        return Call(".".join(path), called, node.s("name"), 0)

    def _around(self, node: Any) -> None:
        before = [self._clock() for _ in range(self._probes)]
        after = [self._clock() for _ in range(self._probes)]
        for one in before:
            one.insertBefore(node)
        for one in after[::-1]:
            one.insertAfter(node)
        self._stamps.append((before[0].output(), after[-1].output()))

    def _inlined(self, node: Any, call: Call) -> list[Any]:
        """The nodes of the graph that a node calls, in its place."""
        callee = call.module._get_method(call.method).graph
        count = len(list(callee.nodes()))
        self._graph.setInsertPoint(node)
        made = self._graph.insertGraph(callee, list(node.inputs()))
        for old, new in zip(node.outputs(), made, strict=True):
            old.replaceAllUsesWith(new)
        inserted = []
        at = node
        for _ in range(count):
            at = at.prev()
            inserted.append(at)
        node.destroy()
        return inserted[::-1]

    def _clock(self) -> Any:
        import torch

        node = self._graph.create(CLOCK)
        node.output().setType(torch._C.IntType.get())
        return node


def _is_open(node: Any) -> bool:
    """Whether the graph that it calls can be copied: of an interface only the calls are known."""
    return str(node.inputsAt(0).type().kind()) == "ClassType"
