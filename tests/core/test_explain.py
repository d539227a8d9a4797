"""Every figure is derived again from raw readings, and whatever was changed is found."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import math
import random
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from greenai_core import (
    InferenceResult,
    Report,
    SchemaError,
    dump,
    explain,
    raw_files,
    read_raw,
    read_report,
    write_raw,
    write_report,
)
from greenai_core.blocks import Source, Ticks
from greenai_core.budget import Term
from greenai_core.channels import contents
from greenai_core.derivation import derived
from greenai_core.evaluation import inference_result
from greenai_core.kept_runs import KeptRun
from greenai_core.kept_windows import KeptWindows
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.raw_files import raw_bytes
from greenai_core.results import CommandResult, ModelSummary, RawFile
from greenai_core.run_costs import run_costs, sensors_of
from greenai_core.spans import Window
from greenai_core.testing import (
    DrivenPower,
    Latch,
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    SimulatedStreamProfiler,
    SimulatedWindowProfiler,
    SimulatedWork,
    VirtualClock,
    nvml_counter,
    power_gauge,
    rapl_counter,
    vanishes,
)
from greenai_core.testing.sample_reports import sample_report

DATA = Path(__file__).parents[1] / "data"


def counters(power, **options):
    return SimulatedCounterProfiler(
        counters=[rapl_counter(power, gain_uncertainty=0.03, **options)]
    )


def slow_counter(power):
    latch = Latch(0.1, jitter=0.1, seed=3)
    return SimulatedCounterProfiler(counters=[nvml_counter(power, latch=latch)])


def gauge(power):
    return SimulatedPowerProfiler(gauges=[power_gauge(power)])


def stream(power):
    return SimulatedStreamProfiler(gauges=[power_gauge(power)])


def given(power):
    return SimulatedWindowProfiler(counters=[rapl_counter(power)])


SENSORS = pytest.mark.parametrize("sensor", [counters, slow_counter, gauge, stream, given])


def bench(*sensors, **settings):
    """A result of repeated work on simulated sensors, and what was kept of it."""
    clock, power = VirtualClock(start_s=0.4), DrivenPower(idle_w=30.0)
    work = SimulatedWork(clock, 0.02, cv=0.05, power=power, busy_w=150.0, seed=1)
    profilers = [make(power) for make in sensors]
    for profiler in profilers:
        profiler.open(clock)
    try:
        sources = [Source(profiler, profiler.channels) for profiler in profilers]
        limits = LoopSettings(**{"max_time_s": 10.0, **settings})
        contains = contents([channel for source in sources for channel in source.channels])
        run = run_loop(work, sources, contains, clock, limits)
        known = sensors_of(sources, run.blocks)
    finally:
        for profiler in profilers:
            profiler.close()
    costs = run_costs(run, known, contains, limits)
    model = ModelSummary("net.onnx", "onnx", "cpu", ("x 1x3",), 2)
    result = inference_result(model, None, run, costs, limits)
    return result, KeptRun(run.readings, known, contains, limits)


def window(*sensors, seconds=1.0):
    """A result of a command on simulated sensors, and what was kept of it."""
    clock, power = VirtualClock(start_s=0.4), DrivenPower(idle_w=30.0)
    profilers = [make(power) for make in sensors]
    for profiler in profilers:
        profiler.open(clock)
    try:
        clock.sleep(2.0)
        sources = [Source(profiler, profiler.channels) for profiler in profilers]
        with Window("command", sources, clock, None) as opened:
            power.set(clock.now(), 120.0)
            clock.sleep(seconds)
        gross, kept = opened.result, opened.kept
    finally:
        for profiler in profilers:
            profiler.close()
    result = CommandResult(
        ("job",), 0, gross, None, None, None, None, None, None, None, warnings=()
    )
    return result, KeptWindows((kept,))


def through_a_file(kept, folder):
    return read_raw(folder / "raw.npz", write_raw(kept, folder / "raw.npz"))


def saved(result, kept, folder, kind="bench"):
    """A report with its raw readings on disk."""
    if kept is not None:
        raw = write_raw(kept, folder / "report.raw-1.npz")
        result = dataclasses.replace(result, raw=raw)
    report = Report(kind, "2024-05-06T07:08:09+00:00", {}, {}, (result,))
    write_report(report, folder / "report.json")
    return report


def problems(folder, change=lambda data: None):
    """What is found in the report in a folder after a change to its JSON."""
    data = json.loads((folder / "report.json").read_text())
    change(data)
    path = folder / "changed.json"
    path.write_text(json.dumps(data))
    (explained,) = explain(read_report(path), folder)
    return explained.problems


def numbers(data, path=()):
    """Every number and truth value in a JSON document, by its path."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from numbers(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from numbers(value, (*path, index))
    elif isinstance(data, (int, float)):
        yield path


