"""The protocol of a study with cells that are not really measured: order, journal, resuming."""

from __future__ import annotations

import dataclasses
import errno
import json
from itertools import pairwise
from pathlib import Path

import pytest

from greenai_core import (
    ConfigError,
    ModelError,
    ModelInputError,
    PlannedModel,
    StudyPlan,
    read_cells,
    read_report,
    run_study,
    summarise,
)
from greenai_core.study_cell import Latencies, MeasuredCell
from greenai_core.study_files import Journal, read_models
from greenai_core.study_run import About, Listener

DATA = Path(__file__).parents[1] / "data"
RESULT = read_report(DATA / "report-1-bench-0.1.0.json").results[0]


class Canned:
    """Cells that give a canned result, or what ``faults`` holds for them."""

    def __init__(self, faults=None, refused=None):
        self.asked = []
        self.counted = []
        self.faults = dict(faults or {})
        self.refused = refused or {}

    def check(self, model):
        return self.refused.get(model, {})

    def measure(self, cell, macs, progress):
        self.asked.append(cell)
        if macs:
            self.counted.append(cell)
        progress(0.5, "canned")
        fault = self.faults.pop((cell.size, cell.run), None)
        if fault is not None:
            raise fault
        return MeasuredCell(RESULT, ('{"date": "x", "metrics": {}}',), (0.1, 0.2), 1, 7, "")

    def close(self):
        pass


@pytest.fixture
def plan(tmp_path):
    model = tmp_path / "net.bin"
    model.write_bytes(b"weights")
    one = PlannedModel("net", file=str(model), sizes=(1, 2, 3, 4))
    return StudyPlan("s", (one,), runs=2, seed=5)


@pytest.fixture
def study(tmp_path):
    """Run a study on canned cells: ``study(plan) -> (result, cells)``."""

    def run(plan, faults=None, refused=None, **more):
        cells = Canned(faults, refused)
        more.setdefault("about", About(environment={"cpu": "one"}))
        return run_study(plan, tmp_path / "out", cells=lambda plan: cells, **more), cells

    return run


def test_runs_follow_one_another_and_inside_the_order_is_random(study, plan, tmp_path):
    result, cells = study(plan)
    assert [cell.run for cell in cells.asked] == [0] * 4 + [1] * 4
    orders = [[c.size for c in cells.asked if c.run == run] for run in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == [1, 2, 3, 4]
    assert orders[0] != orders[1], "each run has an order of its own"
    assert (result.cells, result.missing_cells, len(result.rows)) == (8, 0, 4)
    assert cells.counted == [c for c in cells.asked if c.size == 1 and c.run == 0]
    assert read_models(tmp_path / "out")[0].macs == 7


def test_a_plan_without_a_seed_gets_one_that_is_kept(study, plan, tmp_path):
    study(dataclasses.replace(plan, seed=None))
    text = (tmp_path / "out/study.toml").read_text()
    events = [json.loads(line) for line in (tmp_path / "out/cells.jsonl").open()]
    assert f"seed = {events[0]['seed']}\n" in text
    _, cells = study(dataclasses.replace(plan, seed=None), resume=True)
    assert cells.asked == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (ModelError("no such operator"), "no such operator"),
        (RuntimeError("CUDA out of memory"), "RuntimeError: CUDA out of memory"),
        (MemoryError(), "out of memory"),
        (ValueError("two\nlines"), "ValueError: two lines"),
    ],
)
def test_one_cell_that_fails_does_not_stop_the_others(study, plan, tmp_path, fault, words):
    result, cells = study(plan, {(3, 0): fault})
    assert len(cells.asked) == 8
    failed = [cell for cell in read_cells(tmp_path / "out") if not cell.done]
    assert [(cell.key.size, cell.key.run, cell.reason) for cell in failed] == [(3, 0, words)]
    row = next(row for row in result.rows if row.size == 3)
    assert (row.runs, row.failures[0].reason) == (1, words)
    assert not (tmp_path / "out" / failed[0].folder).exists()


def test_sizes_known_to_be_refused_are_not_tried(study, plan, tmp_path):
    _, cells = study(plan, refused={"net": {(1, 1): "only 2 to 4"}})
    assert {cell.size for cell in cells.asked} == {2, 3, 4}
    reasons = {cell.reason for cell in read_cells(tmp_path / "out") if not cell.done}
    assert reasons == {"only 2 to 4"}
    assert cells.counted[0].size == 2, "counted at the smallest size that can be measured"


def test_a_model_without_any_size_is_refused_before_anything_is_written(study, plan, tmp_path):
    refused = {"net": {(size, 1): "only 9" for size in (1, 2, 3, 4)}}
    with pytest.raises(ModelError, match="net can be measured at none of its sizes: only 9"):
        study(plan, refused=refused)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", range(8))
def test_resuming_gives_the_same_as_a_study_that_was_not_ended(study, plan, tmp_path, where):
    order = plan.cells()
    stop = order[where]
    with pytest.raises(KeyboardInterrupt):
        study(plan, {(stop.size, stop.run): KeyboardInterrupt()})
    report = read_report(tmp_path / "out/report.json")
    assert not report.complete
    assert report.results[0].missing_cells == 8 - where
    result, cells = study(plan, resume=True)
    assert tuple(cells.asked) == order[where:]
    assert tuple(cell.key for cell in read_cells(tmp_path / "out")) == order
    assert result.missing_cells == 0


