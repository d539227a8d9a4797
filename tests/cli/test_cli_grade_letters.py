"""What ``greenai grade`` tells: joules, letters, comparisons, carbon and cost.

The simulated machine draws 10 W, and 30 W for half a second from when the script makes
the file ``busy``: 10 J above idle, whatever else happens.
"""

import json
import re

import pytest

from greenai_core import carbon_intensity, read_report, scale_fingerprint
from greenai_core.scales import FACTORS

GRADE = ("grade", "-p", "sim", "-O", "sim.busy_file=busy", "--idle-time", "0.4")
TEN = ("--units", "10", "--unit", "image")
SCRIPT = "import time; open('busy', 'w').close(); time.sleep(0.7)"


@pytest.fixture(autouse=True)
def script(simulated, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(simulated / "state"))
    (simulated / "s.py").write_text(SCRIPT)


def scale(path, reference, n=9, **more):
    """A scale by joules per image."""
    content = {
        "id": "mine/2026.1",
        "unit": "image",
        "scope": "cpu",
        "reference": reference,
        "n": n,
        "sources": ["invented"],
        "thresholds": dict(FACTORS),
        **more,
    }
    content["sha256"] = scale_fingerprint(content)
    path.write_text(json.dumps(content))
    return path.name


def graded(greenai, *args):
    done = greenai(*GRADE, "--out", "g.json", *args, "s.py")
    assert done.code == 0, done.err
    (result,) = read_report("g.json").results
    return done, result


def test_net_energy_of_total_and_channel(greenai):
    done, result = graded(greenai)
    assert result.net_energy_j.value == pytest.approx(10, abs=0.3)
    assert result.net_energy_j.low < 10 < result.net_energy_j.high
    (channel,) = result.net_channels
    assert channel.id == "cpu:0/package"
    assert channel.net_energy_j.value == pytest.approx(result.net_energy_j.value, abs=1e-9)
    assert channel.net_energy_j.low == pytest.approx(result.net_energy_j.low, abs=1e-9)
    assert [window.name for window in result.idle] == ["idle before the run", "idle after the run"]
    assert "    above idle: " in done.err


def test_without_units_there_is_no_letter_and_that_is_told(greenai):
    done, result = graded(greenai)
    assert result.grade.letter is None
    assert "ungraded" in done.err
    assert "no functional unit" in done.err
    assert "no reference" in done.err


def test_a_letter_with_reasons_and_what_the_next_one_takes(greenai, simulated):
    """10 J for 10 images is 1 J each; with a reference of 0.8 J that is D."""
    name = scale(simulated / "mine.json", 0.8)
    done, result = graded(greenai, *TEN, "--scale", name)
    grade = result.grade
    assert (grade.letter, grade.best_letter, grade.scale) == ("D", "D", "mine/2026.1")
    assert grade.per_unit_j.value == pytest.approx(1, abs=0.03)
    assert "grade D, measured, on mine/2026.1: " in done.err
    assert re.search(r"C needs ≤ 0\.8 J/image \(−\d\d %", done.err)
    assert "one image above idle: 1.0" in done.err or "one image above idle: 0.9" in done.err


def test_an_interval_across_a_boundary_shows_both_letters_and_gives_the_worse(greenai, simulated):
    name = scale(simulated / "mine.json", 1.0)
    done, result = graded(greenai, *TEN, "-O", "sim.gain=0.2", "--scale", name)
    assert (result.grade.letter, result.grade.best_letter) == ("D", "C")
    assert "grade D (C–D)" in done.err


def test_pue_counts_for_grade_carbon_and_cost(greenai, simulated):
    name = scale(simulated / "mine.json", 1.2)
    options = (*TEN, "--scale", name, "--price", "0.3 EUR", "--country", "FR")
    _, result = graded(greenai, *options, "--pue", "1.5")
    assert result.grade.letter == "D"
    assert result.grade.per_unit_j.value == pytest.approx(1.5, abs=0.05)
    made, gross = result.footprint, result.gross.energy_j
    france = carbon_intensity("FR").gco2e_per_kwh
    assert made.emissions_gco2e.value == pytest.approx(gross * 1.5 * france / 3.6e6)
    assert made.sci_gco2e_per_unit.value == pytest.approx(made.emissions_gco2e.value / 10)
    assert made.cost.value == pytest.approx(gross * 1.5 * 0.3 / 3.6e6)
    assert (made.currency, made.pue, made.pue_assumed) == ("EUR", 1.5, False)


