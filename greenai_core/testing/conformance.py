"""What all conformance suites share: named checks, and expected failures with a reason.

A suite is a plain class whose checks are ``test_…`` methods; the docstring of
each states the rule. An author subclasses it in their own pytest suite, under a
name that begins with ``Test``, and fills in what the suite's docstring asks for::

    class TestMyFormat(ModelConformance):
        model_class = MyModel
        ...
        expected_failures = {
            "test_does_not_recognise_other_content": "the format has no magic bytes",
        }

A check that is listed there must fail: the day it passes, the suite fails until
the entry is removed. A check cannot be overridden, only listed with a reason.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import pytest

F = TypeVar("F", bound=Callable[..., None])

_MARK = "_greenai_check"


def check(function: F) -> F:
    """Make a method a check: it can be expected to fail, with a reason."""

    @functools.wraps(function)
    def checked(self: Conformance, *args: Any, **kwargs: Any) -> None:
        name = function.__name__
        if name not in self.expected_failures:
            function(self, *args, **kwargs)
            return
        reason = self.expected_failures[name]
        if not reason.strip():
            pytest.fail(f"expected_failures lists {name} without a reason. Say why it fails")
        try:
            function(self, *args, **kwargs)
        except (Exception, pytest.fail.Exception):  # noqa: BLE001  # any failure is the expected one
            pytest.xfail(reason)
        pytest.fail(f"expected_failures lists {name}, but it passes. Remove the entry")

    setattr(checked, _MARK, True)
    return cast("F", checked)


class Conformance:
    """Base of the suites."""

    expected_failures: ClassVar[Mapping[str, str]] = {}
    """Name of a check that this plugin fails -> why that is right."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = {name for base in cls.__mro__[1:] for name in _own_checks(base)}
        overridden = sorted(inherited & set(vars(cls)))
        if overridden:
            raise TypeError(
                f"{cls.__name__} overrides {', '.join(overridden)}. A check cannot be "
                "overridden: list it in expected_failures with the reason"
            )

    @classmethod
    def checks(cls) -> tuple[str, ...]:
        """Names of all checks, in the order in which they were written."""
        names = (name for base in reversed(cls.__mro__) for name in _own_checks(base))
        return tuple(dict.fromkeys(names))

    @check
    def test_expected_failures_are_checks(self) -> None:
        """Each name in ``expected_failures`` is a check of this suite."""
        unknown = sorted(set(self.expected_failures) - set(self.checks()))
        assert not unknown, f"expected_failures lists {', '.join(unknown)}: no such check"


def _own_checks(cls: type) -> list[str]:
    return [name for name, value in vars(cls).items() if getattr(value, _MARK, False)]


def verdicts(suite: type[Conformance], folder: Path) -> dict[str, str]:
    """Run all checks without pytest's collection.

    Args:
        suite: the author's subclass; each check gets a new instance.
        folder: an empty folder; each check gets its own inside it.

    Returns:
        ``passed``, ``skipped: …``, ``xfailed: …`` or ``failed: …`` by check.
    """
    results = {}
    for name in suite.checks():
        method = getattr(suite(), name)
        arguments = {}
        if "tmp_path" in inspect.signature(method).parameters:
            arguments["tmp_path"] = folder / name
            arguments["tmp_path"].mkdir()
        try:
            method(**arguments)
        except pytest.skip.Exception as skipped:
            results[name] = f"skipped: {skipped}"
        except pytest.xfail.Exception as expected:
            results[name] = f"xfailed: {expected}"
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # reported as pytest would
            results[name] = f"failed: {type(error).__name__}: {error}"
        else:
            results[name] = "passed"
    return results


def is_finite(value: object) -> bool:
    """Whether the value is a real, finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)
