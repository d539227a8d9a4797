"""The two measuring tools of the thesis: their CSV files, on a simulated server."""

from __future__ import annotations

import csv
import subprocess
import sys
import textwrap

import pytest

from greenai_core import LifecycleError, Recorder
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.testing import NvmlSimulator, PowercapTree, SimulatedBoard
from greenai_core.testing.c_library import compiler
from greenai_plugins.compat.measurement import (
    READING_COLUMNS,
    STRETCH_COLUMNS,
    AsynchronousMeasurementTool,
    EnergyMeasurementTool,
)

CPU_W, DRAM_W, GPU_W = 150.0, 20.0, 250.0


@pytest.fixture
def server(tmp_path):
    """Two sockets and a board, in real time: what a subprocess needs to see them."""
    if compiler() is None:
        pytest.skip("no C compiler: the NVML library cannot be simulated")
    boards = [SimulatedBoard(watts=GPU_W), SimulatedBoard(watts=2 * GPU_W)]
    with (
        PowercapTree.xeon(tmp_path / "powercap", sockets=2) as tree,
        NvmlSimulator(boards) as nvml,
    ):
        ticker = tree.drive(SYSTEM_CLOCK)
        yield tree, nvml.environment()
        ticker.cancel()


def run(script, tree, environment, tmp_path, code=0):
    """Run a script of a user; ``OPTIONS`` leads to the simulated server."""
    text = f"OPTIONS = {{'rapl': {{'root': {str(tree.root)!r}}}}}\n" + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", text],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_stretches_in_kilowatt_hours(server, tmp_path):
    """Every socket counts and memory does not; the board that was asked for is the only one."""
    tree, environment = server
    run(
        """
        import time
        from greenai_plugins.compat.measurement import EnergyMeasurementTool
        tracker = EnergyMeasurementTool(
            out_file='a.csv', gpu_num=1, options=OPTIONS, profilers=['rapl', 'nvml'])
        for seconds in (0.5, 1.0):
            tracker.start()
            time.sleep(seconds)
            tracker.stop()
            assert len(open('a.csv').readlines()) == (1 if seconds == 0.5 else 2)
        """,
        tree,
        environment,
        tmp_path,
    )
    rows = table(tmp_path / "a.csv")
    assert len(rows) == 2
    for row, seconds in zip(rows, (0.5, 1.0), strict=True):
        time_s, cpu, gpu = map(float, row)
        assert time_s == pytest.approx(seconds, rel=0.5)
        assert cpu * 3.6e6 / time_s == pytest.approx(2 * CPU_W, rel=0.15)
        assert gpu * 3.6e6 / time_s == pytest.approx(2 * GPU_W, rel=0.25)


def test_a_stretch_that_an_exception_ends_is_written(server, tmp_path):
    tree, environment = server
    done = run(
        """
        import time
        from greenai_plugins.compat.measurement import EnergyMeasurementTool
        tracker = EnergyMeasurementTool('a.csv', options=OPTIONS, profilers='rapl', header=True)
        tracker.start()
        time.sleep(0.3)
        raise ValueError('of the training')
        """,
        tree,
        environment,
        tmp_path,
        code=1,
    )
    assert "of the training" in done.stderr
    head, row = table(tmp_path / "a.csv")
    assert head == list(STRETCH_COLUMNS)
    assert float(row[0]) >= 0.3
    assert float(row[1]) > 0
    assert row[2] == ""
    assert "GPU energy is not measured here" in done.stderr


def test_without_any_sensor_only_the_time_is_known(tmp_path):
    """The model of CPU time is no measurement: its joules are not written."""
    tracker = EnergyMeasurementTool(tmp_path / "a.csv", profilers=["modelled"])

    def twice():
        for _ in range(2):
            tracker.start()
            tracker.stop()

    with pytest.warns(RuntimeWarning, match="not measured here") as told:
        twice()
    assert len(told) == 2, "one warning for each column, not for each row"
    rows = table(tmp_path / "a.csv")
    assert [row[1:] for row in rows] == [["", ""], ["", ""]]
    assert all(float(row[0]) > 0 for row in rows)
    with pytest.raises(LifecycleError, match="start"):
        tracker.stop()


