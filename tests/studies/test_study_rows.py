"""Cells to rows: medians, methods, failures, and what is not known."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from greenai_core import (
    CellFigure,
    CellKey,
    CellRecord,
    StudyResult,
    compare_studies,
    rows_of,
    summarise,
)
from greenai_core.cli.study_shown import spread
from greenai_core.figures import Observed
from greenai_core.study_cells import DONE, FAILED, CellChannel, cell_to_json
from greenai_core.study_metrics import gpu_numbers, in_order


def figure(value, method="counter"):
    return CellFigure(value, value * 0.9, value * 1.1, value * 0.99, value * 1.01, method)


def cell(size=224, run=0, joules=1.0, **changes):
    made = CellRecord(
        CellKey("net", size, 4, run),
        DONE,
        "",
        "",
        "",
        f"input_{size}/run_{run}",
        energy_per_inference_j=figure(joules),
        energy_per_sample_j=figure(joules / 4),
        latency_s=figure(0.02, "clock"),
        contains=("cpu:0/package", "gpu:GPU-b"),
        channels=(
            CellChannel("cpu:0/package", "cpu", True, figure(joules * 0.2)),
            CellChannel("gpu:GPU-b", "gpu", True, figure(joules * 0.8)),
            CellChannel("gpu:GPU-a", "gpu", False, figure(0.1)),
        ),
        observations=(
            Observed("gpu:GPU-b", "utilisation", "%", 9, 90.0, 80.0, 95.0),
            Observed("gpu:GPU-a", "utilisation", "%", 9, 0.0, 0.0, 0.0),
            Observed("gpu:GPU-b", "memory_used", "B", 9, 2e9, 1e9, 3e9),
        ),
    )
    return replace(made, **changes)


def failed(size=224, run=0, reason="out of memory"):
    return CellRecord(CellKey("net", size, 4, run), FAILED, reason, "", "", "")


def test_a_row_is_the_median_of_its_runs():
    (row,) = rows_of([cell(run=run, joules=joules) for run, joules in enumerate((3, 1, 2))])
    metric = row.metric("energy_total_j")
    assert (metric.value, metric.values, metric.runs) == (2, (3, 1, 2), 3)
    assert metric.repeat_low == 0 < 2 < metric.repeat_high
    assert metric.low == 0, "no energy is negative, however much three runs scatter"
    assert metric.high > metric.repeat_high


def test_what_no_run_knows_is_absent():
    (row,) = rows_of([cell()])
    assert row.metric("energy_dram_j") is None
    assert row.metric("energy_wall_j") is None
    assert row.metric("idle_power_w") is None


def test_busyness_is_that_of_the_gpus_in_the_total():
    (row,) = rows_of([cell()])
    assert row.metric("sm_percent").value == 90.0
    assert row.metric("gpu_memory_b").value == 3e9


def test_one_board_has_one_name_in_the_whole_study():
    other = cell(size=448)
    only_b = replace(other, channels=other.channels[:2])
    small, large = rows_of([cell(), only_b])
    assert small.metric("energy_gpu1_j").value == large.metric("energy_gpu1_j").value
    assert large.metric("energy_gpu0_j") is None


def test_numbered_boards_keep_their_number():
    assert gpu_numbers(["gpu:10", "gpu:1", "gpu:GPU-x"]) == {
        "gpu:1": 1,
        "gpu:10": 10,
        "gpu:GPU-x": 0,
    }
    assert in_order(["energy_gpu10_j", "energy_gpu9_j", "energy_total_j"])[0] == "energy_total_j"
    assert in_order(["energy_gpu10_j", "energy_gpu9_j"]) == ["energy_gpu9_j", "energy_gpu10_j"]


def test_failed_cells_are_listed_and_the_row_stays():
    rows = rows_of([cell(), failed(run=1), failed(size=2240)])
    assert [(row.size, row.runs, len(row.failures)) for row in rows] == [(224, 1, 1), (2240, 0, 1)]
    assert rows[1].metrics == ()
    assert rows[1].failures[0].reason == "out of memory"


def test_a_cell_is_never_counted_twice():
    (row,) = rows_of([failed(), cell(joules=1.0), cell(joules=2.0)])
    assert (row.runs, row.failures) == (1, ())
    assert row.metric("energy_total_j").value == 2.0
    (row,) = rows_of([cell(), failed()])
    assert row.runs == 1, "what was measured stays measured"


def test_modelled_stays_modelled_in_every_sum():
    one = cell(energy_per_inference_j=figure(1.0, "counter+modelled"))
    (row,) = rows_of([one, cell(run=1)])
    assert row.metric("energy_total_j").method == "counter+modelled"


def test_totals_of_different_channels_are_told():
    (row,) = rows_of([cell(), cell(run=1, contains=("cpu:0/package",))])
    assert any("different channels" in warning for warning in row.warnings)


def test_gains_of_two_packages_add_up_and_scatter_does_not():
    one = cell()
    two = CellChannel("cpu:1/package", "cpu", True, figure(0.2))
    (row,) = rows_of([replace(one, channels=(*one.channels, two))])
    metric = row.metric("energy_package_j")
    assert metric.value == pytest.approx(0.4)
    assert metric.repeat_high - metric.value == pytest.approx(0.002 * 2**0.5)
    assert metric.high - metric.value == pytest.approx(
        0.4 * (0.1**2 - 0.01**2 / 2) ** 0.5, rel=1e-3
    )


def test_two_meters_are_not_added_up():
    one = cell()
    walls = [CellChannel(f"wall:{name}", "wall", False, figure(2.0)) for name in ("psu1", "psu2")]
    (row,) = rows_of([replace(one, channels=(*one.channels, *walls))])
    assert row.metric("energy_wall_j") is None
    assert row.metric("energy_wall_psu2_j").value == 2.0


def test_rows_stand_in_the_order_of_the_models_then_of_sizes():
    cells = [
        replace(cell(size=size), key=CellKey(model, size, 4, 0))
        for size in (1000, 8, 64)
        for model in ("a", "b")
    ]
    rows = rows_of(cells, ["b", "a"])
    assert [(row.model, row.size) for row in rows] == [
        (model, size) for model in ("b", "a") for size in (8, 64, 1000)
    ]


def test_a_study_without_its_plan_is_still_read(tmp_path):
    lines = [json.dumps(cell_to_json(cell(run=run))) for run in (0, 1)]
    (tmp_path / "cells.jsonl").write_text("\n".join([*lines, lines[0][:50]]))
    study = summarise(tmp_path)
    assert (study.source, study.cells, study.rows[0].runs) == ("greenai", 2, 2)
    assert any("study.toml" in warning for warning in study.warnings)


@pytest.mark.parametrize("joules", [(1.0, 3.0), (1.0, 2.0, 6.0)])
def test_what_cannot_be_negative_has_no_negative_end(joules):
    """Two or three runs that scatter: the interval is cut, and still tells how they do."""
    runs = [
        cell(run=run, joules=value, latency_s=figure(value / 10, "clock"), power_w=figure(value))
        for run, value in enumerate(joules)
    ]
    (row,) = rows_of(runs)
    for name in ("energy_total_j", "energy_package_j", "latency_s", "power_w"):
        metric = row.metric(name)
        assert metric.low == metric.repeat_low == 0
        assert metric.repeat_half == metric.repeat_high - metric.value
        assert metric.half >= metric.repeat_half > metric.value


def test_energy_above_idle_may_be_negative():
    runs = [
        cell(run=run, net_energy_per_inference_j=figure(value))
        for run, value in enumerate((0.1, 0.4))
    ]
    (row,) = rows_of(runs)
    assert row.metric("energy_net_j").repeat_low < 0
    (row,) = rows_of([cell(net_energy_per_inference_j=figure(-0.4))])
    assert row.metric("energy_net_j").value == -0.4


def test_the_table_tells_both_ends_of_an_interval_from_zero():
    (row,) = rows_of([cell(run=0, joules=1.0), cell(run=1, joules=3.0)])
    assert spread(row.metric("energy_total_j")) == "2.00 J (0 to 14.7)"
    assert spread(row.metric("latency_s")) == "20.00 ms ± 0.71 %"


def test_a_cut_interval_weighs_in_fits_and_comparisons_as_it_did():
    """Else few runs that scatter would pass for better known than they are."""
    (row,) = rows_of([cell(run=0, joules=1.0), cell(run=1, joules=3.0)])
    metric = row.metric("energy_total_j")
    whole = replace(
        metric,
        name="energy_net_j",
        low=2 * metric.value - metric.high,
        repeat_low=2 * metric.value - metric.repeat_high,
    )
    study = StudyResult("s", "size", (), (replace(row, metrics=(metric, whole)),), "greenai", 2, 0)
    for same_machine in (True, False):
        cut, uncut = (
            compare_studies(study, study, same_machine=same_machine, metric=one.name).rows[0].ratio
            for one in (metric, whole)
        )
        assert (cut.low, cut.high) == pytest.approx((uncut.low, uncut.high))
