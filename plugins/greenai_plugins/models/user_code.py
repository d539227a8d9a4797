"""A user's own class, named as ``module:Name``."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from greenai_core import ModelLoadError


def resolve(reference: str | Callable[..., Any]) -> Callable[..., Any]:
    """The class or function that a reference names.

    Args:
        reference: ``"package.module:Name"``, where the module may lie in the
            current folder; or the class or function itself.

    Raises:
        ModelLoadError: it is no such reference, the module cannot be imported,
            or it has no such name.
    """
    if callable(reference):
        return reference
    module_name, colon, name = str(reference).partition(":")
    if not (module_name and colon and name):
        raise ModelLoadError(f"the class {reference!r} is not of the form module:Name")
    with importable_here():
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # anything can happen while importing users' code
            raise ModelLoadError(
                f"the module of the class {reference} cannot be imported "
                f"({type(error).__name__}: {error}). "
                f"It is looked for in {Path.cwd()} and among the installed packages"
            ) from error
    try:
        found = reduce(getattr, name.split("."), module)
    except AttributeError as error:
        raise ModelLoadError(
            f"the module {module_name} ({module.__file__}) has no {name}. Check the class"
        ) from error
    if not callable(found):
        raise ModelLoadError(f"{reference} is no class and no function, so it makes no network")
    return found


def trusted(options: Mapping[str, Any]) -> bool:
    """Whether the option ``trust`` lets a file run code; a word from the command line counts, too.

    Raises:
        ModelLoadError: it is neither true nor false.
    """
    given = options.get("trust", False)
    if isinstance(given, bool):
        return given
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(given).lower() not in words:
        raise ModelLoadError(f"trust is {given!r}: give true or false")
    return words[str(given).lower()]


@contextlib.contextmanager
def importable_here() -> Iterator[None]:
    """While it lasts, modules of the current folder can be imported, as in a script."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)
