"""What a comparison of models gives. ``results`` hands these on; import them from there."""

from __future__ import annotations

from dataclasses import dataclass

from .figures import Figure, MissingChannel, ModelSummary, Repetition


@dataclass(frozen=True)
class ComparedModel:
    """One of the models of a comparison.

    Attributes:
        label: ``A`` for the first, which the others are compared with, then ``B``, ….
        energy_j: of one ``unit`` of the comparison; None when a channel failed.
        seconds_s: of one ``unit``.
        report: the file that the figures were read from; None where they were measured.
    """

    label: str
    model: ModelSummary
    energy_j: Figure | None
    seconds_s: Figure | None
    report: str | None = None


@dataclass(frozen=True)
class EnergyRatio:
    """Energy of a model divided by that of the first model.

    Attributes:
        label: of the model.
        value: the ratio; 0.9 for a tenth less than the first.
        low, high: the interval that decides between better and worse; it leaves
            out 1 exactly where the two differ.
        confidence: that this one interval holds the ratio, given that no look at the
            data was taken before; more than 0.95 where several models, or several
            looks, share the 5 %.
        equivalence_low, equivalence_high: the narrower one that decides on equivalence.
        equivalence_confidence: likewise of it; 0.9 or more.
        verdict: ``better`` (less energy than the first), ``worse``, ``equivalent``
            (within the margin) or ``undecided``.
    """

    label: str
    value: float
    low: float
    high: float
    confidence: float
    equivalence_low: float
    equivalence_high: float
    equivalence_confidence: float
    verdict: str


@dataclass(frozen=True)
class Quad:
    """Each model measured twice, the second time in the opposite order: the raw truth.

    Attributes:
        order: labels of the models in the order of the pieces: ``ABBA``, ``BAAB``.
        pieces: a stretch of repeated inferences each.
    """

    order: str
    pieces: tuple[Repetition, ...]


@dataclass(frozen=True)
class FailedModel:
    """A model that could not be compared, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class ComparisonResult:
    """Several models against the first of them.

    Attributes:
        unit: what the energies are of: ``inference``, ``step``, or ``sample`` where
            the models take different numbers of samples at once.
        design: ``interleaved`` (measured in turn, in one run) or ``reports``.
        models: the first is what the others are compared with.
        ratios: one for each other model; fewer where an energy is not known.
        margin: two models are equivalent when their energies differ by less.
        contains: ids of the channels that each total adds up; of reports: those of
            the first.
        missing: channels that failed.
        quads: in the order in which they were measured; none of reports.
        failed: models that could not be compared.
        self_cost_share: share of the time that reading the sensors took; None of reports.
        complete: False after Ctrl-C.
        warnings: what to know of this result, for people.
    """

    unit: str
    design: str
    models: tuple[ComparedModel, ...]
    ratios: tuple[EnergyRatio, ...]
    margin: float
    contains: tuple[str, ...]
    missing: tuple[MissingChannel, ...]
    quads: tuple[Quad, ...]
    failed: tuple[FailedModel, ...]
    self_cost_share: float | None
    complete: bool
    warnings: tuple[str, ...]
