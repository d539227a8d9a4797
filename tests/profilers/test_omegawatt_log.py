"""The log of wattmetre-read: its parser, and the profiler that follows it.

The shape of the log follows the example in
https://github.com/GreenAI-Uppa/AIPowerMeter/blob/main/docsrc/experiments/schneiderbox.rst
"""

from __future__ import annotations

import os
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenai_core import ConfigError, PluginUnavailable, Session
from greenai_core.testing import Sine, VirtualClock
from greenai_core.testing.omegawatt import SimulatedOmegawatt, logged
from greenai_core.testing.profiler_suite import StreamConformance
from greenai_core.testing.profiles import SquareWave
from greenai_plugins.profilers.omegawatt_log import OmegawattLogProfiler
from greenai_plugins.profilers.omegawatt_rows import RowParser, counted
from greenai_plugins.profilers.omegawatt_walltime import WallTime

UNIX_S = 1.7e9
HEADER = "#timestamp,#frame_is_ok,#U1,#U2,#U3,#current1,#activepow1,#current2,#activepow2\n"


class TestConformance(StreamConformance):
    """A log that grows by half a second of rows at a time."""

    settle_s = 1.0
    window_s = 4.0

    @pytest.fixture(autouse=True)
    def _log(self, tmp_path):
        self.folder = tmp_path

    def make_hardware(self):
        self.clock = VirtualClock(100.0)
        self.meter = SimulatedOmegawatt(Sine(200, 80, 0.7), clock=self.clock)
        self.path = self.folder / "log.csv"
        self.stop = logged(self.meter, self.path, lambda t: UNIX_S + t, batch_s=0.5)
        self.clock.sleep(2.0)

    def make_profiler(self):
        return OmegawattLogProfiler(path=self.path, plugs=1, wall=lambda: UNIX_S + self.clock.now())

    def make_absent(self):
        return OmegawattLogProfiler(path="/nowhere/log.csv", plugs=1)

    def true_energy(self, start, end, channel):
        return self.meter.energy_j(start, end)

    def break_sensor(self, channel):
        self.stop()


# The parser


def test_rows_of_a_real_shape():
    parser = RowParser()
    rows = parser.feed(
        b"2022/12/20-10:06:29;Tue Dec 20 10:06:29 2022;INFO;Starting logging on '/dev/ttyUSB0'\n"
        + HEADER.encode()
        + b"1671527189.294241015,false,,,,,,,\n"
        b"1671527189.314471465,true,232.3,0.0,0.0,0.1,20.9,0.0,-0.1\n"
        b"2022/12/20-10:06:30;Tue Dec 20;BAD FRAME CRC;ERROR : bad CRC on frame got=02\n"
        b"1671527189.324185946,true,233.0,0.0,0.0,0.1,21.0,0.0,0.0\n"
        b"1671527189.334488177,true,233.0,0.0"
    )
    assert parser.plugs == (1, 2)
    assert [row.watts for row in rows] == [{1: 20.9, 2: -0.1}, {1: 21.0, 2: 0.0}]
    assert rows[0].time == 1671527189.314471465
    assert parser.pending == 1671527189.334488177
    assert counted(parser.faults) == "1 rows of damaged frames"
    (row,) = parser.feed(b",0.0,0.1,22.0,0.0,0.0\n")
    assert row.watts[1] == 22.0


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1671527190,true,1,2,3", "broken rows"),
        ("1671527190,perhaps,1,2,3,0,5,0,5", "broken rows"),
        ("abc,true,1,2,3,0,5,0,5", "broken rows"),
        ("-1671527190,true,1,2,3,0,5,0,5", "broken rows"),
        ("nan,true,1,2,3,0,5,0,5", "broken rows"),
        ("1671527190,true,1,2,3,0,five,0,5", "rows without numbers"),
        ("1671527190,true,1,2,3,0,,0,5", "rows without numbers"),
        ("1671527190,0,1,2,3,0,5,0,5", "rows of damaged frames"),
        ("1671527180,true,1,2,3,0,5,0,5", "rows whose time goes back"),
        ("1671527188,true,1,2,3,0,20221671527189;BAD FRAME CRC;x", "broken rows"),
    ],
)
def test_what_is_no_good_row(line, fault):
    parser = RowParser()
    parser.feed(HEADER.encode() + b"1671527189.0,true,1,2,3,0,5,0,5\n")
    assert parser.feed(line.encode() + b"\n") == []
    assert parser.faults == {fault: 1}


def test_a_second_header_is_no_row_and_may_bring_other_plugs():
    parser = RowParser()
    parser.feed(HEADER.encode() + HEADER.encode())
    assert parser.plugs == (1, 2)
    parser.feed(b"#timestamp,#frame_is_ok,#activepow7\n")
    (row,) = parser.feed(b"1671527189.0,true,5\n")
    assert row.watts == {7: 5.0}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(0, 400))
