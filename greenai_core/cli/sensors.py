"""The session of a command: configured, opened, and honest about what is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from greenai_core import registry
from greenai_core.channels import Channel
from greenai_core.errors import ConfigError, PluginError
from greenai_core.loop import LoopSettings
from greenai_core.results import Skipped
from greenai_core.session import Session

from . import calibrations
from .config import Settings, public
from .output import note

MOST_NAMED = 3
"""So many profilers that are not used are named; of more a machine has no hardware, mostly."""


@contextlib.contextmanager
def opened(
    settings: Settings, raw: bool = False, edge_wait: bool = True, observe: bool = False
) -> Iterator[Session]:
    """The sensors that the settings ask for, open.

    Args:
        settings: which they are.
        raw: whether the session keeps its readings.
        edge_wait: see ``Session``.
        observe: likewise.

    Raises:
        PluginError: one that was asked for by name does not work.
        NoSensorError: none works.
        ConfigError: an option has a value that its profiler refuses.
    """
    session = session_for(settings, raw, edge_wait, observe)
    try:
        session.open()
    except (TypeError, ValueError) as error:
        if settings.profiler:
            raise ConfigError(f"a profiler refuses an option: {error}") from error
        raise
    try:
        tell_skipped(session)
        calibrations.tell(session, settings)
        yield session
    finally:
        session.close()


def session_for(
    settings: Settings, raw: bool = False, edge_wait: bool = True, observe: bool = False
) -> Session:
    """A session, not yet open; arguments as ``opened``.

    Raises:
        PluginNotFound: options are set for a profiler that is not installed.
        ConfigError: an option that its profiler does not have, or a value that it refuses.
    """
    for name, given in settings.profiler.items():
        registry.find("greenai.profilers", name)
        _check_options(name, given)
    wanted = "auto" if settings.profilers == ("auto",) else settings.profilers
    stored = calibrations.usable(settings)
    return Session(
        wanted,
        options=settings.profiler,
        calibrations=stored,
        raw=raw,
        edge_wait=edge_wait,
        observe=observe,
    )


def _check_options(profiler: str, given: Mapping[str, Any]) -> None:
    """A misspelt option or value must not make ``auto`` do without the sensor that it is for."""
    try:
        kind = registry.load("greenai.profilers", profiler)
    except PluginError:
        return  # whoever needs this profiler is told then
    known = getattr(kind, "option_names", {})
    unknown = ", ".join(sorted(set(given) - set(known)))
    if unknown:
        raise ConfigError(
            f"the profiler {profiler!r} has no option {unknown} "
            f"(its options: {', '.join(sorted(known)) or 'none'})"
        )
    try:
        kind(**given)
    except PluginError:
        return  # likewise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the profiler {profiler!r} refuses an option: {error}") from error


def tell_skipped(session: Session) -> None:
    """One line on stderr: which sensors ``auto`` left out."""
    used = {source.profiler.name for source in session.sources}
    tell_not_used([s for s in session.skipped if s.profiler not in used])


def tell_not_used(skipped: Iterable[Skipped]) -> None:
    """One line on stderr: those that lack a permission by name, and what else there is."""
    reasons = {s.profiler: s.reason for s in skipped}
    denied = [name for name, reason in reasons.items() if "permission" in reason]
    others = [name for name in reasons if name not in denied]
    told = [f"no permission for {', '.join(denied)}"] if denied else []
    if len(others) > MOST_NAMED:
        told.append(f"{len(others)} profilers not used")
    elif others:
        told.append(f"not used: {', '.join(others)}")
    if told:
        note(f"greenai: {'; '.join(told)} (`greenai devices` tells why)")


def all_modelled(channels: Sequence[Channel]) -> bool:
    """Whether no sensor stands behind any of the channels."""
    return bool(channels) and not any(channel.measured for channel in channels)


NO_SENSOR = (
    "No sensor is in use: these joules are modelled from the power that the hardware is "
    "built for, not measured. `greenai devices` tells what would bring a sensor in."
)


def loop_settings(settings: Settings) -> LoopSettings:
    """When a measurement may stop; who allows it little time gets a short warm-up too."""
    return LoopSettings(
        warm_up_s=min(0.5, settings.min_time / 2),
        precision=settings.precision,
        min_time_s=settings.min_time,
        max_time_s=settings.max_time,
    )


def for_report(settings: Settings) -> dict[str, Any]:
    """The settings that figures depend on, without secrets."""
    return {
        "profilers": list(settings.profilers),
        "profiler_options": {
            name: {key: public(key, value) for key, value in options.items()}
            for name, options in settings.profiler.items()
        },
        "precision": settings.precision,
        "min_time_s": settings.min_time,
        "max_time_s": settings.max_time,
        "device": settings.device,
        "calibrations": settings.calibrations,
    }
