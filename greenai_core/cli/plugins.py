"""``greenai plugins``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from greenai_core import registry
from greenai_core.errors import GreenAIError
from greenai_core.export import Exporter
from greenai_core.grading import Grader
from greenai_core.limiter import Limiter
from greenai_core.model import DLLibrary
from greenai_core.model_factory import available
from greenai_core.profiler import Profiler

from . import options, output

CONTRACTS: Mapping[str, type] = {
    "greenai.models": DLLibrary,
    "greenai.profilers": Profiler,
    "greenai.limiters": Limiter,
    "greenai.graders": Grader,
    "greenai.exporters": Exporter,
}


@dataclass(frozen=True)
class PluginState:
    """One registration, and whether it can be used.

    Attributes:
        state: ``ok``, ``unavailable`` (a library is missing) or ``broken``.
        reason: empty when ok.
    """

    group: str
    name: str
    distribution: str
    version: str
    target: str
    state: str
    reason: str


@click.command(short_help="What is installed: formats, profilers, limiters, graders, exporters.")
@options.json_flag
def command(as_json: bool) -> None:
    """What is installed: formats, profilers, limiters, graders, exporters.

    Each line is one registration: its kind, its name, and the distribution that
    brought it. "unavailable" means that a library is missing, "broken" that the
    plugin's code cannot be imported, or that two distributions took the same
    name; the reasons are below the table. Whether a profiler finds its sensor
    is what `greenai devices` tells.

    \b
    Examples:
      greenai plugins
      greenai plugins --json | jq '.[] | select(.state != "ok")'
    """  # noqa: D301  # click takes \b for "keep these lines"
    with output.stdout_kept_clean():
        states = [state for group in registry.GROUPS for state in look_at(group)]
    if as_json:
        output.emit_json(states)
        return
    headers = ("kind", "name", "distribution", "state")
    rows = [
        (s.group.removeprefix("greenai."), s.name, f"{s.distribution} {s.version}", s.state)
        for s in states
    ]
    output.emit(output.table(headers, rows))
    for state in states:
        if state.reason:
            output.emit("\n" + output.paragraph(output.one_line(f"{state.name}: {state.reason}")))


def look_at(group: str) -> list[PluginState]:
    """Every registration of a group, imported."""
    states = []
    for plugin, broken in registry.describe(group):
        state, reason = ("broken", broken) if broken else _checked(group, plugin.name)
        states.append(
            PluginState(
                plugin.group,
                plugin.name,
                plugin.distribution,
                plugin.version,
                plugin.target,
                state,
                reason,
            )
        )
    return states


def _checked(group: str, name: str) -> tuple[str, str]:
    """State and reason of a plugin that can be imported."""
    contract = CONTRACTS[group]
    try:
        loaded: Any = registry.load(group, name)
    except GreenAIError as error:
        return "broken", str(error)
    if not (isinstance(loaded, type) and issubclass(loaded, contract)):
        return "broken", f"{loaded!r} is no subclass of {contract.__name__}"
    missing = available(loaded) if issubclass(loaded, DLLibrary) else ""
    return ("unavailable", missing) if missing else ("ok", "")
