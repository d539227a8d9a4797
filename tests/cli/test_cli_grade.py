"""``greenai grade``."""

import json
import signal
import time

import pytest

from greenai_core import read_report
from greenai_core.cli import exit_codes

GRADE = ("grade", "-p", "sim", "--idle-time", "0.2", "--grader", "sim")
SCRIPT = """
import sys, time
time.sleep(0.2)
print(sys.argv[1:], __name__, __file__)
sys.exit(3)
"""


@pytest.fixture
def script(simulated):
    (simulated / "s.py").write_text(SCRIPT)
    return "s.py"


def test_the_script_runs_untouched_with_its_own_arguments_and_exit_code(greenai, script):
    done = greenai(*GRADE, script, "--units", "3", "--json", "--", "-x")
    assert done.code == 3
    assert done.out == "['--units', '3', '--json', '--', '-x'] __main__ s.py\n".replace(
        "s.py", done.out.split()[-1]
    )
    assert "ungraded: no functional unit" in done.err


def test_the_report_has_gross_net_idle_and_utilisation(greenai, script, simulated):
    done = greenai(*GRADE, "--out", "g.json", script)
    report = read_report(simulated / "g.json")
    assert report.kind == "grade"
    (result,) = report.results
    assert done.code == result.exit_code == 3
    assert result.command == ("s.py",)
    assert result.gross.energy_j == pytest.approx(result.gross.duration_s * 10, rel=0.05)
    assert result.idle_power_w.value == pytest.approx(10, rel=0.02)
    # The simulated machine draws the same all the time, so nothing is left above idle.
    net = result.net_energy_j
    assert net.low <= 0 <= net.high
    assert abs(net.value) < 0.1 * result.gross.energy_j
    assert result.idle_share == pytest.approx(1, rel=0.1)
    assert result.utilisation_percent == 42.0
    assert result.grade.letter is None


def test_utilisation_is_known_without_a_profiler_that_tells_it(greenai, simulated, monkeypatch):
    import greenai_simulated_sensors

    monkeypatch.setattr(greenai_simulated_sensors.SimProfiler, "observe", lambda self: [])
    (simulated / "busy.py").write_text(
        "import time; until = time.perf_counter() + 0.5\nwhile time.perf_counter() < until: pass"
    )
    (result,) = greenai(*GRADE, "--json", "busy.py").json["results"]
    assert 0 < result["utilisation_percent"] <= 100


def test_json_comes_after_what_the_script_prints(greenai, simulated):
    (simulated / "quiet.py").write_text("")
    done = greenai(*GRADE, "--json", "quiet.py")
    assert done.code == 0
    assert done.json["results"][0]["grade"]["reasons"] == ["no functional unit"]


def test_units_and_a_scale_give_a_letter_with_reasons_and_the_next_step(greenai, script, simulated):
    (simulated / "scale.json").write_text("good")
    done = greenai(*GRADE, "--units", "10", "--unit", "image", "--scale", "scale.json", script)
    assert "grade C (B–C)" in done.err
    assert "as simulated" in done.err
    assert "B needs less" in done.err


def test_less_than_idle_is_below_the_noise_floor(greenai, simulated):
    """The simulated machine draws less while the script runs than before and after."""
    (simulated / "s.py").write_text("import time; open('calm', 'w'); time.sleep(0.5)")
    done = greenai(*GRADE, "-O", "sim.calm_file=calm", "s.py")
    assert "below the noise floor" in done.err
    assert "above idle: -" in done.err


def test_without_idle_nothing_is_known_above_it(greenai, script):
    began = time.monotonic()
    done = greenai("grade", "-p", "sim", "--idle-time", "0", "--grader", "sim", "--json", script)
    assert time.monotonic() - began < 5
    assert done.code == 3
    result = json.loads(done.out[done.out.index("\n{") :])["results"][0]
    assert result["net_energy_j"] is None
    assert result["idle_share"] is None


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("nothing.py",), 127, "nothing.py"),
        (("--scale", "nothing.json", "s.py"), 125, "nothing.json"),
        (("--scale", "bad.json", "s.py"), 125, "bad.json: "),
        (("--grader", "nosuch", "s.py"), 125, "nosuch"),
        (("--idle-time", "soon", "s.py"), 125, "--idle-time"),
        (("--bogus", "s.py"), 125, "--bogus"),
        ((), 125, "SCRIPT"),
    ],
)
def test_our_own_failures_come_before_the_script(greenai, script, simulated, args, code, said):
    (simulated / "bad.json").write_text("bad")
    done = greenai(*GRADE, *args)
    assert done.code == code
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert not done.out


def test_a_failing_sensor_does_not_change_the_exit_code(greenai, simulated):
    (simulated / "s.py").write_text("open('gone', 'w'); raise SystemExit(9)")
    done = greenai(*GRADE, "-O", "sim.lost_file=gone", "--json", "s.py")
    assert done.code == 9
    (result,) = done.json["results"]
    assert result["gross"]["energy_j"] is None
    assert result["net_energy_j"] is None
    assert any("nothing is known above idle" in text for text in result["warnings"])


def test_ctrl_c_while_idle_after_the_script_keeps_its_result(spawn, simulated):
    (simulated / "s.py").write_text("")
    process = spawn(
        "grade", "-p", "sim", "--idle-time", "1", "--grader", "sim", "--out", "g.json", "s.py"
    )
    assert "idle for 1 s before" in process.stderr.readline()
    assert "idle for 1 s after" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    (result,) = read_report(simulated / "g.json").results
    assert result.gross.energy_j > 0
    assert result.net_energy_j is None
    assert "interrupted" in result.warnings[0]


def test_sigterm_before_the_script_runs_nothing(spawn, simulated):
    (simulated / "s.py").write_text("open('ran', 'w')")
    process = spawn("grade", "-p", "sim", "--idle-time", "30", "--grader", "sim", "s.py")
    assert "idle for 30 s before" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == exit_codes.SIGNAL + signal.SIGTERM
    assert not (simulated / "ran").exists()
