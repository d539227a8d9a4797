"""Boards that a program may use and that nobody measures: they would flatter its figures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from greenai_core.results import WindowResult

BOARDS = ("gpu", "accelerator")
"""Components."""

DEVICES = {"nvidia[0-9]*": "NVIDIA", "kfd": "AMD"}
"""Files below ``/dev`` that programs reach boards by -> whose boards."""

HIDING = {
    "NVIDIA": ("CUDA_VISIBLE_DEVICES",),
    "AMD": ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
}
"""Variables that hide all boards where they are empty or -1."""


def warnings(
    gross: WindowResult,
    devices: Path = Path("/dev"),
    environment: Mapping[str, str] = os.environ,
) -> list[str]:
    """What to say of boards that are here and in no figure.

    Args:
        gross: of a run.
        devices: the folder of device files.
        environment: variables that the program saw.
    """
    if any(channel.component in BOARDS for channel in gross.channels):
        return []
    if any(missing.id.startswith(BOARDS) for missing in gross.missing):
        return []
    found = [
        maker
        for pattern, maker in DEVICES.items()
        if any(devices.glob(pattern)) and not _hidden(maker, environment)
    ]
    if not found:
        return []
    return [
        f"this machine has {' and '.join(found)} boards that nothing measures: what the program "
        "used of them is in no figure and no letter. `greenai devices` tells how to measure them"
    ]


def _hidden(maker: str, environment: Mapping[str, str]) -> bool:
    return any(environment.get(name) in ("", "-1") for name in HIDING[maker])