@pytest.mark.parametrize("ending", ["tracker.stop()", "raise ValueError('of the training')"])
def test_readings_at_an_interval(server, tmp_path, ending):
    tree, environment = server
    run(
        f"""
        import time
        from greenai_plugins.compat.measurement import AsynchronousMeasurementTool
        tracker = AsynchronousMeasurementTool(
            out_file='b.csv', gpu_num=0, options=OPTIONS, header=True,
            profilers=['rapl', 'nvml'])
        tracker.start(0.1)
        time.sleep(1.2)
        {ending}
        """,
        tree,
        environment,
        tmp_path,
        code=int("raise" in ending),
    )
    head, *rows = table(tmp_path / "b.csv")
    assert head == list(READING_COLUMNS)
    assert len(rows) >= 4
    first, last = (dict(zip(head, row, strict=True)) for row in (rows[0], rows[-1]))
    seconds = float(last["elapsed time (s)"]) - float(first["elapsed time (s)"])
    cpu, gpu = (
        3.6e6 * (float(last[name]) - float(first[name]))
        for name in ("CPU energy (kWh)", "GPU energy (kWh)")
    )
    assert cpu / seconds == pytest.approx(2 * CPU_W, rel=0.1)
    assert gpu / seconds == pytest.approx(GPU_W, rel=0.2)
    watts, busy, degrees = (
        [float(row[head.index(name)]) for row in rows if row[head.index(name)]]
        for name in ("GPU power (W)", "GPU utilisation (%)", "GPU temp (°C)")
    )
    assert watts == pytest.approx([GPU_W] * len(watts), rel=0.1)
    assert busy
    assert all(0 <= one <= 100 for one in busy)
    assert degrees
    assert all(one > 0 for one in degrees)


def test_a_column_that_is_not_known_is_empty(tmp_path):
    with PowercapTree.xeon(tmp_path / "powercap", sockets=1) as tree:
        ticker = tree.drive(SYSTEM_CLOCK)
        tracker = AsynchronousMeasurementTool(
            tmp_path / "b.csv", options={"rapl": {"root": str(tree.root)}}, profilers="rapl"
        )
        tracker.start(0.02)
        with pytest.raises(LifecycleError, match="already"):
            tracker.start(0.02)
        SYSTEM_CLOCK.sleep(0.3)
        with pytest.warns(RuntimeWarning, match=r"GPU energy \(kWh\).*GPU power"):
            tracker.stop()
        ticker.cancel()
    rows = table(tmp_path / "b.csv")
    assert rows
    assert {cell for row in rows for cell in row[4:]} == {""}
    assert float(rows[-1][1]) > 0
    assert tracker.recording.exists()
    with pytest.raises(LifecycleError, match="start"):
        tracker.stop()


def test_a_power_that_is_sampled_is_integrated(server, tmp_path):
    """Boards without a counter have energies too."""
    tree, environment = server
    run(
        """
        import time
        from greenai_plugins.compat.measurement import AsynchronousMeasurementTool
        tracker = AsynchronousMeasurementTool('b.csv', profilers='nvml-power')
        tracker.start(0.05)
        time.sleep(1.0)
        tracker.stop()
        """,
        tree,
        environment,
        tmp_path,
    )
    rows = [row for row in table(tmp_path / "b.csv") if row[4]]
    seconds = float(rows[-1][0]) - float(rows[0][0])
    joules = 3.6e6 * (float(rows[-1][4]) - float(rows[0][4]))
    assert joules / seconds == pytest.approx(GPU_W, rel=0.1)
    assert {row[1] for row in rows} == {""}, "no CPU was recorded"


def test_readings_of_any_recording(tmp_path):
    """What a killed program left is made into the same columns."""
    from greenai_plugins.compat.measurement import readings

    with PowercapTree.xeon(tmp_path / "powercap", sockets=1) as tree:
        ticker = tree.drive(SYSTEM_CLOCK)
        options = {"rapl": {"root": str(tree.root)}}
        with Recorder(tmp_path / "run.csv", 0.02, "rapl", options):
            SYSTEM_CLOCK.sleep(0.3)
        ticker.cancel()
    rows, unknown = readings(tmp_path / "run.csv")
    assert len(rows[0]) == len(READING_COLUMNS)
    assert "GPU energy (kWh)" in unknown
    assert "CPU energy (kWh)" not in unknown
