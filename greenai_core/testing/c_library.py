"""Building the C libraries that stand in for drivers, when they are first used."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from pathlib import Path

from greenai_core.errors import PluginUnavailable


def compiler() -> str | None:
    """Path of a C compiler; None when there is none."""
    return next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


def built(source: Path, library: str, what: str, *flags: str) -> Path:
    """Build a shared library in a folder of its own, which goes when the process ends.

    Args:
        source: its C code.
        library: path below that folder, ``libnvidia-ml.so.1`` or ``lib/libamd_smi.so``.
        what: for people, ``the NVML simulator``.
        flags: more for the compiler; libraries to link last.

    Returns:
        Path of the library.

    Raises:
        PluginUnavailable: there is no C compiler, or it failed.
    """
    cc = compiler()
    if cc is None:
        raise PluginUnavailable(
            f"{what} is built when it is used, and no C compiler (cc, gcc, clang) is on the PATH",
            "Install one: sudo apt install gcc",
        )
    folder = Path(tempfile.mkdtemp(prefix="greenai-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / library
    path.parent.mkdir(exist_ok=True)
    done = subprocess.run(
        [cc, "-std=gnu11", "-O2", "-shared", "-fPIC", "-o", str(path), str(source), *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PluginUnavailable(f"{cc} could not build {what}:\n{done.stderr}")
    return path
