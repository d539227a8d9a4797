"""A stretch of time whose energy is measured by several profilers together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .blocks import Source
from .channels import Reading, window_result
from .clock import Clock
from .errors import LifecycleError
from .profiler import Profiler
from .results import ChannelEnergy, MissingChannel, WindowResult

if TYPE_CHECKING:
    from typing_extensions import Self


class Window:
    """A stretch of time and its energy; made by ``Session.window``.

    The figures are there once the window has ended.
    """

    # Defaults of the class, since making a window is part of what it costs to measure one.
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
        settle()
        self._duration = self._result = None
        self._begun: list[tuple[Profiler, Any]] = []
        try:
            for source in self._sources:
                profiler = source.profiler
                self._begun.append((profiler, profiler.begin()))
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
        settle()
        self._duration = self._clock.now() - self._start
        self._end()

    def _end(self) -> None:
        self._ended: list[Callable[[], Sequence[Reading]]] = [
            profiler.finish(begun) for profiler, begun in self._begun
        ]

    def _readings(self) -> Iterator[tuple[str, Reading]]:
        for source, ended in zip(self._sources, self._ended, strict=True):
            for reading in ended():
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
