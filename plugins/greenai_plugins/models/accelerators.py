"""Which board a CUDA or ROCm device number stands for.

NVML numbers boards by their place on the bus, CUDA by speed and by what
``CUDA_VISIBLE_DEVICES`` leaves visible; so the driver itself is asked, which
honours both, instead of guessing from the environment.
"""

from __future__ import annotations

import ctypes
import uuid
from typing import Any

from greenai_core import ModelLoadError, PluginUnavailable

DRIVER = "libcuda.so.1"
HIP_RUNTIMES = ("libamdhip64.so", "libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5")
"""Whichever PyTorch has loaded is found by its name, wherever it lies."""


def cuda_ordinal(device: str) -> int | None:
    """Number of the CUDA device that a device name means.

    Args:
        device: ``"cpu"``, ``"cuda"`` (the first) or ``"cuda:10"``.

    Returns:
        The number; None for ``"cpu"``.

    Raises:
        ModelLoadError: it is none of these.
    """
    kind, colon, number = device.partition(":")
    if kind == "cpu" and not colon:
        return None
    if kind == "cuda" and not colon:
        return 0
    if kind == "cuda" and number.isascii() and number.isdigit():
        return int(number)
    raise ModelLoadError(f"there is no device {device!r}: give cpu, cuda, cuda:1 or auto")


def cuda_channels(ordinal: int, driver: Any = None) -> tuple[str, ...]:
    """Channel ids of the board behind a CUDA device number.

    A MIG instance gives the board that it is a part of, because sensors see boards.

    Args:
        ordinal: as CUDA numbers the visible devices of this process.
        driver: the CUDA driver library; None loads the installed one.

    Returns:
        One, ``gpu:GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx``, as NVML writes it.

    Raises:
        PluginUnavailable: there is no CUDA driver, or it has no such device.
    """
    if driver is None:
        try:
            driver = ctypes.CDLL(DRIVER)
        except OSError as error:
            raise PluginUnavailable(
                f"the CUDA driver ({DRIVER}) cannot be loaded", "Install the NVIDIA driver"
            ) from error
    device = ctypes.c_int()
    identity = (ctypes.c_ubyte * 16)()
    for call, arguments in (
        ("cuInit", (ctypes.c_uint(0),)),
        ("cuDeviceGet", (ctypes.byref(device), ctypes.c_int(ordinal))),
        # The first version of this call gives the board's identity; _v2 the MIG instance's.
        ("cuDeviceGetUuid", (ctypes.byref(identity), device)),
    ):
        code = getattr(driver, call)(*arguments)
        if code:
            raise PluginUnavailable(
                f"the CUDA driver does not give the board of cuda:{ordinal} "
                f"({call} returned {code})",
                "`nvidia-smi -L` lists the boards; CUDA_VISIBLE_DEVICES may hide some",
            )
    return (f"gpu:GPU-{uuid.UUID(bytes=bytes(identity))}",)


def rocm_channels(ordinal: int, runtime: Any = None) -> tuple[str, ...]:
    """Channel ids of the AMD board behind a device number of PyTorch for ROCm.

    Partitions give the board that they are a part of, because sensors see boards.

    Args:
        ordinal: as HIP numbers the visible devices of this process.
        runtime: the HIP runtime library; None takes the one that PyTorch has loaded.

    Returns:
        One, ``gpu:0000:c1:00.0``, by its place on the PCI bus.

    Raises:
        PluginUnavailable: there is no HIP runtime, or it has no such device.
    """
    runtime = _hip_runtime() if runtime is None else runtime
    place = ctypes.create_string_buffer(32)
    code = runtime.hipDeviceGetPCIBusId(place, ctypes.c_int(len(place)), ctypes.c_int(ordinal))
    if code:
        raise PluginUnavailable(
            f"the HIP runtime does not tell which board cuda:{ordinal} is (error {code})",
            "`amd-smi list` lists the boards; ROCR_VISIBLE_DEVICES may hide some",
        )
    address = place.value.decode("ascii", "replace").lower()
    return (f"gpu:{address.rpartition('.')[0]}.0",)


def _hip_runtime() -> Any:
    for name in HIP_RUNTIMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise PluginUnavailable(
        f"the HIP runtime ({HIP_RUNTIMES[0]}) cannot be loaded", "Install ROCm's hip-runtime"
    )
