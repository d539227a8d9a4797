"""Two studies side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from greenai_core import ComparisonError, Report, StudyResult, compare_studies, same_machine
from greenai_core.medians import RunValue, median_of_runs
from greenai_core.study_machines import one_machine
from greenai_core.study_results import StudiedModel, StudyMetric, StudyRow

SIZES = tuple(range(100, 1100, 100))
GAIN = 0.05


def study(name, joules, *, runs=10, noise=0.01, seed=0, method="counter", model="net"):
    generator = np.random.default_rng(seed)
    rows = []
    for size in SIZES:
        values = joules(size) * (1 + noise * generator.standard_normal(runs))
        own = 2 * noise
        found = median_of_runs(
            [RunValue(v, (own * v,) * 2, (float(np.hypot(own, 2 * GAIN)) * v,) * 2) for v in values]
        )
        metric = StudyMetric(
            "energy_total_j",
            found.value,
            found.low,
            found.high,
            found.repeat_low,
            found.repeat_high,
            method,
            runs,
            tuple(map(float, values)),
        )
        rows.append(StudyRow(model, size, 1, runs, True, ("cpu:0/package",), (metric,)))
    models = (StudiedModel(model),)
    return StudyResult(name, "pixels", models, tuple(rows), "greenai", len(SIZES) * runs, 0)


def verdicts(found):
    return [row.ratio.verdict for row in found.rows]


def test_less_energy_on_one_machine_is_better():
    found = compare_studies(
        study("a", float), study("b", lambda s: 0.9 * s, seed=1), same_machine=True
    )
    assert set(verdicts(found)) == {"better"}
    back = compare_studies(
        study("b", lambda s: 0.9 * s, seed=1), study("a", float), same_machine=True
    )
    assert set(verdicts(back)) == {"worse"}


def test_on_two_machines_the_gains_do_not_cancel():
    """Ten percent is not beyond two sensors of 5 % each, however often one measures."""
    pair = study("a", float, noise=1e-4), study("b", lambda s: 0.9 * s, noise=1e-4, seed=1)
    found = compare_studies(*pair, same_machine=False)
    assert set(verdicts(found)) == {"undecided"}
    assert any("do not cancel" in warning for warning in found.warnings)
    half = compare_studies(pair[0], study("c", lambda s: 0.5 * s), same_machine=False)
    assert set(verdicts(half)) == {"better"}


def test_the_same_twice_is_equivalent_where_it_is_known_well():
    pair = study("a", float, noise=1e-3), study("b", float, noise=1e-3, seed=1)
    assert set(verdicts(compare_studies(*pair, same_machine=True))) == {"equivalent"}


def test_equal_studies_are_called_different_in_five_percent_at_most():
    """Any of ten sizes; 60 pairs, of which 5 % are 3, and more than 7 are beyond chance."""
    wrong = 0
    for seed in range(60):
        pair = study("a", float, seed=2 * seed), study("b", float, seed=2 * seed + 1)
        found = verdicts(compare_studies(*pair, same_machine=True, margin=0.0))
        wrong += bool({"better", "worse"} & set(found))
    assert wrong <= 7


def test_three_runs_keep_the_promise_too():
    wrong = 0
    for seed in range(60):
        pair = (study(n, float, runs=3, seed=900 + 2 * seed + i) for i, n in enumerate("ab"))
        found = verdicts(compare_studies(*pair, same_machine=True, margin=0.0))
        wrong += bool({"better", "worse"} & set(found))
    assert wrong <= 7


def test_what_one_study_lacks_is_told():
    first, other = study("a", float), study("b", float, seed=1)
    short = StudyResult("b", "pixels", other.models, other.rows[:3], "greenai", 30, 0)
    found = compare_studies(first, short, same_machine=True)
    assert len(found.rows) == 3
    assert sum("is in a only" in warning for warning in found.warnings) == 7


def test_one_model_under_two_names_is_compared():
    pair = study("a", float), study("b", lambda s: 0.8 * s, model="pruned", seed=1)
    found = compare_studies(*pair, same_machine=True)
    assert found.rows[0].model == "net / pruned"
    assert set(verdicts(found)) == {"better"}


def test_modelled_joules_are_called_so():
    pair = study("a", float, method="modelled"), study("b", float, method="modelled", seed=1)
    found = compare_studies(*pair, same_machine=True)
    assert any("modelled, not measured" in warning for warning in found.warnings)


def test_nothing_in_common_is_an_error():
    with pytest.raises(ComparisonError, match="in common"):
        compare_studies(study("a", float), study("b", float), same_machine=True, metric="volts")


def report(first_gpu="gpu:GPU-a", cpu="Ryzen"):
    environment = {
        "architecture": "x86_64",
        "cpu": {"model": cpu, "logical_cores": 8},
        "memory_bytes": 2**34,
        "virtualisation": None,
        "nvidia_driver": "550",
    }
    one = study("a", float)
    rows = tuple(replace(row, contains=(first_gpu,)) for row in one.rows)
    return Report("study", "2026-01-01T00:00:00+00:00", environment, {}, (replace(one, rows=rows),))


def test_reports_tell_whether_it_was_one_machine(tmp_path):
    assert same_machine(report(), report())
    assert not same_machine(report(), report(cpu="Xeon"))
    assert not same_machine(report(), report(first_gpu="gpu:GPU-b")), "two alike have two boards"
    assert not same_machine(report(cpu=""), report(cpu="")), "not known is no yes"
    assert not one_machine(tmp_path, tmp_path), "nor is a missing report"
