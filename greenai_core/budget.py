"""Error budgets: what each source of uncertainty adds to a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Term:
    """One source of uncertainty of a figure. Terms are independent: they add in squares.

    Attributes:
        name: of the source, from the vocabulary of ``docs/method.md``: ``repetition``,
            ``gain``, ``reading``, ``latch before``, ``edges``, ``samples``, …
        u: standard uncertainty, in the unit of the figure.
        nu: degrees of freedom; None where ``u`` itself is not in doubt.
        repeats: whether the repeatability interval holds it too.
        detail: in words: which channel, which sensor, how many blocks.
        blocks: of a repetition: blocks left after merging.
        joined: of a repetition: repetitions of the report made one block before that.
        correlation: of a repetition: of neighbouring blocks, as used.
    """

    name: str
    u: float
    nu: float | None = None
    repeats: bool = True
    detail: str = ""
    blocks: int | None = None
    joined: int | None = None
    correlation: float | None = None


Budget = tuple[Term, ...]


def scaled(terms: Sequence[Term], factor: float) -> Budget:
    """The terms of a figure that is ``factor`` times as large."""
    return tuple(replace(term, u=term.u * abs(factor)) for term in terms)


def gains(shares: Sequence[tuple[str, str, float]]) -> Budget:
    """What the gains of sensors add: one term for each method.

    Args:
        shares: method of the gain, channel, and its joules × relative gain
            uncertainty. Within one method all sensors err alike, so they add up.
    """
    by_method: dict[str, list[tuple[str, float]]] = {}
    for method, channel, u in shares:
        by_method.setdefault(method, []).append((channel, u))
    return tuple(
        Term("gain", abs(sum(u for _, u in members)), None, False, _of(method, members))
        for method, members in by_method.items()
        if any(u for _, u in members)
    )


def _of(method: str, members: Sequence[tuple[str, float]]) -> str:
    channels = ", ".join(channel for channel, _ in members)
    return f"{channels}: {method}" if method else channels