def test_any_bytes_between_rows_cost_no_row_after_them(noise, cut):
    rows = b"".join(
        junk.replace(b"\n", b"").replace(b"#", b"")
        + b"\n%d.5,true,1,2,3,0,%d,0,0\n" % (1671527189 + n, n)
        for n, junk in enumerate(noise)
    )
    data = HEADER.encode() + rows
    parser = RowParser()
    found = parser.feed(data[:cut]) + parser.feed(data[cut:])
    values = [row.watts[1] for row in found if row.time > 1671527188]
    assert values == [float(n) for n in range(len(noise))]


def test_a_line_that_never_ends_is_dropped():
    parser = RowParser()
    for _ in range(100):
        parser.feed(b"x" * 4096)
        assert len(parser._rest) <= 65536
    assert parser.faults


# The profiler


@pytest.fixture
def clock():
    return VirtualClock(100.0)


def writing(clock, path, power=100.0, ahead_s=0.0, batch_s=0.4):
    meter = SimulatedOmegawatt(power, clock=clock)
    stop = logged(meter, path, lambda t: UNIX_S + t + ahead_s, batch_s=batch_s)
    clock.sleep(3.0)
    return meter, stop


def profiler_of(path, clock, **options):
    wall = lambda: UNIX_S + clock.now()  # noqa: E731
    return OmegawattLogProfiler(**{"path": path, "plugs": 1, "wall": wall, **options})


@pytest.mark.parametrize("ahead_s", [3600.0, -0.75, 12.345])
def test_a_clock_that_is_not_ours_is_refused_or_measured(ahead_s, clock, tmp_path):
    path = tmp_path / "log.csv"
    meter, _ = writing(clock, path, SquareWave(100, 300, 1.3), ahead_s)
    if ahead_s > 0:
        with pytest.raises(PluginUnavailable, match="in the future") as caught:
            profiler_of(path, clock).open(clock)
        assert "offset_s=auto" in caught.value.hint
    for offset in ("auto", ahead_s, str(ahead_s)):
        with Session([profiler_of(path, clock, offset_s=offset)], clock=clock) as session:
            clock.sleep(0.0717)
            start = clock.now()
            with session.window() as window:
                clock.sleep(3.0)
            truth = meter.energy_j(start, start + window.result.duration_s)
            # Known to a few hundredths of a second, of a load that jumps by 200 W.
            allowed = 200 * (0.04 if offset == "auto" else 0.012)
            assert window.result.energy_j == pytest.approx(truth, abs=allowed)


@pytest.mark.parametrize(
    ("behind_s", "options"),
    [(0.05, {}), (3.0, {"offset_s": "auto"}), (3.0, {"offset_s": -3.0}), (3.0, {"late_s": 8})],
)
def test_a_clock_that_is_behind_ours_must_be_known(behind_s, options, clock, tmp_path):
    """It looks like rows that come late, of which it would be the right time."""
    path = tmp_path / "log.csv"
    writing(clock, path, ahead_s=-behind_s)
    with Session([profiler_of(path, clock, **options)], clock=clock) as session:
        with session.window() as window:
            clock.sleep(5.0)
        assert window.result.energy_j == pytest.approx(500, rel=0.01)
        assert session.notes() == ()


def test_a_clock_that_is_behind_ours_is_refused_with_the_remedy(clock, tmp_path):
    path = tmp_path / "log.csv"
    writing(clock, path, ahead_s=-1.0)
    with pytest.raises(PluginUnavailable, match="never less than 1") as caught:
        profiler_of(path, clock).open(clock)
    assert "offset_s=auto" in caught.value.hint
    assert "late_s" in caught.value.hint


def test_a_clock_that_falls_behind_later_is_told(clock, tmp_path):
    """A log in such large pieces that none came while it was opened."""
    path = tmp_path / "log.csv"
    writing(clock, path, ahead_s=-1.0, batch_s=2.9)
    with Session([profiler_of(path, clock)], clock=clock) as session:
        with session.window():
            clock.sleep(8.0)
        (note,) = session.notes()
    assert "may be those of another time" in note


def test_a_log_that_nobody_writes_is_refused(clock, tmp_path):
    path = tmp_path / "log.csv"
    _, stop = writing(clock, path)
    stop()
    clock.sleep(60)
    with pytest.raises(PluginUnavailable, match=r"6[01] s old") as caught:
        profiler_of(path, clock).open(clock)
    assert "wattmetre-read" in caught.value.hint
    with pytest.raises(PluginUnavailable, match="did not grow"):
        profiler_of(path, clock, offset_s="auto").open(clock)


