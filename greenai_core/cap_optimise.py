"""The best cap for a piece of work: searched, confirmed, and the old cap given back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .cap_devices import AUTO, Devices, opened
from .cap_guard import CapGuard
from .cap_objectives import Objective, parse_objective
from .cap_outcomes import cut_short, limits_of, outcome_of
from .cap_probing import Bench, Confirmed, Step, confirmed
from .cap_refining import LONGER, LOOKS, next_cap
from .cap_results import INTERRUPTED, CapConfirmation, CapProbe, CapResult, at_cap
from .cap_search import Found, Range, SearchSettings, pareto, points, search
from .channels import Channel
from .errors import NoSensorError, PowerCapError
from .interleaved import QuadRun
from .knobs import Knob, Setting
from .limiter import Limiter
from .session import Session

Progress = Callable[[float, str], None]
Told = Callable[[CapProbe], None]

CONFIRMING = 0.45
"""Share of the time that the search takes; the rest is for the confirmation."""


def optimise_power_cap(
    step: Step,
    gpu: Devices = 0,
    objective: str = "ed2p",
    *,
    limiter: str | Limiter = AUTO,
    session: Session | None = None,
    settings: SearchSettings | None = None,
    folder: Path | None = None,
    shared: bool = False,
    progress: Progress = lambda share, text: None,
    told: Told = lambda probe: None,
) -> CapResult:
    """Find the cap under which a step of work is best.

    Ctrl-C ends the search; where something was measured it is returned, not ``complete``.

    The cap that was in force before is in force again when this returns or raises,
    whatever happens. The step is run some hundred times: it must do the same work each
    time, and nobody must mind. For PyTorch see ``greenai_plugins.torch_steps``.

    Args:
        step: one unit of work; returns when nothing of it is still running.
        gpu: see ``power_cap``; of several, all get the same cap.
        objective: ``energy``, ``edp``, ``ed2p``, or ``energy within 5 % slowdown``.
        limiter: see ``power_cap``.
        session: the sensors, open; None for all that work here, with these devices.
        settings: how to search.
        folder: see ``power_cap``.
        shared: see ``power_cap``.
        progress: told the share done and a word on the state.
        told: told each probe as soon as it was measured.

    Raises:
        PowerCapForbidden: no permission to set a cap.
        PowerCapError: a device must not or cannot be capped.
        NoSensorError: no sensor sees the device.
        ConfigError: the objective is not known.
    """
    aim = parse_objective(objective)
    wanted = settings or SearchSettings()
    with contextlib.ExitStack() as stack:
        knob, found = stack.enter_context(opened(gpu, limiter))
        devices = [setting.device for setting in found]
        if session is None:
            boards = [device for device in devices if device.startswith("gpu:")]
            session = stack.enter_context(Session(accelerators=boards))
        check_seen(devices, session.channels)
        within = _range(found, wanted)
        guard = stack.enter_context(CapGuard(knob, devices, folder=folder, shared=shared))
        bench = Bench(step, guard, session, wanted, session.clock.now())
        return _optimised(bench, within, aim, progress, told)


def check_seen(devices: Sequence[str], channels: Sequence[Channel]) -> None:
    """See that a sensor stands behind what is capped.

    Raises:
        NoSensorError: a model of its power knows nothing of caps.
    """
    seen = {channel.id for channel in channels if channel.measured}
    unseen = [device for device in devices if device not in seen]
    if unseen:
        raise NoSensorError(
            f"no sensor measures {', '.join(unseen)}, so what a cap saves there is not known "
            f"(measured: {', '.join(sorted(seen)) or 'nothing'}). `greenai devices` tells what "
            "would bring a sensor in"
        )


def _range(settings: Sequence[Setting], wanted: SearchSettings) -> Range:
    """What all devices can be set to; never beyond what they had.

    Raises:
        PowerCapError: there is no such cap.
    """
    had = [one.high if one.current is None else one.current for one in settings]
    low = max(*(one.low for one in settings), wanted.low or 0.0)
    original = min(*had, wanted.high) if wanted.high else min(had)
    if not low < original:
        raise PowerCapError(
            f"there is no cap to try between {low:g} and {original:g} {settings[0].unit}: the "
            "limit in force is the lowest already. `greenai powercap reset` gives the maker's"
        )
    return Range(low, original)


def _optimised(
    bench: Bench, within: Range, aim: Objective, progress: Progress, told: Told
) -> CapResult:
    probes: list[CapProbe] = []
    unit = bench.guard.knob.unit
    count = 2 + bench.settings.grid + bench.settings.adaptive

    def probe(cap: float, role: str) -> CapProbe:
        progress(CONFIRMING * len(probes) / count, f"{cap:g} {unit}")
        probes.append(bench.probe(cap, role))
        told(probes[-1])
        return probes[-1]

    def drawn(one: CapProbe) -> float | None:
        return bench.drew_w if unit == "W" else None

    try:
        found = search(probe, within, drawn, aim, bench.settings)
    except KeyboardInterrupt:
        if not probes:
            raise
        return _interrupted(bench, within, aim, probes, None)
    looks: list[Look] = []
    stopped = False
    try:
        _confirm(bench, within, aim, found, progress, looks)
    except KeyboardInterrupt:  # before there was one quad of this cap
        if not looks:
            return _interrupted(bench, within, aim, probes, found.candidate)
        stopped = True
    progress(1.0, "done")
    return _result(bench, within, aim, found, looks, stopped)


@dataclass(frozen=True)
class Look:
    """A cap that was confirmed, or not: the quads, and what they say."""

    cap: float
    run: QuadRun
    sure: Confirmed | None


def _confirm(
    bench: Bench,
    within: Range,
    aim: Objective,
    found: Found,
    progress: Progress,
    looks: list[Look],
) -> None:
    """Fill in what quads say of the candidate, and of others where the time is limited."""
    cap = found.candidate if bench.settings.quads else None
    most = 1 if aim.slowdown is None else LOOKS

    def later(share: float, text: str) -> None:
        done = (len(looks) + share) / most
        progress(CONFIRMING + (1 - CONFIRMING) * done, f"{cap:g} {bench.guard.knob.unit}, {text}")

    while cap is not None and found.curves is not None:
        run = bench.confirm(within.original, cap, later, LONGER if looks else 1.0)
        looks.append(Look(cap, run, confirmed(run.quads, aim)))
        if looks[-1].sure is None or run.interrupted:
            return
        tried = [(look.cap, look.sure) for look in looks if look.sure is not None]
        cap = next_cap(found.curves, within, aim, tried, bench.settings.least_saving)


def _interrupted(
    bench: Bench,
    within: Range,
    aim: Objective,
    probes: Sequence[CapProbe],
    candidate: float | None,
) -> CapResult:
    """The probes that there are; what they promise was not confirmed, so nothing is chosen."""
    during = f"after {len(probes)} probes" if candidate is None else "during the confirmation"
    return cut_short(
        bench.guard.knob,
        [bench.guard.before[device] for device in bench.guard.devices],
        aim,
        probes,
        bench.session.contains,
        outcome=INTERRUPTED,
        reason=f"interrupted {during}: no cap was chosen",
        original=within.original,
        candidate=candidate,
        duration_s=bench.session.clock.now() - bench.began_s,
        warnings=(*bench.notes, *bench.session.notes()),
    )


def _result(
    bench: Bench,
    within: Range,
    aim: Objective,
    found: Found,
    looks: Sequence[Look],
    stopped: bool,
) -> CapResult:
    look = _best(looks, aim)
    run, sure = (look.run, look.sure) if look is not None else (None, None)
    if look is not None:
        found = replace(found, candidate=look.cap)
    interrupted = stopped or any(one.run.interrupted for one in looks)
    chosen, reason = _chosen(found, sure, aim, within, bench.guard.knob, bench.settings.quads == 0)
    if interrupted:
        chosen, reason = within.original, "interrupted during the confirmation: no cap was chosen"
    others = [one for one in looks if one is not look and one.sure is not None]
    if others:
        reason += f". Tried too: {', '.join(_slower(one, bench.guard.knob) for one in others)}"
    curve = points(found.curves, within, aim) if found.curves is not None else ()
    warnings = [*bench.notes, *bench.session.notes()]
    if run is not None:
        warnings += [f"{id}: {why}" for id, why in run.failures.items()]
    return CapResult(
        devices=bench.guard.devices,
        limiter=bench.guard.knob.limiter.name,
        unit=bench.guard.knob.unit,
        objective=aim.name,
        original=within.original,
        chosen=chosen,
        kept_original=chosen == within.original,
        reason=reason,
        probes=found.probes,
        curve=curve,
        pareto=pareto(curve),
        energy=sure.energy if sure else None,
        time=sure.time if sure else None,
        score=sure.score if sure else None,
        quads=run.quads if run is not None else (),
        candidate=found.candidate,
        contains=bench.session.contains,
        duration_s=bench.session.clock.now() - bench.began_s,
        complete=not interrupted,
        warnings=tuple(warnings),
        outcome=outcome_of(
            found,
            sure.score if sure else None,
            chosen,
            quads=bench.settings.quads,
            interrupted=interrupted,
        ),
        limits=limits_of([bench.guard.before[device] for device in bench.guard.devices]),
        chosen_point=at_cap(curve, chosen),
        others=tuple(
            CapConfirmation(one.cap, one.sure.energy, one.sure.time, one.sure.score, one.run.quads)
            for one in others
            if one.sure is not None
        ),
    )


def _best(looks: Sequence[Look], aim: Objective) -> Look | None:
    """Of the caps that were shown to be better the best one; the last where none was."""
    shown = [
        (look.sure.score.value, i)
        for i, look in enumerate(looks)
        if look.sure is not None and look.sure.holds(aim)
    ]
    if shown:
        return looks[min(shown)[1]]
    return looks[-1] if looks else None


def _slower(look: Look, knob: Knob) -> str:
    """How much slower work is under a cap, for people."""
    assert look.sure is not None
    time = look.sure.time
    return (
        f"{look.cap:g} {knob.unit}, under which steps take {time.value:.3f} "
        f"({time.low:.3f} to {time.high:.3f}) times as long"
    )


def _chosen(
    found: Found,
    sure: Confirmed | None,
    aim: Objective,
    within: Range,
    knob: Knob,
    unconfirmed: bool,
) -> tuple[float, str]:
    """The cap to use, and why."""
    if found.candidate is None:
        return within.original, found.reason
    named = f"{found.candidate:g} {knob.unit}"
    if unconfirmed:
        return found.candidate, f"{named} promises most; it was not confirmed, as asked"
    if sure is None:
        return within.original, f"{named} promised most, but could not be confirmed"
    ratio = f"{aim.name} × {sure.score.value:.3f} ({sure.score.low:.3f} to {sure.score.high:.3f})"
    if sure.holds(aim):
        return found.candidate, f"{named} is better: {ratio}, 95 %"
    if sure.score.high < 1:
        time = sure.time
        return within.original, (
            f"{named} saves, but could not be shown to keep the limit: steps take "
            f"{time.value:.3f} ({time.low:.3f} to {time.high:.3f}) times as long"
        )
    return within.original, f"{named} promised most, but the interval holds no saving: {ratio}"
