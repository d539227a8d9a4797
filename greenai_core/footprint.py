"""What joules mean in grams and in money, as a result keeps it: always after the joules."""

from __future__ import annotations

from dataclasses import dataclass

from .figures import Figure


@dataclass(frozen=True)
class Footprint:
    """Greenhouse gases and cost of a result, each worked out of its joules.

    The intervals are those of the joules; nobody knows how far carbon intensity, PUE
    and price are off, and that is not in them.

    Attributes:
        emissions_gco2e: of the gross energy: all that was drawn meanwhile.
        net_emissions_gco2e: of the energy above idle; None where idle was not measured.
        sci_gco2e_per_unit: of one functional unit, of the gross energy, after
            ISO/IEC 21031:2024, without the making of the hardware; None without units.
        gco2e_per_kwh: carbon intensity that was taken.
        region: that it is of: a country, ``World``, or ``given``.
        region_assumed: nobody named a country, so it is the world's average.
        year: that it is the mean of; None where nobody said.
        source: who says so.
        pue: power usage effectiveness that was taken.
        pue_assumed: nobody gave one, so a workstation was taken: 1.
        cost: of the gross energy, in ``currency``; None without a price.
        currency: None without a price.
        price_per_kwh: None where nobody gave one.
        statements: what has to be said beside the figures, a sentence each.
    """

    emissions_gco2e: Figure
    net_emissions_gco2e: Figure | None
    sci_gco2e_per_unit: Figure | None
    gco2e_per_kwh: float
    region: str
    region_assumed: bool
    year: int | None
    source: str
    pue: float
    pue_assumed: bool
    cost: Figure | None
    currency: str | None
    price_per_kwh: float | None
    statements: tuple[str, ...]
