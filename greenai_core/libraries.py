"""Third-party libraries: whether they are installed, and what they raise over a file."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

from .errors import ModelError, ModelLoadError, PluginUnavailable


def require(libraries: Mapping[str, str]) -> None:
    """Check that libraries can be imported, without importing them.

    Args:
        libraries: import name -> the extra of greenai-core that installs it.

    Raises:
        PluginUnavailable: one is missing; the hint names the extra.
    """
    for name, extra in libraries.items():
        found = None
        with contextlib.suppress(ModuleNotFoundError, ValueError):
            found = importlib.util.find_spec(name)
        if found is None:
            raise PluginUnavailable(
                f"the library {name!r} is not installed",
                f"Install the extra: pip install 'greenai-core[{extra}]'",
            )


@contextlib.contextmanager
def loading(path: Path, library: str) -> Iterator[None]:
    """Turn whatever a library raises while reading a file into a ModelLoadError."""
    try:
        yield
    except (ModelError, PluginUnavailable, KeyboardInterrupt):
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = lines[0] if lines else type(error).__name__
        raise ModelLoadError(
            f"{path}: {library} cannot read this file ({detail[:300]}). "
            "It may be truncated, or of another format"
        ) from error
