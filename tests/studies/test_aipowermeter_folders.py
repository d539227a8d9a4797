"""Folders that AIPowerMeter wrote, of every shape that its files had, whole and damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from greenai_core import AIPowerMeterOptions, SchemaError, read_aipowermeter, summarise
from greenai_plugins.compat import parsers

FOLDERS = Path(__file__).parents[1] / "data" / "aipowermeter"


@pytest.fixture
def copy(tmp_path):
    """A copy of one folder, to be damaged."""

    def made(version):
        shutil.copytree(FOLDERS / version, tmp_path / version)
        return tmp_path / version

    return made


def value(row, name):
    metric = row.metric(name)
    return None if metric is None else metric.value


def test_the_keys_of_2021():
    study = summarise(FOLDERS / "2021")
    assert study.source == "AIPowerMeter"
    assert [(row.model, row.size, row.runs) for row in study.rows] == [
        ("bert", 50, 2),
        ("bert", 100, 2),
    ]
    row = study.rows[0]
    assert row.contains == ("cpu/package", "cpu/dram", "gpu:0")
    assert value(row, "latency_s") == pytest.approx(0.02)
    # Runs drew 20 and 21 W; the total is packages, memory and the board that was used.
    assert value(row, "energy_package_j") == pytest.approx(20.5 * 0.02)
    assert value(row, "energy_total_j") == pytest.approx((20.5 + 2 + 140) * 0.02)
    assert value(row, "energy_gpu1_j") == pytest.approx(20 * 0.02), "told, but in no total"
    assert value(row, "sm_percent") == 85.0
    assert value(row, "gpu_memory_b") == 2097152000
    assert value(row, "process_memory_b") == 1500000
    assert row.metric("energy_attributed_gpu_j").method == "modelled"
    assert row.metric("energy_total_j").method == "sampled"


def test_minus_one_watt_is_unknown_and_not_a_power():
    row = summarise(FOLDERS / "2021").rows[0]
    assert row.metric("energy_psys_j") is None


def test_the_keys_of_2022_to_2025():
    (row,) = summarise(FOLDERS / "2023").rows
    assert row.contains == ("cpu/package", "cpu/dram", "gpu:1")
    assert value(row, "energy_total_j") == pytest.approx((66.5 + 11 + 69) * 0.01)
    assert value(row, "sm_percent") == pytest.approx(8.0)
    assert value(row, "gpu_memory_b") == 1821376512, "what one process does not tell is no zero"
    assert any("lowest power cap" in warning for warning in row.warnings)


def test_the_time_between_segments_is_not_integrated():
    """6 samples of 2.2 s in two segments: 4 steps, and not the hour between them."""
    cell = next(iter(read_aipowermeter(FOLDERS / "2023")))
    figure = cell.energy_per_inference_j
    by_areas = (66 + 11 + 69) * 4 * 2.2 / 880
    assert figure.low <= by_areas <= figure.high < 2 * by_areas


def test_a_wattmeter_stands_beside_the_total():
    study = summarise(FOLDERS / "2023")
    assert value(study.rows[0], "energy_wall_j") == pytest.approx(250 * 0.01)
    assert "wall" not in " ".join(study.rows[0].contains)


def test_the_model_card_is_read():
    (model,) = summarise(FOLDERS / "2023").models
    assert model.parameters.total == 61100840
    assert model.macs == 714691904


def test_the_keys_of_2026():
    (row,) = summarise(FOLDERS / "2026").rows
    assert (row.size, row.batch_size) == (64, 8)
    assert row.contains == ("cpu/package", "cpu/dram", "gpu:0", "gpu:1")
    assert value(row, "energy_total_j") == pytest.approx(355 * 0.05)
    assert value(row, "energy_per_sample_j") == pytest.approx(355 * 0.05 / 8)
    assert value(row, "energy_psys_j") == pytest.approx(90 * 0.05)
    assert value(row, "sm_percent") == 50.0
    assert any("which board" in warning for warning in row.warnings)


def test_the_total_interval_holds_the_gain_of_the_sensors():
    metric = summarise(FOLDERS / "2026").rows[0].metric("energy_gpu0_j")
    assert metric.high / metric.value == pytest.approx(1 + 1.96 * 0.056, rel=0.01)
    assert metric.repeat_high == pytest.approx(metric.value), "constant power does not scatter"


def test_a_line_cut_in_the_middle_costs_that_line_only(copy):
    file = copy("2026") / "batch_8/input_64/run_0/power_metrics.json"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:4]) + lines[4][:200])
    (row,) = summarise(file.parents[3]).rows
    assert value(row, "energy_total_j") == pytest.approx(355 * 0.05)
    assert any("ends in the middle of a line" in warning for warning in row.warnings)


def test_a_damaged_line_inside_is_left_out_and_named(copy):
    file = copy("2026") / "batch_8/input_64/run_0/power_metrics.json"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[1] = b"\x00" * 60 + b"\n"
    file.write_bytes(b"".join(lines))
    (row,) = summarise(file.parents[3]).rows
    assert any("damaged lines left out (2)" in warning for warning in row.warnings)


def test_every_cut_of_a_recording_is_read_or_told(copy):
    """A crash may stop the writing after any byte."""
    folder = copy("2026")
    file = folder / "batch_8/input_64/run_0/power_metrics.json"
    content = file.read_bytes()
    for end in range(0, len(content), 97):
        file.write_bytes(content[:end])
        (row,) = summarise(folder).rows
        if row.failures:
            assert end < 900
            assert "no sample tells any power" in row.failures[0].reason
        else:
            assert value(row, "energy_package_j") == pytest.approx(50 * 0.05)


def test_a_cut_latency_is_no_latency(copy):
    folder = copy("2026")
    file = folder / "batch_8/input_64/run_0/latency.csv"
    file.write_text("0.05\n0.05\n0.0")
    (row,) = summarise(folder).rows
    assert value(row, "latency_s") == 0.05
    assert any("latency.csv ends in the middle" in warning for warning in row.warnings)


def test_without_latencies_the_number_of_inferences_is_asked_for(copy):
    folder = copy("2026")
    (folder / "batch_8/input_64/run_0/latency.csv").unlink()
    (row,) = summarise(folder).rows
    assert row.metric("energy_total_j") is None
    assert value(row, "power_w") == pytest.approx(355)
    assert any("--inferences" in warning for warning in row.warnings)
    (row,) = summarise(folder, AIPowerMeterOptions({64: 100})).rows
    assert value(row, "energy_total_j") == pytest.approx(355 * 4 * 2.3 / 100)


def test_a_pause_without_a_mark_is_not_integrated(copy):
    folder = copy("2026")
    (folder / "batch_8/input_64/run_0/latency.csv").unlink()
    file = folder / "batch_8/input_64/run_0/power_metrics.json"
    lines = file.read_text().splitlines()
    later = json.loads(lines[4])
    later["date"] = later["date"].replace(" 10:", " 12:")
    file.write_text("\n".join([*lines[:4], json.dumps(later), ""]))
    (row,) = summarise(folder, AIPowerMeterOptions({}, 100)).rows
    assert value(row, "energy_total_j") == pytest.approx(355 * 3 * 2.3 / 100)
    assert any("pauses" in warning for warning in row.warnings)


def test_an_hour_that_the_clock_is_set_back_takes_no_energy_away(copy):
    """Dates are local times without a zone: in October an hour comes twice."""
    folder = copy("2026")
    file = folder / "batch_8/input_64/run_0/power_metrics.json"
    lines = file.read_text().splitlines()
    for n in (3, 4):
        lines[n] = lines[n].replace(" 10:", " 09:", 1)
    file.write_text("\n".join([*lines, ""]))
    (row,) = summarise(folder).rows
    assert value(row, "energy_total_j") == pytest.approx(355 * 0.05)


def test_several_plugs_are_not_added_up_unasked(copy):
    folder = copy("2023")
    for run in (0, 1):
        file = folder / f"input_224/run_{run}/omegawatt.csv"
        file.write_text(file.read_text().replace(",0.1\n", ",40.0\n"))
    (row,) = summarise(folder).rows
    assert row.metric("energy_wall_j") is None
    assert value(row, "energy_wall_plug2_j") == pytest.approx(40 * 0.01)
    assert any("--plugs" in warning for warning in row.warnings)
    (row,) = summarise(folder, AIPowerMeterOptions(plugs=(1,))).rows
    assert value(row, "energy_wall_j") == pytest.approx(250 * 0.01)


def test_a_folder_without_a_study_says_what_was_looked_for(tmp_path):
    with pytest.raises(SchemaError, match=r"cells\.jsonl.*power_metrics\.json"):
        summarise(tmp_path)


def test_what_greenai_modelled_is_not_taken_for_measured(tmp_path):
    """A study of greenai that lost its journal; its own keys of modelled power are not read."""
    folder = tmp_path / "input_8" / "run_0"
    folder.mkdir(parents=True)
    line = {"date": "2026-11-23 00:11:49.302315", "metrics": {"cpu": {"modelled_cpu_power": 6.9}}}
    (folder / "power_metrics.json").write_text(json.dumps(line) + "\n")
    (folder / "report.json").write_text("{}")
    (row,) = summarise(tmp_path).rows
    assert row.metrics == ()
    assert "cells.jsonl is missing" in row.failures[0].reason


def recorded_by_us(folder):
    """What the Experiment of greenai's ``compat`` leaves: each sample tells its seconds."""
    driver = parsers.JsonParser(folder)
    for _ in range(4):
        driver.save_power_metrics({"cpu": {"intel_power": 10.0}}, 0.5)
    driver.close_driver()
    (folder / "latency.csv").write_text("0.1\n" * 20)


def test_who_wrote_a_folder_is_told_as_it_is(tmp_path):
    """The files are alike; the one that has no greenai in it is not greenai's, and vice versa."""
    recorded_by_us(tmp_path / "net" / "input_8" / "run_0")
    study = summarise(tmp_path)
    assert study.source == "greenai"
    assert [row.size for row in study.rows] == [8]
    assert not any("AIPowerMeter" in text for text in study.warnings)
    shutil.copytree(FOLDERS / "2021", tmp_path / "other")
    assert summarise(tmp_path).source == "AIPowerMeter and greenai"
