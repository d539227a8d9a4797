"""Make greenai_core/data/carbon_intensity.json from a table of yearly carbon intensities.

    python tools/carbon_intensity.py TABLE.csv --source ID

TABLE.csv is one of

- Ember's yearly electricity data (release_generation_yearly_global.csv, from
  https://ember-energy.org/data/yearly-electricity-data/), with a column for the emissions
  intensity and a row for the total generation of each area and year; or the longer form
  that it had until July 2026, with Category, Variable, Unit and Value;
- the chart https://ourworldindata.org/grapher/carbon-intensity-electricity as CSV, which
  is Ember's.

ID names its description in tools/carbon_sources.json: add one for each new edition, with
who is to be credited, the licence, the address, and how the file was obtained. Each
country's last year is kept. Rows of tools/carbon_by_hand.csv fill in what TABLE.csv lacks.
Codes and names are those of tools/countries.csv. What is left out is told, with the reason.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from greenai_core.carbon_table import FILE, SCHEMA, UNIT, fingerprint, read_table

HERE = Path(__file__).parent
OLDEST = 2020
"""An older figure says too little of the grid of today. An assumption."""

WIDE_VALUE = "Emissions intensity (gCO2e/kWh)"
CHART_VALUES = (
    "Carbon intensity of electricity (gCO2eq/kWh)",
    "Carbon intensity of electricity - gCO2/kWh",
    "Lifecycle carbon intensity of electricity generation",
)


class Row(NamedTuple):
    """Gco2e_per_kwh of one area (alpha-3 code; empty for the world) in one year."""

    alpha_3: str
    year: int
    gco2e_per_kwh: float
    source: str


def main(arguments: list[str] | None = None) -> None:
    """Read, choose, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--source", required=True, metavar="ID")
    parser.add_argument("--by-hand", type=Path, default=HERE / "carbon_by_hand.csv")
    parser.add_argument("--sources", type=Path, default=HERE / "carbon_sources.json")
    parser.add_argument("--countries", type=Path, default=HERE / "countries.csv")
    parser.add_argument("--oldest", type=int, default=OLDEST, metavar="YEAR")
    parser.add_argument("--out", type=Path, default=HERE.parent / "greenai_core" / "data" / FILE)
    chosen = parser.parse_args(arguments)
    try:
        content = build(chosen)
    except (OSError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")
    chosen.out.write_text(written(content), encoding="utf-8")
    read_table(chosen.out.read_text(encoding="utf-8"))
    for row in content["without_figure"]:
        print(f"left out: {row['name']} ({row['alpha_3']}): {row['why']}", file=sys.stderr)


def build(chosen: argparse.Namespace) -> dict[str, Any]:
    """The content of the file.

    Raises:
        ValueError: an unknown source, an unknown format, or no figure for the world.
    """
    described = json.loads(chosen.sources.read_text(encoding="utf-8"))
    if chosen.source not in described:
        raise ValueError(f"describe the source {chosen.source!r} in {chosen.sources} first")
    raw = chosen.table.read_bytes()
    described[chosen.source]["sha256"] = hashlib.sha256(raw).hexdigest()
    latest = last_years(read_rows(raw.decode("utf-8-sig").splitlines(), chosen.source))
    if not latest:
        raise ValueError(f"{chosen.table} has no row of a country with a carbon intensity")
    by_hand = chosen.by_hand.read_text(encoding="utf-8").splitlines()
    for code, row in last_years(read_rows(by_hand, "")).items():
        latest.setdefault(code, row)
    if "" not in latest:
        raise ValueError("there is no figure for the world; add one to the rows made by hand")
    countries, without = [], []
    with chosen.countries.open(encoding="utf-8", newline="") as file:
        for named in csv.DictReader(file):
            entry = {**named, "other_names": [x for x in named["other_names"].split("|") if x]}
            known = latest.get(named["alpha_3"])
            why = unusable(known, chosen.oldest)
            if known is None or why:
                without.append({**entry, "why": why})
            else:
                countries.append({**entry, **figure(known)})
    world = figure(latest[""])
    nameless = set(latest) - {""} - {entry["alpha_3"] for entry in (*countries, *without)}
    if nameless:
        raise ValueError(f"{chosen.countries} has no country of the codes {sorted(nameless)}")
    used = {row["source"] for row in (world, *countries)}
    return with_fingerprint(described, used, world, countries, without)


def with_fingerprint(
    described: Mapping[str, Any],
    used: set[str],
    world: Mapping[str, Any],
    countries: list[dict[str, Any]],
    without: list[dict[str, Any]],
) -> dict[str, Any]:
    """The parts put together, sorted and hashed."""
    content = {
        "schema": SCHEMA,
        "quantity": "yearly mean carbon intensity of the electricity generated, life cycle",
        "unit": UNIT,
        "changes": "each country's last year only; rounded to 0.01; zeros and old years left out",
        "sources": {key: described[key] for key in sorted(used)},
        "sha256": "",
        "world": world,
        "countries": sorted(countries, key=lambda row: str(row["alpha_3"])),
        "without_figure": sorted(without, key=lambda row: str(row["alpha_3"])),
    }
    return {**content, "sha256": fingerprint(content)}


def read_rows(lines: Iterable[str], source: str) -> Iterator[Row]:
    """The rows of countries and of the world, whichever form the table has.

    Raises:
        ValueError: none of the known forms, or a cell that is no number.
    """
    reader = csv.DictReader(lines)
    columns = set(reader.fieldnames or ())
    pick: Callable[[Mapping[str, str], str], tuple[str, str, str]]
    chart_value = next((name for name in CHART_VALUES if name in columns), "")
    if WIDE_VALUE in columns:
        pick = wide
    elif {"Category", "Variable", "Unit", "Value"} <= columns:
        pick = long
    elif chart_value and {"Entity", "Code", "Year"} <= columns:
        pick = chart
    else:
        raise ValueError(f"not a table of carbon intensities that is known here: {sorted(columns)}")
    for cells in reader:
        area, code, value = pick(cells, chart_value)
        if not value or (code == "" and area != "World"):
            continue
        if code.startswith("OWID_"):  # a group of countries, or one without a code
            if code != "OWID_WRL":
                continue
            code = ""
        yield Row(code, int(cells["Year"]), float(value), cells.get("Source") or source)


def wide(cells: Mapping[str, str], _: str) -> tuple[str, str, str]:
    """Ember since July 2026: one row for each area, year and source of electricity."""
    total = cells["Electricity source"].casefold() == "total generation"
    return cells["Area"], cells["ISO 3 code"], cells[WIDE_VALUE] if total else ""


def long(cells: Mapping[str, str], _: str) -> tuple[str, str, str]:
    """Ember until then: one row for each area, year and quantity."""
    wanted = (
        cells["Category"] == "Power sector emissions"
        and cells["Variable"] == "CO2 intensity"
        and cells["Unit"] in ("gCO2/kWh", "gCO2e/kWh", "gCO2e per kWh")
    )
    return cells["Area"], cells["ISO 3 code"], cells["Value"] if wanted else ""


def chart(cells: Mapping[str, str], value: str) -> tuple[str, str, str]:
    """Our World in Data: one row for each entity and year."""
    return cells["Entity"], cells["Code"], cells[value]


def last_years(rows: Iterable[Row]) -> dict[str, Row]:
    """Each area's last row.

    Raises:
        ValueError: an area has two rows for one year.
    """
    latest: dict[str, Row] = {}
    seen: set[tuple[str, int]] = set()
    for row in rows:
        if (row.alpha_3, row.year) in seen:
            raise ValueError(f"{row.alpha_3 or 'the world'} has two figures for {row.year}")
        seen.add((row.alpha_3, row.year))
        if row.alpha_3 not in latest or row.year > latest[row.alpha_3].year:
            latest[row.alpha_3] = row
    return latest


def unusable(row: Row | None, oldest: int) -> str:
    """Why a country gets no figure; empty if it gets one."""
    if row is None:
        return "the sources have no figure for it"
    if row.gco2e_per_kwh <= 0:
        return f"the source says 0 for {row.year}, which is rounding: no grid emits nothing"
    if row.year < oldest:
        return f"its last figure is of {row.year}"
    return ""


def figure(row: Row) -> dict[str, Any]:
    """The part of an entry that is measured."""
    return {
        "year": row.year,
        "gco2e_per_kwh": round(row.gco2e_per_kwh, 2),
        "source": row.source,
    }


def written(content: Mapping[str, Any]) -> str:
    """JSON with one country a line, so that a new edition shows what it changes."""
    parts = []
    for key, value in content.items():
        if isinstance(value, list):
            rows = (json.dumps(row, ensure_ascii=False) for row in value)
            text = "[\n" + ",\n".join(f"    {row}" for row in rows) + "\n  ]"
        else:
            text = json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n  ")
        parts.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
