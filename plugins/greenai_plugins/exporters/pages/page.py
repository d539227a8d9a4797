"""One page of any reports and recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from greenai_core import Recorded, Report, ReportSource, SchemaError
from greenai_plugins.exporters.pictures.picture import Picture
from greenai_plugins.exporters.quantities import MODELLED
from greenai_plugins.exporters.rows import KINDS

from . import (
    commands,
    comparisons,
    downloads,
    layers,
    machine,
    models,
    powercaps,
    recordings,
    studies,
    study_comparisons,
)
from .blocks import Page, Pictures, Section
from .measured import measured, of_runs
from .study_rows import studies as found_studies

TITLES = {
    "bench": "Energy of inference",
    "train": "Energy of training",
    "measure": "Energy of a command",
    "grade": "Energy and grade",
    "compare": "Energy compared",
    "study": "How energy grows with size",
    "layers": "Energy by layer",
    "powercap": "The best cap",
    "recording": "Power over time",
}

PAGES = (*KINDS, "study", "layers", "powercap")
"""Kinds of reports that have one."""

MARGIN = 0.02
"""Two models are equivalent when their energies differ by less."""

NOT_MEASURED = (
    "Modelled, not measured: these joules are computed from the power that the hardware is built "
    "for, because no sensor was in use."
)
PARTLY = "Some of these joules are modelled, not measured; they are marked."


def page_of(sources: Sequence[ReportSource]) -> Page:
    """The page.

    Args:
        sources: what is shown, side by side.

    Raises:
        SchemaError: a report is of no known kind, or there is nothing to show.
    """
    if not sources:
        raise SchemaError("there is no report to show")
    kinds = list(dict.fromkeys(map(kind_of, sources)))
    sources = _told_apart(sources)
    made = measured(sources)
    judged, refused = comparisons.between(sources, MARGIN)
    judged += comparisons.comparisons(sources)
    beside, apart = study_comparisons.compared(sources, MARGIN)
    in_caps = powercaps.searched(sources)
    ran = commands.ran(sources)
    found = found_studies(sources)
    in_layers = layers.layered(sources)
    recorded = recordings.recordings(sources)
    findings = (
        judged and comparisons.finding(judged),
        beside and study_comparisons.finding(beside),
        found and studies.finding(found),
        made and models.finding(made),
        in_layers and layers.finding(in_layers),
        in_caps and powercaps.finding(in_caps),
        ran and commands.finding(ran),
        recorded and recordings.finding(recorded),
    )
    said = [
        *filter(None, [refused, *apart]),
        *comparisons.warnings(judged),
        *study_comparisons.warnings(beside),
        *studies.warnings(found),
    ]
    sections = [
        *comparisons.sections(judged),
        *study_comparisons.sections(beside),
        *commands.grades_of_models(sources),
        *studies.sections(found, models.power_over_time(of_runs(sources))),
        *models.sections(made),
        *layers.sections(in_layers),
        *powercaps.sections(in_caps),
        *commands.sections(ran),
        *recordings.sections(recorded),
        *commands.footprints(sources),
        *machine.warnings(sources, said),
        machine.section(sources),
        downloads.section(sources),
    ]
    return Page(
        title=" · ".join(TITLES[kind] for kind in kinds),
        kicker="greenai report",
        finding=str(next(filter(None, findings), "There are no results yet.")),
        meta=_meta(sources),
        cautions=_cautions(sources),
        sections=tuple(_numbered(sections)),
    )


def kind_of(source: ReportSource) -> str:
    """The kind of a report, or ``recording``.

    Raises:
        SchemaError: it is of no known kind.
    """
    content = source.content
    if isinstance(content, Recorded):
        return "recording"
    if not isinstance(content, Report) or content.kind not in PAGES:
        kind = getattr(content, "kind", type(content).__name__)
        raise SchemaError(f"a report of the unknown kind {kind!r} has no page")
    return content.kind


def _told_apart(sources: Sequence[ReportSource]) -> list[ReportSource]:
    """Names that are there twice are numbered."""
    counts = Counter(source.name for source in sources)
    seen: Counter[str] = Counter()
    made = []
    for source in sources:
        seen[source.name] += 1
        twice = counts[source.name] > 1
        name = f"{source.name} ({seen[source.name]})" if twice else source.name
        made.append(replace(source, name=name))
    return made


def _meta(sources: Sequence[ReportSource]) -> tuple[str, ...]:
    first = sources[0].content
    created = first.created if isinstance(first, Report) else first.meta.created
    where = list(dict.fromkeys(filter(None, map(machine.processor, sources))))
    names = [source.name for source in sources] if len(sources) > 1 else []
    return tuple(filter(None, [created[:10], " and ".join(where), " · ".join(names)]))


def methods(source: ReportSource) -> list[str]:
    """How the totals of a source were come by."""
    content = source.content
    if isinstance(content, Recorded):
        return [one.channel.method for one in content.meta.channels]
    found = [one.energy.method for one in measured([source]) if one.energy is not None]
    found += [one.result.gross.method for one in commands.ran([source])]
    found += [
        one.energy_j.method
        for result in comparisons.comparisons([source])
        for one in result.models
        if one.energy_j is not None
    ]
    found += [
        metric.method
        for study in found_studies([source])
        for row in study.result.rows
        for metric in row.metrics
        if metric.name.startswith("energy_")
    ]
    found += [
        one.result.energy_j.method
        for one in layers.layered([source])
        if one.result.energy_j is not None
    ]
    found += powercaps.methods(source)
    return [method for method in found if method]


def _cautions(sources: Sequence[ReportSource]) -> tuple[str, ...]:
    found = [method for source in sources for method in methods(source)]
    said = []
    if found and all(method == MODELLED for method in found):
        said.append(NOT_MEASURED)
    elif any(MODELLED in method for method in found):
        said.append(PARTLY)
    said += [
        f"{source.name} is incomplete: it was interrupted, or was not over yet."
        for source in sources
        if isinstance(source.content, Report) and not source.content.complete
    ]
    return tuple(said)


def _numbered(sections: Sequence[Section]) -> list[Section]:
    """Pictures that would be files of one name get a number."""
    seen: Counter[str] = Counter()

    def named(picture: Picture) -> Picture:
        seen[picture.name] += 1
        count = seen[picture.name]
        return picture if count == 1 else replace(picture, name=f"{picture.name}-{count}")

    made = []
    for section in sections:
        blocks = tuple(
            Pictures(tuple(map(named, block.pictures))) if isinstance(block, Pictures) else block
            for block in section.blocks
        )
        made.append(replace(section, blocks=blocks))
    return made
