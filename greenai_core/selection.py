"""Which profilers a session uses, and for which of their channels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import registry
from .blocks import Source
from .calibration import WALL, Calibration
from .channels import Channel, contents
from .clock import Clock
from .errors import ConfigError, GreenAIError, NoSensorError, PluginBroken, PluginUnavailable
from .profiler import Profiler
from .results import Skipped

Options = Mapping[str, Mapping[str, Any]]


AUTO = "auto"


def wanted(profilers: str | Iterable[str | Profiler]) -> list[str | Profiler] | None:
    """The profilers that were asked for, as a list; None for ``"auto"``, alone or in a list.

    Raises:
        ConfigError: ``"auto"`` stands beside others.
    """
    named: list[str | Profiler] = [profilers] if isinstance(profilers, str) else list(profilers)
    if AUTO not in named:
        return named
    if len(named) > 1:
        others = ", ".join(str(getattr(one, "name", one)) for one in named if one != AUTO)
        raise ConfigError(
            f"'auto' takes every profiler that works here, and {others} would have to work: give "
            "'auto' alone, or names without it"
        )
    return None


def open_sources(
    wanted: Sequence[str | Profiler] | None,
    options: Options,
    clock: Clock,
    prepare: Callable[[Profiler], None] = lambda profiler: None,
) -> tuple[tuple[Source, ...], tuple[Skipped, ...]]:
    """Open profilers so that every channel is read once.

    Args:
        wanted: names or profilers, each of which must work; None takes whatever
            works, the modelled only where nothing measures.
        options: constructor options by profiler name.
        clock: handed to the profilers.
        prepare: called with each before it is opened.

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
    opened: list[Profiler] = []
    with contextlib.ExitStack() as stack:
        if wanted is None:
            for profiler in _working(options, clock, prepare, skipped):
                stack.callback(profiler.close)
                _admit(profiler, sources, skipped, modelled_yields=True)
        else:
            for entry in wanted:
                profiler = entry if isinstance(entry, Profiler) else make(entry, options)
                profiler.check_available()
                prepare(profiler)
                profiler.open(clock)
                stack.callback(profiler.close)
                opened.append(profiler)
            # Whatever is measured goes before its model, in whichever order they were named.
            for profiler in sorted(opened, key=_only_models):
                _admit(profiler, sources, skipped, modelled_yields=False)
        if not sources:
            why = "; ".join(f"{s.profiler}: {s.reason}" for s in skipped) or "none is installed"
            raise NoSensorError(
                f"no profiler can measure here ({why}). `greenai devices` tells the remedies"
            )
        stack.pop_all()
    return tuple(sources), tuple(skipped)


def with_calibrations(
    sources: Sequence[Source], calibrations: Sequence[Calibration]
) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """Give each source the calibrations of its channels.

    What is seen at the wall is more than what goes into a part, so such figures
    are not added to figures of parts: either every part has one, or none is used.

    Returns:
        The sources, and why a calibration is not used.
    """
    by_id = {calibration.channel: calibration for calibration in calibrations}
    channels = {c.id: c for source in sources for c in source.channels}
    parts = contents(tuple(channels.values()))
    at_wall = [id for id in parts if id in by_id and by_id[id].scope == WALL]
    others = [id for id in parts if id not in at_wall]
    notes: tuple[str, ...] = ()
    if at_wall and others:
        by_id = {id: c for id, c in by_id.items() if c.scope != WALL}
        notes = (
            f"the calibration of {', '.join(at_wall)} is not used: it is of what the wall sees, "
            f"and {', '.join(others)}, in the same total, has none of that kind. Calibrate that "
            "too, or choose the sensors with --profiler",
        )
    given = tuple(
        replace(
            source,
            calibrations={c.id: by_id[c.id] for c in source.channels if c.id in by_id},
        )
        for source in sources
    )
    return given, notes


def make(name: str, options: Options) -> Profiler:
    """A profiler by name, with its options; nothing is opened.

    Raises:
        PluginError: there is none of that name, it is no profiler, or has no such option.
        ConfigError: an option has a value that cannot be used.
    """
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


def _working(
    options: Options,
    clock: Clock,
    prepare: Callable[[Profiler], None],
    skipped: list[Skipped],
) -> Iterator[Profiler]:
    """Every profiler that can be opened here, best first; the others are noted."""
    loaded, broken = registry.load_all("greenai.profilers")
    skipped.extend(Skipped(name, str(error), "") for name, error in broken.items())

    def rank(name: str) -> tuple[float, str]:
        return -getattr(loaded[name], "priority", 0), name

    for name in sorted(loaded, key=rank):
        if not getattr(loaded[name], "automatic", True) and name not in options:
            continue
        try:
            profiler = make(name, options)
            profiler.check_available()
            prepare(profiler)
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


def _only_models(profiler: Profiler) -> bool:
    return not any(channel.measured for channel in profiler.channels)


def _yields_to(channel: Channel, measured: Mapping[str, str]) -> bool:
    """Whether a modelled channel gives way to those that are measured, by component.

    A board has its own name: what measures another board says nothing of it.
    """
    own_name = channel.component in ("gpu", "accelerator")
    return not channel.measured and not own_name and channel.component in measured


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
        elif modelled_yields and _yields_to(channel, measured):
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
