"""From joules to grams and money: units, intervals, and what must be said beside them."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenai_core import (
    CarbonIntensity,
    ConfigError,
    Cost,
    Emissions,
    Figure,
    ReadingError,
    SoftwareCarbonIntensity,
    carbon_intensity,
    embodied_share,
    emissions,
    energy_cost,
    given_carbon_intensity,
    software_carbon_intensity,
    to_json,
)
from greenai_core.budget import Term
from greenai_core.report_files import from_json

KWH = 3.6e6


def energy(value, spread=0.1, repeat=0.02, method="counter"):
    """An energy in J whose intervals are that wide, relative to it."""
    u = abs(value)
    return Figure(
        value,
        value - spread * u,
        value + spread * u,
        value - repeat * u,
        value + repeat * u,
        method,
        "cpu:0/package",
        (Term("repetition", 0.01 * u), Term("gain", 0.05 * u, None, False)),
    )


joules = st.floats(1e-6, 1e12)
intensities = st.floats(1, 5000)
effectiveness = st.floats(1, 10)


def test_a_kilowatt_hour_is_3_6_megajoules():
    told = emissions(energy(KWH), given_carbon_intensity(400, "by hand"))
    assert told.emissions_gco2e.value == 400
    assert told.emissions_gco2e.low == pytest.approx(360)
    assert told.emissions_gco2e.high == pytest.approx(440)
    assert told.emissions_gco2e.repeat_low == pytest.approx(392)
    assert told.emissions_gco2e.repeat_high == pytest.approx(408)
    assert told.energy_j.value == KWH


@given(joules, intensities, effectiveness)
def test_grams_are_kilowatt_hours_times_intensity_times_pue(e, i, pue):
    told = emissions(energy(e), given_carbon_intensity(i), pue=pue)
    assert told.emissions_gco2e.value == pytest.approx(e / KWH * i * pue, rel=1e-12)


@given(joules, intensities, effectiveness)
def test_the_interval_is_that_of_the_joules_and_no_wider_or_narrower(e, i, pue):
    """An intensity without an uncertainty must not pretend to one, nor hide the sensor's."""
    before = energy(e)
    after = emissions(before, given_carbon_intensity(i), pue=pue).emissions_gco2e
    for part in ("low", "high", "repeat_low", "repeat_high"):
        ratio = getattr(before, part) / before.value
        assert getattr(after, part) / after.value == pytest.approx(ratio, rel=1e-9)
    for one, other in zip(before.budget, after.budget, strict=True):
        assert other.u / after.value == pytest.approx(one.u / before.value, rel=1e-9)


@given(joules, joules, intensities, intensities, effectiveness, effectiveness)
def test_more_of_anything_never_gives_less(e1, e2, i1, i2, p1, p2):
    def grams(e, i, p):
        return emissions(energy(e), given_carbon_intensity(i), pue=p).emissions_gco2e.value

    assert grams(min(e1, e2), i1, p1) <= grams(max(e1, e2), i1, p1)
    assert grams(e1, min(i1, i2), p1) <= grams(e1, max(i1, i2), p1)
    assert grams(e1, i1, min(p1, p2)) <= grams(e1, i1, max(p1, p2))


def test_nobodys_country_is_guessed():
    """Without a country it is the world, and the answer says so; a named one is not assumed."""
    told = emissions(energy(KWH))
    assert told.intensity.region == "World"
    assert told.intensity.assumed
    assert any("no country was named" in line for line in told.statements)
    named = emissions(energy(KWH), carbon_intensity("world"))
    assert named.emissions_gco2e == told.emissions_gco2e
    assert not any("no country was named" in line for line in named.statements)


def test_no_data_centre_is_assumed_silently():
    told = emissions(energy(KWH), given_carbon_intensity(100))
    assert told.emissions_gco2e.value == 100
    assert told.pue_assumed
    assert any("PUE: 1, a workstation, assumed" in line for line in told.statements)
    stated = emissions(energy(KWH), given_carbon_intensity(100), pue=1.58)
    assert stated.emissions_gco2e.value == pytest.approx(158)
    assert not stated.pue_assumed
    assert "PUE: 1.58, as given." in stated.statements
    assert "PUE of 1.58" in stated.emissions_gco2e.provenance


