"""How much carbon a kilowatt-hour stands for, by country: the shipped table and its lookup.

Yearly means of what a country generates, over the whole life of its power stations, from
Ember (CC BY 4.0); ``docs/carbon.md`` says what they are and what they are not. Where no
country is named the world's average is used, and says so: nobody's country is ever guessed.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import math
import numbers
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from .errors import ConfigError

SCHEMA = "greenai.carbon-intensity/1"
UNIT = "gCO2e/kWh"
FILE = "carbon_intensity.json"

WORLD = "World"
GIVEN = "given"
"""The region of a number that somebody stated."""
_WORLD_NAMES = ("world", "global", "world average", "global average")

HIGHEST = 5000.0
"""gCO2e/kWh; above any grid (the shipped table ends at 1306) and any diesel generator."""

INSTEAD = f"give the carbon intensity itself, in {UNIT}"


@dataclass(frozen=True)
class CarbonIntensity:
    """Greenhouse gases that go with a kilowatt-hour of electricity.

    Attributes:
        gco2e_per_kwh: grams of CO₂ equivalent per kilowatt-hour.
        region: a country's English name; ``World``; or ``given`` for a number that
            somebody stated.
        alpha_2, alpha_3: codes of ISO 3166-1; None for the world and for stated numbers.
        year: that it is the mean of; None where nobody said.
        source: who says so, with the licence.
        assumed: nobody named a country, so this is the world's average.
    """

    gco2e_per_kwh: float
    region: str
    alpha_2: str | None
    alpha_3: str | None
    year: int | None
    source: str
    assumed: bool = False

    @property
    def statement(self) -> str:
        """The figure in words, with its year, whose it is, and whether it was assumed.

        ``source`` tells the whole of it, with the publication.
        """
        whose = self.source
        if self.region != GIVEN:
            publication, _, licence = self.source.rpartition("; ")
            whose = ", ".join(filter(None, [re.split(r"[,(]", publication)[0].strip(), licence]))
        told = ", ".join(filter(None, [str(self.year or ""), whose]))
        region = self.region
        if self.assumed:
            region = "average of the world, assumed: no country was named"
        return f"Carbon intensity: {self.gco2e_per_kwh:.4g} {UNIT}, {region} ({told})"


@dataclass(frozen=True)
class Table:
    """A checked table.

    Attributes:
        world: the world's average.
        countries: by alpha-3 code, in its order.
        without: names of countries that have no figure, and why.
        names: code or name as ``normalised`` makes it -> alpha-3 code, or the name in
            ``without``.
        sha256: of the content, see ``fingerprint``.
    """

    world: CarbonIntensity
    countries: Mapping[str, CarbonIntensity]
    without: Mapping[str, str]
    names: Mapping[str, str]
    sha256: str


def carbon_intensity(country: str | None = None) -> CarbonIntensity:
    """The last yearly carbon intensity of a country's electricity.

    Args:
        country: ISO 3166-1 code of two or three letters, or an English name, in any case;
            ``world`` for the average of the world. None takes that average too, and the
            answer says that it was assumed.

    Raises:
        ConfigError: no such country (the nearest names are told), or none with a figure.
    """
    table = shipped_table()
    if country is None:
        return replace(table.world, assumed=True)
    if not isinstance(country, str) or not normalised(country):
        raise ConfigError(
            f"{country!r} names no country. Give a code of ISO 3166 or an English name, "
            f"'world', or nothing for the average of the world; or {INSTEAD}"
        )
    key = normalised(country)
    if key in _WORLD_NAMES:
        return table.world
    found = table.names.get(key)
    if found is None:
        raise ConfigError(_unknown(country, table))
    if found in table.without:
        raise ConfigError(
            f"the table has no carbon intensity for {found}: {table.without[found]}. "
            f"For it {INSTEAD}, or name a country whose grid feeds it"
        )
    return table.countries[found]


def carbon_countries() -> tuple[CarbonIntensity, ...]:
    """The countries that have a figure, by name; without the world's average."""
    return tuple(sorted(shipped_table().countries.values(), key=lambda row: row.region))


def given_carbon_intensity(
    gco2e_per_kwh: float, source: str = "stated by the user", year: int | None = None
) -> CarbonIntensity:
    """A carbon intensity that somebody knows better: a contract, a live figure, an own roof.

    Args:
        gco2e_per_kwh: grams of CO₂ equivalent per kilowatt-hour.
        source: where it comes from, in words.
        year: that it is the mean of.

    Raises:
        ConfigError: negative, not a number, or of another unit by the look of it.
    """
    value = checked_number(gco2e_per_kwh, "the carbon intensity", UNIT, 0.0, HIGHEST)
    if 0 < value < 1:
        raise ConfigError(
            f"a carbon intensity of {value:g} {UNIT} is below that of any source of electricity. "
            f"If it is in kgCO2e/kWh, give {value * 1000:g}"
        )
    if not source.strip():
        raise ConfigError("a carbon intensity needs a source. Say in words where it comes from")
    return CarbonIntensity(value, GIVEN, None, None, year, source)


