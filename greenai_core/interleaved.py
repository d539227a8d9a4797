"""Measure several pieces of work in turn, so that a drift of the machine drops out.

The unit is the *quad*: each piece of work once in a random order and once more in the
opposite order (ABBA or BAAB; CABBAC for three). See ``docs/method.md``.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from .blocks import Source, Ticks
from .clock import Clock
from .comparison import (
    ALPHA,
    FIRST_LOOK_QUADS,
    FIRST_LOOK_SHARE,
    UNDECIDED,
    LogRatio,
    first_look,
    judge,
)
from .errors import ConfigError, NoSensorError
from .loop import PROBE_TICKS, SELF_COST, SHORTEST_TICK_S, LoopSettings, warm_up
from .pieces import PAUSE_SHARE, pace_of, piece_length
from .quads import LABELS, Piece, cut_quads, ratio_logs
from .results import EnergyRatio, Quad

CHECK_QUADS = 6
"""Whether every sensor still answers is looked at after so many quads."""


@dataclass(frozen=True)
class ComparisonSettings:
    """How long to compare.

    Attributes:
        precision: relative half-width of the ratio's interval to reach.
        margin: two models are equivalent when their energies differ by less;
            0 for never.
        quads: measure so many, whatever the time; None to plan the number on the
            first six.
        max_time_s: longest for each model, without ``quads``; six quads are measured
            in any case.
        warm_up_s: shortest unmeasured work of each model before.
        seed: of the random orders; None for another one each time.

    Raises:
        ConfigError: a value that cannot be used.
    """

    precision: float = 0.02
    margin: float = 0.02
    quads: int | None = None
    max_time_s: float = 60.0
    warm_up_s: float = 0.5
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.quads is not None and self.quads < FIRST_LOOK_QUADS:
            raise ConfigError(
                f"{self.quads} quads are too few for a verdict: give {FIRST_LOOK_QUADS} or more"
            )
        if not 0 <= self.margin < 1:
            raise ConfigError(f"a margin of {self.margin} is no share: give 0.02 for 2 %")
        if not self.precision > 0:
            raise ConfigError(f"a precision of {self.precision} cannot be reached: give 0.02")


@dataclass(frozen=True)
class QuadRun:
    """A finished comparison.

    Attributes:
        quads: what was measured; labels stand for positions in the list of works.
        ratios: of each work that took part to the end, against the first; none when
            a channel was lost or there are fewer than two quads.
        failures: why a channel gave nothing.
        dropped: position of each work that failed, and its error.
        self_cost_share: share of the time that reading took.
        interrupted: by Ctrl-C or a signal.
        wanted: quads that were asked for, or planned; more than there are where the time
            did not allow them.
        quad_s: seconds that one takes.
    """

    quads: tuple[Quad, ...]
    ratios: tuple[EnergyRatio, ...]
    failures: dict[str, str]
    dropped: dict[int, Exception]
    self_cost_share: float
    interrupted: bool
    wanted: int
    quad_s: float


class WorkFailed(Exception):
    """One of the works raised an error; never leaves this file."""

    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(str(error))
        self.index = index
        self.error = error


def run_quads(
    works: Sequence[Callable[[], None]],
    sources: Sequence[Source],
    contains: Sequence[str],
    clock: Clock,
    settings: ComparisonSettings,
    progress: Callable[[float, str], None] = lambda share, text: None,
    samples: Sequence[int] = (),
    before: Callable[[int], None] = lambda index: None,
) -> QuadRun:
    """Measure pieces of work in turn and compare each with the first.

    A work that raises an error is left out from then on; an error of the first, or
    of the only other one, is raised.

    Args:
        works: what to compare; each returns when nothing of it is still running.
        sources: the profilers to read, open.
        contains: ids of the channels that a total adds up.
        clock: shared with the profilers.
        settings: how long.
        progress: told the share done (0 to 1) and a word on the state.
        samples: what one run of each work counts for; without them 1.
        before: called with the position of a work before each piece of it, and before its
            warm-up; what it does is not measured.

    Raises:
        NoSensorError: there is no channel to compare by.
        KeyboardInterrupt: before there was one quad to report.
    """
    if not contains:
        raise NoSensorError(
            "none of the channels in use belongs in a total, so there is no energy to compare by. "
            "`greenai devices` tells what could be measured with"
        )
    ticks = Ticks(clock, sources)
    try:
        counts = samples or [1] * len(works)
        comparison = _Comparison(
            works, counts, sources, contains, ticks, settings, progress, before
        )
        return comparison.run()
    except WorkFailed as failed:
        raise failed.error from None
    finally:
        ticks.close()


@dataclass
class _Comparison:
    """A comparison as it happens."""

    works: Sequence[Callable[[], None]]
    samples: Sequence[int]
    sources: Sequence[Source]
    contains: Sequence[str]
    ticks: Ticks
    settings: ComparisonSettings
    progress: Callable[[float, str], None]
    before: Callable[[int], None]
    rounds: list[list[Piece]] = field(default_factory=list)
    dropped: dict[int, Exception] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    grain_s: float = 0.0
    tick_s: float = 0.0
    piece_s: float = 0.0
    planned: int = FIRST_LOOK_QUADS
    wanted: int = FIRST_LOOK_QUADS
    decided_early: bool = False
    began: float = 0.0
    piece_ended: float = -math.inf

    @property
    def taking_part(self) -> list[int]:
        return [index for index in range(len(self.works)) if index not in self.dropped]

    @property
    def max_time_s(self) -> float:
        return self.settings.max_time_s * len(self.works)

    def run(self) -> QuadRun:
        interrupted = False
        try:
            self._prepare()
            self._measure()
        except KeyboardInterrupt:
            interrupted = True
            if not self.rounds:
                raise
        quads, failures = self._cut()
        ratios = () if failures else self._judged(quads)
        return QuadRun(
            quads,
            ratios,
            failures,
            self.dropped,
            self.ticks.self_cost_share(),
            interrupted,
            self.wanted,
            self._quad_s(),
        )

    # Before

    def _prepare(self) -> None:
        """Warm up, and find out how long pieces have to be."""
        now = self.ticks.clock.now
        self.progress(0.0, "warming up")
        limits = LoopSettings(
            warm_up_s=self.settings.warm_up_s, max_time_s=self.settings.max_time_s
        )
        self.seconds = [1.0] * len(self.works)
        for index, work in enumerate(self.works):
            with self._dropping(index):
                self.before(index)
                self.seconds[index] = warm_up(work, self.ticks.clock, limits)
        begun = now()
        for _ in range(PROBE_TICKS):
            self._work(0, 1, 1)
        stride = max(1, math.ceil(SHORTEST_TICK_S / self.seconds[0]))
        # The first values that the sensors show are older than this run.
        while not self.ticks.ready() and now() - begun < self.settings.max_time_s / 4:
            self._work(0, stride, stride)
        self.grain_s = self._grain()
        self.tick_s = max(self.ticks.cost() / SELF_COST, SHORTEST_TICK_S)
        share_s = self.max_time_s / (2 * len(self.works) * FIRST_LOOK_QUADS * 1.5)
        self.piece_s = piece_length(self.grain_s, max(self.seconds), share_s)

    def _grain(self) -> float:
        """Seconds between two values of the slowest channel of the total."""
        return max(
            source.profiler.grain_s(channel)
            for source in self.sources
            for channel in source.channels
            if channel.id in self.contains
        )

    @contextlib.contextmanager
    def _dropping(self, index: int) -> Iterator[None]:
        """Leave a work out that fails, if two are left.

        Raises:
            WorkFailed: they are not, or it is the first, which all are compared with.
        """
        try:
            yield
        except Exception as error:  # models fail in many ways, and each must be told
            if index == 0 or len(self.taking_part) <= 2:
                raise WorkFailed(index, error) from error
            self.dropped[index] = error

    # The quads

    def _measure(self) -> None:
        draw = random.Random(self.settings.seed)  # noqa: S311  # no secret: the order of pieces
        if self.piece_s > max(self.seconds):
            # For practice: clocks and caches find their level in turns, not in warm-ups.
            self._quad(draw)
        self.began = self.ticks.clock.now()
        self.planned = self.wanted = self.settings.quads or FIRST_LOOK_QUADS
        while len(self.rounds) < self.planned:
            pieces = self._quad(draw)
            if pieces is None:
                continue
            self.rounds.append(pieces)
            done = len(self.rounds)
            if done % CHECK_QUADS == 0:
                quads, failures = self._cut()
                if failures:
                    return
                if done == FIRST_LOOK_QUADS and self.settings.quads is None:
                    self._plan(quads)

    def _plan(self, quads: Sequence[Quad]) -> None:
        """How many quads in all, as far as the time allows."""
        logs = [ratio for _, ratio in self._logs(quads)]
        wanted = first_look(logs, self.settings.margin, self.settings.precision)
        affordable = max(int(self.max_time_s / self._quad_s()), FIRST_LOOK_QUADS)
        self.decided_early = wanted == FIRST_LOOK_QUADS
        self.wanted = wanted
        self.planned = min(wanted, affordable)

    def _quad(self, draw: random.Random) -> list[Piece] | None:
        """The pieces of one quad; None where a work had to be left out."""
        order = self.taking_part
        draw.shuffle(order)
        try:
            return [self._piece(index) for index in (*order, *reversed(order))]
        except WorkFailed as failed:
            with self._dropping(failed.index):
                raise failed.error from None
            return None

    def _piece(self, index: int) -> Piece:
        """A pause, a stretch that is not counted, the piece, and another such stretch."""
        clock = self.ticks.clock
        pace = pace_of(self.seconds[index], self.piece_s, self.grain_s, self.tick_s)
        self._tell()
        pause_ends = self.piece_ended + PAUSE_SHARE * self.piece_s
        clock.sleep(max(pause_ends - clock.now(), 0.0))
        try:
            self.before(index)
            self._work(index, pace.settle, pace.stride)
            start, began = self.ticks.count - 1, clock.now()
            self._work(index, pace.counted, pace.stride)
            end, ended = self.ticks.count - 1, clock.now()
            if pace.tail:
                self._work(index, pace.tail, pace.stride)
        except Exception as error:
            raise WorkFailed(index, error) from error
        self.piece_ended = clock.now()
        # The machine may have become busier or slower since the warm-up.
        self.seconds[index] = max(ended - began, 1e-9) / pace.counted
        return Piece(index, start, end)

    def _work(self, index: int, iterations: int, stride: int) -> None:
        """So many iterations with a tick after each stride and at the end."""
        work, left = self.works[index], iterations
        while True:
            count = min(stride, left)
            for _ in range(count):
                work()
            self.ticks.tick(count)
            left -= count
            if not left:
                return

    def _tell(self) -> None:
        done = len(self.rounds)
        share = done / self.planned
        self.progress(min(share, 1.0), f"{done} of {self.planned} quads")

    def _quad_s(self) -> float:
        return (self.ticks.clock.now() - self.began) / max(len(self.rounds), 1)

    # What they say

    def _cut(self) -> tuple[tuple[Quad, ...], dict[str, str]]:
        return cut_quads(self.ticks.readings(), self.rounds, self.contains)

    def _logs(self, quads: Sequence[Quad]) -> list[tuple[str, LogRatio]]:
        labels = [LABELS[index] for index in self.taking_part]
        return ratio_logs(quads, labels, [self.samples[index] for index in self.taking_part])

    def _judged(self, quads: Sequence[Quad]) -> tuple[EnergyRatio, ...]:
        if len(quads) < 2:
            return ()
        logs, margin = self._logs(quads), self.settings.margin
        if self.settings.quads is not None:
            alpha = ALPHA
        else:
            alpha = ALPHA * (FIRST_LOOK_SHARE if self.decided_early else 1 - FIRST_LOOK_SHARE)
        judged = judge(logs, margin, alpha)
        if len(quads) >= FIRST_LOOK_QUADS:
            return judged
        return tuple(replace(ratio, verdict=UNDECIDED) for ratio in judged)
