"""Windows of recordings against the truth: sensors, files and reading back, without a process."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from greenai_core import ConfigError, SchemaError, Session, read_recording
from greenai_core.recording_loop import LiveRecording
from greenai_core.recording_observed import FIRST_LOOK_S
from greenai_core.recording_order import Order
from greenai_core.testing import (
    Constant,
    Fails,
    Latch,
    Resets,
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    SimulatedStreamProfiler,
    SimulatedWindowProfiler,
    Sine,
    Slow,
    SquareWave,
    Sticks,
    VirtualClock,
    nvml_counter,
    power_gauge,
    rapl_counter,
)

BEGIN_S = 100.0 - FIRST_LOOK_S
"""Of the clock, so that recordings begin at 100 s."""


@pytest.fixture
def record(tmp_path):
    """``record(profilers, seconds, interval, suffix, ...) -> the file``, on a virtual clock."""

    def run(profilers, seconds=5.0, interval=0.1, name="run.csv", clock=None, end=True, **order):
        clock = clock or VirtualClock(BEGIN_S)
        path = tmp_path / name
        kind = "csv" if path.suffix == ".csv" else "jsonl"
        asked = Order(str(path), kind, interval, **order)
        with Session(profilers, clock=clock, watch=False, edge_wait=False) as session:
            live = LiveRecording(asked, session)
            live.begin()
            until = clock.time + seconds
            while (due := live.next_due(clock.time)) < until:
                clock.advance(max(due - clock.time, 0.0))
                assert live.tick() == ""
            clock.advance(max(until - clock.time, 0.0))
            run.summary = live.end("the test is over") if end else None
            live.close()
        return path

    return run


def quiet(counter):
    """Without uncertainty of the gain, which would make every interval wide enough."""
    return replace(counter, channel=replace(counter.channel, gain_uncertainty=0.0))


def test_a_whole_recording_of_counters_is_as_the_truth(record):
    profile = Sine(100.0, 40.0, 0.7)
    recorded = read_recording(record([SimulatedCounterProfiler(counters=[rapl_counter(profile)])]))
    start, end = recorded.times[0] + 100.0, recorded.times[-1] + 100.0
    window = recorded.window()
    assert window.energy_j == pytest.approx(profile.energy(start, end), rel=1e-3)
    assert window.contains == ("cpu:0/package",)
    assert window.channels[0].profiler == "simulated-counter"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_both_formats_hold_the_same(record, suffix):
    path = record([SimulatedCounterProfiler()], name=f"run.{suffix}")
    recorded = read_recording(path)
    assert len(recorded.times) == pytest.approx(51, abs=1)
    assert recorded.column("cpu:0/package [J]")[-1] == pytest.approx(50 * 5, rel=0.01)
    assert recorded.remarks == ()
    assert recorded.missed == 0


def test_the_summary_and_the_file_say_the_same(record):
    path = record([SimulatedCounterProfiler(), SimulatedPowerProfiler()], seconds=20.0)
    summary, window = record.summary, read_recording(path).window()
    told = {c.id: c for c in summary.energy.channels}
    assert {c.id for c in window.channels} == set(told) == {"cpu:0/package", "wall:simulated"}
    for channel in window.channels:
        assert channel.energy_j == pytest.approx(told[channel.id].energy_j, rel=2e-3)


@pytest.mark.parametrize(
    ("interval", "make"),
    [
        pytest.param(0.1, rapl_counter, id="counter quicker than the rows"),
        pytest.param(0.01, nvml_counter, id="counter slower than the rows"),
        pytest.param(0.1, nvml_counter, id="counter as quick as the rows"),
    ],
)
def test_windows_between_rows_hold_the_truth(record, interval, make):
    """At random instants, on power that comes and goes: at least 93 % of the intervals do."""
    draw = random.Random(7)
    hits, widths = [], []
    for seed in range(6):
        profile = SquareWave(70.0, 300.0, draw.uniform(0.3, 2.0), phase_s=draw.random())
        latch = Latch(0.001 if make is rapl_counter else 0.1, 0.1, seed=seed)
        counter = quiet(make(profile, latch=latch))
        path = record(
            [SimulatedCounterProfiler(counters=[counter])], 20.0, interval, f"run{seed}.csv"
        )
        recorded = read_recording(path)
        for _ in range(40):
            start = draw.uniform(0.5, 12.0)
            end = start + draw.uniform(1.0, 6.0)
            truth = profile.energy(100.0 + start, 100.0 + end)
            window = recorded.window(start, end)
            assert window.duration_s == pytest.approx(end - start)
            (channel,) = window.channels
            hits.append(channel.low_j <= truth <= channel.high_j)
            widths.append((channel.high_j - channel.low_j) / truth)
    allowed = scipy.stats.binom.ppf(0.99, len(hits), 0.07)
    assert len(hits) - sum(hits) <= allowed
    assert np.median(widths) < 0.25  # and are worth having


def test_sampled_power_is_integrated_as_in_live_windows(record):
    profile = Sine(100.0, 30.0, 3.0)
    gauge = power_gauge(profile)
    path = record([SimulatedPowerProfiler(gauges=[quiet(gauge)])], 30.0)
    recorded = read_recording(path)
    window = recorded.window(3.21, 24.56)
    truth = profile.energy(103.21, 124.56)
    (channel,) = window.channels
    assert channel.method == "sampled"
    assert channel.low_j <= truth <= channel.high_j
    assert channel.energy_j == pytest.approx(truth, rel=0.01)


def test_power_is_read_as_often_as_rows_are_written(record):
    path = record([SimulatedPowerProfiler()], 1.0, 0.005)
    watts = read_recording(path).column("wall:simulated [W]")
    assert np.isfinite(watts).mean() > 0.99


def test_late_streams_are_put_where_they_belong(record):
    """Samples arrive in batches half a second late; their age puts them back."""
    profile = Sine(100.0, 30.0, 3.0)
    profiler = SimulatedStreamProfiler(gauges=[quiet(power_gauge(profile))])
    recorded = read_recording(record([profiler], 20.0))
    truth = profile.energy(104.0, 114.0)
    (channel,) = recorded.window(4.0, 14.0).channels
    assert channel.energy_j == pytest.approx(truth, rel=0.01)
    assert channel.low_j <= truth <= channel.high_j
    assert recorded.window().energy_j is not None


def test_a_failed_read_is_an_empty_cell_with_its_reason(record):
    profiler = SimulatedCounterProfiler()
    profiler.inject("cpu:0/package", Fails(102.0, 103.0))
    path = record([profiler])
    recorded = read_recording(path)
    joules = recorded.column("cpu:0/package [J]")
    during = (recorded.times > 2.0) & (recorded.times < 3.0)
    assert np.isnan(joules[during]).all()
    assert np.isfinite(joules[~during]).all()
    failures = [note for note in recorded.row_notes if note.kind == "failed"]
    assert len(failures) == during.sum()
    assert "could not be read" in failures[0].reason
    # What was counted meanwhile is not lost, only when.
    assert recorded.window(1.0, 4.0).energy_j == pytest.approx(150.0, rel=0.01)


def test_a_window_that_ends_after_the_last_good_read_has_no_figure(record):
    profiler = SimulatedCounterProfiler()
    profiler.inject("cpu:0/package", Fails(103.0))
    window = read_recording(record([profiler])).window(1.0, 4.0)
    assert window.energy_j is None
    assert "could not be read" in window.missing[0].reason


def test_a_reset_breaks_windows_across_it_and_no_others(record):
    profiler = SimulatedCounterProfiler()
    profiler.inject("cpu:0/package", Resets(102.5))
    recorded = read_recording(record([profiler]))
    assert recorded.window(0.5, 2.3).energy_j == pytest.approx(90.0, rel=0.02)
    assert recorded.window(2.8, 4.6).energy_j == pytest.approx(90.0, rel=0.02)
    across = recorded.window(1.0, 4.0)
    assert across.energy_j is None
    assert "reset" in across.missing[0].reason
    joules = recorded.column("cpu:0/package [J]")
    assert (np.diff(joules[np.isfinite(joules)]) >= 0).all()


def test_wraps_are_unwrapped(record):
    counter = rapl_counter(Constant(50.0), wraps_at=30_000_000)
    recorded = read_recording(record([SimulatedCounterProfiler(counters=[counter])]))
    assert recorded.window(0.5, 4.5).energy_j == pytest.approx(200.0, rel=0.01)


def test_a_stuck_counter_has_no_energy(record):
    profiler = SimulatedCounterProfiler()
    profiler.inject("cpu:0/package", Sticks(101.0))
    window = read_recording(record([profiler])).window(1.5, 4.5)
    assert window.energy_j is None
    assert "did not move" in window.missing[0].reason


def test_power_that_fails_for_long_leaves_no_figure(record):
    profiler = SimulatedPowerProfiler()
    profiler.inject("wall:simulated", Fails(102.0, 103.5))
    recorded = read_recording(record([profiler]))
    assert recorded.window(0.2, 1.8).energy_j == pytest.approx(160.0, rel=0.02)
    window = recorded.window(0.2, 4.8)
    assert window.energy_j is None
    assert "gave no power for 1." in window.missing[0].reason


@pytest.mark.parametrize(
    ("start", "end"), [(-1.0, 2.0), (1.0, 60.0), (3.0, 2.0), (1.0, float("nan"))]
)
def test_a_window_outside_of_the_recording_is_refused(record, start, end):
    with pytest.raises(ConfigError, match="window"):
        read_recording(record([SimulatedCounterProfiler()])).window(start, end)


def test_a_slow_counter_does_not_delay_the_others(record):
    """It is read in a thread of its own; its age says when."""
    slow = nvml_counter(Constant(100.0), faults=(Slow(seconds=0.06),))
    sources = [SimulatedCounterProfiler(), SimulatedCounterProfiler(counters=[slow])]
    recorded = read_recording(record(sources, 10.0))
    id = slow.channel.id
    ages = recorded.column(f"{id} age [s]")
    assert np.nanmax(ages) > 0.02
    assert np.isfinite(recorded.column("cpu:0/package [J]")).all()
    found = {c.id: c.energy_j for c in recorded.window(1.0, 9.0).channels}
    assert found == pytest.approx({"cpu:0/package": 400.0, id: 800.0}, rel=0.03)


def test_profilers_that_know_windows_only_are_refused(record):
    with pytest.raises(ConfigError, match="one window at a time"):
        record([SimulatedWindowProfiler()])


def test_missed_ticks_are_told_in_the_row_after(record, tmp_path):
    clock = VirtualClock(BEGIN_S)
    asked = Order(str(tmp_path / "slow.csv"), "csv", 0.1)
    with Session([SimulatedCounterProfiler()], clock=clock, watch=False) as session:
        live = LiveRecording(asked, session)
        live.begin()
        clock.advance(2.05)
        live.next_due(clock.time)
        live.tick()
        summary = live.end("the test is over")
        live.close()
    recorded = read_recording(tmp_path / "slow.csv")
    assert summary.missed == recorded.missed == 19
    assert [note.subject for note in recorded.row_notes] == ["19 ticks"]
    assert recorded.column("tick")[1] == 20
    assert recorded.meta.end.missed == 19


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_half_a_last_row_is_left_out(record, suffix):
    path = record([SimulatedCounterProfiler()], name=f"run.{suffix}", end=False)
    whole = read_recording(path)
    content = path.read_bytes()
    for cut in (1, 7, 30):
        path.write_bytes(content[:-cut])
        recorded = read_recording(path)
        assert len(recorded.times) == len(whole.times) - 1
        assert any("half a row" in remark for remark in recorded.remarks)
        assert any("no end" in remark for remark in recorded.remarks)


def test_a_changed_file_is_refused(record):
    path = record([SimulatedCounterProfiler()])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + "1,2\n" + "".join(lines[3:]))
    with pytest.raises(SchemaError, match="row 4"):
        read_recording(path)
    path.write_text("".join([lines[0].replace("tick", "tock"), *lines[1:]]))
    with pytest.raises(SchemaError, match="columns"):
        read_recording(path)


def test_a_csv_without_its_sidecar_says_what_is_missing(record):
    path = record([SimulatedCounterProfiler()])
    path.with_name("run.csv.meta.json").unlink()
    with pytest.raises(SchemaError, match=r"run\.csv\.meta\.json is missing"):
        read_recording(path)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("limit", [{"rotate_rows": 20}, {"rotate_bytes": 3000}, {"rotate_s": 2.0}])
def test_rotated_files_are_whole_each_and_one_together(record, suffix, limit):
    path = record([SimulatedCounterProfiler()], name=f"run.{suffix}", **limit)
    together = read_recording(path)
    assert len(together.files) >= 2
    parts = [read_recording(file) for file in together.files[1:]]
    assert all(len(part.times) > 0 for part in parts)
    assert len(together.times) == pytest.approx(51, abs=1)
    assert (np.diff(together.times) > 0).all()
    border = min(max(float(parts[0].times[0]), 0.5), 4.5)
    assert together.window(border - 0.5, border + 0.5).energy_j == pytest.approx(50, rel=0.02)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_recording_is_continued(record, suffix):
    """One clock, so the time goes on; what was used in the pause is not known, and said."""
    clock = VirtualClock(BEGIN_S)
    name = f"run.{suffix}"
    path = record([SimulatedCounterProfiler()], 2.0, name=name, clock=clock)
    with path.open("ab") as file:
        file.write(b"half a ro")
    clock.advance(10.0)
    record([SimulatedCounterProfiler()], 2.0, name=name, clock=clock, append=True)
    recorded = read_recording(path)
    assert recorded.times[-1] == pytest.approx(14.0, abs=0.2)
    assert recorded.missed == 0
    assert recorded.window(0.2, 1.7).energy_j == pytest.approx(75.0, rel=0.02)
    assert recorded.window(12.3, 13.8).energy_j == pytest.approx(75.0, rel=0.02)
    assert recorded.window(1.0, 13.0).energy_j is None
    assert [note.kind for note in recorded.row_notes] == ["restarted", "resumed"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_kill_while_the_next_file_is_begun_leaves_a_whole_recording(record, tmp_path, suffix):
    """The next file is there, but neither its first line nor its sidecar is."""
    clock = VirtualClock(BEGIN_S)
    name = f"run.{suffix}"
    path = record([SimulatedCounterProfiler()], 1.0, name=name, clock=clock, rotate_rows=20)
    (tmp_path / f"run.0001.{suffix}").touch()
    before = read_recording(path)
    assert before.files == (str(path),)
    again = {"append": True, "rotate_rows": 20}
    record([SimulatedCounterProfiler()], 2.0, name=name, clock=clock, **again)
    after = read_recording(path)
    assert len(after.files) == 2
    assert len(after.times) > len(before.times) + 15
    assert (np.diff(after.times) > 0).all()


def test_other_columns_cannot_be_appended(record):
    clock = VirtualClock(BEGIN_S)
    record([SimulatedCounterProfiler()], 1.0, clock=clock)
    with pytest.raises(ConfigError, match="wall:simulated"):
        record([SimulatedPowerProfiler()], 1.0, clock=clock, append=True)
    with pytest.raises(ConfigError, match="interval"):
        record([SimulatedCounterProfiler()], 1.0, 0.2, clock=clock, append=True)


def test_another_boot_cannot_be_appended(record):
    path = record([SimulatedCounterProfiler()], 1.0)
    meta = path.with_name("run.csv.meta.json")
    text = meta.read_text()
    boot = text.split('"boot": "')[1].split('"')[0]
    meta.write_text(text.replace(boot, "another"))
    with pytest.raises(ConfigError, match="started anew"):
        record([SimulatedCounterProfiler()], 1.0, append=True)


@pytest.mark.parametrize("rotate_rows", [None, 3])
def test_two_recorders_do_not_write_to_one_file(record, tmp_path, rotate_rows):
    """Rows of both in one file would be no recording; what is under way goes on."""
    clock = VirtualClock(BEGIN_S)
    asked = Order(str(tmp_path / "run.csv"), "csv", 0.1, rotate_rows=rotate_rows)
    with Session([SimulatedCounterProfiler()], clock=clock, watch=False) as session:
        live = LiveRecording(asked, session)
        live.begin()
        for _ in range(4):
            clock.advance(0.1)
            live.next_due(clock.time)
            assert live.tick() == ""
        with pytest.raises(ConfigError, match="another recorder"):
            record([SimulatedCounterProfiler()], 1.0, clock=clock, append=True)
        summary = live.end("the test is over")
        live.close()
    assert len(read_recording(tmp_path / "run.csv").times) == summary.rows == 6
    record([SimulatedCounterProfiler()], 1.0, clock=clock, append=True)


def test_a_later_file_that_came_meanwhile_is_not_overwritten(record, tmp_path):
    clock = VirtualClock(BEGIN_S)
    asked = Order(str(tmp_path / "run.csv"), "csv", 0.1, rotate_rows=2)
    with Session([SimulatedCounterProfiler()], clock=clock, watch=False) as session:
        live = LiveRecording(asked, session)
        live.begin()
        (tmp_path / "run.0001.csv").write_text("of somebody else")
        told = ""
        for _ in range(5):
            clock.advance(0.1)
            live.next_due(clock.time)
            told = told or live.tick()
        summary = live.end(told)
        live.close()
    assert "run.0001.csv is there already" in summary.failure
    assert (tmp_path / "run.0001.csv").read_text() == "of somebody else"
    assert summary.rows == 2


def test_a_file_that_is_there_is_not_overwritten(record):
    path = record([SimulatedCounterProfiler()], 1.0)
    content = path.read_bytes()
    with pytest.raises(ConfigError, match="there already"):
        record([SimulatedCounterProfiler()], 1.0)
    assert path.read_bytes() == content
