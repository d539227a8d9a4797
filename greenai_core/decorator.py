"""``@measure``: the energy of each call of a function."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from .profiler import Profiler
from .results import WindowResult
from .session import Session
from .spans import Window

P = ParamSpec("P")
R = TypeVar("R")


def measure(
    f: Callable[P, R] | None = None,
    *,
    profilers: str | Iterable[str | Profiler] = "auto",
    on_result: Callable[[WindowResult], None] | None = None,
) -> Any:
    """Decorator: measure each call of a function.

    The result of the latest call is the function's attribute ``last``.

    Args:
        f: the function, when used as plain ``@measure``.
        profilers: see ``Session``.
        on_result: called with the result of each call.
    """
    if f is None:
        return functools.partial(measure, profilers=profilers, on_result=on_result)
    function = f
    wanted = profilers if isinstance(profilers, str) else list(profilers)

    @functools.wraps(function)
    def measured(*args: P.args, **kwargs: P.kwargs) -> R:
        with (
            Session(wanted) as session,
            contextlib.ExitStack() as afterwards,
            session.window(function.__qualname__) as window,
        ):
            afterwards.callback(keep, window)
            return function(*args, **kwargs)

    def keep(window: Window) -> None:
        measured.last = window.result  # type: ignore[attr-defined]  # documented attribute
        if on_result is not None:
            on_result(window.result)

    measured.last = None  # type: ignore[attr-defined]  # documented attribute
    return measured
