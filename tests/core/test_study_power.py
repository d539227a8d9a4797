"""The groups of ``power_metrics.json``: what is measured and what is modelled stand apart."""

from __future__ import annotations

from greenai_core import Channel, power_metrics


def test_modelled_boards_have_a_group_of_their_own():
    """AIPowerMeter's parser expects all its keys wherever the group ``gpu`` is."""
    boards = [Channel("gpu:a", "gpu", "modelled"), Channel("cpu:0/package", "cpu", "counter")]
    found = power_metrics(boards, {"gpu:a": 70.0, "cpu:0/package": 30.0}, [])
    assert found == {
        "cpu": {"intel_power": 30.0},
        "gpu_modelled": {"per_gpu_modelled_power": {"0": 70.0}},
    }


def test_measured_boards_keep_the_names_of_the_old_scripts():
    found = power_metrics([Channel("gpu:a", "gpu", "counter")], {"gpu:a": 70.0}, [])
    assert found["gpu"]["nvidia_power"] == found["gpu"]["nvidia_draw_absolute"] == 70.0
    assert "gpu_modelled" not in found
