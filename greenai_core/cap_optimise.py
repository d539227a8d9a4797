"""The best cap for a piece of work: searched, confirmed, and the old cap given back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from .cap_devices import AUTO, Devices, opened
from .cap_guard import CapGuard
from .cap_objectives import Objective, parse_objective
from .cap_probing import Bench, Confirmed, Step, confirmed
from .cap_results import CapProbe, CapResult
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
    count = 1 + bench.settings.grid + bench.settings.adaptive

    def probe(cap: float, role: str) -> CapProbe:
        progress(CONFIRMING * len(probes) / count, f"{cap:g} {unit}")
        probes.append(bench.probe(cap, role))
        told(probes[-1])
        return probes[-1]

    def drawn(one: CapProbe) -> float | None:
        return bench.drew_w if unit == "W" else None

    found = search(probe, within, drawn, aim, bench.settings)
    run: QuadRun | None = None
    if found.candidate is not None and bench.settings.quads:

        def later(share: float, text: str) -> None:
            progress(CONFIRMING + (1 - CONFIRMING) * share, text)

        run = bench.confirm(within.original, found.candidate, later)
    progress(1.0, "done")
    return _result(bench, within, aim, found, run)


def _result(
    bench: Bench, within: Range, aim: Objective, found: Found, run: QuadRun | None
) -> CapResult:
    sure = confirmed(run.quads, aim) if run is not None else None
    interrupted = run is not None and run.interrupted
    chosen, reason = _chosen(found, sure, aim, within, bench.guard.knob, bench.settings.quads == 0)
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
        reason="interrupted before the candidate was confirmed" if interrupted else reason,
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
        return within.original, f"{named} saves, but steps take {sure.time.value:.3f} times as long"
    return within.original, f"{named} promised most, but the interval holds no saving: {ratio}"
