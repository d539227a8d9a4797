"""Inference and training seen alike: what one piece of work costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from greenai_core import Figure, InferenceResult, Report, ReportSource, TrainingResult
from greenai_plugins.exporters.quantities import MODELLED


@dataclass(frozen=True)
class Measured:
    """A model in a report.

    Attributes:
        source: name of the report.
        name: short name of the model, with the report's where there are several.
        result: of the model.
        unit: ``inference`` or ``step``.
    """

    source: str
    name: str
    result: InferenceResult | TrainingResult
    unit: str

    @property
    def energy(self) -> Figure | None:
        """Of one unit."""
        if isinstance(self.result, InferenceResult):
            return self.result.energy_per_inference_j
        return self.result.energy_per_step_j

    @property
    def net(self) -> Figure | None:
        """Above idle, of one unit."""
        if isinstance(self.result, InferenceResult):
            return self.result.net_energy_per_inference_j
        return self.result.net_energy_per_step_j

    @property
    def seconds(self) -> Figure:
        """Of one unit."""
        if isinstance(self.result, InferenceResult):
            return self.result.latency_s
        return self.result.step_s

    @property
    def modelled(self) -> bool:
        """Whether some of its joules are computed."""
        return self.energy is not None and MODELLED in self.energy.method

    @property
    def channels(self) -> list[tuple[str, str, bool, Figure]]:
        """Id, method, whether it is in the total, energy of one unit."""
        if isinstance(self.result, InferenceResult):
            return [
                (c.id, c.method, c.in_total, c.energy_per_inference_j) for c in self.result.channels
            ]
        return [(c.id, c.method, c.in_total, c.energy_per_step_j) for c in self.result.channels]


def measured(sources: Sequence[ReportSource]) -> list[Measured]:
    """The models of all reports of bench and of train."""
    found = list(_results(sources))
    short = Counter(PurePath(result.model.path).name for _, result in found)
    many = len({source for source, _ in found}) > 1
    made = []
    for source, result in found:
        path = PurePath(result.model.path)
        name = path.name or result.model.path
        if not many and short[path.name] > 1:
            name = f"{result.model.path}, {result.model.device}, batch {result.model.batch_size}"
        if many:
            name = f"{name} · {source}"
        unit = "inference" if isinstance(result, InferenceResult) else "step"
        made.append(Measured(source, name, result, unit))
    return made


def of_runs(sources: Sequence[ReportSource]) -> list[Measured]:
    """The models of the runs behind studies, by the names of the runs."""
    many = sum(bool(source.runs) for source in sources) > 1
    return [
        Measured(source.name, f"{name} · {source.name}" if many else name, result, "inference")
        for source in sources
        for name, report in source.runs
        for result in report.results
        if isinstance(result, InferenceResult)
    ]


def _results(
    sources: Sequence[ReportSource],
) -> Iterator[tuple[str, InferenceResult | TrainingResult]]:
    for source in sources:
        if isinstance(source.content, Report):
            for result in source.content.results:
                if isinstance(result, (InferenceResult, TrainingResult)):
                    yield source.name, result
