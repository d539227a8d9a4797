"""Which plugins are installed, by whom, and whether they work.

Names, distributions and versions come from ``importlib.metadata``, which reads
them without importing any plugin; stevedore loads the one that is asked for.
This is the only file that imports stevedore.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from .errors import PluginBroken, PluginConflict, PluginNotFound

GROUPS = (
    "greenai.models",
    "greenai.profilers",
    "greenai.limiters",
    "greenai.graders",
    "greenai.exporters",
)


@dataclass(frozen=True)
class Plugin:
    """One registration.

    Attributes:
        group: one of ``GROUPS``.
        name: within the group.
        target: ``module:attribute``.
        distribution: who registers it.
        version: of the distribution.
    """

    group: str
    name: str
    target: str
    distribution: str
    version: str


@functools.cache
def plugins(group: str) -> tuple[Plugin, ...]:
    """All registrations of a group, sorted by name, without importing any.

    A name that two distributions register appears twice.
    """
    found = {
        Plugin(
            group,
            entry.name,
            entry.value,
            entry.dist.name if entry.dist else "unknown",
            entry.dist.version if entry.dist else "unknown",
        )
        for entry in metadata.entry_points(group=group)
    }
    return tuple(sorted(found, key=lambda plugin: (plugin.name, plugin.distribution)))


def names(group: str) -> tuple[str, ...]:
    """Names registered in a group, each once, sorted."""
    return tuple(dict.fromkeys(plugin.name for plugin in plugins(group)))


def find(group: str, name: str) -> Plugin:
    """The one registration of a name.

    Raises:
        PluginNotFound: nobody registers it.
        PluginConflict: two distributions do.
    """
    found = [plugin for plugin in plugins(group) if plugin.name == name]
    if not found:
        known = ", ".join(names(group)) or "none"
        raise PluginNotFound(
            f"no plugin {name!r} is installed in {group} (installed: {known}). "
            "`greenai plugins` lists them"
        )
    if len(found) > 1:
        who = " and ".join(f"{p.distribution} {p.version} ({p.target})" for p in found)
        raise PluginConflict(f"{group} has {name!r} twice, from {who}. Uninstall one of them")
    return found[0]


@functools.cache
def load(group: str, name: str) -> Any:
    """The class behind a name.

    Raises:
        PluginNotFound: nobody registers it.
        PluginConflict: two distributions do.
        PluginBroken: its code cannot be imported; the cause is chained.
    """
    from stevedore import driver

    plugin = find(group, name)
    entry = metadata.EntryPoint(name, plugin.target, group)

    class OnlyThis(driver.DriverManager):  # type: ignore[misc]  # stevedore's types are skipped
        """Loads what was found, not what stevedore's caches (one is on disk) remember."""

        def list_entry_points(self) -> list[metadata.EntryPoint]:
            return [entry]

    try:
        return OnlyThis(group, name).driver
    except (Exception, SystemExit) as error:  # strangers' code may do anything when imported
        raise PluginBroken(
            f"the plugin {name!r} of {group}, from {plugin.distribution} {plugin.version}, "
            f"cannot be imported ({type(error).__name__}: {error}). "
            f"Update or uninstall {plugin.distribution}"
        ) from error


def load_all(group: str) -> tuple[dict[str, Any], dict[str, Exception]]:
    """Every class of a group that can be loaded, and the error of each that cannot."""
    loaded: dict[str, Any] = {}
    broken: dict[str, Exception] = {}
    for name in names(group):
        try:
            loaded[name] = load(group, name)
        except (PluginBroken, PluginConflict) as error:
            broken[name] = error
    return loaded, broken


def forget() -> None:
    """Look at the installed distributions anew; for long-running programs and tests."""
    plugins.cache_clear()
    load.cache_clear()


def describe(group: str) -> Sequence[tuple[Plugin, str]]:
    """Each registration with what is wrong with it; empty where it can be imported."""
    _, broken = load_all(group)
    return [(plugin, str(broken.get(plugin.name, ""))) for plugin in plugins(group)]