def changed(data, path):
    """The number at a path made another one."""
    for key in path[:-1]:
        data = data[key]
    value = data[path[-1]]
    data[path[-1]] = not value if isinstance(value, bool) else value * 1.001 + (value == 0)
    if isinstance(value, int) and not isinstance(value, bool):
        data[path[-1]] = value + 1


# Derived again


@SENSORS
def test_repeated_work_is_derived_again_to_the_last_digit(sensor, tmp_path):
    result, kept = bench(sensor)
    assert derived(result, through_a_file(kept, tmp_path)) == dataclasses.replace(
        result, warnings=()
    )


@SENSORS
@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_a_window_is_derived_again_to_the_last_digit(sensor, seconds, tmp_path):
    result, kept = window(sensor, seconds=seconds)
    assert result.gross.energy_j is not None
    assert derived(result, through_a_file(kept, tmp_path)) == result


def test_sensors_of_different_pace_and_method_are_derived_together(tmp_path):
    result, kept = bench(counters, slow_counter, gauge, precision=0.01)
    assert len(result.channels) + len(result.missing) == 3
    again = derived(result, through_a_file(kept, tmp_path))
    assert again == dataclasses.replace(result, warnings=())


def test_a_sensor_that_vanished_is_derived_as_missing(tmp_path):
    def vanishing(power):
        return SimulatedCounterProfiler(counters=[nvml_counter(power, faults=(vanishes(2.0),))])

    result, kept = bench(counters, vanishing)
    assert result.missing
    again = derived(result, through_a_file(kept, tmp_path))
    assert again == dataclasses.replace(result, warnings=())


def test_an_interrupted_run_is_derived_as_one(tmp_path):
    result, kept = bench(counters)
    kept = dataclasses.replace(kept, broken_off=True)
    assert derived(result, through_a_file(kept, tmp_path)).target_met is False


def test_what_happens_after_the_cut_does_not_change_it():
    clock = VirtualClock()
    profiler = counters(DrivenPower(idle_w=30.0))
    profiler.open(clock)
    ticks = Ticks(clock, [Source(profiler, profiler.channels)])
    for _ in range(20):
        clock.sleep(0.01)
        ticks.tick(1)
    blocks = ticks.cut()
    kept = ticks.latest
    for _ in range(20):
        clock.sleep(0.01)
        ticks.tick(1)
    ticks.close()
    profiler.close()
    again = kept.cut()
    np.testing.assert_array_equal(again.energies["cpu:0/package"], blocks.energies["cpu:0/package"])
    assert len(again.work) == len(blocks.work) < 20


# Changed reports


def test_any_number_that_is_changed_is_found(tmp_path):
    """25 of all numbers of a report with raw readings, drawn at random."""
    saved(*bench(counters, slow_counter), tmp_path)
    assert problems(tmp_path) == ()
    data = json.loads((tmp_path / "report.json").read_text())
    (result,) = data["results"]
    del result["raw"]
    paths = [("results", 0, *path) for path in numbers(result)]
    for path in random.Random(0).sample(paths, 25):
        assert problems(tmp_path, lambda data, path=path: changed(data, path)), path


@pytest.mark.parametrize(
    "path",
    [
        ("energy_per_inference_j", "value"),
        ("energy_per_inference_j", "high"),
        ("energy_per_inference_j", "repeat_low"),
        ("energy_per_inference_j", "budget", 0, "u"),
        ("energy_per_sample_j", "value"),
        ("latency_s", "value"),
        ("power_w", "repeat_high"),
        ("channels", 1, "energy_per_inference_j", "value"),
        ("repetitions", 7, "work_s"),
        ("repetitions", 7, "channels", 0, "energy_j"),
        ("inferences",),
    ],
)
def test_without_raw_readings_the_repetitions_betray_a_change(path, tmp_path):
    result, _ = bench(counters, slow_counter)
    saved(result, None, tmp_path)
    assert problems(tmp_path) == ()
    assert problems(tmp_path, lambda data: changed(data, ("results", 0, *path)))


@pytest.mark.parametrize("field", ["energy_j", "low_j", "high_j", "repeat_low_j", "repeat_high_j"])
def test_a_window_that_was_changed_is_found_without_raw_readings(field, tmp_path):
    saved(window(counters)[0], None, tmp_path, "measure")
    assert problems(tmp_path) == ()
    assert problems(tmp_path, lambda data: changed(data, ("results", 0, "gross", field)))


