"""A stretch of time whose energy is measured by several profilers together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .blocks import Source
from .channels import Reading
from .clock import SUSPENDED_S, Clock, boot_clock
from .errors import LifecycleError
from .kept_windows import KeptReading, KeptWindow
from .observed import BackgroundObserver
from .results import ChannelEnergy, MissingChannel, WindowResult

if TYPE_CHECKING:
    from typing_extensions import Self


ASLEEP = (
    "the machine was suspended for {:.1f} s inside the window: what was used meanwhile, and by "
    "what, is not known"
)

Tell: TypeAlias = Callable[[], Sequence[Reading]]


class WindowPlan(NamedTuple):
    """What all windows over the same sources have in common, so that none works it out.

    Attributes:
        order: in which windows begin the sources; they end in reverse.
        slow: whether there is one whose readings are waited for when the window ends.
        now: the time, s.
        boot: time that goes on while the machine is suspended, s.
        observer: looks at the devices meanwhile; None: nobody does.
    """

    order: tuple[Source, ...]
    slow: bool
    now: Callable[[], float]
    boot: Callable[[], float]
    observer: BackgroundObserver | None = None


def planned(
    sources: Sequence[Source], clock: Clock, observer: BackgroundObserver | None = None
) -> WindowPlan:
    """The plan of windows over open sources."""
    # What takes long to begin goes first, and ends last: its time is in no other's window.
    order = sorted(sources, key=lambda source: (source.profiler.nests, source.profiler.swift))
    slow = not all(source.profiler.swift for source in order)
    return WindowPlan(tuple(order), slow, clock.now, boot_clock(clock), observer)


class Window:
    """A stretch of time and its energy; made by ``Session.window``.

    The figures are there once the window has ended.
    """

    # Defaults of the class, since making a window is part of what it costs to measure one.
    _begun: list[tuple[Source, Any]] | None = None
    _duration: float | None = None
    _result: WindowResult | None = None
    _kept: KeptWindow | None = None
    _ended: list[tuple[Source, Tell]]

    def __init__(
        self,
        name: str,
        sources: Sequence[Source],
        clock: Clock,
        accelerators: Collection[str] | None,
        plan: WindowPlan | None = None,
    ) -> None:
        self.name = name
        self._sources = sources
        self._plan = planned(sources, clock) if plan is None else plan
        self._accelerators = accelerators

    def __enter__(self) -> Self:
        if self._begun is not None:
            raise LifecycleError(f"the window {self.name!r} is open already: make another one")
        settle()
        self._duration = self._result = self._kept = None
        begun = self._begun = []
        try:
            for source in self._plan.order:
                begun.append((source, source.profiler.begin()))
        except BaseException:
            self._end()
            raise
        self._start = self._plan.now()
        # Whatever holds this thread up between two looks makes the suspension look shorter.
        self._suspended = self._plan.boot() - self._start
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            settle()
        finally:
            boot_s = self._plan.boot()
            ended = self._plan.now()
            self._duration = ended - self._start
            self._suspended = boot_s - ended - self._suspended
            self._end()

    def _end(self) -> None:
        begun, self._begun = self._begun or [], None
        ended = self._ended = []
        interrupt: BaseException | None = None
        for source, state in reversed(begun):
            try:
                ended.append((source, source.profiler.finish(state)))
            # Whatever is wrong with it, the others must end too; becomes the reason.
            except Exception as error:  # noqa: BLE001
                ended.append((source, _lost(source, error)))
            except BaseException as error:  # noqa: BLE001  # Ctrl-C, raised again below
                ended.append((source, _lost(source, error)))
                interrupt = interrupt or error
        if interrupt is not None:
            raise interrupt
        if self._plan.slow:
            self._ended = [
                (source, tell if source.profiler.swift else _told(source, tell))
                for source, tell in reversed(ended)
            ]

    def _readings(self, duration_s: float) -> Iterator[KeptReading]:
        ended = {id(source): tell for source, tell in self._ended}
        for source in self._sources:
            for reading in ended[id(source)]():
                if reading.channel in source.channels:
                    known = self._unless_suspended(reading)
                    channel = source.corrected(known, duration_s).channel
                    line = source.line(channel.id)
                    yield KeptReading(source.profiler.name, channel, known, *line)

    def _unless_suspended(self, reading: Reading) -> Reading:
        if self._suspended <= SUSPENDED_S:
            return reading
        return Reading(reading.channel, None, reason=ASLEEP.format(self._suspended))

    @property
    def result(self) -> WindowResult:
        """All figures of the window.

        Raises:
            LifecycleError: it has not ended.
        """
        if self._result is None:
            self._result = self.kept.result()
        return self._result

    @property
    def kept(self) -> KeptWindow:
        """What the figures follow from.

        Raises:
            LifecycleError: it has not ended.
        """
        duration = self._duration
        if duration is None:
            raise LifecycleError(f"the window {self.name!r} has not ended yet")
        if self._kept is None:
            among = None if self._accelerators is None else tuple(self._accelerators)
            readings = tuple(self._readings(duration))
            observer = self._plan.observer
            end = self._start + duration
            seen = () if observer is None else observer.between(self._start, end)
            self._kept = KeptWindow(self.name, duration, readings, among, seen)
        return self._kept

    @property
    def energy_j(self) -> float | None:
        """Joules of the total; None when a channel of it is missing."""
        return self.result.energy_j

    @property
    def duration_s(self) -> float:
        """Seconds between beginning and end."""
        return self.result.duration_s

    @property
    def channels(self) -> tuple[ChannelEnergy, ...]:
        """Energy of each channel that could be read."""
        return self.result.channels

    @property
    def missing(self) -> tuple[MissingChannel, ...]:
        """Channels without a figure, and why."""
        return self.result.missing


def _told(source: Source, tell: Tell) -> Tell:
    """The readings, waited for while the profiler is still open."""
    try:
        readings = tell()
    except Exception as error:  # noqa: BLE001  # likewise
        return _lost(source, error)
    return lambda: readings


def _lost(source: Source, error: BaseException) -> Tell:
    name = source.profiler.name
    if source.profiler.is_open:
        reason = f"the profiler {name!r} failed ({type(error).__name__}: {error})"
    else:
        reason = f"the profiler {name!r} was closed inside the window"
    return lambda: [Reading(channel, None, reason=reason) for channel in source.channels]


def settle() -> None:
    """Wait for the CUDA work that PyTorch has started, if this process uses it.

    Energy read before the accelerator has finished belongs to nobody.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    cuda = getattr(torch, "cuda", None)
    if cuda is not None and cuda.is_initialized():
        cuda.synchronize()
