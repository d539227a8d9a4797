"""The built-in exporters on reports of every kind."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace

import pytest

from greenai_core import Exporter, SchemaError, read_report, write_report
from greenai_core.registry import load
from greenai_core.results import ChannelInference, Figure, Footprint, Grade, Skipped
from greenai_core.testing.exporter_suite import ExporterConformance
from greenai_core.testing.sample_reports import figure, sample_report
from greenai_plugins.exporters.csv_exporter import CsvExporter
from greenai_plugins.exporters.json_exporter import JsonExporter
from greenai_plugins.exporters.markdown import MarkdownExporter, quantity

NAMES = ("json", "csv", "markdown")


def bench():
    """Two models: one with three channels, one whose GPU was lost and whose name is no UTF-8."""
    (one,) = sample_report("bench").results
    channels = (
        ChannelInference("cpu:0/package", "cpu", "counter", "rapl", True, figure(0.012)),
        ChannelInference("cpu:0/dram", "dram", "counter", "rapl", True, figure(0.003)),
        ChannelInference("wall:desk", "wall", "sampled", "wattmeter", False, figure(0.04)),
    )
    first = replace(
        one,
        model=replace(one.model, batch_size=4),
        energy_per_inference_j=figure(0.015),
        energy_per_sample_j=figure(0.00375),
        latency_s=figure(0.02, "clock"),
        power_w=figure(0.75),
        channels=channels,
    )
    (lost,) = sample_report("bench", known=False).results
    tdp = ChannelInference("cpu:0", "cpu", "modelled", "modelled", True, figure(0.5, "modelled"))
    second = replace(
        lost, model=replace(lost.model, path="b\udcffd.onnx", device="cuda:0"), channels=(tdp,)
    )
    environment = {"cpu": {"model": "Simulated | CPU @ 2 GHz"}}
    return replace(sample_report("bench"), results=(first, second), environment=environment)


def grades():
    """Two commands: graded C, at best B; and one below the noise floor."""
    (one,) = sample_report("grade").results
    grade = Grade("scale", "s/1", "C", "B", False, "measured", ("0.5 J",), "B needs ≤ 0.4 J")
    below = Figure(-2.0, -2.2, -1.8, -2.1, -1.9, "counter", "cpu:0/package")
    none = Grade("scale", None, None, None, False, "measured", ("below the noise floor",), "")
    return replace(
        sample_report("grade"),
        results=(
            replace(one, grade=grade),
            replace(one, net_energy_j=below, grade=none, command=("echo", "`a` |")),
        ),
    )


SAMPLES = {
    "bench": bench(),
    "train": sample_report("train"),
    "measure": sample_report("measure"),
    "measure unknown": sample_report("measure", known=False),
    "grade": grades(),
    "empty": replace(sample_report("bench"), results=()),
    "interrupted": replace(
        sample_report("train"),
        complete=False,
        skipped=(Skipped("nvml", "no NVIDIA driver", "Install the driver"),),
    ),
}
EACH = pytest.mark.parametrize("report", SAMPLES.values(), ids=SAMPLES)


class TestJsonConformance(ExporterConformance):
    def make_exporter(self):
        return JsonExporter()

    def read_energies(self, content):
        keys = ("energy_per_inference_j", "energy_per_step_j")
        energies = []
        for result in json.loads(content)["results"]:
            if "gross" in result:
                energies.append(result["gross"]["energy_j"])
            else:
                (found,) = [result[key] for key in keys if key in result]
                energies.append(found and found["value"])
        return energies


class TestCsvConformance(ExporterConformance):
    def make_exporter(self):
        return CsvExporter()

    def read_energies(self, content):
        rows = csv.DictReader(io.StringIO(content.decode()))
        totals = [row for row in rows if row["row"] == "total" and row["per"] != "sample"]
        return [float(row["energy_j"]) if row["energy_j"] else None for row in totals]


class TestMarkdownConformance(ExporterConformance):
    precision = 1e-3

    def make_exporter(self):
        return MarkdownExporter()

    def read_energies(self, content):
        """From the column of the first table whose head has the word energy."""
        first = content.decode().partition("\n|")[2].partition("\n\n")[0]
        lines = ("|" + first).splitlines()
        cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
        column = next(i for i, cell in enumerate(cells[0]) if "energy" in cell)
        body = cells[2 : 2 + sum(len(row) == len(cells[0]) for row in cells[2:])]
        return [None if "unknown" in row[column] else joules(row[column]) for row in body]


def joules(cell):
    number, unit = cell.split()[:2]
    return float(number) * {"J": 1, "mJ": 1e-3, "µJ": 1e-6, "kJ": 1e3}[unit]


def export(name, report):
    return load("greenai.exporters", name)().export(report)


def table(report):
    return list(csv.DictReader(io.StringIO(export("csv", report).decode())))


@pytest.mark.parametrize("name", NAMES)
@EACH
def test_every_report_becomes_text(name, report):
    exporter = load("greenai.exporters", name)()
    assert isinstance(exporter, Exporter)
    assert exporter.name == name
    assert exporter.suffix.startswith(".")
    assert exporter.export(report).decode("utf-8").endswith("\n")


@EACH
def test_json_is_what_read_report_reads(report, tmp_path):
    path = tmp_path / "report.json"
    path.write_bytes(export("json", report))
    assert read_report(path) == report
    write_report(report, tmp_path / "same.json")
    assert (tmp_path / "same.json").read_bytes() == path.read_bytes()


def test_json_refuses_what_is_no_number():
    report = replace(sample_report("bench"), settings={"precision": math.nan})
    with pytest.raises(SchemaError):
        export("json", report)


def test_csv_has_a_row_for_each_total_and_channel():
    rows = table(SAMPLES["bench"])
    first = [(r["row"], r["per"], r["channel"]) for r in rows if r["result"] == "0"]
    assert first == [
        ("total", "inference", ""),
        ("total", "sample", ""),
        ("channel", "inference", "cpu:0/package"),
        ("channel", "inference", "cpu:0/dram"),
        ("channel", "inference", "wall:desk"),
    ]
    total = rows[0]
    assert float(total["energy_j"]) == 0.015
    assert float(total["low_j"]) < float(total["repeat_low_j"]) < 0.015
    assert float(total["duration_s"]) == 0.02
    assert float(total["power_w"]) == 0.75
    assert total["target_met"] == "true"
    assert [r["in_total"] for r in rows[2:5]] == ["true", "true", "false"]


def test_csv_keeps_all_digits():
    value = 0.1 + 0.2
    report = sample_report("bench")
    result = replace(report.results[0], energy_per_inference_j=figure(value))
    assert float(table(replace(report, results=(result,)))[0]["energy_j"]) == value


def test_csv_leaves_unknown_figures_empty_and_says_why():
    rows = [r for r in table(SAMPLES["bench"]) if r["result"] == "1"]
    assert [r["energy_j"] for r in rows if r["row"] == "total"] == ["", ""]
    assert rows[0]["power_w"] == ""
    missing = rows[-1]
    assert (missing["row"], missing["channel"], missing["energy_j"]) == (
        "missing",
        "cpu:0/package",
        "",
    )
    assert "vanished" in missing["reason"]


def test_csv_has_the_epochs_of_a_training():
    rows = {r["row"]: r for r in table(SAMPLES["train"])}
    epoch, tried, wait = rows["epoch"], rows["validation"], rows["wait"]
    assert (epoch["per"], epoch["epoch"], epoch["complete"]) == ("epoch", "1", "true")
    assert (epoch["count"], epoch["samples"]) == ("30", "30")
    assert (epoch["loss"], epoch["accuracy"]) == ("0.5", "0.75")
    assert (epoch["energy_j"], epoch["low_j"], epoch["repeat_low_j"]) == ("0.5", "0.45", "0.475")
    assert (float(epoch["high_j"]), float(epoch["repeat_high_j"])) == (0.55, 0.525)
    assert (epoch["duration_s"], epoch["wait_s"], epoch["compute_s"]) == ("3.0", "0.3", "2.7")
    assert (tried["loss"], tried["accuracy"], tried["duration_s"]) == ("0.6", "0.7", "2.0")
    assert (tried["energy_j"], tried["wait_s"]) == ("0.5", "")
    assert (wait["energy_j"], wait["wait_s"], wait["low_j"]) == ("0.05", "0.3", "")
    assert wait["reason"] == "mean power × time"


def test_epochs_whose_joules_are_not_known_are_no_zeros():
    report = sample_report("train", known=False)
    rows = {r["row"]: r for r in table(report)}
    assert (rows["epoch"]["energy_j"], rows["wait"]["energy_j"]) == ("", "")
    assert rows["epoch"]["complete"] == "false"
    text = export("markdown", report).decode()
    line = next(line for line in text.splitlines() if "1 (part) |" in line)
    assert "unknown" in line
    assert "50" not in line.partition("unknown")[0].partition("(part)")[2]


def test_markdown_tells_epochs_waiting_and_compute_apart():
    text = export("markdown", SAMPLES["train"]).decode()
    assert "## By epoch" in text
    line = next(line for line in text.splitlines() if "| 1 | 500 mJ" in line)
    assert "(450 to 550)" in line
    assert "475 to 525 mJ" in line
    assert "300 ms | 2.70 s | 0.5 | 75.0%" in line
    assert "about 50.0 mJ" in text
    assert "By epoch" not in export("markdown", SAMPLES["bench"]).decode()


def test_csv_of_a_command():
    gross, net, channel = (r for r in table(SAMPLES["grade"]) if r["result"] == "0")
    assert (gross["row"], gross["energy_j"], gross["power_w"]) == ("total", "0.5", "0.25")
    assert (gross["exit_code"], gross["grade"]) == ("0", "C")
    assert (net["row"], net["energy_j"]) == ("net", "0.3")
    assert (channel["low_j"], channel["repeat_low_j"]) == ("0.45", "0.475")


def test_csv_of_a_command_without_idle_has_no_net_row():
    assert [r["row"] for r in table(SAMPLES["measure unknown"])] == ["total", "missing"]


def test_csv_without_results_is_a_header():
    assert table(SAMPLES["empty"]) == []
    assert export("csv", SAMPLES["empty"]).startswith(b"report_kind,result,name")


@EACH
def test_markdown_tables_have_one_width(report):
    """A pipe in a name must not add a cell."""
    lines = export("markdown", report).decode().splitlines()
    widths = []
    for line in lines:
        if not line.startswith("|"):
            widths.clear()
            continue
        widths.append(line.replace("\\|", "").count("|"))
        assert widths[0] == widths[-1], line


def test_markdown_shows_the_interval_and_the_unit():
    text = export("markdown", SAMPLES["bench"]).decode()
    assert "15.0 mJ (13.5 to 16.5) per inference" in text
    assert "14.25 to 15.75 mJ" in text
    assert "20.0 ms (18.0 to 22.0)" in text
    assert "Simulated \\| CPU" in text


def test_markdown_marks_what_is_modelled_and_what_is_unknown():
    text = export("markdown", SAMPLES["bench"]).decode()
    assert "*(modelled)*" in text
    line = next(line for line in text.splitlines() if "cuda:0" in line)
    assert line.count("unknown") >= 3
    assert " 0 " not in line
    assert "the sensor vanished" in text
    assert "**not met**" in line


def test_markdown_tells_carbon_and_cost_after_the_joules():
    made = Footprint(
        emissions_gco2e=Figure(2e-3, 1e-3, 3e-3, 1e-3, 3e-3, "counter", "x"),
        net_emissions_gco2e=None,
        sci_gco2e_per_unit=Figure(2e-6, 1e-6, 3e-6, 1e-6, 3e-6, "counter", "x"),
        gco2e_per_kwh=473.0,
        region="World",
        region_assumed=True,
        year=2024,
        source="somebody",
        pue=1.0,
        pue_assumed=True,
        cost=Figure(1.5e-6, 1e-6, 2e-6, 1e-6, 2e-6, "counter", "x"),
        currency="EUR",
        price_per_kwh=0.3,
        statements=("No country was named.",),
    )
    (one,) = sample_report("grade").results
    report = replace(sample_report("grade"), results=(replace(one, footprint=made),))
    text = export("markdown", report).decode()
    assert "| 2.0 mg CO₂e (1.0 to 3.0) | – | 2.0 µg CO₂e (1.0 to 3.0) | 0.0000015 EUR |" in text
    assert "473 gCO₂e/kWh (World, assumed), PUE 1" in text
    assert text.index("## By channel") < text.index("## Carbon and cost")
    assert "- No country was named." in text


def test_markdown_of_grades():
    text = export("markdown", SAMPLES["grade"]).decode()
    assert "C (B–C)" in text
    assert "ungraded" in text
    assert "B needs ≤ 0.4 J" in text
    assert "-2.00 J (-2.20 to -1.80)" in text


def test_markdown_says_when_the_run_was_interrupted():
    text = export("markdown", SAMPLES["interrupted"]).decode()
    assert "**Incomplete**" in text
    assert "the profiler nvml was left out: no NVIDIA driver. Install the driver" in text
    assert "Incomplete" not in export("markdown", SAMPLES["bench"]).decode()


def test_markdown_quotes_commands():
    assert "`` echo '`a` \\|' ``" in export("markdown", SAMPLES["grade"]).decode()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((None, None, None, "J"), "unknown"),
        ((0.0, 0.0, 0.0, "J"), "0 J (0 to 0)"),
        ((1234.0, 1200.0, 1268.0, "J"), "1.234 kJ (1.200 to 1.268)"),
        ((2.5e-7, None, None, "J"), "250 nJ"),
        ((1e-15, None, None, "J"), "1.00 fJ"),
        ((999.6, 990.0, 1010.0, "W"), "1000 W (990 to 1010)"),
        ((-0.5, -1.5, 0.5, "J"), "-500 mJ (-1500 to 500)"),
        ((5e12, None, None, "J"), "5.00 TJ"),
    ],
)
def test_quantities(arguments, expected):
    assert quantity(*arguments) == expected