def test_a_total_that_was_taken_away_is_found(tmp_path):
    saved(*bench(counters), tmp_path)

    def change(data):
        data["results"][0]["energy_per_inference_j"] = None

    assert any("energy_per_inference_j" in text for text in problems(tmp_path, change))


@pytest.mark.parametrize("path", sorted(DATA.glob("report-1-*.json")), ids=lambda path: path.name)
def test_reports_from_before_budgets_can_be_explained(path):
    report = read_report(path)
    for result, measured in zip(explain(report, path.parent), report.results, strict=True):
        # A study's figures are derived in the reports of its cells; a search of caps that was
        # not allowed to set any has none.
        expected = report.kind != "study" and getattr(measured, "probes", True)
        assert bool(result.figures) == bool(expected)
        own = {"compare": "comparison", "layers": "layers", "powercap": "caps"}
        if report.kind in own:
            assert result.origin == own[report.kind]
        else:
            assert result.origin in ("repetitions", "report")


@pytest.mark.parametrize("kind", ["bench", "train", "measure", "grade"])
@pytest.mark.parametrize("known", [True, False])
def test_every_kind_can_be_explained(kind, known, tmp_path):
    for result in explain(sample_report(kind, known=known), tmp_path):
        assert all(math.isfinite(figure.value) for figure in result.figures)


# Raw files that are not what they should be


def test_readings_of_another_run_are_refused(tmp_path):
    saved(*bench(counters), tmp_path)
    _, other = bench(counters, max_time_s=5.0, precision=0.001)
    write_raw(other, tmp_path / "report.raw-1.npz")
    (problem,) = problems(tmp_path)
    assert "does not belong to the report" in problem


def test_readings_that_are_gone_are_told_and_the_rest_is_checked(tmp_path):
    report = saved(*bench(counters), tmp_path)
    (tmp_path / "report.raw-1.npz").unlink()
    (explained,) = explain(report, tmp_path)
    assert explained.origin == "repetitions"
    assert not explained.problems
    assert "report.raw-1.npz" in explained.notes[0]


def test_a_raw_file_outside_the_folder_is_not_opened(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    report = saved(*bench(counters), inside)
    result = report.results[0]
    write_raw(bench(counters)[1], inside / "x.npz")
    away = dataclasses.replace(result, raw=dataclasses.replace(result.raw, name="../in/x.npz"))
    (explained,) = explain(dataclasses.replace(report, results=(away,)), inside)
    assert any("../in/x.npz" in problem for problem in explained.problems)


def test_a_run_is_not_the_readings_of_a_window(tmp_path):
    result, _ = bench(counters)
    _, kept = window(counters)
    saved(result, kept, tmp_path)
    assert any("not those of" in text for text in problems(tmp_path))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, tmp_path):
    content = raw_bytes(bench(counters)[1])
    path = tmp_path / "raw.npz"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SchemaError, match=r"raw\.npz"):
        read_raw(path)


def rewritten(kept, change, path):
    """A raw file with its structure or its arrays changed."""
    with zipfile.ZipFile(io.BytesIO(raw_bytes(kept))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    index = json.loads(members["readings.json"])
    change(index, members)
    members["readings.json"] = json.dumps(index).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def set_in(*path, to):
    def change(index, members):
        holder = index["readings"]
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = to

    return change


HOSTILE = {
    "pickle": lambda index, members: members.update({"0.npy": npy(np.array([print, {}]))}),
    "two axes": lambda index, members: members.update({"0.npy": npy(np.zeros((4, 4)))}),
    "short": lambda index, members: members.update({"0.npy": npy(np.zeros(3))}),
    "no member": lambda index, members: members.pop("0.npy"),
    "version": lambda index, members: index.update(version=9),
    "no kind": set_in("kind", to="os.system"),
    "path": set_in("readings", "before", to={"array": "../../etc/passwd"}),
    "negative": set_in("readings", "first", to=-(10**12)),
    "no blocks": set_in("readings", "per_block", to=0),
    "text": set_in("readings", "first", to="0"),
    "list": set_in("contains", to=3),
    "null": set_in("settings", to=None),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name, tmp_path):
    path = tmp_path / "raw.npz"
    rewritten(bench(counters)[1], HOSTILE[name], path)
    with pytest.raises(SchemaError, match=r"raw\.npz"):
        read_raw(path)


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_files, "MAX_BYTES", 2**20)
    path = tmp_path / "raw.npz"
    rewritten(
        bench(counters)[1], lambda index, members: members.update({"0.npy": bytes(2**21)}), path
    )
    with pytest.raises(SchemaError, match="hostile"):
        read_raw(path)


