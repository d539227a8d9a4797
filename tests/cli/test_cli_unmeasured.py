"""Boards that a program may use and that nobody measures."""

from __future__ import annotations

import pytest

from greenai_core.cli import unmeasured
from greenai_core.results import ChannelEnergy, MissingChannel, WindowResult


def run(*components, missing=()):
    channels = tuple(
        ChannelEnergy(f"{c}:0", c, "counter", "sim", True, 1.0, 1.0, 1.0, 1.0, 1.0)
        for c in components
    )
    ids = tuple(channel.id for channel in channels)
    return WindowResult(
        "run", 1.0, None, None, None, None, None, "counter", ids, channels, tuple(missing)
    )


@pytest.mark.parametrize("file", ["nvidia0", "nvidia15", "kfd"])
def test_a_board_that_nothing_measures_is_told(tmp_path, file):
    (tmp_path / file).touch()
    (said,) = unmeasured.warnings(run("cpu", "dram"), tmp_path, {})
    assert "boards that nothing measures" in said
    assert ("AMD" if file == "kfd" else "NVIDIA") in said


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_boards_that_the_program_cannot_see_are_none(tmp_path, hidden):
    (tmp_path / "nvidia0").touch()
    assert unmeasured.warnings(run("cpu"), tmp_path, {"CUDA_VISIBLE_DEVICES": hidden}) == []
    assert unmeasured.warnings(run("cpu"), tmp_path, {"CUDA_VISIBLE_DEVICES": "0"})


def test_measured_boards_need_no_warning(tmp_path):
    """Nor do those that failed: the result itself tells that."""
    (tmp_path / "nvidia0").touch()
    assert unmeasured.warnings(run("cpu", "gpu"), tmp_path, {}) == []
    lost = MissingChannel("gpu:GPU-1", "gone")
    assert unmeasured.warnings(run("cpu", missing=[lost]), tmp_path, {}) == []


def test_without_boards_there_is_nothing_to_say(tmp_path):
    (tmp_path / "nvidiactl").touch()
    assert unmeasured.warnings(run("cpu"), tmp_path, {}) == []
