"""Checks that are tried twice: on the production code, and with one of its terms dropped."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
import scipy.stats

from greenai_core import statistics

sys.path.insert(0, str(Path(__file__).parent))  # for layer_machine

PROMISED = 0.93
"""Lowest coverage that an interval of 95 % may truly have."""

CHANCE = 0.01
"""An interval that covers as promised fails its check this often; the draws are seeded, so
a check that has passed once goes on passing."""

CLEARLY = 1.15
"""By so much more than is allowed a check must fail without its term."""

_t_quantile = functools.cache(statistics.t_quantile)


@pytest.fixture
def quick_quantiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Student's t of the same arguments is worked out only once."""
    monkeypatch.setattr(statistics, "t_quantile", _t_quantile)


@pytest.fixture
def excess() -> Callable[[Any], float]:
    """How far a check is from failing: above 1 it fails.

    Of hits: the misses over the most that ``PROMISED`` allows but in ``CHANCE`` of
    the cases. Of a number: the number itself, an error over what is allowed.
    """

    def measured(found: Any) -> float:
        if isinstance(found, float):
            return found
        hits = np.asarray(found, dtype=bool)
        allowed = scipy.stats.binom.ppf(1 - CHANCE, len(hits), 1 - PROMISED)
        return float((len(hits) - hits.sum()) / allowed)

    return measured


@pytest.fixture
def drop(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any, Any], None]:
    """Change what a function says, or a constant, as an edit of the source would.

    ``drop("statistics:latch_term", "drift ** 2 / 6", "0")`` replaces an expression, as
    ``ast.unparse`` writes it, wherever the function has been imported;
    ``drop("statistics:CAUTION", None, 0.0)`` a constant in its module.
    """
    sources: dict[FunctionType, str] = {}

    def change(where: str, written: Any, instead: Any) -> None:
        module_name, _, path = where.partition(":")
        module = importlib.import_module(f"greenai_core.{module_name}")
        *owners, name = path.split(".")
        owner = functools.reduce(getattr, owners, module)
        if written is None:
            monkeypatch.setattr(owner, name, instead)
            return
        found = inspect.getattr_static(owner, name)
        function = found.fget if isinstance(found, property) else found
        source = sources.get(function) or ast.unparse(
            ast.parse(textwrap.dedent(inspect.getsource(function)))
        )
        assert source.count(written) == 1, (
            f"{where} does not say {written!r} once any more: tell the table how its term is "
            "dropped now"
        )
        sources[function] = source.replace(written, instead)
        scope = dict(vars(module))
        code = "from __future__ import annotations\n" + sources[function]
        exec(code, scope)
        made = scope[name]
        monkeypatch.setattr(
            function, "__code__", (made.fget if isinstance(made, property) else made).__code__
        )

    return change


@pytest.fixture
def needed(
    drop: Callable[[str, Any, Any], None], excess: Callable[[Any], float]
) -> Callable[[Sequence[tuple[str, Any, Any]], Callable[[], Any]], None]:
    """Assert that a scenario holds, and does not without what the changes drop."""

    def check(changes: Sequence[tuple[str, Any, Any]], scenario: Callable[[], Any]) -> None:
        assert excess(scenario()) <= 1.0, "the check fails on the production code"
        for change in changes:
            drop(*change)
        assert excess(scenario()) > CLEARLY, "the check does not miss the term"

    return check
