"""What machine and which software gave a figure.

Nothing that names a person or a place: no host name, no user name, no paths.
What cannot be found out is None.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = (
    "numpy", "torch", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorflow", "tensorflow-cpu",
    "keras", "h5py", "pillow", "nvidia-ml-py", "pyJoules", "psutil", "requests", "stevedore",
)  # fmt: skip
"""Distributions whose version can change a figure, or what can be measured."""

GIT_PATIENCE_S = 2.0

HYPERVISORS = {
    "qemu": "qemu",
    "kvm": "kvm",
    "vmware": "vmware",
    "virtualbox": "virtualbox",
    "innotek": "virtualbox",
    "xen": "xen",
    "microsoft corporation virtual": "hyper-v",
    "amazon ec2": "amazon",
    "google compute": "google",
    "parallels": "parallels",
    "bochs": "bochs",
}
"""What the firmware calls itself -> the hypervisor; looked for in lower case."""

CONTAINERS = ("docker", "kubepods", "podman", "libpod", "lxc", "containerd")


def describe(root: Path = Path("/")) -> dict[str, Any]:
    """The environment of a report, as JSON types.

    Args:
        root: where ``proc``, ``sys`` and ``etc`` are.
    """
    return {
        "greenai_core": _version("greenai-core"),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "kernel": platform.release(),
        "os": _os_name(root),
        "architecture": platform.machine(),
        "cpu": _cpu(root),
        "memory_bytes": _memory_bytes(),
        "virtualisation": _virtualisation(root),
        "container": _container(root),
        "nvidia_driver": nvidia_driver(root),
        "libraries": {name: v for name in LIBRARIES if (v := _version(name)) is not None},
        "git": _git(),
    }


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _os_name(root: Path) -> str | None:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', _read(root / "etc/os-release") or "", re.M)
    return found[1] if found else None


def _cpu(root: Path) -> dict[str, Any]:
    import psutil

    return {
        "model": _cpu_model(root),
        "logical_cores": psutil.cpu_count(logical=True),
        "physical_cores": psutil.cpu_count(logical=False),
        "governor": _governor(root),
        "turbo": _turbo(root),
    }


def _cpu_model(root: Path) -> str | None:
    info = _read(root / "proc/cpuinfo") or ""
    # x86 says "model name"; some ARM boards "Model" or "Hardware"; others nothing.
    model = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", info, re.M)
    return model[1].strip() if model else None


def machine_identity(root: Path = Path("/")) -> str | None:
    """A name of this machine that does not tell which one it is; None where nothing tells it.

    A hash of the installation's id, the processor and the board, as far as every
    user may read them: serial numbers are for root alone, and what root
    calibrates must be found by others.

    Args:
        root: where ``proc``, ``sys`` and ``etc`` are.
    """
    dmi = root / "sys/class/dmi/id"
    own = _read(root / "etc/machine-id") or _read(root / "var/lib/dbus/machine-id")
    if not own:
        return None
    board = [_read(dmi / name) or "" for name in ("board_vendor", "board_name", "product_name")]
    known = "\0".join(["greenai", own, _cpu_model(root) or "", *board])
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def _governor(root: Path) -> str | None:
    """The frequency governor; several joined by ``+`` where cores differ."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    found = {text for file in files if (text := _read(file))}
    return "+".join(sorted(found)) or None


def _turbo(root: Path) -> bool | None:
    cpu = root / "sys/devices/system/cpu"
    no_turbo = _read(cpu / "intel_pstate/no_turbo")
    if no_turbo in ("0", "1"):
        return no_turbo == "0"
    boost = _read(cpu / "cpufreq/boost")
    return boost == "1" if boost in ("0", "1") else None


def _memory_bytes() -> int | None:
    import psutil

    try:
        return int(psutil.virtual_memory().total)
    except (OSError, RuntimeError):
        return None


def _virtualisation(root: Path) -> str | None:
    """The hypervisor, ``unknown`` where there is one without a name, None for no sign of one."""
    dmi = root / "sys/class/dmi/id"
    firmware = " ".join(_read(dmi / name) or "" for name in ("sys_vendor", "product_name")).lower()
    for sign, name in HYPERVISORS.items():
        if sign in firmware:
            return name
    named = _read(root / "sys/hypervisor/type")
    if named:
        return named
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", _read(root / "proc/cpuinfo") or "", re.M)
    return "unknown" if flags else None


def _container(root: Path) -> str | None:
    """What kind of container this is, as far as it shows; None for no sign of one."""
    named = _read(root / "run/systemd/container")
    if named:
        return named
    for file, name in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if (root / file).exists():
            return name
    groups = _read(root / "proc/1/cgroup") or ""
    return next((name for name in CONTAINERS if name in groups), None)


def nvidia_driver(root: Path = Path("/")) -> str | None:
    """Version of the NVIDIA driver in use; None where there is none.

    Args:
        root: where ``proc`` is.
    """
    text = _read(root / "proc/driver/nvidia/version") or ""
    found = re.search(r"^NVRM version:.*?\s(\d+(?:\.\d+)+)\s", text, re.M)
    return found[1] if found else None


def _git() -> dict[str, Any] | None:
    """Commit of the current folder, and whether tracked files differ from it."""
    commit = _git_says("rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    status = _git_says("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _git_says(*arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            # A repository's settings must not make git start a program of theirs.
            [git, "-c", "core.fsmonitor=false", *arguments],
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            timeout=GIT_PATIENCE_S,
        )
        return done.stdout.strip()
    return None