def test_readings_too_few_for_blocks_make_no_result(tmp_path):
    result, kept = bench(counters)
    run = kept.readings
    few = dataclasses.replace(
        run, before=run.before[:2], after=run.after[:2], iterations=run.iterations[:2], first=0
    )
    with pytest.raises(SchemaError, match="two blocks"):
        derived(result, dataclasses.replace(kept, readings=few))


def test_numpy_opens_a_raw_file(tmp_path):
    _, kept = bench(counters)
    write_raw(kept, tmp_path / "raw.npz")
    with np.load(tmp_path / "raw.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["0"], kept.readings.before)


def test_equal_readings_make_equal_files():
    _, kept = bench(counters)
    assert raw_bytes(kept) == raw_bytes(kept)


# Error budgets


def test_the_budget_of_repeated_work_adds_up_to_its_intervals(tmp_path):
    result, _ = bench(counters, gauge)
    energy = result.energy_per_inference_j
    terms = {term.name: term for term in energy.budget}
    assert terms["repetition"].nu == terms["repetition"].blocks - 1
    assert terms["gain"].u == pytest.approx(0.03 * energy.value, rel=0.01)
    assert not terms["gain"].repeats
    (explained,) = explain(saved(result, None, tmp_path), tmp_path)
    figure = next(f for f in explained.figures if f.path.endswith("energy_per_inference_j"))
    assert figure.high - figure.value == pytest.approx(figure.factor * figure.u)
    assert sum(share for _, share in figure.shares()) == pytest.approx(1)
    assert figure.shares()[0][0].name == "gain"


@pytest.mark.parametrize(
    ("sensor", "names"),
    [
        (counters, {"latch before", "latch at end", "resolution", "gain"}),
        (slow_counter, {"edges before", "edges at end"}),
        (gauge, {"ends"}),
    ],
)
def test_the_budget_of_a_window_names_its_terms(sensor, names, tmp_path):
    result, _ = window(sensor, seconds=3.0)
    (channel,) = result.gross.channels
    for owner in (channel, result.gross):
        assert {term.name for term in owner.budget} >= names
        repeat = math.hypot(*(term.u for term in owner.budget if term.repeats))
        assert 1.959964 * repeat == pytest.approx(owner.repeat_high_j - owner.energy_j, rel=1e-5)
    (explained,) = explain(saved(result, None, tmp_path, "measure"), tmp_path)
    assert explained.problems == ()


def test_gains_of_one_kind_are_one_term_and_add_up():
    def two(power):
        packages = [rapl_counter(power, gain_uncertainty=0.03, id=f"cpu:{n}/package") for n in "01"]
        return SimulatedCounterProfiler(counters=packages)

    energy = bench(two)[0].energy_per_inference_j
    (gain,) = [term for term in energy.budget if term.name == "gain"]
    assert gain.u == pytest.approx(0.03 * energy.value, rel=0.01)
    assert "cpu:0/package, cpu:1/package" in gain.detail


def test_a_report_keeps_budgets_and_the_name_of_the_raw_file(tmp_path):
    report = saved(*bench(counters), tmp_path)
    again = read_report(tmp_path / "report.json")
    assert again == report
    (result,) = again.results
    assert isinstance(result, InferenceResult)
    assert isinstance(result.raw, RawFile)
    assert isinstance(result.latency_s.budget[0], Term)
    assert dump(again) == dump(report)


# What keeping costs


def test_quick_reads_take_little_memory():
    """3,000 ticks on four channels, with the copy that the last cut was made from.

    A minute of a read every 4 ms is five times as much.
    """
    clock, power = VirtualClock(), DrivenPower(idle_w=30.0)
    ids = [f"cpu:{n}/package" for n in range(4)]
    profiler = SimulatedCounterProfiler(counters=[rapl_counter(power, id=id) for id in ids])
    profiler.open(clock)
    tracemalloc.start()
    try:
        ticks = Ticks(clock, [Source(profiler, profiler.channels)])
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(3_000):
            clock.sleep(0.004)
            ticks.tick(1)
        ticks.cut()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        ticks.close()
        profiler.close()
    assert after - before < 1e6


def test_a_copied_report_is_explained_anywhere(tmp_path):
    report = saved(*bench(counters), tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("report.json", "report.raw-1.npz"):
        (tmp_path / name).rename(other / name)
    (explained,) = explain(copy.deepcopy(report), other)
    assert explained.origin == "raw"
