"""What ``greenai grade`` tells people: joules first, then the grade, then carbon and cost."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from greenai_core.above_idle import below_floor
from greenai_core.channels import MODELLED
from greenai_core.results import (
    ChannelNet,
    CommandResult,
    Diagnosis,
    Figure,
    Footprint,
    Grade,
    InferenceResult,
    WindowResult,
)

from . import beside, figures, output
from .sensors import NO_SENSOR

CO2 = "g CO₂e"
SIDE = "  "


def command(result: CommandResult) -> str:
    """The lines of a command's result."""
    gross = result.gross
    lines = [f"greenai: {_gross(gross)} in {figures.quantity(gross.duration_s, 's')}"]
    lines += _channels(gross, result.net_channels)
    if gross.method == MODELLED:
        lines.append(output.paragraph(NO_SENSOR, SIDE))
    elif MODELLED in gross.method.split("+"):
        lines.append("  The total is modelled in part: it is no pure measurement.")
    lines += _idle(result)
    lines += [SIDE + line for line in beside.table(gross.observations).splitlines()]
    lines += verdict(result)
    lines += [_wrapped(f"greenai: warning: {text}", "") for text in result.warnings]
    return "\n".join(lines)


def verdict(result: CommandResult | InferenceResult) -> list[str]:
    """Grade, comparison, carbon and cost."""
    lines = []
    if result.grade is not None:
        lines += grade(result.grade)
    if result.against_baseline is not None:
        lines += _baseline(result.against_baseline)
    if result.footprint is not None:
        if isinstance(result, CommandResult):
            lines += footprint(result.footprint, "the run", result.unit)
        else:
            lines += footprint(result.footprint, "one inference", _unit(result.grade))
    return lines


def grade(given: Grade) -> list[str]:
    """A letter with its reasons, or why there is none."""
    lines = []
    if given.per_unit_j is not None and given.unit:
        pue = "" if given.pue in (None, 1) else f", with PUE {given.pue:g}"
        lines.append(f"  one {given.unit} above idle: {_ends(given.per_unit_j, 'J')}{pue}")
    reasons = [reason.removeprefix("ungraded: ") for reason in given.reasons]
    if given.change is not None or given.grader == "self":
        return [*lines, *_baseline(given)]
    if given.letter is None:
        return [*lines, *_list("ungraded", reasons)]
    letter = given.letter
    if given.best_letter and given.best_letter != letter:
        letter = f"{letter} ({given.best_letter}–{letter})"
    provisional = ", provisional" if given.provisional else ""
    on = f", on {given.scale}" if given.scale else ""
    lines += _list(f"grade {letter}{provisional}, {given.tier}{on}", reasons)
    return lines + ([_wrapped(given.next_step)] if given.next_step else [])


def footprint(made: Footprint, what: str, unit: str | None) -> list[str]:
    """Grams and money, with what has to be said beside them.

    Args:
        made: carbon and cost.
        what: they are of.
        unit: name of the functional unit.
    """
    lines = [f"  carbon of {what}: {_ends(made.emissions_gco2e, CO2)}"]
    if made.net_emissions_gco2e is not None:
        lines.append(f"    above idle: {_ends(made.net_emissions_gco2e, CO2)}")
    if made.sci_gco2e_per_unit is not None and unit:
        lines.append(f"    one {unit}, idle included (SCI): {_ends(made.sci_gco2e_per_unit, CO2)}")
    if made.cost is not None:
        lines.append(f"  cost of {what}: {_plain(made.cost.value)} {made.currency}")
    return [*lines, _wrapped(" ".join(made.statements), "    ")]


def _gross(gross: WindowResult) -> str:
    if gross.energy_j is None or gross.low_j is None or gross.high_j is None:
        return "energy unknown"
    watts = gross.energy_j / gross.duration_s if gross.duration_s > 0 else None
    shown = figures.with_ends(gross.energy_j, gross.low_j, gross.high_j, "J")
    return f"{shown}, {gross.method}, {figures.quantity(watts, 'W')}"


def _channels(gross: WindowResult, nets: Sequence[ChannelNet]) -> list[str]:
    above = {channel.id: channel.net_energy_j for channel in nets}
    lines = []
    for c in gross.channels:
        outside = "" if c.in_total else ", not in the total"
        shown = figures.with_ends(c.energy_j, c.low_j, c.high_j, "J")
        lines.append(f"  {c.id}: {shown}, {c.method}{outside}")
        if c.id in above:
            lines.append(f"    above idle: {_ends(above[c.id], 'J')}")
    return lines + [_wrapped(f"{m.id}: {figures.UNKNOWN}: {m.reason}") for m in gross.missing]


def _idle(result: CommandResult) -> list[str]:
    lines = []
    net = result.net_energy_j
    if result.idle_power_w is not None:
        lines.append(f"  idle power: {figures.spread(result.idle_power_w, 'W')}")
    if net is not None:
        floor = ": below the noise floor" if below_floor(net) else ""
        lines.append(f"  above idle: {_ends(net, 'J')}{floor}")
    if result.idle_share is not None:
        lines.append(f"  idle share: {figures.percent(result.idle_share)} of the energy")
    if result.utilisation_percent is not None:
        lines.append(f"  CPU utilisation of the machine: {result.utilisation_percent:.0f} %")
    return lines + (diagnosis(result.diagnosis) if result.diagnosis is not None else [])


def diagnosis(found: Diagnosis) -> list[str]:
    """Where the power lay between idle and full power; no grade."""
    share = found.utilisation
    ends = f"{share.value:.0%} ({share.low:.0%} to {share.high:.0%})".replace("%", " %")
    full = f"full power {figures.quantity(found.full_power_w, 'W')}: {found.source}"
    lines = [_wrapped(f"{found.scale}, a diagnosis, no grade: {ends} of the power range; {full}")]
    wrong = [text for text in found.reasons if text.startswith(("more than", "less than"))]
    return lines + [_wrapped(text, "    ") for text in wrong]


def _baseline(compared: Grade) -> list[str]:
    return _list("against your baseline", compared.reasons)


def _list(title: str, reasons: Sequence[str]) -> list[str]:
    """One reason on the line of the title, several below it."""
    if len(reasons) == 1:
        return [_wrapped(f"{title}: {reasons[0]}")]
    return [_wrapped(f"{title}:" if reasons else title)] + [_wrapped(r, "    ") for r in reasons]


def _plain(value: float) -> str:
    """Three digits that count, without powers of ten."""
    return format(Decimal(f"{value:.3g}"), "f")


def _unit(given: Grade | None) -> str | None:
    return given.unit if given else None


def _ends(figure: Figure, unit: str) -> str:
    return figures.with_ends(figure.value, figure.low, figure.high, unit)


def _wrapped(text: str, indent: str = SIDE) -> str:
    return output.paragraph(output.one_line(text), indent)
