"""The contract of a source of energy.

There are four kinds, by what the source can give, and a plugin subclasses one
of them: :class:`~greenai_core.counters.CounterProfiler`,
:class:`~greenai_core.sampling.PowerProfiler`,
:class:`~greenai_core.sampling.StreamProfiler` and
:class:`~greenai_core.windows.WindowProfiler`. What they share is here. Beside
energy there is :class:`Telemetry`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, ParamSpec, Protocol, TypeVar

from .channels import Channel, Reading, overlap, window_result
from .clock import SUSPENDED_S, SYSTEM_CLOCK, Clock, suspended_s
from .errors import LifecycleError, ReadingError
from .model import require
from .results import WindowResult

if TYPE_CHECKING:
    from typing_extensions import Self

    from .statistics import Indices, Vector

P = ParamSpec("P")
R = TypeVar("R")


SUSPENDED = (
    "the machine was suspended for {:.1f} s while its sensors were open: the clocks stood still, "
    "and what the counters counted meanwhile is left out"
)


class Evaluation(NamedTuple):
    """What ``evaluate`` returns: seconds, joules, and what the function returned."""

    seconds: float
    energy_j: float
    result: Any


class Readings(Protocol):
    """What one channel showed while work was repeated.

    A dataclass of plain data, arrays and a ``Channel``, so that it can be kept in
    a file and cut into blocks again.
    """

    @property
    def channel(self) -> Channel:
        """What was read."""

    def blocks(self, ticks: Indices, instants: Vector) -> Vector | str:
        """Joules between neighbouring borders, or why there are none. See ``energies``."""


class Recording(ABC):
    """Readings kept while work is repeated, to be cut into blocks afterwards."""

    @abstractmethod
    def tick(self) -> None:
        """Called between two stretches of work; reads what must be read then."""

    @abstractmethod
    def readings(self, until_s: float) -> Sequence[Readings]:
        """What each channel has shown since the recording began, as data of its own.

        Args:
            until_s: instant of the last tick; readings that come late are waited for.
        """

    def energies(self, ticks: Indices, instants: Vector) -> Sequence[tuple[Channel, Vector | str]]:
        """Joules of each channel between neighbouring borders, or why there are none.

        Args:
            ticks: which calls of ``tick``, counted from 0, are the borders.
            instants: when each of them was made, s, just before it read anything.
        """
        return [
            (shown.channel, shown.blocks(ticks, instants))
            for shown in self.readings(float(instants[-1]))
        ]

    def ready(self) -> bool:
        """Whether every channel has been seen to move since the recording began."""
        return True

    @abstractmethod
    def close(self) -> None:
        """Stop keeping readings."""


class Profiler(ABC):
    """A source of energy for a set of channels.

    The constructor does no I/O. ``open`` and ``close`` bracket the use of the
    hardware; between them any number of windows, nested or overlapping, share
    one stream of readings. ``start``/``stop``, ``with profiler:`` and
    ``evaluate`` are for people who use one profiler alone; a ``Session``
    composes several.

    A plugin subclasses one of the four kinds, and implements ``connect`` and
    ``disconnect`` beside the kind's own reading method.
    """

    name: ClassVar[str]
    """Name under which the profiler is registered."""

    requires: ClassVar[Mapping[str, str]] = {}
    """Import name of each library needed -> the extra that installs it."""

    option_names: ClassVar[Mapping[str, str]] = {}
    """Constructor options that people may set -> one line of help; all optional
    keywords, so that ``cls()`` always works."""

    priority: ClassVar[int] = 50
    """Which of two profilers of one channel ``auto`` takes: the higher."""

    automatic: ClassVar[bool] = True
    """Whether ``auto`` tries it; False where it must be told an address first."""

    seen_on_hardware: ClassVar[str] = ""
    """On which hardware it has run; empty: only on simulated hardware."""

    nests: ClassVar[bool] = True
    """Whether windows may overlap."""

    swift: ClassVar[bool] = False
    """Whether ``begin`` and ``finish`` take no noticeable time, and what ``finish``
    returns may be called at any time, even after ``close``."""

    def __init__(self) -> None:
        self.clock: Clock = SYSTEM_CLOCK
        self._suspended_s = 0.0
        self._channels: tuple[Channel, ...] | None = None
        self._started: tuple[float, Any] | None = None
        self._opened_by_with = False
        self.last: WindowResult | None = None
        """Result of the latest ``stop``."""

    # What a subclass implements

    def check_available(self) -> None:
        """Return if the profiler can measure here and now.

        Raises:
            PluginUnavailable: it cannot; the hint is the exact remedy.
        """
        require(self.requires)

    @abstractmethod
    def connect(self) -> Sequence[Channel]:
        """Open the hardware and tell its channels.

        Raises:
            PluginUnavailable: it cannot be opened.
            ReadingError: it does not answer as it should.
        """

    @abstractmethod
    def disconnect(self) -> None:
        """Close the hardware; called once after each successful ``connect``."""

    # What each kind implements

    @abstractmethod
    def begin(self) -> Any:
        """Begin a window; what it returns is for ``end``."""

    @abstractmethod
    def end(self, begun: Any) -> Sequence[Reading]:
        """End a window: a reading for each channel, failed ones with their reason."""

    def finish(self, begun: Any) -> Callable[[], Sequence[Reading]]:
        """End a window now; what it returns tells the readings, see ``end``, and may wait."""
        readings = self.end(begun)
        return lambda: readings

    @abstractmethod
    def record(self) -> Recording:
        """Begin a recording of repeated work."""

    def grain_s(self, channel: Channel) -> float:
        """Seconds between two values of the channel that can differ."""
        return channel.update_period_s or 0.0

    def revised(self, channel: Channel) -> Channel:
        """One of the channels with what was learnt of its sensor since it was opened.

        Only what says how well it is known may differ: the gain's uncertainty and
        source, the description. Works after ``close`` too.
        """
        return channel

    def notes(self) -> Sequence[str]:
        """What readers of its figures must know; becomes warnings of a report.

        Asked at the end of a run; may take a second or two right after opening.
        """
        slept = suspended_s(self.clock) - self._suspended_s if self.is_open else 0.0
        return [SUSPENDED.format(slept)] if slept > SUSPENDED_S else []

    def load_command(self, channel: Channel) -> Sequence[str] | None:
        """A program that loads the device of a channel, for its calibration; None for none.

        It obeys ``greenai_core.obey_levels``.
        """
        return None

    # What the session and people use

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels, known once the profiler is open.

        Raises:
            LifecycleError: it is not open.
        """
        if self._channels is None:
            raise LifecycleError(f"the profiler {self.name!r} is not open: call open() first")
        return self._channels

    @property
    def is_open(self) -> bool:
        """Whether the hardware is open."""
        return self._channels is not None

    def open(self, clock: Clock = SYSTEM_CLOCK) -> None:
        """Open the hardware and begin to follow it.

        Raises:
            LifecycleError: it is open already.
            PluginUnavailable: it cannot be opened.
        """
        if self._channels is not None:
            raise LifecycleError(f"the profiler {self.name!r} is open already")
        self.clock = clock
        self._suspended_s = suspended_s(clock)
        self._channels = tuple(self.connect())
        try:
            self.follow()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the hardware; does nothing when it is not open."""
        if self._channels is not None:
            self._started = None
            try:
                self.unfollow()
            finally:
                self._channels = None
                self.disconnect()

    def follow(self) -> None:  # noqa: B027  # only some kinds read between windows
        """Hook of the kinds: begin to read in the background."""

    def unfollow(self) -> None:  # noqa: B027  # likewise
        """Hook of the kinds: end it."""

    def start(self) -> None:
        """Begin the one window of ``stop``; opens the profiler if needed.

        Raises:
            LifecycleError: it was started already.
        """
        if self._started is not None:
            raise LifecycleError(f"the profiler {self.name!r} was started already")
        opened = not self.is_open
        if opened:
            self.open()
        try:
            begun = self.begin()
        except BaseException:
            if opened:
                self.close()
            raise
        self._started = (self.clock.now(), begun)

    def stop(self) -> WindowResult:
        """End the window that ``start`` began.

        Raises:
            LifecycleError: it was not started.
        """
        if self._started is None:
            raise LifecycleError(f"the profiler {self.name!r} was not started")
        (began, begun), self._started = self._started, None
        duration = self.clock.now() - began
        readings = [
            (self.name, replace(reading, channel=self.revised(reading.channel)))
            for reading in self.end(begun)
        ]
        self.last = window_result(self.name, duration, readings)
        return self.last

    def evaluate(self, f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Evaluation:
        """Energy of one call.

        Returns:
            ``(seconds, joules, result)``; the joules are the total over the
            profiler's channels, without counting anything twice.

        Raises:
            ReadingError: a channel of the total could not be read.
        """
        opened = not self.is_open
        try:
            self.start()
            try:
                result = f(*args, **kwargs)
            finally:
                window = self.stop()
        finally:
            if opened:
                self.close()
        if window.energy_j is None:
            failed = "; ".join(f"{m.id}: {m.reason}" for m in window.missing)
            raise ReadingError(
                f"the profiler {self.name!r} has no joules for this call: "
                + (failed or overlap(self.channels) or "none of its channels belongs in a total")
            )
        return Evaluation(window.duration_s, window.energy_j, result)

    def get_unit(self) -> str:
        """``"J"``, whatever unit the source counts in."""
        return "J"

    def __enter__(self) -> Self:
        self._opened_by_with = not self.is_open
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            if self._opened_by_with:
                self.close()


@dataclass(frozen=True)
class Observation:
    """One figure that is no energy.

    Attributes:
        device: ``host``, or the id of a channel's device.
        quantity: ``utilisation``, ``memory_used``, ``memory_utilisation`` (share of
            the time in which the memory was read or written), ``temperature``, ``clock``,
            ``memory_clock``, ``power_limit`` (in force), ``throttling`` (bits as NVML has
            them, see ``greenai_core.observed.THROTTLING``).
        value: in ``unit``.
        unit: ``%``, ``B``, ``°C``, ``MHz``, ``W``, ``bits``.
    """

    device: str
    quantity: str
    value: float
    unit: str


class Telemetry(ABC):
    """A profiler that also tells how busy, hot or throttled its devices are."""

    @abstractmethod
    def observe(self) -> Sequence[Observation]:
        """The state now; a utilisation is the mean since the call before.

        Raises:
            ReadingError: the device does not answer.
        """


class ProcessUtilisation(ABC):
    """A profiler whose devices tell how much of them each process used."""

    @abstractmethod
    def processes(self) -> Mapping[str, Mapping[int, float]]:
        """Channel id -> process id -> its share of that device's time since the call before.

        Shares lie between 0 and 1; they need not add up to the device's utilisation.
        The first call tells the time since the profiler was opened, or as far back as
        the device remembers. Processes that did nothing may be left out.

        Raises:
            ReadingError: no device answers.
        """


def finite(value: float, what: str) -> float:
    """``value`` if it can be a reading of power or energy.

    Raises:
        ReadingError: it is NaN, infinite or negative.
    """
    if not math.isfinite(value) or value < 0:
        raise ReadingError(f"{what} gave {value}, which cannot be true")
    return value
