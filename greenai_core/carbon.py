"""From joules to greenhouse gases and money: pure functions, always after the joules.

Joules are measured and have an interval. What is worked out of them here multiplies them
by figures that somebody states (carbon intensity, PUE, price), whose own uncertainty is not
known: the interval stays that of the joules, and every answer says so. A figure of modelled
joules stays ``modelled``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .budget import scaled
from .carbon_table import HIGHEST, UNIT, CarbonIntensity, carbon_intensity, checked_number
from .errors import ConfigError, ReadingError
from .results import Figure

JOULES_PER_KWH = 3.6e6

LOWEST_PUE = 1.0
"""Power usage effectiveness is energy of the whole site over that of its computers
(ISO/IEC 30134-2), so it cannot be less."""

HIGHEST_PUE = 10.0
"""Far above any site; catches percentages."""

INDUSTRY_PUE = 1.58
"""Mean of the data centres asked, Uptime Institute, Global Data Center Survey 2023. To be
named to people; never used unless they say so."""

LONGEST_CURRENCY = 8

MODELLED = "modelled"


@dataclass(frozen=True)
class Emissions:
    """Greenhouse gases of the electricity that was used.

    Attributes:
        emissions_gco2e: grams of CO₂ equivalent. Its intervals are those of the joules;
            the uncertainty of the intensity and of the PUE is not known and not in them.
        energy_j: that they are of, J, as measured: before the PUE.
        intensity: used.
        pue: power usage effectiveness used.
        pue_assumed: nobody gave one, so a workstation was taken: 1.
    """

    emissions_gco2e: Figure
    energy_j: Figure
    intensity: CarbonIntensity
    pue: float
    pue_assumed: bool

    @property
    def statements(self) -> tuple[str, ...]:
        """What has to be said beside the figure, a sentence each."""
        return (
            f"{self.intensity.statement}.",
            _pue_statement(self.pue, self.pue_assumed),
            "Interval: of the joules alone.",
            *_warnings(self.energy_j),
        )


@dataclass(frozen=True)
class SoftwareCarbonIntensity:
    """Carbon per functional unit, after ISO/IEC 21031:2024: ((E · I) + M) per R.

    Attributes:
        sci_gco2e_per_unit: grams of CO₂ equivalent for one functional unit; intervals as
            in ``Emissions``.
        operational: E · I, of all units.
        embodied_gco2e: M, this run's share of making the hardware; None where nobody
            gave it, and then it is in no figure.
        units: R, how many functional units the energy was for.
        unit: name of one: image, token, request …
    """

    sci_gco2e_per_unit: Figure
    operational: Emissions
    embodied_gco2e: float | None
    units: float
    unit: str

    @property
    def statements(self) -> tuple[str, ...]:
        """What has to be said beside the figure, a sentence each."""
        embodied = (
            "SCI without making the hardware: M was not given."
            if self.embodied_gco2e is None
            else f"SCI with {self.embodied_gco2e:.4g} gCO2e for making the hardware (M, as given)."
        )
        return (embodied, *self.operational.statements)


@dataclass(frozen=True)
class Cost:
    """What the electricity costs.

    Attributes:
        cost: in ``currency``. Its intervals are those of the joules.
        currency: as given: EUR, $ …
        price_per_kwh: in ``currency``.
        energy_j: that it is of, J, as measured: before the PUE.
        pue, pue_assumed: see ``Emissions``.
    """

    cost: Figure
    currency: str
    price_per_kwh: float
    energy_j: Figure
    pue: float
    pue_assumed: bool

    @property
    def statements(self) -> tuple[str, ...]:
        """What has to be said beside the figure, a sentence each."""
        return (
            f"Price: {self.price_per_kwh:g} {self.currency}/kWh, as given.",
            _pue_statement(self.pue, self.pue_assumed),
            "Interval: of the joules alone.",
            *_warnings(self.energy_j),
        )


def emissions(
    energy_j: Figure, intensity: CarbonIntensity | None = None, *, pue: float | None = None
) -> Emissions:
    """Grams of CO₂ equivalent of an energy.

    Args:
        energy_j: J. Energy above idle may be negative within its interval; then so are
            the grams, and ``statements`` say that both are below the noise floor.
        intensity: from ``carbon_intensity`` or ``given_carbon_intensity``; None for the
            average of the world, and the answer says that it was assumed.
        pue: of the data centre, at least 1; None for a workstation: 1, likewise said.

    Raises:
        ConfigError: the PUE or the intensity cannot be.
        ReadingError: the energy is not a finite number.
    """
    used = carbon_intensity() if intensity is None else intensity
    per_kwh = checked_number(used.gco2e_per_kwh, "the carbon intensity", UNIT, 0.0, HIGHEST)
    factor, assumed = _checked_pue(pue)
    how = f"times {per_kwh:.4g} {UNIT} ({used.region})"
    figure = _scaled(energy_j, factor * per_kwh / JOULES_PER_KWH, _with_pue(how, factor))
    return Emissions(figure, energy_j, used, factor, assumed)


def software_carbon_intensity(
    energy_j: Figure,
    units: float,
    unit: str,
    intensity: CarbonIntensity | None = None,
    *,
    embodied_gco2e: float | None = None,
    pue: float | None = None,
) -> SoftwareCarbonIntensity:
    """Carbon per functional unit, after ISO/IEC 21031:2024.

    Args:
        energy_j: J of all units. The standard counts what is reserved and idle too: give
            the gross energy, not the energy above idle.
        units: functional units that it was for.
        unit: name of one.
        intensity: see ``emissions``.
        embodied_gco2e: M, see ``embodied_share``; None leaves it out, and the answer says so.
        pue: see ``emissions``.

    Raises:
        ConfigError: a setting cannot be; among them no functional unit.
        ReadingError: the energy is not a finite number.
    """
    count = checked_number(units, "the number of functional units", "units", 0.0)
    if count == 0 or not unit.strip():
        raise ConfigError(
            "carbon per functional unit needs a number of units above 0 and their name. "
            "Say how many images, tokens or requests the energy was for"
        )
    embodied = (
        None
        if embodied_gco2e is None
        else checked_number(embodied_gco2e, "the embodied emission M", "gCO2e", 0.0)
    )
    operational = emissions(energy_j, intensity, pue=pue)
    added = embodied or 0.0
    total = operational.emissions_gco2e
    made = "without M" if embodied is None else f"plus M of {embodied:.4g} gCO2e"
    per_unit = replace(
        total,
        value=(total.value + added) / count,
        low=(total.low + added) / count,
        high=(total.high + added) / count,
        repeat_low=(total.repeat_low + added) / count,
        repeat_high=(total.repeat_high + added) / count,
        provenance=f"{total.provenance}; {made}; divided by {count:.6g} ({unit})",
        budget=scaled(total.budget, 1 / count),
    )
    _refuse_infinite(per_unit, "carbon per unit")
    return SoftwareCarbonIntensity(per_unit, operational, embodied, count, unit)


def embodied_share(
    total_gco2e: float, used_s: float, lifetime_s: float, resource_share: float = 1.0
) -> float:
    """M of the SCI: the part of making the hardware that a run has to carry, gCO2e.

    Args:
        total_gco2e: of making, moving and scrapping the hardware, from its maker's report.
        used_s: for how long the hardware was reserved for the run, s.
        lifetime_s: for how long it will be used in all, s.
        resource_share: which part of the hardware was reserved, from 0 to 1.

    Raises:
        ConfigError: one of them cannot be.
    """
    total = checked_number(total_gco2e, "the emission of the hardware", "gCO2e", 0.0)
    lifetime = checked_number(lifetime_s, "the lifetime of the hardware", "s", 0.0)
    used = checked_number(used_s, "the time of use", "s", 0.0, lifetime)
    share = checked_number(resource_share, "the reserved share of the hardware", "parts of 1", 0, 1)
    if lifetime == 0:
        raise ConfigError("the lifetime of the hardware is 0 s. Four years are 126144000 s")
    return total * (used / lifetime) * share


def energy_cost(
    energy_j: Figure, price_per_kwh: float, currency: str, *, pue: float | None = None
) -> Cost:
    """What an energy costs.

    Args:
        energy_j: J.
        price_per_kwh: in ``currency``.
        currency: in which the price is: EUR, CHF, $ …; it is only passed on.
        pue: see ``emissions``; for somebody else's data centre the price is paid for
            what the whole site draws.

    Raises:
        ConfigError: price, currency or PUE cannot be.
        ReadingError: the energy is not a finite number.
    """
    name = currency.strip() if isinstance(currency, str) else ""
    if not name or len(name) > LONGEST_CURRENCY or not name.isprintable() or _has_digit(name):
        raise ConfigError(f"{currency!r} is no currency. Give a code or a sign, such as EUR or $")
    price = checked_number(price_per_kwh, "the price of electricity", f"{name}/kWh", 0.0)
    factor, assumed = _checked_pue(pue)
    how = f"times {price:g} {name}/kWh"
    figure = _scaled(energy_j, factor * price / JOULES_PER_KWH, _with_pue(how, factor))
    return Cost(figure, name, price, energy_j, factor, assumed)


def _checked_pue(pue: float | None) -> tuple[float, bool]:
    if pue is None:
        return LOWEST_PUE, True
    what = (
        "the power usage effectiveness (PUE; 1 for a workstation, the mean of the industry was "
        f"{INDUSTRY_PUE} in 2023)"
    )
    return checked_number(pue, what, "joules of the site per joule", LOWEST_PUE, HIGHEST_PUE), False


def _with_pue(how: str, pue: float) -> str:
    return how if pue == LOWEST_PUE else f"times a PUE of {pue:g}, {how}"


def _pue_statement(pue: float, assumed: bool) -> str:
    if assumed:
        return f"PUE: 1, a workstation, assumed (mean of data centres in 2023: {INDUSTRY_PUE})."
    return f"PUE: {pue:g}, as given."


def _warnings(energy: Figure) -> tuple[str, ...]:
    said = []
    if energy.low <= 0:
        said.append("Below the noise floor: the interval reaches 0.")
    if MODELLED in energy.method:
        said.append("Estimated: the joules are modelled, at least in part.")
    return tuple(said)


def _scaled(figure: Figure, factor: float, how: str) -> Figure:
    """A figure times an exact number."""
    made = replace(
        figure,
        value=figure.value * factor,
        low=figure.low * factor,
        high=figure.high * factor,
        repeat_low=figure.repeat_low * factor,
        repeat_high=figure.repeat_high * factor,
        provenance=f"{figure.provenance}; {how}; the interval is that of the joules",
        budget=scaled(figure.budget, factor),
    )
    _refuse_infinite(figure, "the energy")
    _refuse_infinite(made, "the result")
    return made


def _refuse_infinite(figure: Figure, what: str) -> None:
    parts = (figure.value, figure.low, figure.high, figure.repeat_low, figure.repeat_high)
    if not all(math.isfinite(part) for part in parts):
        raise ReadingError(
            f"{what} is not a finite number ({figure.value!r}, {figure.low!r} to {figure.high!r}): "
            "nothing can be worked out of it. Measure again, and report it if it comes back"
        )


def _has_digit(text: str) -> bool:
    return any(letter.isdigit() for letter in text)