def test_a_run_that_no_scale_fits_is_told_which_there_are(greenai):
    """The shipped scale is of modelled CPU and memory; this sensor measures a CPU."""
    done, result = graded(greenai, *TEN, "--task", "image-classification")
    assert result.grade.letter is None
    text = " ".join(done.err.split())
    assert "the energy is of cpu, measured; scales for image-classification: task/image" in text


def test_modelled_energy_is_tier_estimated(greenai, simulated):
    name = scale(simulated / "mine.json", 0.8, tier="estimated")
    done = greenai(
        "grade", "-p", "sim-model", "-O", "sim-model.busy_file=busy", "--idle-time", "0.4",
        *TEN, "--scale", name, "--out", "g.json", "s.py",
    )  # fmt: skip
    (result,) = read_report("g.json").results
    assert result.grade.tier == "estimated"
    assert "estimated" in done.err
    assert "No sensor is in use" in done.err


def test_the_world_average_is_said_to_be_assumed(greenai):
    done, result = graded(greenai)
    assert (result.footprint.region, result.footprint.region_assumed) == ("World", True)
    text = " ".join(done.err.split())
    assert "average of the world, assumed: no country was named" in text
    assert done.err.index(" J (") < done.err.index("carbon of ")
    assert result.footprint.cost is None
    assert "cost of" not in done.err


def test_a_carbon_intensity_of_ones_own(greenai):
    _, result = graded(greenai, "--carbon-intensity", "36")
    made = result.footprint
    assert (made.region, made.region_assumed) == ("given", False)
    assert made.emissions_gco2e.value == pytest.approx(result.gross.energy_j * 1e-5)


# Baselines


def test_a_baseline_is_kept_and_compared_with(greenai, simulated):
    done, _ = graded(greenai, *TEN, "--baseline", "save")
    assert "baseline 's.py' kept" in done.err
    (simulated / "busy").unlink()
    done, result = graded(greenai, *TEN, "--baseline", "compare")
    change = result.against_baseline.change
    assert change.value == pytest.approx(0, abs=0.1)
    assert change.low <= 0 <= change.high
    assert result.against_baseline.letter is None
    assert "against your baseline" in done.err


def test_a_run_is_a_unit_of_its_own_for_a_baseline_with_a_name(greenai, simulated):
    graded(greenai, "--baseline", "save=before")
    (simulated / "busy").unlink()
    _, result = graded(greenai, "--grader", "self", "--baseline", "compare=before")
    assert result.grade.grader == "self"
    assert result.grade.unit == "run"
    assert result.grade.change.value == pytest.approx(0, abs=0.1)
    assert result.units is None


def test_twice_the_energy_is_a_hundred_per_cent_more(greenai, simulated):
    graded(greenai, "--units", "20", "--unit", "image", "--baseline", "save=b")
    (simulated / "busy").unlink()
    done, result = graded(greenai, *TEN, "--baseline", "compare=b")
    assert result.against_baseline.change.value == pytest.approx(1, abs=0.15)
    assert re.search(r"\+(9|10)\d\.\d %", done.err)


def test_what_cannot_be_a_baseline_is_told_and_changes_no_exit_code(greenai, simulated):
    (simulated / "s.py").write_text("import sys, time; time.sleep(0.4); sys.exit(3)")
    done = greenai(*GRADE, "--baseline", "save", "s.py")
    assert done.code == 3
    assert "no baseline was kept" in " ".join(done.err.split())


def test_a_state_folder_that_takes_nothing_changes_no_exit_code(greenai, simulated):
    (simulated / "state").write_text("a file")
    done = greenai(*GRADE, "--baseline", "save", "s.py")
    assert done.code == 0
    assert "no baseline was kept" in " ".join(done.err.split())


# Pictures


def test_a_label_shows_the_letter_and_not_the_arguments(greenai, simulated):
    name = scale(simulated / "mine.json", 0.8)
    done = greenai(
        *GRADE, *TEN, "--scale", name, "--label", "l.svg", "--badge", "b.svg", "s.py", "--secret"
    )
    assert done.code == 0, done.err
    label = (simulated / "l.svg").read_text()
    assert "Energy label: D" in label
    assert "not an official EU label" in label
    assert "secret" not in label
    assert "D" in (simulated / "b.svg").read_text()
    assert "label written to l.svg" in done.err


