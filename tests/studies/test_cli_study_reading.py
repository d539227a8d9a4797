"""``greenai study summary``, ``fit`` and ``compare`` as people run them."""

from __future__ import annotations

import csv
import io
import json
import random
import sys
from pathlib import Path

import pytest

from greenai_core.cli.main import main
from greenai_core.study_cells import (
    DONE,
    FAILED,
    CellChannel,
    CellFigure,
    CellKey,
    CellRecord,
    cell_to_json,
)

AIPOWERMETER = Path(__file__).parents[1] / "data" / "aipowermeter"
SIZES = tuple(112 * k for k in range(1, 13))


@pytest.fixture
def study(tmp_path):
    """Makes a folder that `greenai study` might have written."""

    def made(name, factor=1.0, method="counter", runs=3, sizes=SIZES):
        folder = tmp_path / name
        folder.mkdir()
        chance = random.Random(name)
        cells = [
            done(CellKey("alexnet", size, 1, run), factor * chance.gauss(1, 0.005), method)
            for run in range(runs)
            for size in sizes
        ]
        lost = CellRecord(CellKey("alexnet", 2240, 1, 0), FAILED, "out of memory", "", "", "")
        lines = [json.dumps(cell_to_json(cell)) for cell in [*cells, lost]]
        (folder / "cells.jsonl").write_text("\n".join([*lines, ""]))
        return str(folder)

    return made


def done(key, factor, method):
    joules = factor * (0.3 + 6e-4 * max(key.size - 672, 0))
    energy = figure(joules, method)
    channel = CellChannel("cpu:0/package", "cpu", True, energy)
    return CellRecord(
        key,
        DONE,
        "",
        "",
        "",
        "",
        energy_per_inference_j=energy,
        energy_per_sample_j=energy,
        latency_s=figure(0.001 * key.size, "clock"),
        contains=(channel.id,),
        channels=(channel, CellChannel("wall:m", "wall", False, figure(2 * joules, "sampled"))),
    )


def figure(value, method):
    return CellFigure(value, 0.9 * value, 1.1 * value, 0.99 * value, 1.01 * value, method)


def run(capsys, *arguments, code=0):
    assert main(["study", *arguments]) == code
    return capsys.readouterr()


def test_the_table_fits_80_columns(study, capsys):
    out = run(capsys, "summary", study("results")).out
    assert "failed: alexnet, size 2240, batch 1, run 0: out of memory" in out
    assert max(map(len, out.splitlines())) <= 80
    assert " 112" in out
    assert "±" in out


def test_modelled_joules_are_called_so_in_the_table(study, capsys):
    assert "modelled" in run(capsys, "summary", study("results", method="modelled")).out
    assert "modelled" not in run(capsys, "summary", study("measured")).out


