"""A model in one report and its counterpart in another, and whether they can be compared."""

from __future__ import annotations

from dataclasses import dataclass

from .channels import MODELLED, SUPERSETS
from .errors import ComparisonError
from .results import AppliedCalibration, Figure, InferenceResult, Report, TrainingResult

Measured = InferenceResult | TrainingResult


@dataclass(frozen=True)
class Side:
    """One result of one report."""

    name: str
    report: Report
    result: Measured

    @property
    def energy(self) -> Figure | None:
        """Of one inference or step."""
        if isinstance(self.result, InferenceResult):
            return self.result.energy_per_inference_j
        return self.result.energy_per_step_j

    @property
    def seconds(self) -> Figure:
        """Of one inference or step."""
        if isinstance(self.result, InferenceResult):
            return self.result.latency_s
        return self.result.step_s

    @property
    def batch(self) -> int:
        """Samples at once."""
        return self.result.model.batch_size

    @property
    def modelled(self) -> bool:
        """Whether every joule of it is computed, none measured."""
        return self.energy is not None and self.energy.method == MODELLED

    @property
    def modelled_in_part(self) -> bool:
        """Whether some joules of it are computed, and others measured."""
        return self.energy is not None and MODELLED in self.energy.method and not self.modelled

    @property
    def sensors(self) -> set[tuple[str, str, str]]:
        """Those of the total."""
        return {(c.id, c.method, c.profiler) for c in self.result.channels if c.in_total}

    @property
    def scopes(self) -> dict[str, str]:
        """What the meters saw that channels of the total were calibrated with; by channel."""
        inside = {c.id for c in self.result.channels if c.in_total}
        return {c.channel: c.scope for c in self.report.calibrations if c.channel in inside}

    @property
    def corrections(self) -> set[AppliedCalibration]:
        """Calibrations of channels of the total: another one is another sensor."""
        return {c for c in self.report.calibrations if c.channel in self.scopes}

    @property
    def epochs(self) -> bool:
        """Whether it trained whole epochs, not one step again and again."""
        return isinstance(self.result, TrainingResult) and bool(self.result.epochs)

    @property
    def whole(self) -> bool:
        """Whether the total is that of the machine, not the sum of its parts."""
        return any(c.component in SUPERSETS for c in self.result.channels if c.in_total)


@dataclass(frozen=True)
class Pair:
    """A model in the first report and its counterpart in another."""

    label: str
    first: Side
    other: Side


def check_pair(pair: Pair) -> None:
    """Refuse what means different things.

    Raises:
        ComparisonError: totals of different kinds, scopes of calibrations that differ, or
            whole epochs against steps.
    """
    first, other = pair.first, pair.other
    if first.epochs != other.epochs:
        one, two = (first, other) if first.epochs else (other, first)
        raise ComparisonError(
            f"{one.name} is of whole epochs of {one.result.model.path}, and {two.name} of one step "
            "repeated: a step of an epoch has the loading of its data in it. Train both with "
            "--epochs, or both without"
        )
    if first.energy is None or other.energy is None:
        return
    _check_scopes(first, other)
    for one, two in ((first, other), (other, first)):
        if one.modelled and not two.modelled:
            raise ComparisonError(
                f"the energy of {one.result.model.path} in {one.name} is modelled, and in "
                f"{two.name} it is measured: they cannot be compared. Measure both with the same "
                "profiler"
            )
        if one.whole and not two.whole:
            raise ComparisonError(
                f"the total of {one.result.model.path} in {one.name} is that of the whole machine, "
                f"and in {two.name} the sum of its parts: they cannot be compared. Measure both "
                "with the same profiler"
            )


def _check_scopes(first: Side, other: Side) -> None:
    """Refuse joules of the part against joules that the wall sees.

    Raises:
        ComparisonError: the scopes of calibrations differ.
    """
    a, b = first.scopes, other.scopes
    for id in sorted(a.keys() & b.keys()):
        if a[id] != b[id]:
            raise ComparisonError(
                f"{id} is calibrated with the scope {a[id]} in {first.name}, and with the scope "
                f"{b[id]} in {other.name}: their joules mean different things. Measure both with "
                "the same calibration, or with --no-calibration"
            )