def test_a_label_that_cannot_be_written_in_the_end_changes_no_exit_code(greenai, simulated):
    (simulated / "s.py").write_text(SCRIPT + "; import os, sys; os.mkdir('l.svg'); sys.exit(3)")
    done = greenai(*GRADE, "--label", "l.svg", "s.py")
    assert done.code == 3
    assert "l.svg" in done.errors[0]


# Report


def test_json_holds_all_of_it(greenai, simulated):
    name = scale(simulated / "mine.json", 0.8)
    done = greenai(*GRADE, *TEN, "--scale", name, "--price", "1CHF", "--json", "s.py")
    report = done.json
    (result,) = report["results"]
    assert result["grade"]["letter"] == "D"
    assert result["footprint"]["currency"] == "CHF"
    assert [c["id"] for c in result["net_channels"]] == ["cpu:0/package"]
    assert report["settings"]["scale"] == "mine.json"
    assert "grade D" not in done.err


def test_figures_fit_eighty_columns(greenai, simulated):
    name = scale(simulated / "mine.json", 0.8)
    done, _ = graded(greenai, *TEN, "--scale", name, "--price", "1CHF", "--pue", "1.2")
    assert max(map(len, done.err.splitlines())) <= 80


def test_a_grader_that_crashes_costs_no_measurement(greenai, simulated, monkeypatch):
    import greenai_simulated_reports

    def crash(self, measured):
        raise RuntimeError("boom")

    monkeypatch.setattr(greenai_simulated_reports.SimGrader, "grade", crash)
    done, result = graded(greenai, "--grader", "sim")
    assert result.grade is None
    assert result.net_energy_j.value == pytest.approx(10, abs=0.3)
    assert "boom" in done.errors[0]


def test_the_diagnosis_tells_how_much_of_the_power_range_was_used(greenai):
    """10 W idle; 30 W for 0.5 s of 0.7 s or more; 40 W at most."""
    done, result = graded(greenai, "--tdp", "40")
    above_w = 10 / result.gross.duration_s
    assert result.diagnosis.utilisation.value == pytest.approx(above_w / 30, rel=0.05)
    assert result.diagnosis.channels == ("cpu:0/package",)
    text = " ".join(done.err.split())
    assert "util/1, a diagnosis, no grade: " in text
    assert "full power 40.0 W: processors as given" in text
    assert result.grade.letter is None


def test_more_than_full_power_is_told(greenai):
    done, result = graded(greenai, "--tdp", "12")
    assert result.diagnosis.utilisation.value > 1
    assert "more than full power" in done.err


def test_full_power_below_idle_is_a_warning(greenai):
    _, result = graded(greenai, "--tdp", "9")
    assert result.diagnosis is None
    assert any("no diagnosis" in warning for warning in result.warnings)


def test_modelled_power_has_no_diagnosis(greenai):
    """It is made of the utilisation, and of a full power of the model's own."""
    done = greenai(
        "grade", "-p", "sim-model", "--tdp", "40", "--idle-time", "0.3", "--out", "g.json", "s.py"
    )
    (result,) = read_report("g.json").results
    assert result.diagnosis is None
    assert "util/1" not in done.err


def test_units_past_all_reason_cost_no_joules(greenai, monkeypatch):
    """Whatever carbon makes of the numbers, what was measured is told and kept."""
    from greenai_core.cli import footprints
    from greenai_core.errors import ReadingError

    def fails(*args, **more):
        raise ReadingError("carbon per unit is not a finite number")

    monkeypatch.setattr(footprints, "software_carbon_intensity", fails)
    _, result = graded(greenai, *TEN)
    assert result.gross.energy_j > 0
    assert result.footprint is None
    assert any("no carbon" in warning for warning in result.warnings)


def test_carbon_takes_few_lines(greenai):
    """Joules first; what has to be said of grams is one paragraph."""
    done, _ = graded(greenai, *TEN, "--price", "0.3EUR")
    lines = done.err.splitlines()
    after = lines[next(i for i, line in enumerate(lines) if "cost of the run" in line) + 1 :]
    assert 1 <= len(after) <= 5
    text = " ".join(" ".join(after).split())
    for said in ("average of the world, assumed", "PUE: 1", "joules alone", "M was not given"):
        assert said in text