@pytest.mark.parametrize("pue", [0.999, 0, -1, math.nan, math.inf, 158, "1.2", True])
def test_an_impossible_pue_is_refused(pue):
    with pytest.raises(ConfigError, match="PUE"):
        emissions(energy(KWH), pue=pue)


def test_what_is_not_in_the_interval_is_said():
    told = emissions(energy(KWH))
    assert "Interval: of the joules alone." in told.statements
    assert "the interval is that of the joules" in told.emissions_gco2e.provenance
    assert told.emissions_gco2e.provenance.startswith("cpu:0/package; ")


def test_modelled_joules_give_modelled_grams():
    told = emissions(energy(KWH, method="counter+modelled"))
    assert told.emissions_gco2e.method == "counter+modelled"
    assert any("Estimated: the joules are modelled" in line for line in told.statements)
    assert not any("Estimated" in line for line in emissions(energy(KWH)).statements)


def test_below_the_noise_floor_stays_below_it():
    """Energy above idle may be negative; grams keep its sign, and nobody saved carbon."""
    told = emissions(Figure(-2.0, -5.0, 1.0, -3.0, 0.0, "counter", "net"))
    assert told.emissions_gco2e.low < told.emissions_gco2e.value < 0 < told.emissions_gco2e.high
    assert any("Below the noise floor" in line for line in told.statements)
    assert not any("noise floor" in line for line in emissions(energy(KWH)).statements)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_energy_that_is_no_number_is_refused(value):
    figure = Figure(value, value, value, value, value, "counter", "x")
    for make in (
        lambda: emissions(figure),
        lambda: energy_cost(figure, 0.3, "EUR"),
        lambda: software_carbon_intensity(figure, 10, "image"),
    ):
        with pytest.raises(ReadingError, match="not a finite number"):
            make()


@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf, 5001, "400", True, 10**400])
def test_an_impossible_intensity_is_refused(value):
    with pytest.raises(ConfigError, match="carbon intensity"):
        given_carbon_intensity(value)
    with pytest.raises(ConfigError, match="carbon intensity"):
        emissions(energy(KWH), CarbonIntensity(value, "given", None, None, None, "x"))


def test_kilograms_are_not_taken_for_grams():
    with pytest.raises(ConfigError, match="If it is in kgCO2e/kWh, give 473"):
        given_carbon_intensity(0.473)


def test_who_says_zero_gets_zero():
    """Zero is a statement here, not a missing value: it has a source."""
    told = emissions(energy(KWH), given_carbon_intensity(0, "own roof, by the meter"))
    assert told.emissions_gco2e.value == 0
    assert "own roof" in told.intensity.statement
    with pytest.raises(ConfigError, match="needs a source"):
        given_carbon_intensity(0, " ")


def test_sci_is_that_of_the_standard():
    """((E · I) + M) per R: 2 kWh at 300 g with PUE 1.5, 100 g embodied, 1000 images."""
    told = software_carbon_intensity(
        energy(2 * KWH),
        1000,
        "image",
        given_carbon_intensity(300),
        embodied_gco2e=100,
        pue=1.5,
    )
    assert told.sci_gco2e_per_unit.value == pytest.approx((2 * 300 * 1.5 + 100) / 1000)
    assert told.sci_gco2e_per_unit.low == pytest.approx((0.9 * 900 + 100) / 1000)
    assert told.operational.emissions_gco2e.value == pytest.approx(900)
    assert any("100 gCO2e for making the hardware" in line for line in told.statements)


def test_sci_without_m_says_that_it_is_without():
    told = software_carbon_intensity(energy(KWH), 10, "token", given_carbon_intensity(300))
    assert told.sci_gco2e_per_unit.value == pytest.approx(30)
    assert told.embodied_gco2e is None
    assert any("making the hardware: M was not given" in x for x in told.statements)
    nothing = software_carbon_intensity(
        energy(KWH), 10, "token", given_carbon_intensity(300), embodied_gco2e=0
    )
    assert nothing.embodied_gco2e == 0
    assert not any("was not given" in line for line in nothing.statements[:1])


