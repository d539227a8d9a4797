"""Telemetry beside the joules: how busy, hot or throttled the devices were meanwhile.

Repeated work is looked at between two stretches of it. Whatever happens once
(a command, an epoch, a window) is looked at from another thread, by one
``BackgroundObserver`` for all windows; a window takes its part of what was seen
only when somebody asks for its figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from .clock import SYSTEM_CLOCK, Clock, Ticker
from .conditions import LOOK_S, Observer, Probe, Series, device_probe, host_telemetry
from .figures import Observed
from .profiler import Profiler, Telemetry

BACKGROUND_SHARE = 0.003
"""Most of the time that the looks of one source may take; the work does not wait for them."""

IDLE_BIT = 0x1

THROTTLING: Mapping[int, str] = {
    0x2: "clocks set by the user",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal slowdown",
    0x40: "thermal slowdown by hardware",
    0x80: "power brake",
    0x100: "clocks set for the display",
    0x200: "board limit",
    0x400: "voltage limit for reliability",
}
"""Bits of the quantity ``throttling``, whoever tells it: those of NVML
(``nvmlClocksEventReason…`` in nvml.h), but for ``IDLE_BIT``, which slows nothing down."""


def throttle_reasons(bits: int) -> tuple[str, ...]:
    """What holds the clocks down, in words; a bit that is not known keeps its number."""
    known = [name for bit, name in THROTTLING.items() if bits & bit]
    rest = bits & ~(IDLE_BIT | sum(THROTTLING))
    return (*known, f"unknown reason {rest:#x}") if rest else tuple(known)


def summarised(telemetry: Sequence[Series], start_s: float, end_s: float) -> tuple[Observed, ...]:
    """What was seen after ``start_s`` and up to ``end_s``; nothing of what nobody looked at.

    Looks are not equally far apart, so each counts in the mean for the time since the
    look before it, as far as that lies inside.
    """
    return tuple(found for one in telemetry if (found := _summary(one, start_s, end_s)))


def _summary(series: Series, start_s: float, end_s: float) -> Observed | None:
    inside = (series.instants > start_s) & (series.instants <= end_s)
    values = series.values[inside]
    if not len(values):
        return None
    found = Observed(series.device, series.quantity, series.unit, len(values))
    if series.quantity == "throttling":
        bits = int(np.bitwise_or.reduce(values.astype(np.int64)))
        return replace(found, bits=bits, reasons=throttle_reasons(bits))
    seconds = np.diff(np.concatenate(([start_s], series.instants[inside])))
    mean = float(np.average(values, weights=seconds))
    least, most = float(values.min()), float(values.max())
    # Rounding must not bring the mean out of its bounds.
    return replace(found, mean=min(max(mean, least), most), least=least, most=most)


def joined(parts: Sequence[Sequence[Observed]]) -> tuple[Observed, ...]:
    """What was seen in several stretches together; each look counts the same."""
    every = sorted(
        (one for part in parts for one in part), key=lambda one: (one.device, one.quantity)
    )
    order = list(dict.fromkeys((one.device, one.quantity) for part in parts for one in part))
    together = {
        key: _joined(list(group))
        for key, group in groupby(every, key=lambda one: (one.device, one.quantity))
    }
    return tuple(together[key] for key in order)


def _joined(parts: Sequence[Observed]) -> Observed:
    looks = sum(part.looks for part in parts)
    found = Observed(parts[0].device, parts[0].quantity, parts[0].unit, looks)
    if parts[0].quantity == "throttling":
        bits = 0
        for part in parts:
            bits |= part.bits or 0
        return replace(found, bits=bits, reasons=throttle_reasons(bits))
    return replace(
        found,
        mean=sum((part.mean or 0.0) * part.looks for part in parts) / looks,
        least=min(part.least for part in parts if part.least is not None),
        most=max(part.most for part in parts if part.most is not None),
    )


class BackgroundObserver:
    """Looks at the devices from another thread while it is open.

    A look takes well below a millisecond of processor time, and looks become rarer
    where they are dear, see ``BACKGROUND_SHARE``.

    Args:
        profilers: open; those that are ``Telemetry`` are asked.
        clock: of the measurement. This machine is looked at too if it is its own.
    """

    def __init__(self, profilers: Sequence[Profiler], clock: Clock) -> None:
        self._clock = clock
        own = clock is SYSTEM_CLOCK
        devices = [one for one in profilers if isinstance(one, Telemetry)]
        probes: list[Probe] = [device_probe(one) if own else one.observe for one in devices]
        self._probes = [*probes, host_telemetry()] if own else probes
        self._observer: Observer | None = None
        self._ticker: Ticker | None = None

    def open(self) -> None:
        """Begin to look; does nothing where no device tells anything."""
        self._observer = Observer(
            (), self._clock, telemetry=self._probes, telemetry_s=LOOK_S, share=BACKGROUND_SHARE
        )
        if self._probes:
            self._ticker = self._clock.repeat(self._look, lambda: LOOK_S)

    def close(self) -> None:
        """Look no more; what was seen stays."""
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.cancel()

    def _look(self) -> None:
        if self._observer is not None:
            self._observer.look(self._clock.now())

    def between(self, start_s: float, end_s: float) -> tuple[Series, ...]:
        """What was seen between two instants of the clock. See ``Observer.between``."""
        return () if self._observer is None else self._observer.between(start_s, end_s)