def test_csv_has_a_row_a_size_and_nothing_for_what_is_unknown(study, capsys):
    text = run(capsys, "summary", study("results"), "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["size"]) for row in rows] == [*SIZES, 2240]
    assert float(rows[0]["energy_total_j_low"]) < float(rows[0]["energy_total_j"])
    assert rows[-1]["energy_total_j"] == ""
    assert rows[-1]["failed"] == "1"
    assert "energy_dram_j" not in rows[0]


def test_json_says_its_version_and_holds_everything(study, capsys):
    data = json.loads(run(capsys, "summary", study("results"), "--json").out)
    assert data["schema_version"] == 1
    (one,) = data["studies"]
    assert one["rows"][0]["metrics"][0]["name"] == "energy_total_j"


def test_parquet_holds_what_the_csv_holds(study, capsys, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "out.parquet"
    run(capsys, "summary", study("results"), "--format", "parquet", "-o", str(file))
    rows = parquet.read_table(file).to_pylist()
    assert [row["size"] for row in rows] == [*SIZES, 2240]
    assert rows[-1]["energy_total_j"] is None


def test_parquet_without_pyarrow_says_what_to_install(study, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = run(capsys, "summary", study("results"), "--format", "parquet", code=3)
    assert "pyarrow" in said.err
    assert "--format csv" in said.err


def test_several_folders_are_an_overview(study, capsys):
    said = run(capsys, "summary", study("yolo"), study("vit"), str(AIPOWERMETER / "2023"))
    for row in ("joules of one sample", "batch size", "% GPU SM used", "GPU memory used"):
        assert row in said.out
    assert "8 %" in said.out
    assert "1.82 GB" in said.out


def test_the_columns_of_the_old_script(capsys):
    text = run(capsys, "summary", str(AIPOWERMETER / "2021"), "--format", "concat").out
    header, *rows = csv.reader(io.StringIO(text))
    assert header == [
        "",
        "intel_power",
        "total_cpu_power",
        "mem_use_abs",
        "nvidia_draw_absolute",
        "nvidia_estimated_attributable_power_draw",
        "per_gpu_attributable_mem_use",
        "sm",
        "latency",
    ]
    assert [row[0] for row in rows] == ["50", "100"]
    assert float(rows[0][4]) == pytest.approx(160 * 0.02)


def test_inferences_can_be_told(capsys, tmp_path):
    folder = tmp_path / "input_64" / "run_0"
    folder.mkdir(parents=True)
    source = AIPOWERMETER / "2026/batch_8/input_64/run_0/power_metrics.json"
    (folder / "power_metrics.json").write_bytes(source.read_bytes())
    said = run(capsys, "summary", str(tmp_path), "--json", "--inferences", "64=100")
    metrics = json.loads(said.out)["studies"][0]["rows"][0]["metrics"]
    assert metrics[0]["value"] == pytest.approx(355 * 9.2 / 100)
    assert "SIZE=N" in run(capsys, "summary", str(tmp_path), "--inferences", "x", code=2).err


def test_the_fit_is_a_sentence(study, capsys):
    said = run(capsys, "fit", study("results", runs=6))
    assert "Constant up to 6" in said.out
    assert "then linear" in said.out
    assert "Spearman" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_too_few_sizes_refuse_a_curve_and_still_correlate(study, capsys):
    said = run(capsys, "fit", study("results", sizes=SIZES[:4]))
    assert "measure 5 or more" in " ".join(said.out.split())
    assert "Pearson" in said.out


def test_the_fit_for_machines(study, capsys):
    data = json.loads(run(capsys, "fit", study("results"), "--json").out)
    (one,) = data["fits"]
    assert one["fit"]["breaks"][0]["kind"] == "bend"
    assert {matrix["kind"] for matrix in one["correlations"]} == {"pearson", "spearman"}


def test_two_studies_on_one_machine(study, capsys):
    pair = study("before"), study("after", 0.8)
    said = run(capsys, "compare", *pair, "--same-machine")
    assert said.out.count("better") >= len(SIZES)
    assert "20 % less" in said.out
    back = run(capsys, "compare", *reversed(pair), "--same-machine", "--fail-if-worse", code=8)
    assert "worse" in back.out


def test_without_reports_two_machines_are_assumed(study, capsys):
    said = run(capsys, "compare", study("a"), study("b", 0.97), "--json")
    found = json.loads(said.out)["comparison"]
    assert found["design"] == "two machines"
    assert {row["ratio"]["verdict"] for row in found["rows"]} == {"undecided"}


def test_a_folder_without_a_study_is_one_line(capsys, tmp_path):
    said = run(capsys, "summary", str(tmp_path), code=7)
    assert said.err.count("\n") == 1
    assert "cells.jsonl" in said.err


def test_modelled_joules_are_not_in_columns_that_stand_for_measured_ones(study, capsys):
    said = run(capsys, "summary", study("results", method="modelled"), "--format", "concat")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert {row["intel_power"] for row in rows} == {""}
    assert float(rows[0]["latency"]) > 0
    assert "modelled joules are left out" in said.err
    measured = run(capsys, "summary", study("measured"), "--format", "concat")
    assert "left out" not in measured.err
    assert float(next(csv.DictReader(io.StringIO(measured.out)))["intel_power"]) > 0


def test_the_overview_tells_which_models_it_has_no_figures_of(study, capsys):
    said = run(capsys, "summary", study("small", sizes=SIZES[:2]), study("large"), "--size", "336")
    assert "No figures at size 336: alexnet (small)." in said.out
    assert "joules of one sample" in said.out
    one = run(capsys, "summary", study("one"), "--size", "224")
    assert "224 size" not in one.out
    assert "joules of one sample" in one.out, "a size asks for the overview"


def test_a_study_against_itself_is_noticed(study, capsys):
    folder = study("results")
    said = run(capsys, "compare", folder, folder)
    assert "is it one study twice?" in said.err
    assert "size 2240, batch 1 has figures in neither" in said.err
    other = run(capsys, "compare", folder, study("other"))
    assert "twice" not in other.err


def test_warnings_that_differ_in_a_number_are_told_once(study, capsys):
    folder = study("results")
    journal = Path(folder) / "cells.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for number, line in enumerate(lines[:-1]):
        line["warnings"] = [f"other processes used {number}.5% of the CPU"]
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    said = run(capsys, "summary", folder)
    assert said.err.count("other processes") == 1
    assert "(36 such warnings, with other numbers)" in said.err


def test_a_recording_without_a_sensor_says_that_modelled_power_does_not_count(capsys, tmp_path):
    """As `greenai_plugins.compat` leaves it on a machine without one."""
    folder = tmp_path / "input_64" / "run_0"
    folder.mkdir(parents=True)
    lines = [
        {"date": f"2026-11-23 01:00:0{k}", "metrics": {"cpu": {"modelled_cpu_power": 7.0}}}
        for k in range(3)
    ]
    (folder / "power_metrics.json").write_text("".join(f"{json.dumps(x)}\n" for x in lines))
    (folder / "latency.csv").write_text("0.1\n0.1\n")
    said = " ".join(run(capsys, "summary", str(tmp_path)).out.split())
    assert "modelled power does not count here" in said


def test_figures_that_are_no_numbers_are_told_with_their_line(study, capsys):
    folder = study("results")
    journal = Path(folder) / "cells.jsonl"
    lines = journal.read_text().splitlines()
    one = json.loads(lines[2])
    one["latency_s"][0] = float("nan")
    lines[2] = json.dumps(one)
    journal.write_text("\n".join([*lines, ""]))
    said = run(capsys, "summary", folder, code=7)
    assert "cells.jsonl:3" in said.err
    assert "no finite number" in said.err


def test_sizes_that_no_curve_can_have_are_told(study, capsys):
    folder = study("results")
    journal = Path(folder) / "cells.jsonl"
    cells = [json.loads(line) for line in journal.read_text().splitlines()]
    for cell in cells:
        if cell["size"] == 224:
            cell["energy_per_inference_j"][:5] = [-0.1, -0.3, 0.1, -0.2, 0.0]
    journal.write_text("".join(f"{json.dumps(cell)}\n" for cell in cells))
    said = run(capsys, "fit", folder, "--json")
    assert json.loads(said.out)["fits"][0]["left_out"] == [224]
    assert "without size 224" in said.err