@given(joules, st.floats(1e-3, 1e9), st.floats(0, 1e6))
def test_twice_the_units_halve_the_sci(e, units, embodied):
    def per(count):
        return software_carbon_intensity(
            energy(e), count, "image", given_carbon_intensity(300), embodied_gco2e=embodied
        ).sci_gco2e_per_unit

    assert per(2 * units).value == pytest.approx(per(units).value / 2)
    assert per(units).low <= per(units).value <= per(units).high


@pytest.mark.parametrize(
    ("units", "unit"), [(0, "image"), (-1, "image"), (math.nan, "image"), (10, ""), (10, "  ")]
)
def test_there_is_no_sci_without_a_functional_unit(units, unit):
    with pytest.raises(ConfigError, match="functional unit"):
        software_carbon_intensity(energy(KWH), units, unit)


@pytest.mark.parametrize("embodied", [-1, math.nan, math.inf])
def test_an_impossible_embodied_emission_is_refused(embodied):
    with pytest.raises(ConfigError, match="embodied"):
        software_carbon_intensity(energy(KWH), 1, "image", embodied_gco2e=embodied)


def test_hardware_is_shared_by_time_and_part():
    year = 365 * 24 * 3600
    assert embodied_share(1.5e6, year, 4 * year, 0.5) == pytest.approx(1.5e6 / 8)
    assert embodied_share(1.5e6, 0, 4 * year) == 0
    for wrong in ((-1, 1, 2, 1), (1, 3, 2, 1), (1, 1, 2, 1.1), (1, 0, 0, 1), (math.nan, 1, 2, 1)):
        with pytest.raises(ConfigError):
            embodied_share(*wrong)


def test_a_price_is_per_kilowatt_hour():
    told = energy_cost(energy(2 * KWH), 0.30, "EUR", pue=1.2)
    assert told.cost.value == pytest.approx(0.72)
    assert told.cost.low == pytest.approx(0.648)
    assert told.currency == "EUR"
    assert told.statements[:2] == ("Price: 0.3 EUR/kWh, as given.", "PUE: 1.2, as given.")


@given(joules, st.floats(0, 1e3))
def test_cost_is_linear(e, price):
    told = energy_cost(energy(e), price, "€")
    assert told.cost.value == pytest.approx(e / KWH * price, rel=1e-12)
    assert told.cost.low <= told.cost.value <= told.cost.high


@pytest.mark.parametrize("price", [-0.01, math.nan, math.inf, "0.3"])
def test_an_impossible_price_is_refused(price):
    with pytest.raises(ConfigError, match=r"price of electricity.*EUR/kWh"):
        energy_cost(energy(KWH), price, "EUR")


@pytest.mark.parametrize("currency", ["", "  ", "0.30", "a currency", "E\nR", None])
def test_what_is_no_currency_is_refused(currency):
    with pytest.raises(ConfigError, match="is no currency"):
        energy_cost(energy(KWH), 0.3, currency)


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (Emissions, emissions(energy(KWH), pue=1.1)),
        (Emissions, emissions(energy(KWH), carbon_intensity("fr"))),
        (Cost, energy_cost(energy(KWH), 0.3, "CHF")),
        (
            SoftwareCarbonIntensity,
            software_carbon_intensity(energy(KWH), 3, "image", embodied_gco2e=5),
        ),
    ],
)
def test_results_go_to_json_and_back(kind, made):
    text = json.dumps(to_json(made), allow_nan=False)
    assert from_json(kind, json.loads(text), "result") == made


def test_nothing_heavy_is_imported_and_the_table_only_when_asked():
    code = (
        "import sys, greenai_core.carbon, greenai_core.carbon_table as t\n"
        "assert t.shipped_table.cache_info().currsize == 0\n"
        "import greenai_core\n"
        "assert greenai_core.carbon_intensity('fr').alpha_3 == 'FRA'\n"
        "assert t.shipped_table.cache_info().currsize == 1\n"
        "assert not {'numpy', 'requests', 'psutil', 'stevedore', 'click'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
