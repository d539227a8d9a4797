"""Names for the nodes that ONNX Runtime runs, in the words of the file, and their scopes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenai_core import Layer

from .onnx_origins import Op, Origin

MOST_NAMED = 4
"""A node made of more is named after the first and the last of them."""

SCOPE = "scope"
"""Type of a layer that is no node, but a part of the names of some."""


@dataclass(frozen=True)
class Row:
    """A node that runs.

    Attributes:
        name: unique; the labels of what it is made of, or ONNX Runtime's own.
        type: the operators that it is made of.
        scopes: that all of these are in, outermost first.
    """

    name: str
    type: str
    scopes: tuple[str, ...]


def rows_of(file: Sequence[Op], run: Sequence[Op], origins: Sequence[Origin]) -> list[Row]:
    """One row for each node that runs, in their order."""
    several = Counter(origin.inside for origin in origins)
    rows = []
    taken: set[str] = set()
    for op, origin in zip(run, origins, strict=True):
        parts = [file[place] for place in origin.made_of]
        name = _joined([part.label for part in parts]) or op.label or op.type
        kinds = [part.type for part in parts]
        kind = "+".join(kinds) if 0 < len(kinds) <= MOST_NAMED else op.type
        scopes = _common([part.scopes for part in parts])
        if origin.inside is not None and len(parts) < 2 and several[origin.inside] > 1:
            call = file[origin.inside]
            name, kind = f"{call.label}/{op.type}", op.type
            scopes = tuple(part for part in call.label.split("/") if part)
        rows.append(Row(_unique(name, taken), kind, scopes))
    return rows


def layers_of(rows: Sequence[Row], parameters: Sequence[int]) -> tuple[Layer, ...]:
    """The rows as layers, under the scopes that hold more than one of them.

    Args:
        rows: of the nodes that run.
        parameters: of each.
    """
    inside = _inside(rows)
    names = _scope_names(inside, {row.name for row in rows})
    found: list[Layer] = []
    told: set[tuple[str, ...]] = set()
    for row, elements in zip(rows, parameters, strict=True):
        parent = None
        for length in range(1, len(row.scopes) + 1):
            scope = row.scopes[:length]
            if scope not in names:
                continue
            if scope not in told:
                found.append(Layer(names[scope], SCOPE, 0, parent))
                told.add(scope)
            parent = names[scope]
        found.append(Layer(row.name, row.type, elements, parent))
    return tuple(found)


def _inside(rows: Sequence[Row]) -> dict[tuple[str, ...], frozenset[int]]:
    """Places of the rows within each scope."""
    inside: dict[tuple[str, ...], set[int]] = {}
    for place, row in enumerate(rows):
        for length in range(1, len(row.scopes) + 1):
            inside.setdefault(row.scopes[:length], set()).add(place)
    return {scope: frozenset(places) for scope, places in inside.items()}


def _scope_names(
    inside: Mapping[tuple[str, ...], frozenset[int]], taken: set[str]
) -> dict[tuple[str, ...], str]:
    """Scopes that say something: of more than one row, and not the same rows as one within."""
    repeats = {
        scope[:length]
        for scope, places in inside.items()
        for length in range(1, len(scope))
        if inside[scope[:length]] == places
    }
    names = {}
    for scope, places in inside.items():
        if len(places) > 1 and scope not in repeats:
            name = "/".join(scope)
            names[scope] = f"{name}/" if name in taken else name
    return names


def _joined(labels: Sequence[str]) -> str:
    if len(labels) > MOST_NAMED:
        return f"{labels[0]} + … + {labels[-1]} ({len(labels)} nodes)"
    return " + ".join(labels)


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name} #{number}"
    taken.add(found)
    return found


def _common(scopes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    shared: tuple[str, ...] = scopes[0] if scopes else ()
    for other in scopes[1:]:
        same = 0
        while same < min(len(shared), len(other)) and shared[same] == other[same]:
            same += 1
        shared = shared[:same]
    return shared
