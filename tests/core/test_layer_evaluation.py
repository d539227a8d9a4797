"""What is said of a machine that changes while layers are measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenai_core import Layer, WatchedCall, WatchedLoop, layers_of_window
from greenai_core.layer_evaluation import drifted
from greenai_core.results import ModelSummary
from greenai_core.testing.sample_reports import figure, sample_report

MODEL = ModelSummary("Net", "pytorch", "cpu", (), 1)


def test_a_pass_that_costs_the_same_again_needs_no_word():
    assert drifted(figure(1.0), figure(1.05)) == ""
    assert drifted(None, figure(1.0)) == ""


def test_a_pass_that_costs_something_else_afterwards_is_said():
    told = drifted(figure(1.0), figure(1.2))
    assert "1 J before" in told
    assert "1.2 J afterwards" in told
    assert "nothing else run" in told


# A loop of the user's


def window(known=True):
    (command,) = sample_report("measure", known=known).results
    return replace(command.gross, duration_s=2.0)


def loop(**more):
    layers = (
        Layer("a", "Conv2d", 10, None),
        Layer("b", "Block", 0, None),
        Layer("b.c", "Linear", 5, "b"),
        Layer("unused", "Linear", 7, None),
    )
    calls = (WatchedCall("a", 8, 0.8), WatchedCall("b", 4, 0.1), WatchedCall("b.c", 4, 0.5))
    return WatchedLoop(MODEL, "inference", 4, layers, calls, 1e-6, 0.2, **more)


def test_rows_are_shares_of_what_the_sensor_saw():
    seen = window()
    result = layers_of_window(seen, loop())
    rows = {row.name: row for row in result.layers}
    joules = seen.energy_j / 4
    assert result.energy_j.value == pytest.approx(joules)
    assert result.latency_s.value == pytest.approx(0.5)
    assert rows["a"].energy_j.value == pytest.approx(0.4 * joules)
    assert rows["a"].calls == 2
    assert rows["b"].energy_j.value == pytest.approx(0.05 * joules)
    assert rows["b"].with_parts_j.value == pytest.approx(0.3 * joules)
    assert rows["unused"].energy_j.value == pytest.approx(0.0)
    assert rows["unused"].calls == 0
    assert result.overhead_j.value == pytest.approx(0.1 * joules)
    assert result.unattributed_j.value == pytest.approx(0.2 * joules)
    assert {row.energy_j.method for row in result.layers} == {"modelled"}
    assert result.energy_j.method == "counter"
    assert result.residual_j is None
    assert result.hook_cost.share == pytest.approx(0.2 / 1.8)


def test_more_time_in_layers_than_there_was_is_flagged():
    """Layers that overlap: their shares cannot be shares of the window."""
    calls = (WatchedCall("a", 4, 2.6),)
    result = layers_of_window(window(), replace(loop(), calls=calls))
    assert result.residual_flagged
    assert result.residual_share < -0.3
    assert result.unattributed_j.value == pytest.approx(0.0)


def test_energy_that_is_not_known_leaves_the_times():
    result = layers_of_window(window(known=False), loop())
    assert result.energy_j is None
    assert result.unattributed_j is None
    assert result.layers[0].energy_j is None
    assert result.layers[0].time_share == pytest.approx(0.4)
    assert result.missing


def test_no_pass_is_no_result():
    with pytest.raises(ValueError, match="no pass"):
        layers_of_window(window(), replace(loop(), passes=0))
