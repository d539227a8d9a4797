"""Carbon and cost of a result, from the options of ``greenai grade``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from greenai_core.carbon import emissions, energy_cost, software_carbon_intensity
from greenai_core.carbon_table import CarbonIntensity, carbon_intensity, given_carbon_intensity
from greenai_core.errors import ConfigError, ReadingError
from greenai_core.footprint import Footprint
from greenai_core.results import Figure

PRICE = re.compile(r"\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(\D+?)\s*")


@dataclass(frozen=True)
class Rates:
    """What joules are multiplied by.

    Attributes:
        intensity: carbon intensity of the electricity.
        pue: power usage effectiveness; None where nobody gave one.
        price_per_kwh, currency: None without a price.
    """

    intensity: CarbonIntensity
    pue: float | None
    price_per_kwh: float | None
    currency: str | None


def rates(country: str | None, given: float | None, pue: float | None, price: str | None) -> Rates:
    """The options, checked before anything is run.

    Args:
        country: of ``--country``.
        given: of ``--carbon-intensity``, gCO2e/kWh.
        pue: of ``--pue``.
        price: of ``--price``: ``0.25 EUR``, for a kilowatt-hour.

    Raises:
        ConfigError: one of them cannot be, or two exclude each other.
    """
    if country is not None and given is not None:
        raise ConfigError("--country and --carbon-intensity exclude each other: give one of them")
    intensity = carbon_intensity(country) if given is None else given_carbon_intensity(given)
    number, currency = _price(price)
    nothing = Figure(0.0, 0.0, 0.0, 0.0, 0.0, "clock", "to see whether the options can be used")
    emissions(nothing, intensity, pue=pue)
    if number is not None and currency is not None:
        energy_cost(nothing, number, currency, pue=pue)
    return Rates(intensity, pue, number, currency)


def _price(text: str | None) -> tuple[float | None, str | None]:
    if text is None:
        return None, None
    found = PRICE.fullmatch(text)
    try:
        if found is not None:
            return float(found[1]), found[2]
    except ValueError:
        pass
    raise ConfigError(f"--price {text!r}: give price and currency of a kilowatt-hour, as 0.25EUR")


def footprint(
    gross: Figure | None,
    net: Figure | None,
    units: float | None,
    unit: str | None,
    used: Rates,
    warnings: list[str],
) -> Footprint | None:
    """Carbon and cost of an energy; None where they cannot be told.

    Args:
        gross: J.
        net: above idle, J.
        units: functional units that the energy was for.
        unit: name of one.
        used: what the joules are multiplied by.
        warnings: why there are none is added: a measurement is not lost for it.
    """
    if gross is None:
        return None
    try:
        return _footprint(gross, net, units, unit, used)
    except (ConfigError, ReadingError) as error:
        warnings.append(f"no carbon: {error}")
        return None


def _footprint(
    gross: Figure, net: Figure | None, units: float | None, unit: str | None, used: Rates
) -> Footprint:
    total = emissions(gross, used.intensity, pue=used.pue)
    statements: list[str] = list(total.statements)
    more: dict[str, Any] = {"cost": None, "sci_gco2e_per_unit": None}
    if units is not None and unit is not None and unit.strip():
        sci = software_carbon_intensity(gross, units, unit, used.intensity, pue=used.pue)
        more["sci_gco2e_per_unit"] = sci.sci_gco2e_per_unit
        statements += sci.statements
    if used.price_per_kwh is not None and used.currency is not None:
        cost = energy_cost(gross, used.price_per_kwh, used.currency, pue=used.pue)
        more["cost"] = cost.cost
        statements += cost.statements
    return Footprint(
        emissions_gco2e=total.emissions_gco2e,
        net_emissions_gco2e=None
        if net is None
        else emissions(net, used.intensity, pue=used.pue).emissions_gco2e,
        gco2e_per_kwh=used.intensity.gco2e_per_kwh,
        region=used.intensity.region,
        region_assumed=used.intensity.assumed,
        year=used.intensity.year,
        source=used.intensity.source,
        pue=total.pue,
        pue_assumed=total.pue_assumed,
        currency=used.currency,
        price_per_kwh=used.price_per_kwh,
        statements=tuple(dict.fromkeys(statements)),
        **more,
    )
