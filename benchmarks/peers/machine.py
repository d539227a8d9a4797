"""The simulated machine: counters that move, a GPU, and a namespace to run tools in.

Needs Linux, root, ``unshare``, ``setpriv`` and a C compiler. Nothing outside of the
namespaces is changed.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenes import Scene

from greenai_core.errors import PluginUnavailable
from greenai_core.testing.c_library import built, compiler
from greenai_core.testing.nvml import LIBRARY, NvmlSimulator

if TYPE_CHECKING:
    from typing_extensions import Self

HERE = Path(__file__).resolve().parent
NVML_SOURCES = HERE.parents[1] / "greenai_core" / "testing"
CONFIG_VARIABLE = "GREENAI_NVML_SIMULATOR"

SHARED = Path("/dev/shm")  # counters written each ms belong into memory
NOBODY = "65534"

UNSHARE = (
    "unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child",
    "--propagation", "private",
)  # fmt: skip
"""Nothing that a tool mounts, sends or leaves running gets out."""

CPUINFO = """\
processor\t: {n}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz
stepping\t: 7
cpu MHz\t\t: 2500.000
physical id\t: 0
siblings\t: {count}
core id\t\t: {n}
cpu cores\t: {count}
flags\t\t: {flags}

"""


class MachineError(Exception):
    """The machine cannot be simulated here; says why."""


@dataclass(frozen=True)
class Ran:
    """What a driver left behind.

    Attributes:
        code: its exit code.
        out: what it wrote; empty if it died before.
        said: what it printed.
    """

    code: int
    out: Mapping[str, Any]
    said: str


def why_not() -> str:
    """What is missing to simulate the machine here; empty if nothing is."""
    if not sys.platform.startswith("linux"):
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root, for mount namespaces"
    absent = [name for name in ("unshare", "setpriv", "mount") if shutil.which(name) is None]
    if absent:
        return f"needs {', '.join(absent)} (util-linux)"
    if compiler() is None:
        return "needs a C compiler (cc, gcc or clang) for the simulated GPU"
    done = subprocess.run(
        [*UNSHARE, "sh", "-c", f"mount -t overlay overlay -o lowerdir={HERE}:/sys /sys"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return f"needs namespaces with an overlay on /sys: {done.stderr.strip()}"
    return ""


class Machine:
    """One simulated machine; a context manager.

    Args:
        scene: what it is and what happens to it.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.boards = NvmlSimulator([scene.board()])

    def __enter__(self) -> Self:
        place = SHARED if SHARED.is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="greenai-peers-", dir=place))
        self._writer: subprocess.Popen[str] | None = None
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None and self._writer.stdin is not None:
            self._writer.stdin.close()
            self._writer.wait(10)
        self.boards.__exit__()
        shutil.rmtree(self._folder, ignore_errors=True)

    def truth(self, begin: float, end: float) -> dict[str, float]:
        """See ``Scene.truth``."""
        return self.scene.truth(begin, end, self.boards)

    def run(
        self,
        python: Path,
        driver: Path,
        windows: Sequence[Mapping[str, Any]],
        *,
        timeout_s: float = 600.0,
    ) -> Ran:
        """Let a driver measure windows on this machine."""
        home = self._folder / f"home{time.monotonic_ns()}"
        home.mkdir(mode=0o777)
        home.chmod(0o777)
        out = home / "out.json"
        plan = home / "plan.json"
        plan.write_text(json.dumps({"windows": list(windows), "out": str(out)}))
        done = self.inside([str(python), "-u", str(driver), str(plan)], home, timeout_s)
        kept = json.loads(out.read_text()) if out.exists() else {}
        return Ran(done.code, kept, done.said)

    def inside(
        self, command: Sequence[str], home: Path | None = None, timeout_s: float = 60.0
    ) -> Ran:
        """Run a command on this machine; 124 is the code of one that took too long."""
        home = home or self._folder
        user = NOBODY if self.scene.denied else "root"
        enter = [*UNSHARE, "sh", str(HERE / "enter.sh"), str(self._folder), user]
        try:
            done = subprocess.run(
                [*enter, *command],
                env=self._environment(home), cwd=home, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", timeout=timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            return Ran(124, {}, str(error.output or ""))
        return Ran(done.returncode, {}, done.stdout)

    def _environment(self, home: Path) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL") if key in os.environ}
        boards = self.boards.environment({})[CONFIG_VARIABLE]
        return kept | {
            "PATH": f"{self._folder / 'bin'}:{kept.get('PATH', '')}",
            "HOME": str(home),
            "LD_LIBRARY_PATH": str(build_nvml()),
            CONFIG_VARIABLE: boards,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _build(self) -> None:
        self._folder.chmod(0o755)
        build_nvml()
        self.boards.__enter__()
        self.scene.prepare(self.boards)
        Path(self.boards.environment({})[CONFIG_VARIABLE]).parent.chmod(0o755)
        for file in Path(self.boards.environment({})[CONFIG_VARIABLE]).parent.iterdir():
            file.chmod(0o666)
        (self._folder / "cpuinfo").write_text(_cpuinfo())
        # Whoever has NVIDIA's driver has this too, and one tool looks for a GPU with it.
        smi = self._folder / "bin" / "nvidia-smi"
        smi.parent.mkdir()
        smi.write_text("#!/bin/sh\nexit 0\n")
        smi.chmod(0o755)
        (self._folder / "reach").write_text(_closed_paths() if self.scene.denied else "")
        lower = self._folder / "lower"
        (lower / "devices/virtual").mkdir(parents=True)
        (lower / "class").mkdir()
        tree = self._folder / "powercap"
        if not self.scene.powercap():
            tree.mkdir()
            return
        self._start_writer(tree)
        self._link(tree, lower)
        if self.scene.denied:
            for file in tree.rglob("energy_uj"):
                file.chmod(0o400)

    def _start_writer(self, tree: Path) -> None:
        self._writer = subprocess.Popen(
            [sys.executable, str(HERE / "writer.py"), str(tree), json.dumps(self.scene.kept())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        if self._writer.stdout is None or self._writer.stdout.readline().strip() != "moving":
            raise MachineError("the process that moves the counters did not start")

    def _link(self, tree: Path, lower: Path) -> None:
        """Show the tree as the kernel does: devices in one place, links in the other."""
        shown = lower / "class/powercap"
        shown.mkdir()
        devices = lower / "devices/virtual/powercap"
        devices.mkdir()
        for path in tree.iterdir():
            if path.name.startswith("."):
                continue
            real = path.resolve().relative_to(tree)
            (shown / path.name).symlink_to(Path("../../devices/virtual/powercap") / real)
            if not path.is_symlink():
                (devices / path.name).mkdir()
                (path / "subsystem").symlink_to("/sys/class/powercap")


@functools.lru_cache(maxsize=1)
def build_nvml() -> Path:
    """Folder with the simulated NVML and what the other tools ask of it; built once a process.

    Raises:
        MachineError: there is no C compiler, or it failed.
    """
    flags = f"-I{NVML_SOURCES}", f"-Wl,-soname,{LIBRARY}", "-lm", "-lpthread"
    try:
        library = built(HERE / "nvml_more.c", LIBRARY, "the simulated GPU", *flags)
    except PluginUnavailable as error:
        raise MachineError(str(error)) from error
    library.parent.chmod(0o755)
    return library.parent


def _cpuinfo() -> str:
    text = Path("/proc/cpuinfo").read_text()
    flags = next((line for line in text.splitlines() if line.startswith("flags")), ":")
    count = os.cpu_count() or 1
    own = flags.split(":", 1)[1].strip()
    return "".join(CPUINFO.format(n=n, count=count, flags=own) for n in range(count))


def _closed_paths() -> str:
    """Folders that only root may enter, each with what lies in it and is needed."""
    lines = []
    for needed in sorted({sys.base_prefix, str(HERE.parents[1])}):
        path = Path(needed).resolve()
        closed = [p for p in reversed(path.parents) if not p.stat().st_mode & 0o001]
        if closed:
            lines.append(f"{closed[0]} {path}\n")
    return "".join(lines)
