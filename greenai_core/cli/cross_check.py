"""``greenai devices --cross-check``: every tool that works here, on one load."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from greenai_core import registry
from greenai_core.blocks import Source
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.cross_check import (
    WHOLE,
    CrossCheck,
    Disagreement,
    MeanPower,
    Round,
    judge,
    measure,
)
from greenai_core.errors import (
    GreenAIError,
    NoSensorError,
    PluginNotFound,
    PluginUnavailable,
)
from greenai_core.loads import BurnerLoad, CommandLoad, Load, cpu_commands
from greenai_core.results import Skipped
from greenai_core.selection import make, with_calibrations

from . import calibrations, figures, output
from .config import Settings
from .progress import Progress

FEWEST_ROUNDS = 2
"""Fewer have no scatter."""


@dataclass(frozen=True)
class CheckedTools:
    """The outcome, the profilers that took no part in it, and whether Ctrl-C ended it."""

    check: CrossCheck
    skipped: tuple[Skipped, ...]
    interrupted: bool = False


def run(settings: Settings, rounds: int, seconds: float, template: str | None) -> CheckedTools:
    """Measure one load with every profiler that works here.

    Args:
        settings: the options of profilers, and which of them; ``auto`` is all.
        rounds: how often.
        seconds: of one round.
        template: command of the load; None for all cores, and GPUs where that can be.

    Raises:
        PluginNotFound: there is none of a name.
        NoSensorError: none works.
        CalibrationError: the load does not run.
        KeyboardInterrupt: before there were two rounds.
    """
    bar = Progress()
    bar.begin("cross-check")
    measured: list[Round] = []
    interrupted = False
    with contextlib.ExitStack() as stack:
        stack.callback(bar.clear)
        sources, skipped = _open(settings, stack)
        if not sources:
            why = "; ".join(f"{s.profiler}: {s.reason}" for s in skipped)
            raise NoSensorError(f"no profiler works here ({why})")
        load = stack.enter_context(contextlib.closing(_load(sources, template)))
        try:
            for done in measure(
                sources, load, SYSTEM_CLOCK, rounds=rounds, seconds=seconds, progress=bar
            ):
                measured.append(done)
        except KeyboardInterrupt:
            if len(measured) < FEWEST_ROUNDS:
                raise
            interrupted = True
    ours = [source.profiler for source in sources]
    # The reference is what a session would take by itself.
    priority = {p.name: p.priority + 1000 * p.automatic for p in ours}
    return CheckedTools(judge(measured, seconds, priority), tuple(skipped), interrupted)


def _open(settings: Settings, stack: contextlib.ExitStack) -> tuple[list[Source], list[Skipped]]:
    loaded, broken = registry.load_all("greenai.profilers")
    wanted = list(loaded) if settings.profilers == ("auto",) else settings.profilers
    skipped = [Skipped(name, str(error), "") for name, error in broken.items() if name in wanted]
    sources: list[Source] = []
    for name in wanted:
        if name in broken:
            continue
        try:
            profiler = make(name, settings.profiler)
            profiler.check_available()
            profiler.open()
        except PluginNotFound:
            raise  # a slip of the pen, and one tool less would be compared
        except PluginUnavailable as error:
            skipped.append(Skipped(name, error.reason, error.hint))
        except GreenAIError as error:
            skipped.append(Skipped(name, str(error), ""))
        except Exception as error:  # noqa: BLE001  # one bad profiler must not end the check
            skipped.append(Skipped(name, f"{type(error).__name__}: {error}", ""))
        else:
            stack.callback(profiler.close)
            sources.append(Source(profiler, tuple(profiler.channels)))
    corrected, _ = with_calibrations(sources, calibrations.usable(settings))
    return list(corrected), skipped


def _load(sources: Sequence[Source], template: str | None) -> Load:
    if template is not None:
        return CommandLoad(template, graded=False)
    commands: dict[str, Sequence[str]] = {}
    for source in sources:
        for channel in source.channels:
            command = source.profiler.load_command(channel)
            if command is not None:
                commands.setdefault(channel.id, command)
    return BurnerLoad([*cpu_commands(), *commands.values()])


def text(tools: CheckedTools) -> str:
    """What people read."""
    check = tools.check
    title = f"Mean power under one load, {check.rounds} rounds of {check.seconds:g} s"
    headers = ("channel", "profiler", "method", "power", "95 % interval")
    parts = [
        output.heading(title) + "\n" + output.table(headers, [_power_row(p) for p in check.powers])
    ]
    failed = [p for p in check.powers if p.reason]
    if failed:
        lines = [
            output.paragraph(output.one_line(f"{p.profiler}, {p.channel}: {p.reason}"), "  ")
            for p in failed
        ]
        parts.append("\n".join([output.heading("Missing in some rounds"), *lines]))
    if check.disagreements:
        compared = ("compared", "reference", "other", "difference", "its interval", "")
        parts.append(output.table(compared, [_row(d) for d in check.disagreements]))
        parts.append(_verdict(check.disagreements))
    else:
        nothing = (
            "Nothing to compare: no two of these profilers tell the same channel or component."
        )
        parts.append(output.paragraph(nothing))
    if tools.skipped:
        names = ", ".join(skipped.profiler for skipped in tools.skipped)
        parts.append(
            output.paragraph(f"Not in use: {names} (`greenai devices` tells why and the remedies)")
        )
    return "\n\n".join(parts)


def _power_row(power: MeanPower) -> tuple[str, ...]:
    if power.power_w is None or power.low_w is None or power.high_w is None:
        return power.channel, power.profiler, power.method, "missing", "–"
    return (
        power.channel,
        power.profiler,
        power.method,
        figures.quantity(power.power_w, "W"),
        figures.ends(power.low_w, power.high_w, "W"),
    )


def _row(found: Disagreement) -> tuple[str, ...]:
    whole = found.kind == WHOLE
    return (
        found.what,
        found.reference,
        found.other + (" (parts)" if whole else ""),
        _signed(found.ratio - 1),
        f"{_signed(found.low - 1)} … {_signed(found.high - 1)}",
        "EXCEEDS" if found.exceeds else "",
    )


def _signed(share: float) -> str:
    return f"{'+' if share >= 0 else '−'}{figures.percent(abs(share))}"


def _verdict(found: Sequence[Disagreement]) -> str:
    worse = [d for d in found if d.exceeds]
    if not worse:
        return output.paragraph(
            "Every disagreement is within what the intervals of both tools allow. The intervals "
            "of the differences hold together in 95 % of such checks; what two tools have in "
            "common, such as one counter, cancels in them."
        )
    lines = [output.heading("More than the intervals allow")]
    for d in worse:
        if d.kind == WHOLE:
            sentence = (
                f"{d.what}: its parts use {figures.quantity(d.other_w, 'W')} and it tells "
                f"{figures.quantity(d.reference_w, 'W')}: one of them is wrong, or it does not "
                "hold them all."
            )
        else:
            sentence = (
                f"{d.what}: {d.other} tells {figures.quantity(d.other_w, 'W')}, {d.reference} "
                f"{figures.quantity(d.reference_w, 'W')}: at least one of them errs by more than "
                "it states. A wattmeter tells which: see `greenai calibrate`."
            )
        lines.append(output.paragraph(sentence, "  "))
    return "\n".join(lines)