def test_failed_cells_are_tried_again_only_when_asked(study, plan, tmp_path):
    study(plan, {(3, 0): ModelError("no memory"), (2, 1): ModelError("no memory")})
    _, cells = study(plan, resume=True)
    assert cells.asked == []
    result, cells = study(plan, {(2, 1): ModelError("still none")}, resume=True, retry_failed=True)
    assert {(cell.size, cell.run) for cell in cells.asked} == {(3, 0), (2, 1)}
    rows = {row.size: row for row in result.rows}
    assert (rows[3].runs, rows[3].failures) == (2, ())
    assert [one.reason for one in rows[2].failures] == ["still none"]
    assert (result.cells, result.missing_cells) == (8, 0), "each counts once"
    assert summarise(tmp_path / "out").rows == result.rows
    _, cells = study(plan, resume=True, retry_failed=True)
    assert {(cell.size, cell.run) for cell in cells.asked} == {(2, 1)}


def test_a_journal_cut_anywhere_is_read_and_mended(study, plan, tmp_path):
    study(plan)
    journal = tmp_path / "out/cells.jsonl"
    whole = journal.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    for cut in sorted({0, 1, *ends, *(e - 1 for e in ends), *(e + 9 for e in ends[:-1])}):
        journal.write_bytes(whole[:cut])
        left = list(read_cells(tmp_path / "out"))
        Journal(tmp_path / "out").close()
        assert list(read_cells(tmp_path / "out")) == left
        _, cells = study(plan, resume=True)
        found = [cell.key for cell in read_cells(tmp_path / "out")]
        assert found == list(plan.cells()), f"cut after {cut} bytes"
        assert len(cells.asked) == 8 - len(left)


def test_a_journal_that_is_damaged_in_its_middle_is_told_with_the_line(study, plan, tmp_path):
    study(plan)
    journal = tmp_path / "out/cells.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:3], "{broken\n", *lines[4:]]))
    with pytest.raises(Exception, match=r"cells\.jsonl:4 is damaged"):
        list(read_cells(tmp_path / "out"))


def test_a_folder_with_a_study_or_with_other_results_is_refused(study, plan, tmp_path):
    study(plan)
    with pytest.raises(ConfigError, match=r"holds a study already.*--resume.*--out"):
        study(plan)
    other = tmp_path / "other"
    (other / "input_3").mkdir(parents=True)
    with pytest.raises(ConfigError, match="input_3"):
        run_study(plan, other, cells=lambda plan: Canned())
    assert [item.name for item in other.iterdir()] == ["input_3"]


def test_resuming_another_study_is_refused(study, plan, tmp_path):
    study(plan)
    for change, words in (
        ({"runs": 3}, "runs is 3, was 2"),
        ({"seed": 6}, "seed is 6, was 5"),
        ({"seconds": 4.0}, "seconds is 4.0, was not set"),
        ({"models": (dataclasses.replace(plan.models[0], sizes=(1, 2)),)}, "sizes of net is 1, 2"),
    ):
        with pytest.raises(ConfigError, match=words):
            study(dataclasses.replace(plan, **change), resume=True)
    Path(plan.models[0].file).write_bytes(b"other weights")
    with pytest.raises(ConfigError, match="net changed since the study"):
        study(plan, resume=True)


def test_another_machine_is_warned_of(study, plan, tmp_path):
    study(plan)
    warned = []

    class Ears(Listener):
        def warned(self, text):
            warned.append(text)

    result, _ = study(plan, resume=True, listener=Ears(), about=About(environment={"cpu": "two"}))
    assert "another machine" in warned[0]
    assert result.warnings == tuple(warned)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_ends_the_study_and_loses_nothing(
    study, plan, tmp_path, monkeypatch, number
):
    append = Journal.append

    def full(self, data):
        if data.get("run") == 1:
            self._file.write(b'{"model": "net", "si')
            raise OSError(number, "No space left on device")
        append(self, data)

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(OSError, match="No space left"):
        study(plan)
    monkeypatch.setattr(Journal, "append", append)
    assert len(list(read_cells(tmp_path / "out"))) == 4
    _, cells = study(plan, resume=True)
    assert len(cells.asked) == 4
    assert [cell.key for cell in read_cells(tmp_path / "out")] == list(plan.cells())


def test_a_missing_model_is_told_before_anything_is_written(study, plan, tmp_path):
    Path(plan.models[0].file).unlink()
    with pytest.raises(ModelError, match=r"there is no file .*net\.bin"):
        study(plan)


def test_an_error_keeps_its_kind_for_who_listens(study, plan):
    errors = []

    class Ears(Listener):
        def ended(self, record, error):
            errors.append((record.state, type(error)))

    study(plan, {(1, 0): ModelInputError("x")}, listener=Ears())
    assert errors.count(("failed", ModelInputError)) == 1
    assert errors.count(("done", type(None))) == 7


class Clock:
    def __init__(self):
        self.instant = 0.0

    def now(self):
        return self.instant


@pytest.mark.parametrize("count", [1, 10, 20, 21, 1000])
def test_latencies_are_thinned_evenly_and_without_the_warm_up(count):
    clock = Clock()
    latencies = Latencies(clock, 10)
    begun = []

    def work():
        begun.append(clock.instant)
        clock.instant += 1.0 + len(begun) / 1000

    timed = latencies.timed(work)
    for _ in range(5):
        timed()
    start = clock.instant
    for _ in range(count):
        timed()
    kept = latencies.since(start)
    assert min(count, 5) <= len(kept) <= 10
    numbers = [round((seconds - 1.0) * 1000) for seconds in kept]
    assert min(numbers) > 5
    assert {b - a for a, b in pairwise(numbers)} <= {latencies.every}
