"""Measure work under a cap, and two caps against each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .cap_figures import probe_figures
from .cap_guard import CapGuard, InForce
from .cap_objectives import Objective
from .cap_results import CapInForce, CapProbe, CapRatio
from .cap_search import SearchSettings
from .comparison import ALPHA, paired, quad_differences
from .errors import PowerCapError, ReadingError
from .interleaved import ComparisonSettings, QuadRun, run_quads
from .quads import energies, pieces_of
from .results import ChannelJoules, Quad
from .session import Session
from .statistics import Vector

Step = Callable[[], object]

ROUNDED = 1.0
"""How far from what was set a limit may be read back: boards may round (see ``limiters``)."""

PIECES_TIME_S = 18.0
"""Makes the pieces of the quads 1 s long, where the sensors allow (see ``piece_length``): a
confirmation of a minute, that shows savings of about 2 %."""


@dataclass
class Bench:
    """Work, the devices that it runs on, and the sensors that see them.

    Attributes:
        step: one unit of work; returns when nothing of it is still running.
        guard: of the devices, open.
        session: open.
        settings: how long to measure.
        began_s: of the search, on the clock of the session.
        drew_w: of the capped devices in the latest probe; None where no sensor tells.
        notes: what the devices said, each once.
    """

    step: Step
    guard: CapGuard
    session: Session
    settings: SearchSettings
    began_s: float
    drew_w: float | None = None
    notes: tuple[str, ...] = ()
    in_force: dict[str, float] = field(default_factory=dict)
    """What was set of each device last."""
    done: tuple[InForce, ...] = ()
    """The same, with what the devices said."""

    def cap(self, value: float) -> tuple[float, str]:
        """Set the cap of every device; what is in force of the highest, and what they said.

        Raises:
            PowerCapError: a cap cannot be set, or is not the one that was set before.
        """
        self.check()
        done = [self.guard.set(device, value) for device in self.guard.devices]
        self.done = tuple(done)
        self.in_force = {one.device: one.value for one in done}
        said = "; ".join(dict.fromkeys(one.note for one in done if one.note))
        if said and said not in self.notes:
            self.notes += (said,)
        return max(one.value for one in done), said

    def check(self) -> None:
        """See that nobody else changed what was set: what was measured would be of another cap.

        Raises:
            PowerCapError: somebody did.
        """
        for device, value in self.in_force.items():
            now = self.guard.knob.setting(device).current
            if now is not None and abs(now - value) > ROUNDED:
                unit = self.guard.knob.unit
                raise PowerCapError(
                    f"somebody else changes the limit of {device}: {value:g} {unit} was set for "
                    f"the search, and {now:g} {unit} is in force. End what does (the work itself, "
                    "a service of the machine), and search again"
                )

    def settle(self) -> None:
        """Work that is not measured, until clocks and power have found their level."""
        now = self.session.clock.now
        until = now() + self.settings.settle_s
        while True:
            self.step()
            if now() >= until:
                return

    def probe(self, cap: float, role: str) -> CapProbe:
        """Measure under a cap.

        Raises:
            ReadingError: a channel of the total could not be read.
            PowerCapError: the cap could not be set.
        """
        in_force, said = self.cap(cap)
        self.settle()
        now, ends = self.session.clock.now, []
        with self.session.window(f"{cap:g}") as window:
            began = now()
            while True:
                self.step()
                ends.append(now())
                if ends[-1] - began >= self.settings.probe_s:
                    break
        self.check()
        found = window.result
        if found.energy_j is None:
            why = "; ".join(f"{one.id}: {one.reason}" for one in found.missing)
            raise ReadingError(f"there is no energy under {cap:g} {self.guard.knob.unit}: {why}")
        own = [c.energy_j for c in found.channels if c.id in self.guard.devices]
        self.drew_w = sum(own) / len(own) / found.duration_s if own else None
        return CapProbe(
            cap,
            in_force,
            began - self.began_s,
            found.duration_s,
            len(ends),
            *probe_figures(found, np.diff([began, *ends])),
            role=role,
            note=said,
            in_force=tuple(CapInForce(one.device, one.value, one.note) for one in self.done),
            channels=tuple(ChannelJoules(c.id, c.energy_j) for c in found.channels),
        )

    def confirm(
        self,
        original: float,
        candidate: float,
        progress: Callable[[float, str], None],
        longer: float = 1.0,
    ) -> QuadRun:
        """Fresh quads of the original cap (A) and the candidate (B).

        Args:
            original: cap that was in force.
            candidate: that is to be better.
            progress: told the share done and a word on the state.
            longer: pieces are so much longer than usual.
        """
        caps = (original, candidate)

        def before(index: int) -> None:
            self.cap(caps[index])
            self.settle()

        def work() -> None:
            self.step()

        wanted = ComparisonSettings(
            quads=self.settings.quads,
            max_time_s=PIECES_TIME_S * longer,
            warm_up_s=0.0,
            seed=self.settings.seed,
            margin=0.0,
        )
        run = run_quads(
            (work, work),
            self.session.sources,
            self.session.contains,
            self.session.clock,
            wanted,
            progress,
            before=before,
        )
        self.check()
        return run


@dataclass(frozen=True)
class Confirmed:
    """Candidate over original: energy, time, and the objective, of one step."""

    energy: CapRatio
    time: CapRatio
    score: CapRatio

    def holds(self, objective: Objective) -> bool:
        """Whether both intervals leave out the contrary: that it is no better, or too slow."""
        fast = objective.slowdown is None or self.time.high <= 1 + objective.slowdown
        return self.score.high < 1 and fast


def confirmed(quads: Sequence[Quad], objective: Objective) -> Confirmed | None:
    """What quads say; None where there are fewer than two."""
    if len(quads) < 2:
        return None
    joules = [_logs([energies(quad, label) for quad in quads]) for label in "AB"]
    seconds = [_logs([_seconds(quad, label) for quad in quads]) for label in "AB"]
    scores = [e + objective.exponent * s for e, s in zip(joules, seconds, strict=True)]
    return Confirmed(_ratio(*joules), _ratio(*seconds), _ratio(*scores))


def _seconds(quad: Quad, label: str) -> list[float]:
    return [piece.work_s / piece.iterations for piece in pieces_of(quad, label)]


def _logs(values: Sequence[Sequence[float]]) -> Vector:
    return np.log(np.array(values, dtype=np.float64))


def _ratio(first: Vector, other: Vector) -> CapRatio:
    found = paired(quad_differences(np.exp(first), np.exp(other)))
    half = found.half(ALPHA)
    return CapRatio(math.exp(found.mean), math.exp(found.mean - half), math.exp(found.mean + half))
