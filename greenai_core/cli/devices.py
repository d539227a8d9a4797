"""``greenai devices``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from greenai_core import registry
from greenai_core.calibration import Calibration, applied, calibrated
from greenai_core.channels import Channel, joined_method
from greenai_core.errors import GreenAIError, NoSensorError, PluginUnavailable
from greenai_core.limiter import ClockLimiter, PowerLimit, PowerLimiter
from greenai_core.profiler import Profiler
from greenai_core.results import AppliedCalibration, Skipped
from greenai_core.selection import make
from greenai_core.windows import WindowProfiler

from . import calibrations, figures, options, output
from .config import ProfilerOptions, Settings
from .sensors import NO_SENSOR, all_modelled, session_for

READY = "ready"
UNAVAILABLE = "unavailable"
BROKEN = "broken"


@dataclass(frozen=True)
class ProfilerState:
    """What one registered profiler can do here."""

    name: str
    state: str
    automatic: bool
    seen_on_hardware: str
    reason: str
    remedy: str
    channels: tuple[Channel, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LimiterState:
    """The power limits that one registered limiter sees."""

    name: str
    state: str
    reason: str
    remedy: str
    limits: tuple[PowerLimit, ...]


@dataclass(frozen=True)
class UsedChannel:
    """A channel that ``auto`` uses, and through which profiler."""

    id: str
    profiler: str
    method: str


@dataclass(frozen=True)
class Auto:
    """What a measurement would use now, and what its total would add up."""

    channels: tuple[UsedChannel, ...]
    contains: tuple[str, ...]
    method: str
    modelled_only: bool
    skipped: tuple[Skipped, ...]
    calibrations: tuple[AppliedCalibration, ...] = ()


@click.command(short_help="The sensors of this machine, and how to get the missing ones.")
@click.option(
    "--cross-check",
    is_flag=True,
    help="Let every profiler that works measure one load, and tell how far they disagree.",
)
@click.option(
    "--rounds",
    type=click.IntRange(3, 1000),
    default=6,
    show_default=True,
    help="Of the cross-check.",
)
@click.option(
    "--seconds",
    type=options.Number(min=0.1),
    default=3.0,
    show_default=True,
    metavar="S",
    help="Of each round.",
)
@click.option(
    "--load",
    "template",
    metavar="COMMAND",
    help="Load of the cross-check. [default: all cores; GPUs with PyTorch]",
)
@options.sensor_options
@options.json_flag
def command(
    as_json: bool,
    cross_check: bool,
    rounds: int,
    seconds: float,
    template: str | None,
    **flags: Any,
) -> None:
    """The sensors of this machine, and how to get the missing ones.

    Tells for each profiler whether it works here; if not, why, and the exact
    step that mends it. Then what a measurement would use, and which channels
    its total would add up. Nothing is measured. The exit code is 0 even when
    nothing works.

    With --cross-check all profilers that work here, other measuring tools among
    them, measure the same seconds of one load. Printed is how far they disagree,
    and which disagreement is more than their intervals allow.

    \b
    Columns:
      method   counter: the hardware counts joules; sampled: power is read and
               integrated; modelled: computed from what the hardware is built
               for, not measured
      update   how often the sensor has a new value
      step     the smallest difference it can tell
      gain     how far off the sensor as a whole may be (k = 1); repetition
               does not lower that

    \b
    Examples:
      greenai devices
      greenai devices --json | jq '.profilers[] | select(.state=="ready").name'
      greenai devices -O wattmeter.url=http://192.0.2.7
      greenai devices --cross-check
    """  # noqa: D301  # click takes \b for "keep these lines"
    settings = options.configuration(flags).settings
    if cross_check:
        _cross_check(settings, rounds, seconds, template, as_json)
        return
    with output.stdout_kept_clean():
        profilers = look_at_profilers(settings)
        limiters = look_at_limiters()
        auto = what_auto_uses(settings)
        used = {c.channel for c in auto.calibrations}
        kept = {c.channel: c for c in calibrations.usable(settings) if c.channel in used}
        profilers = [_with_calibrations(profiler, kept) for profiler in profilers]
    if as_json:
        output.emit_json({"profilers": profilers, "limiters": limiters, "auto": auto})
    else:
        output.emit(_text(profilers, limiters, auto))


def _cross_check(
    settings: Settings, rounds: int, seconds: float, template: str | None, as_json: bool
) -> None:
    from . import cross_check

    output.note(
        f"greenai: one load, {rounds} rounds of {seconds:g} s. Let nothing else run meanwhile"
    )
    with output.stdout_kept_clean():
        found = cross_check.run(settings, rounds, seconds, template)
    if as_json:
        output.emit_json(found)
    else:
        output.emit(cross_check.text(found))
    if found.interrupted:
        raise KeyboardInterrupt


def look_at_profilers(settings: Settings) -> list[ProfilerState]:
    """Every registered profiler, tried."""
    loaded, broken = registry.load_all("greenai.profilers")
    states = [_try_profiler(name, cls, settings.profiler) for name, cls in loaded.items()]
    states += [
        ProfilerState(name, BROKEN, False, "", str(error), "", ()) for name, error in broken.items()
    ]
    order = (READY, UNAVAILABLE, BROKEN)
    return sorted(states, key=lambda s: (order.index(s.state), not s.automatic, s.name))


def _try_profiler(name: str, cls: type[Profiler], given: ProfilerOptions) -> ProfilerState:
    state, reason, remedy = READY, "", ""
    channels: Sequence[Channel] = ()
    notes: tuple[str, ...] = ()
    try:
        profiler = make(name, given)
        if isinstance(profiler, WindowProfiler):
            # Other tools look for their hardware when opened, and take seconds for it.
            Profiler.check_available(profiler)
        else:
            profiler.check_available()
        profiler.open()
        try:
            notes = tuple(profiler.notes())
            channels = [profiler.revised(channel) for channel in profiler.channels]
        finally:
            profiler.close()
    except Exception as error:  # noqa: BLE001  # one bad profiler must not hide the others
        state, reason, remedy = _explained(error)
    seen = str(getattr(cls, "seen_on_hardware", ""))
    automatic = bool(getattr(cls, "automatic", True))
    return ProfilerState(name, state, automatic, seen, reason, remedy, tuple(channels), notes)


def _with_calibrations(profiler: ProfilerState, kept: Mapping[str, Calibration]) -> ProfilerState:
    channels = (
        calibrated(channel, kept[channel.id], None) if channel.id in kept else channel
        for channel in profiler.channels
    )
    return replace(profiler, channels=tuple(channels))


def look_at_limiters() -> list[LimiterState]:
    """Every registered limiter of power, with the limits that it reads."""
    loaded, broken = registry.load_all("greenai.limiters")
    power = {name: cls for name, cls in loaded.items() if not issubclass(cls, ClockLimiter)}
    states = [_try_limiter(name, cls) for name, cls in power.items()]
    states += [LimiterState(name, BROKEN, str(error), "", ()) for name, error in broken.items()]
    return states


def _try_limiter(name: str, cls: type[PowerLimiter]) -> LimiterState:
    try:
        limiter = cls()
        limiter.check_available()
        limiter.open()
        try:
            return LimiterState(name, READY, "", "", tuple(limiter.limits()))
        finally:
            limiter.close()
    except Exception as error:  # noqa: BLE001  # likewise
        return LimiterState(name, *_explained(error), ())


def _explained(error: Exception) -> tuple[str, str, str]:
    """State, reason and remedy of what could not be opened."""
    if isinstance(error, PluginUnavailable):
        return UNAVAILABLE, error.reason, error.hint
    if isinstance(error, GreenAIError):
        return UNAVAILABLE, str(error), ""
    return BROKEN, f"{type(error).__name__}: {error}", "Report it to the plugin's author"


def what_auto_uses(settings: Settings) -> Auto:
    """What a session opened now would use."""
    session = session_for(settings)
    try:
        session.open()
    except NoSensorError:
        return Auto((), (), "", False, session.skipped)
    except PluginUnavailable as error:
        names = ", ".join(settings.profilers)
        return Auto((), (), "", False, (Skipped(names, error.reason, error.hint),))
    except (GreenAIError, TypeError, ValueError) as error:
        names = ", ".join(settings.profilers)
        return Auto((), (), "", False, (Skipped(names, str(error), ""),))
    try:
        channels = session.channels
        used = tuple(
            UsedChannel(channel.id, source.profiler.name, channel.method)
            for source in session.sources
            for channel in source.channels
        )
        inside = session.contains
        method = joined_method({channel.method for channel in channels if channel.id in inside})
        corrections = tuple(map(applied, session.calibrations))
        modelled = all_modelled(channels)
        return Auto(used, inside, method, modelled, session.skipped, corrections)
    finally:
        session.close()


# The text


def _text(profilers: Sequence[ProfilerState], limiters: Sequence[LimiterState], auto: Auto) -> str:
    parts = [output.table(("profiler", "state", "remark"), [_row(p) for p in profilers])]
    rows = [_channel_row(p, channel) for p in profilers for channel in p.channels]
    if rows:
        headers = ("channel", "profiler", "method", "update", "step", "gain")
        parts.append(output.table(headers, rows))
    sources: dict[str, dict[str, None]] = {}
    for p in profilers:
        for channel in p.channels:
            if channel.gain_source:
                source = output.one_line(channel.gain_source)
                sources.setdefault(source, {})[f"{channel.id} ({p.name})"] = None
    if sources:
        lines = [
            output.paragraph(f"{', '.join(ids)}: {source}", "  ") for source, ids in sources.items()
        ]
        parts.append("\n".join([output.heading("Where the gains come from"), *lines]))
    notes = [note for p in profilers for note in p.notes]
    if notes:
        lines = [output.paragraph(output.one_line(note), "  ") for note in notes]
        parts.append("\n".join([output.heading("To know"), *lines]))
    parts += _limits(limiters)
    missing = [p for p in profilers if p.state != READY]
    if missing:
        tried = [p for p in missing if p.automatic]
        asked = [p for p in missing if not p.automatic]
        for title, some in (("Not working here", tried), ("Only when asked for by name", asked)):
            if some:
                parts.append("\n".join([output.heading(title), *_why(some)]))
    dead = [limiter for limiter in limiters if limiter.state != READY]
    if dead:
        parts.append("\n".join([output.heading("No power limits from"), *_why(dead)]))
    parts.append(_auto_text(auto))
    return "\n\n".join(parts)


def _row(profiler: ProfilerState) -> tuple[str, str, str]:
    remarks = []
    if profiler.state == READY:
        count = len(profiler.channels)
        remarks.append(f"{count} channel{'' if count == 1 else 's'}")
    if profiler.state != BROKEN and not profiler.automatic:
        remarks.append("only when asked for by name")
    if profiler.state != BROKEN and not profiler.seen_on_hardware:
        remarks.append("not yet run on hardware")
    return profiler.name, profiler.state, "; ".join(remarks)


def _channel_row(profiler: ProfilerState, channel: Channel) -> tuple[str, ...]:
    update = channel.update_period_s
    gain = channel.gain_uncertainty
    return (
        channel.id,
        profiler.name,
        channel.method,
        figures.quantity(update, "s", 2) if update else "–",
        figures.quantity(channel.resolution_j, "J") if channel.resolution_j else "–",
        f"± {figures.percent(gain)}" if gain else "–",
    )


def _why(states: Sequence[ProfilerState | LimiterState]) -> Iterator[str]:
    """Why they do not work; those with one cause and remedy together."""
    causes: dict[tuple[str, str], list[str]] = {}
    for state in states:
        causes.setdefault((state.reason, state.remedy), []).append(state.name)
    for (reason, remedy), names in causes.items():
        yield output.paragraph(output.one_line(f"{', '.join(names)}: {reason}"), "  ")
        if remedy:
            # Not wrapped: a remedy is there to be copied.
            yield f"    Remedy: {remedy}"


def _limits(limiters: Sequence[LimiterState]) -> list[str]:
    rows = [
        (
            limit.device,
            figures.quantity(limit.current_w, "W"),
            figures.quantity(limit.default_w, "W"),
            figures.ends(limit.low_w, limit.high_w, "W"),
            "yes" if limit.settable else "no",
        )
        for limiter in limiters
        for limit in limiter.limits
    ]
    headers = ("power limit of", "now", "default", "range", "settable")
    return [output.table(headers, rows)] if rows else []


def _auto_text(auto: Auto) -> str:
    lines = [output.heading("What a measurement uses now")]
    if not auto.channels:
        why = "; ".join(f"{s.profiler}: {s.reason}" for s in auto.skipped)
        nothing = f"Nothing: no profiler can measure here ({output.one_line(why)})."
        return "\n".join([*lines, output.paragraph(nothing, "  ")])
    used = ", ".join(f"{c.id} ({c.profiler}, {c.method})" for c in auto.channels)
    total = " + ".join(auto.contains) or "nothing: none of these channels belongs in a total"
    lines += [
        output.paragraph(f"Channels: {used}", "  "),
        output.paragraph(f"A total is: {total}", "  "),
    ]
    if auto.modelled_only:
        lines.append(output.paragraph(NO_SENSOR, "  "))
    elif "modelled" in auto.method:
        lines.append(
            output.paragraph("The total is modelled in part: it is no pure measurement.", "  ")
        )
    return "\n".join(lines)
