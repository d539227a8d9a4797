"""Which profilers a session uses, and for which of their channels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import registry
from .blocks import Source
from .clock import Clock
from .errors import GreenAIError, NoSensorError, PluginBroken, PluginUnavailable
from .profiler import Profiler
from .results import Skipped

Options = Mapping[str, Mapping[str, Any]]


def open_sources(
    wanted: Sequence[str | Profiler] | None, options: Options, clock: Clock
) -> tuple[tuple[Source, ...], tuple[Skipped, ...]]:
    """Open profilers so that every channel is read once.

    Args:
        wanted: names or profilers, each of which must work; None takes whatever
            works, the modelled only where nothing measures.
        options: constructor options by profiler name.
        clock: handed to the profilers.

    Returns:
        The open profilers with the channels they are used for; and what was not
        used, with the reason.

    Raises:
        PluginError: a requested profiler does not work.
        ReadingError: a requested profiler does not answer as it should.
        NoSensorError: none works.
    """
    sources: list[Source] = []
    skipped: list[Skipped] = []
    with contextlib.ExitStack() as stack:
        if wanted is None:
            for profiler in _working(options, clock, skipped):
                stack.callback(profiler.close)
                _admit(profiler, sources, skipped, modelled_yields=True)
        else:
            for entry in wanted:
                profiler = entry if isinstance(entry, Profiler) else _make(entry, options)
                profiler.check_available()
                profiler.open(clock)
                stack.callback(profiler.close)
                _admit(profiler, sources, skipped, modelled_yields=False)
        if not sources:
            why = "; ".join(f"{s.profiler}: {s.reason}" for s in skipped) or "none is installed"
            raise NoSensorError(
                f"no profiler can measure here ({why}). `greenai devices` tells the remedies"
            )
        stack.pop_all()
    return tuple(sources), tuple(skipped)


def _make(name: str, options: Options) -> Profiler:
    cls = registry.load("greenai.profilers", name)
    if not (isinstance(cls, type) and issubclass(cls, Profiler)):
        raise PluginBroken(f"the plugin {name!r} of greenai.profilers is no Profiler: {cls!r}")
    given = options.get(name, {})
    unknown = set(given) - set(cls.option_names)
    if unknown:
        known = ", ".join(sorted(cls.option_names)) or "none"
        raise PluginUnavailable(
            f"the profiler {name!r} has no option {', '.join(sorted(unknown))}",
            f"Its options: {known}",
        )
    return cls(**given)


def _working(options: Options, clock: Clock, skipped: list[Skipped]) -> Iterator[Profiler]:
    """Every profiler that can be opened here, best first; the others are noted."""
    loaded, broken = registry.load_all("greenai.profilers")
    skipped.extend(Skipped(name, str(error), "") for name, error in broken.items())

    def rank(name: str) -> tuple[float, str]:
        return -getattr(loaded[name], "priority", 0), name

    for name in sorted(loaded, key=rank):
        if not getattr(loaded[name], "automatic", True) and name not in options:
            continue
        try:
            profiler = _make(name, options)
            profiler.check_available()
            profiler.open(clock)
        except PluginUnavailable as error:
            skipped.append(Skipped(name, error.reason, error.hint))
        except GreenAIError as error:
            skipped.append(Skipped(name, str(error), ""))
        except Exception as error:  # noqa: BLE001  # a stranger's fault must not hide the others
            reason = f"it failed ({type(error).__name__}: {error}). Tell its author"
            skipped.append(Skipped(name, reason, ""))
        else:
            yield profiler


def _admit(
    profiler: Profiler, sources: list[Source], skipped: list[Skipped], *, modelled_yields: bool
) -> None:
    """Use those channels of an open profiler that no better one covers."""
    taken = {c.id: s.profiler.name for s in sources for c in s.channels}
    measured = {c.component: s.profiler.name for s in sources for c in s.channels if c.measured}
    used, covered = [], {}
    for channel in profiler.channels:
        if channel.id in taken:
            covered[channel.id] = taken[channel.id]
        elif modelled_yields and not channel.measured and channel.component in measured:
            covered[channel.component] = measured[channel.component]
        else:
            used.append(channel)
    if used:
        sources.append(Source(profiler, tuple(used)))
    else:
        profiler.close()
    if covered:
        what = ", ".join(f"{key} is measured by {name}" for key, name in covered.items())
        skipped.append(Skipped(profiler.name, what, ""))
