"""Which board a CUDA device number stands for, on a simulated driver."""

from __future__ import annotations

from typing import Any

import pytest

from greenai_core import ModelLoadError, PluginUnavailable
from greenai_plugins.models.accelerators import cuda_channels, cuda_ordinal, rocm_channels


class FakeDriver:
    """CUDA's driver with eleven boards; the identity of board n is filled with n."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing

    def cuInit(self, flags: Any) -> int:
        return 100 if self.failing == "cuInit" else 0

    def cuDeviceGet(self, device: Any, ordinal: Any) -> int:
        device._obj.value = ordinal.value
        return 0 if ordinal.value < 11 else 101

    def cuDeviceGetUuid(self, identity: Any, device: Any) -> int:
        identity._obj[:] = [device.value] * 16
        return 0


def test_board_is_the_drivers() -> None:
    """Board 10 is not board 1."""
    assert cuda_channels(10, FakeDriver()) == ("gpu:GPU-0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a",)
    assert cuda_channels(1, FakeDriver()) == ("gpu:GPU-01010101-0101-0101-0101-010101010101",)


def test_board_that_is_not_there() -> None:
    with pytest.raises(PluginUnavailable, match=r"cuda:11 \(cuDeviceGet returned 101\)"):
        cuda_channels(11, FakeDriver())
    with pytest.raises(PluginUnavailable, match="cuInit"):
        cuda_channels(0, FakeDriver(failing="cuInit"))


def test_device_names() -> None:
    assert [cuda_ordinal(name) for name in ("cpu", "cuda", "cuda:1", "cuda:10")] == [None, 0, 1, 10]
    for wrong in ("", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "gpu"):
        with pytest.raises(ModelLoadError):
            cuda_ordinal(wrong)


class FakeHip:
    """HIP's runtime with one board in two partitions."""

    def hipDeviceGetPCIBusId(self, place: Any, length: Any, ordinal: Any) -> int:
        if ordinal.value > 1:
            return 101
        place.value = f"0000:C1:00.{ordinal.value}".encode()
        return 0


@pytest.mark.parametrize("ordinal", [0, 1])
def test_an_amd_board_is_named_by_its_place_on_the_bus(ordinal: int) -> None:
    assert rocm_channels(ordinal, FakeHip()) == ("gpu:0000:c1:00.0",)


def test_a_device_that_hip_does_not_have_is_a_clear_error() -> None:
    with pytest.raises(PluginUnavailable, match="cuda:2"):
        rocm_channels(2, FakeHip())


def test_no_hip_runtime_is_a_clear_error() -> None:
    with pytest.raises(PluginUnavailable, match="HIP runtime"):
        rocm_channels(0)
