"""A stretch of time whose energy is measured by several profilers together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from .blocks import Source
from .channels import Reading, window_result
from .clock import Clock
from .errors import LifecycleError
from .results import ChannelEnergy, MissingChannel, WindowResult

if TYPE_CHECKING:
    from typing_extensions import Self


Tell: TypeAlias = Callable[[], Sequence[Reading]]


class Window:
    """A stretch of time and its energy; made by ``Session.window``.

    The figures are there once the window has ended.
    """

    # Defaults of the class, since making a window is part of what it costs to measure one.
    _begun: list[tuple[Source, Any]] | None = None
    _duration: float | None = None
    _result: WindowResult | None = None

    def __init__(
        self,
        name: str,
        sources: Sequence[Source],
        clock: Clock,
        accelerators: Collection[str] | None,
    ) -> None:
        self.name = name
        self._sources = sources
        self._clock = clock
        self._accelerators = accelerators

    def __enter__(self) -> Self:
        if self._begun is not None:
            raise LifecycleError(f"the window {self.name!r} is open already: make another one")
        settle()
        self._duration = self._result = None
        self._begun = []
        try:
            # What takes long to begin goes first, and ends last: its time is in no other's window.
            for source in sorted(self._sources, key=_quickness):
                self._begun.append((source, source.profiler.begin()))
        except BaseException:
            self._end()
            raise
        self._start = self._clock.now()
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
            self._duration = self._clock.now() - self._start
            self._end()

    def _end(self) -> None:
        begun, self._begun = self._begun or [], None
        self._ended = {id(source): _finish(source, state) for source, state in reversed(begun)}
        for source, _ in begun:
            if not source.profiler.swift:
                self._ended[id(source)] = _told(source, self._ended[id(source)])

    def _readings(self) -> Iterator[tuple[str, Reading]]:
        for source in self._sources:
            for reading in self._ended[id(source)]():
                if reading.channel in source.channels:
                    yield source.profiler.name, reading

    @property
    def result(self) -> WindowResult:
        """All figures of the window.

        Raises:
            LifecycleError: it has not ended.
        """
        if self._duration is None:
            raise LifecycleError(f"the window {self.name!r} has not ended yet")
        if self._result is None:
            self._result = window_result(
                self.name, self._duration, list(self._readings()), self._accelerators
            )
        return self._result

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


def _quickness(source: Source) -> tuple[bool, bool]:
    return source.profiler.nests, source.profiler.swift


def _finish(source: Source, begun: Any) -> Tell:
    """End one profiler's part; whatever is wrong with it, the others must end too."""
    try:
        return source.profiler.finish(begun)
    except Exception as error:  # noqa: BLE001  # becomes the reason why there is no figure
        return _lost(source, error)


def _told(source: Source, tell: Tell) -> Tell:
    """The readings, waited for while the profiler is still open."""
    try:
        readings = tell()
    except Exception as error:  # noqa: BLE001  # likewise
        return _lost(source, error)
    return lambda: readings


def _lost(source: Source, error: Exception) -> Tell:
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