def test_a_log_that_is_copied_here_later_is_waited_for(clock, tmp_path):
    """Rows come a quarter of a minute after their instant, all at once."""
    path = tmp_path / "log.csv"
    meter, _ = writing(clock, path, Sine(200, 80, 7), batch_s=15.0)
    clock.sleep(30.0)
    with Session([profiler_of(path, clock, late_s=20)], clock=clock) as session:
        start = clock.now()
        with session.window() as window:
            clock.sleep(8.0)
        truth = meter.energy_j(start, start + 8.0)
        assert window.result.energy_j == pytest.approx(truth, rel=0.01)


def test_a_long_log_is_not_read_from_its_beginning(clock, tmp_path):
    path = tmp_path / "log.csv"
    writing(clock, path)
    header, *rows = path.read_text().splitlines(keepends=True)
    old = "".join(f"{1.6e9 + n:.9f},true{row[row.index(',230') :]}" for n, row in enumerate(rows))
    path.write_text(header + 40 * old + "".join(rows))
    assert path.stat().st_size > 3 * 65536
    with Session([profiler_of(path, clock)], clock=clock) as session:
        clock.sleep(0.5)
        with session.window() as window:
            clock.sleep(3.0)
        assert window.result.energy_j == pytest.approx(300.0, rel=1e-3)
        assert session.notes() == ()


def test_what_is_no_log_is_refused(clock, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("time;power\n1;2\n")
    with pytest.raises(PluginUnavailable, match="no header"):
        profiler_of(path, clock).check_available()
    with pytest.raises(PluginUnavailable, match="no log"):
        OmegawattLogProfiler().check_available()
    writing(clock, tmp_path / "good.csv", [31.0, 7.0])
    with pytest.raises(PluginUnavailable, match="plug 1: 31 W, plug 2: 7 W"):
        profiler_of(tmp_path / "good.csv", clock, plugs="").open(clock)
    with pytest.raises(ConfigError, match="no plug 9"):
        profiler_of(tmp_path / "good.csv", clock, plugs=9).open(clock)


@pytest.mark.parametrize("options", [{"offset_s": "soon"}, {"late_s": -1}, {"plugs": "x"}])
def test_options_that_cannot_be_used(options):
    with pytest.raises(ConfigError):
        OmegawattLogProfiler(**options)


def test_bad_rows_are_counted_in_a_note(clock, tmp_path):
    path = tmp_path / "log.csv"
    meter, _ = writing(clock, path)
    with Session([profiler_of(path, clock)], clock=clock) as session:
        with session.window() as window:
            clock.sleep(1.0)
            meter.log_harm = lambda row: "oops\n" if ".5" in row[:14] else row
            clock.sleep(2.0)
            meter.log_harm = lambda row: row
            clock.sleep(2.0)
        assert window.result.energy_j is None
        assert "broken rows" in window.result.missing[0].reason
        (note,) = session.notes()
        assert "rows were bad" in note
        assert "broken rows" in note


def test_another_process_writes_in_real_time(tmp_path):
    """A child with a buffered standard output: lines are cut where its buffer is full."""
    import subprocess

    path = tmp_path / "log.csv"
    program = (
        "import time, sys\n"
        f"sys.stdout.write({HEADER!r})\n"
        "began = time.perf_counter()\n"
        "for n in range(1, 10**9):\n"
        "    time.sleep(max(0, began + n / 100 - time.perf_counter()))\n"
        "    row = f'{time.time():.9f},true,230,0,0,0.5,100.0,0,0'\n"
        "    sys.stdout.write(row + '\\n')\n"
        "    if n % 20 == 0: sys.stdout.flush()\n"
    )
    with path.open("wb") as log:
        writer = subprocess.Popen([sys.executable, "-c", program], stdout=log)
    try:
        deadline = time.monotonic() + 10
        while path.stat().st_size < 2000 and time.monotonic() < deadline:
            time.sleep(0.02)
        with Session([OmegawattLogProfiler(path=path, plugs=1)]) as session:
            with session.window() as window:
                time.sleep(0.5)
            assert window.result.energy_j == pytest.approx(100 * window.result.duration_s, rel=0.01)
    finally:
        writer.kill()
        writer.wait()


def test_a_pipe_is_no_log(tmp_path, clock):
    """To open it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PluginUnavailable, match="not a file"):
        profiler_of(tmp_path / "pipe", clock).check_available()


def test_a_slow_look_at_the_clocks_is_no_step():
    """A process that had to wait between two clocks must not take that for a set clock."""
    clock = VirtualClock(100.0)
    slow = False

    def wall():
        if slow:
            clock.lapse(0.3)
        return UNIX_S + clock.now()

    times = WallTime(wall, clock)
    clock.sleep(1)
    slow = True
    times.look()
    assert times.stepped_s == 0
    slow = False
    times.look()
    assert times.stepped_s == 0
    assert times.ours(UNIX_S + 50) == pytest.approx(50, abs=1e-6)