def checked_number(
    value: object, what: str, unit: str, low: float, high: float = math.inf
) -> float:
    """A setting as a finite float within its bounds.

    Raises:
        ConfigError: it is none.
    """
    try:
        number = float(value) if isinstance(value, numbers.Real) else math.nan
    except OverflowError:
        number = math.inf
    if isinstance(value, bool) or not math.isfinite(number) or not low <= number <= high:
        bounds = f"from {low:g}" + (f" to {high:g}" if math.isfinite(high) else " up")
        raise ConfigError(f"{what} is {value!r}. Give a number {bounds}, in {unit}")
    return number


def normalised(name: str) -> str:
    """A name without case, accents, punctuation and articles, to compare by."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    words = re.sub(r"[^a-z0-9]+", " ", plain.replace("&", " and ").replace("'", "")).split()
    return " ".join("saint" if word == "st" else word for word in words if word != "the")


def fingerprint(content: Mapping[str, Any]) -> str:
    """SHA-256 of a table as JSON of sorted keys, without its own ``sha256``."""
    bare = {key: value for key, value in content.items() if key != "sha256"}
    text = json.dumps(
        bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def shipped_table() -> Table:
    """The table of this installation, read once, when first asked for.

    Raises:
        ConfigError: the file is missing, or was changed.
    """
    try:
        file = resources.files(__package__) / "data" / FILE
        return read_table(file.read_text(encoding="utf-8"))
    except (OSError, ConfigError) as error:
        raise ConfigError(
            f"the table of carbon intensities, greenai_core/data/{FILE}, cannot be used: {error}. "
            f"Install greenai-core again, or {INSTEAD}"
        ) from error


def read_table(text: str) -> Table:
    """The table in the text of a JSON file.

    Raises:
        ConfigError: not such a file, or its sha256 does not fit its content.
    """
    try:
        content = json.loads(text)
        if content["schema"] != SCHEMA or content["unit"] != UNIT:
            raise ConfigError(f"its schema is {content['schema']!r}, not {SCHEMA!r}")
        found = fingerprint(content)
        if content["sha256"] != found:
            raise ConfigError(f"it was changed: its sha256 is {found}, not {content['sha256']}")
        sources = content["sources"]
        rows = {row["alpha_3"]: _intensity(row, sources) for row in content["countries"]}
        without = {row["name"]: str(row["why"]) for row in content["without_figure"]}
        return Table(
            _intensity({**content["world"], "name": WORLD}, sources),
            rows,
            without,
            _index(content),
            found,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"it is no table of carbon intensities ({error!r})") from error


def _intensity(row: Mapping[str, Any], sources: Mapping[str, Any]) -> CarbonIntensity:
    source = sources[row["source"]]
    return CarbonIntensity(
        checked_number(row["gco2e_per_kwh"], f"that of {row['name']}", UNIT, 1.0, HIGHEST),
        row["name"],
        row.get("alpha_2"),
        row.get("alpha_3"),
        int(row["year"]),
        f"{source['credit']}; {source['licence']}",
    )


def _index(content: Mapping[str, Any]) -> Mapping[str, str]:
    names: dict[str, str] = {}
    for row in (*content["countries"], *content["without_figure"]):
        target = row["name"] if "why" in row else row["alpha_3"]
        for name in (row["alpha_2"], row["alpha_3"], row["name"], *row["other_names"]):
            if names.setdefault(normalised(name), target) != target:
                raise ConfigError(f"two of its countries are called {name!r}")
    return names


def _unknown(asked: str, table: Table) -> str:
    """What is wrong with a name, and which countries are called nearly so."""
    near = _nearest(normalised(asked), table)
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    return (
        f"no country is called {asked!r}. {guess}Codes of ISO 3166 and English names are known; "
        f"or {INSTEAD}"
    )


def _nearest(key: str, table: Table, most: int = 3) -> list[str]:
    # Codes are all alike: only those of three letters are near enough to a slip to be told.
    shortest_name = 4
    pool = [name for name in table.names if len(name) >= shortest_name or len(name) == len(key) > 2]
    parts = [name for name in pool if name.startswith(key) or f" {key} " in f" {name} "]
    alike = difflib.get_close_matches(key, pool, n=most, cutoff=0.7) if len(key) > 2 else []
    shown: dict[str, None] = {}
    for name in (*sorted(parts, key=len), *alike):
        target = table.names[name]
        shown.setdefault(target if target in table.without else table.countries[target].region)
    return list(shown)[:most]
