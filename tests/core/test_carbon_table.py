"""The table of carbon intensities: finding a country, and the file itself."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import greenai_core
from greenai_core import ConfigError, carbon_countries, carbon_intensity
from greenai_core.carbon_table import FILE, fingerprint, normalised, read_table, shipped_table

ROOT = Path(__file__).parents[2]
TEXT = (resources.files("greenai_core") / "data" / FILE).read_text(encoding="utf-8")
CONTENT = json.loads(TEXT)
ROWS = CONTENT["countries"]


@pytest.mark.parametrize(
    ("asked", "alpha_3"),
    [
        ("FR", "FRA"),
        ("fr", "FRA"),
        ("fra", "FRA"),
        ("France", "FRA"),
        (" FRANCE ", "FRA"),
        ("uk", "GBR"),
        ("Great Britain", "GBR"),
        ("USA", "USA"),
        ("U.S.A.", "USA"),
        ("united states of america", "USA"),
        ("The Netherlands", "NLD"),
        ("Türkiye", "TUR"),
        ("turkiye", "TUR"),
        ("Côte d'Ivoire", "CIV"),
        ("ivory coast", "CIV"),
        ("St. Lucia", "LCA"),
        ("Trinidad & Tobago", "TTO"),
        ("Czech Republic", "CZE"),
        ("Republic of Korea", "KOR"),
        ("Viet Nam", "VNM"),
        ("NA", "NAM"),  # what reads as a missing value elsewhere is Namibia
    ],
)
def test_a_country_goes_by_its_codes_and_names(asked, alpha_3):
    found = carbon_intensity(asked)
    assert found.alpha_3 == alpha_3
    assert not found.assumed


@pytest.mark.parametrize(
    ("country", "low", "high"),
    [
        ("France", 35, 65),
        ("Poland", 580, 720),
        ("Germany", 330, 400),
        ("United States", 350, 420),
        ("China", 530, 620),
        ("India", 680, 740),
        ("Norway", 20, 40),
        ("United Kingdom", 190, 260),
        ("world", 455, 490),
    ],
)
def test_figures_are_those_that_are_known(country, low, high):
    """Published figures of 2023 and 2024, roughly: a column mixed up would show."""
    found = carbon_intensity(country)
    assert low <= found.gco2e_per_kwh <= high
    assert found.year in (2023, 2024, 2025)
    assert "Ember" in found.source
    assert "CC BY 4.0" in found.source


def test_the_world_is_assumed_only_when_nobody_names_a_country():
    assumed, named = carbon_intensity(), carbon_intensity("World")
    assert (assumed.assumed, named.assumed) == (True, False)
    assert assumed.gco2e_per_kwh == named.gco2e_per_kwh == carbon_intensity("GLOBAL").gco2e_per_kwh
    assert "no country was named" in assumed.statement
    assert "no country was named" not in named.statement
    assert str(named.year) in named.statement


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("Frnace", "Did you mean France?"),
        ("Germny", "Did you mean Germany"),
        ("polnad", "Did you mean Poland"),
        ("Unted Kingdom", "Did you mean United Kingdom"),
        ("GER", "Did you mean Germany"),
        ("Korea", "South Korea or North Korea"),
        ("Congo", "Democratic Republic of Congo or Republic of the Congo"),
        ("Swtzerland", "Did you mean Switzerland"),
    ],
)
def test_a_misspelt_country_is_an_error_that_tells_the_nearest(asked, told):
    """Names that several countries share are never decided either."""
    with pytest.raises(ConfigError, match=told):
        carbon_intensity(asked)


@pytest.mark.parametrize("asked", ["Atlantis Prime", "XX", "QQQ", "12345"])
def test_what_is_near_nothing_gets_no_guess(asked):
    with pytest.raises(ConfigError, match="no country is called") as caught:
        carbon_intensity(asked)
    assert "Did you mean" not in str(caught.value)
    assert "gCO2e/kWh" in str(caught.value)


@pytest.mark.parametrize("asked", ["", "  ", "--", "the", 5])
def test_an_empty_country_is_not_the_world(asked):
    """An unset variable of a shell must not become an average."""
    with pytest.raises(ConfigError, match="names no country"):
        carbon_intensity(asked)


@pytest.mark.parametrize(("asked", "why"), [("Monaco", "no figure"), ("CAF", "rounding")])
def test_a_country_without_a_figure_is_told_so(asked, why):
    with pytest.raises(ConfigError, match=why):
        carbon_intensity(asked)


@given(st.sampled_from(ROWS), st.randoms(use_true_random=False))
def test_every_name_finds_its_row_in_any_case(row, random):
    for name in (row["alpha_2"], row["alpha_3"], row["name"], *row["other_names"]):
        mixed = "".join(random.choice((letter.upper(), letter.lower())) for letter in name)
        found = carbon_intensity(mixed)
        assert found.alpha_3 == row["alpha_3"]
        assert found.gco2e_per_kwh == row["gco2e_per_kwh"]


@given(st.text(max_size=30))
def test_any_text_is_a_country_or_a_plain_error(text):
    try:
        found = carbon_intensity(text).gco2e_per_kwh
    except ConfigError as error:
        found = str(error)
    assert "gCO2e/kWh" in found if isinstance(found, str) else found > 0


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(text):
    assert normalised(normalised(text)) == normalised(text)


def test_countries_are_listed_by_name():
    listed = carbon_countries()
    assert [row.region for row in listed] == sorted(row["name"] for row in ROWS)
    assert all(not row.assumed for row in listed)


def test_the_file_is_sorted_and_nobody_is_in_it_twice():
    codes = [row["alpha_3"] for row in ROWS]
    assert codes == sorted(set(codes))
    assert len(ROWS) > 200
    everyone = [*ROWS, *CONTENT["without_figure"]]
    for key in ("alpha_2", "alpha_3", "name"):
        assert len({row[key] for row in everyone}) == len(everyone), key


def test_every_row_is_a_plausible_figure():
    for row in (CONTENT["world"], *ROWS):
        assert 10 < row["gco2e_per_kwh"] < 1400, row
        assert 2020 <= row["year"] <= 2030, row
    for row in ROWS:
        assert re.fullmatch("[A-Z]{2}", row["alpha_2"])
        assert re.fullmatch("[A-Z]{3}", row["alpha_3"])


def test_every_row_has_a_source_and_every_source_is_credited():
    used = {row["source"] for row in (CONTENT["world"], *ROWS)}
    assert used == set(CONTENT["sources"])
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for source in CONTENT["sources"].values():
        assert source["licence"] == "CC BY 4.0"
        assert source["url"].startswith("https://")
        assert source["obtained"]
        assert source["credit"].split(",")[0].split(" (")[0] in notice
    assert "creativecommons.org/licenses/by/4.0" in notice


def test_the_file_carries_its_own_hash():
    assert CONTENT["sha256"] == fingerprint(CONTENT) == shipped_table().sha256


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"gco2e_per_kwh": 44.18', '"gco2e_per_kwh": 4.418', "was changed"),
        ('"sha256": "', '"sha256": "0', "was changed"),
        ("greenai.carbon-intensity/1", "greenai.carbon-intensity/2", "schema"),
        ('"world"', '"moon"', "changed"),
    ],
)
def test_a_changed_file_is_refused(old, new, told):
    assert old in TEXT
    with pytest.raises(ConfigError, match=told):
        read_table(TEXT.replace(old, new))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", TEXT[:1000], "\x00"])
def test_what_is_no_table_is_refused(text):
    with pytest.raises(ConfigError, match="no table of carbon intensities"):
        read_table(text)


def test_two_countries_of_one_name_are_refused():
    twice = {**CONTENT, "countries": [*ROWS, {**ROWS[0], "alpha_3": "ZZZ"}]}
    twice["sha256"] = fingerprint(twice)
    with pytest.raises(ConfigError, match="two of its countries are called"):
        read_table(json.dumps(twice))


def test_a_damaged_installation_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    shipped_table.cache_clear()
    try:
        with pytest.raises(ConfigError, match="Install greenai-core again"):
            greenai_core.carbon_intensity("fr")
    finally:
        shipped_table.cache_clear()
