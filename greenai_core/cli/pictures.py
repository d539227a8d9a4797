"""Label and badge of a graded result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greenai_core import registry
from greenai_core.errors import ConfigError, GreenAIError
from greenai_core.results import Report

from . import output
from .faults import Faults
from .places import check_file

KINDS = ("label", "badge")
"""Names of exporters, and of the options that ask for them."""

GROUP = "greenai.exporters"


def files(flags: Mapping[str, Any]) -> dict[str, Path]:
    """Where ``--label`` and ``--badge`` go.

    Raises:
        ConfigError: nothing can be written there.
        PluginNotFound: the exporter is not installed.
    """
    wanted = [kind for kind in KINDS if flags[kind] is not None]
    for kind in wanted:
        registry.load(GROUP, kind)
    return {kind: check_file(flags[kind], f"--{kind}") for kind in wanted}


def check_apart(places: Mapping[str, str | None]) -> None:
    """See that no file of a run takes the place of another.

    Args:
        places: flag -> file; None for those that were not given.

    Raises:
        ConfigError: two are the same file.
    """
    seen: dict[Path, str] = {}
    for flag, text in places.items():
        if text is None:
            continue
        path = Path(text).resolve()
        # Devices and pipes take one after the other.
        if path in seen and (path.is_file() or not path.exists()):
            raise ConfigError(f"{seen[path]} and {flag} are both {text}: give each its own file")
        seen[path] = flag


def draw(files: Mapping[str, Path], report: Report, faults: Faults) -> None:
    """Draw what was asked for; what cannot be drawn is told.

    Args:
        files: by kind.
        report: with the result.
        faults: told of a fault.
    """
    for kind, path in files.items():
        try:
            output.save(path, registry.load(GROUP, kind)().export(report))
        except GreenAIError as error:
            faults.add(error)
        else:
            output.note(f"greenai: {kind} written to {path}")
