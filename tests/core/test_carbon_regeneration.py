"""tools/carbon_intensity.py turns each form of Ember's figures into our file."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from greenai_core.carbon_table import FILE, read_table

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "carbon_intensity.py"
SHIPPED = json.loads((ROOT / "greenai_core/data" / FILE).read_text(encoding="utf-8"))

# The columns of Ember's release_generation_yearly_global.csv since July 2026; made-up figures.
WIDE = """\
Area,ISO 3 code,Year,Area type,Electricity source,Is aggregated source,Generation (TWh),\
Emissions intensity (gCO2e/kWh),Continent
France,FRA,2023,Country or economy,Total generation,True,500,56.039
France,FRA,2024,Country or economy,Coal,False,1,950
France,FRA,2024,Country or economy,Total generation,True,530,44.179
France,FRA,2024,Country or economy,Demand,True,450,
Poland,POL,2024,Country or economy,Total generation,True,165,614.98
Kosovo,XKX,2023,Country or economy,Total generation,True,6,958.72
Chad,TCD,2009,Country or economy,Total generation,True,0.3,615
Namibia,NAM,2024,Country or economy,Total generation,True,1,0
EU,,2024,Region,Total generation,True,2700,213.02
World,,2024,Region,Total generation,True,30000,472.9
"""
# Its form until then.
INTENSITY = "Power sector emissions,CO2 intensity,CO2 intensity,gCO2/kWh"
LONG = f"""\
Area,ISO 3 code,Year,Area type,Category,Subcategory,Variable,Unit,Value
France,FRA,2023,Country or economy,{INTENSITY},56.039
France,FRA,2024,Country or economy,{INTENSITY},44.179
France,FRA,2024,Country or economy,Power sector emissions,Total,Total emissions,mtCO2,23
France,FRA,2025,Country or economy,Electricity generation,Fuel,Coal,TWh,1
Poland,POL,2024,Country or economy,{INTENSITY},614.98
Kosovo,XKX,2023,Country or economy,{INTENSITY},958.72
Chad,TCD,2009,Country or economy,{INTENSITY},615
Namibia,NAM,2024,Country or economy,{INTENSITY},0
EU,,2024,Region,{INTENSITY},213.02
World,,2024,Region,{INTENSITY},472.9
"""
# Our World in Data's chart as CSV.
CHART = """\
Entity,Code,Year,Carbon intensity of electricity (gCO2eq/kWh)
France,FRA,2024,44.179
France,FRA,2023,56.039
Poland,POL,2024,614.98
Kosovo,XKX,2023,958.72
Chad,TCD,2009,615
Namibia,NAM,2024,0.0
European Union (27),,2024,213.02
High-income countries,OWID_HIC,2024,300
World,OWID_WRL,2024,472.9
"""


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("carbon_intensity_tool", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make(tool, tmp_path):
    """Runs the script on the text of a CSV; the content of what it wrote."""

    def run(text, *arguments, source="owid-2025", encoding="utf-8", by_hand=""):
        table, out = tmp_path / "in.csv", tmp_path / "out.json"
        table.write_bytes(text.encode(encoding))
        hand = tmp_path / "hand.csv"
        hand.write_text(
            "Entity,Code,Year,Carbon intensity of electricity (gCO2eq/kWh),Source\n" + by_hand
        )
        tool.main(
            [str(table), "--source", source, "--by-hand", str(hand), "--out", str(out), *arguments]
        )
        written = out.read_text(encoding="utf-8")
        read_table(written)
        return json.loads(written)

    return run


@pytest.mark.parametrize("text", [WIDE, LONG, CHART], ids=["wide", "long", "chart"])
def test_each_form_gives_each_countrys_last_figure(make, text):
    made = make(text)
    figures = {row["alpha_3"]: (row["gco2e_per_kwh"], row["year"]) for row in made["countries"]}
    assert figures == {"FRA": (44.18, 2024), "POL": (614.98, 2024), "XKX": (958.72, 2023)}
    assert (made["world"]["gco2e_per_kwh"], made["world"]["year"]) == (472.9, 2024)
    why = {row["alpha_3"]: row["why"] for row in made["without_figure"]}
    assert why["TCD"] == "its last figure is of 2009"
    assert "rounding" in why["NAM"]
    assert why["DEU"] == "the sources have no figure for it"
    described = made["sources"]["owid-2025"]
    assert described["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_byte_order_mark_does_no_harm(make):
    assert make(CHART, encoding="utf-8-sig")["countries"] == make(CHART)["countries"]


def test_the_same_input_gives_the_same_file(make):
    assert make(WIDE) == make(WIDE)


def test_rows_by_hand_fill_in_and_never_overrule(make):
    by_hand = "France,FRA,2025,1,owid-2024\nMonaco,MCO,2024,50,owid-2024\n"
    made = make(CHART, by_hand=by_hand)
    figures = {row["alpha_3"]: (row["gco2e_per_kwh"], row["source"]) for row in made["countries"]}
    assert figures["FRA"] == (44.18, "owid-2025")
    assert figures["MCO"] == (50, "owid-2024")
    assert set(made["sources"]) == {"owid-2024", "owid-2025"}


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (CHART + "France,FRA,2024,45\n", {}, "FRA has two figures for 2024"),
        (CHART + "Atlantis,ATL,2024,45\n", {}, "no country of the codes"),
        (CHART + "Spain,ESP,2024,n/a\n", {}, "could not convert"),
        (CHART.replace("World,OWID_WRL,2024,472.9\n", ""), {}, "no figure for the world"),
        ("a,b\n1,2\n", {}, "not a table of carbon intensities"),
        ("", {}, "not a table of carbon intensities"),
        (CHART.splitlines()[0] + "\n", {}, "no row"),
        (CHART, {"source": "hearsay"}, "describe the source 'hearsay'"),
    ],
)
def test_what_is_wrong_with_the_input_is_told_and_nothing_is_written(
    make, tmp_path, text, options, told
):
    with pytest.raises(SystemExit, match=told):
        make(text, **options)
    assert not (tmp_path / "out.json").exists()


def test_the_shipped_file_is_what_the_script_makes_of_its_own_figures(tool, tmp_path):
    """Nobody edited it by hand: its rows, names and sources come from the files in tools/."""
    table, out = tmp_path / "in.csv", tmp_path / "out.json"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("Entity", "Code", "Year", tool.CHART_VALUES[0]))
        for row in SHIPPED["countries"]:
            if row["source"] == "owid-2025":
                writer.writerow((row["name"], row["alpha_3"], row["year"], row["gco2e_per_kwh"]))
    tool.main([str(table), "--source", "owid-2025", "--out", str(out)])
    made = json.loads(out.read_text(encoding="utf-8"))
    assert made["countries"] == SHIPPED["countries"]
    assert made["world"] == SHIPPED["world"]
    known = {row["alpha_3"] for row in SHIPPED["without_figure"]}
    assert {row["alpha_3"] for row in made["without_figure"]} == known
    for source in ("owid-2024", "ember-review-2025"):
        assert made["sources"][source] == SHIPPED["sources"][source]


def test_it_runs_as_a_command(tmp_path):
    table = tmp_path / "in.csv"
    table.write_text(WIDE)
    out = tmp_path / "out.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, table, "--source", "owid-2025", "--out", out],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "left out: Chad (TCD)" in done.stderr
    assert read_table(out.read_text(encoding="utf-8")).world.gco2e_per_kwh == 472.9
