"""The system call perf_event_open, for counters of a whole CPU package.

Facts: perf_event_open(2), and include/uapi/linux/perf_event.h of Linux. A counter of a
package belongs to no process: pid is -1, and cpu any CPU of the package. It cannot leave
out user or kernel code, so the kernel asks for perf_event_paranoid <= 0 or CAP_PERFMON.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from greenai_core import PluginUnavailable

NUMBERS = {
    "x86_64": 298,
    "i686": 336,
    "i586": 336,
    "i386": 336,
    "aarch64": 241,
    "riscv64": 241,
    "loongarch64": 241,
    "ppc64le": 319,
    "s390x": 331,
}
"""Machine -> number of the system call, from the kernel's system call tables."""

ANY_PROCESS = -1
NO_GROUP = -1
FLAG_FD_CLOEXEC = 8

COUNT_BYTES = 8

ATTR = struct.Struct("=IIQQQQQIIQ")
"""perf_event_attr in its first published size, which every kernel takes: type, size, config,
sample_period, sample_type, read_format, flags, wakeup, bp_type, config1."""


class Event(Protocol):
    """An open counter."""

    @property
    def read(self) -> Callable[[], bytes]:
        """What reads the count: eight bytes, a signed number in the machine's order."""

    def close(self) -> None:
        """Close it."""


@dataclass(frozen=True)
class PerfEvent:
    """A counter that the kernel has opened.

    Attributes:
        fd: its file descriptor.
    """

    fd: int

    @property
    def read(self) -> Callable[[], bytes]:
        """A read of the descriptor; it cannot be sought, so there is no pread of it."""
        return functools.partial(os.read, self.fd, COUNT_BYTES)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


def open_event(type: int, config: int, cpu: int) -> PerfEvent:
    """Open a counter, which begins to count.

    Args:
        type: of the PMU, from its ``type`` file.
        config: which of its events.
        cpu: the CPU that reads it.

    Raises:
        OSError: the kernel refuses, see ``refusal``.
    """
    attr = ATTR.pack(type, ATTR.size, config, 0, 0, 0, 0, 0, 0, 0)
    fd = _syscall()(
        _number(), attr, ANY_PROCESS, cpu, NO_GROUP, FLAG_FD_CLOEXEC
    )  # fmt: skip
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return PerfEvent(fd)


def count(content: bytes) -> int | None:
    """The number in what was read; None if it holds none."""
    return int.from_bytes(content, sys.byteorder, signed=True) if len(content) == 8 else None


def refusal(error: OSError, event: str, proc: Path) -> PluginUnavailable:
    """What keeps a counter from being opened, and the way out.

    Args:
        error: of ``open_event``.
        event: the file that describes it.
        proc: ``/proc``.
    """
    if error.errno == errno.EACCES:
        reason, hint = _no_permission(proc)
    elif error.errno in (errno.EPERM, errno.ENOSYS):
        reason, hint = _filtered(error, proc)
    elif error.errno == errno.ENODEV:
        reason, hint = "its CPU went offline meanwhile", "Try again"
    elif error.errno == errno.EMFILE:
        reason, hint = "too many files are open", "Raise the limit: ulimit -n 4096"
    else:
        reason = f"the kernel says: {error.strerror}"
        hint = "See whether `sudo perf stat -a -e power/energy-pkg/ sleep 1` can; dmesg may say why"
    return PluginUnavailable(f"{event} cannot be opened: {reason}", hint)


def _no_permission(proc: Path) -> tuple[str, str]:
    file = proc / "sys/kernel/perf_event_paranoid"
    try:
        level = int(file.read_text())
    except (OSError, ValueError):
        level = 2  # the default of Linux
    if level > 0:
        python = Path(sys.executable).resolve()
        return (
            f"no permission ({file} is {level}; a whole package needs 0 or less, or CAP_PERFMON)",
            "Allow it for everybody, now and after each boot: sudo sh -c 'echo "
            "kernel.perf_event_paranoid=0 > /etc/sysctl.d/60-greenai.conf && "
            "sysctl -p /etc/sysctl.d/60-greenai.conf'. Or for this interpreter alone, whoever "
            f"runs it: sudo setcap cap_perfmon+ep {python} (before Linux 5.8: cap_sys_admin+ep)",
        )
    return (
        f"no permission, although {file} is {level}: a security module such as SELinux refuses",
        "See sudo ausearch -m avc -ts recent; the policy must allow perf_event { open cpu read }",
    )


def _filtered(error: OSError, proc: Path) -> tuple[str, str]:
    try:
        status = (proc / "self/status").read_text()
    except OSError:
        status = ""
    if re.search(r"^Seccomp:\s*2\s*$", status, re.MULTILINE):
        return (
            f"a seccomp filter, of a container most likely, refuses perf_event_open "
            f"({error.strerror})",
            "Start the container with --cap-add PERFMON, or a seccomp profile that allows "
            "perf_event_open; not as root, it needs kernel.perf_event_paranoid=0 on the host too",
        )
    if error.errno == errno.ENOSYS:
        return (
            "this kernel has no perf_event_open",
            "Use a kernel with CONFIG_PERF_EVENTS; a sandbox such as gVisor has none",
        )
    return (
        "the kernel refuses perf_event_open (Operation not permitted)",
        "A sandbox, or a security module: run it outside, or give it CAP_PERFMON",
    )


def _number() -> int:
    machine = platform.machine()
    if machine == "x86_64" and ctypes.sizeof(ctypes.c_void_p) == 4:
        machine = "i386"  # a 32-bit interpreter on a 64-bit kernel
    try:
        return NUMBERS[machine]
    except KeyError:
        raise OSError(errno.ENOSYS, f"its number on {machine} is not known") from None


@functools.lru_cache(maxsize=1)
def _syscall() -> Callable[[int, bytes, int, int, int, int], int]:
    function = ctypes.CDLL(None, use_errno=True).syscall
    # All of a machine word: what is variadic is not widened by ctypes.
    word = ctypes.c_long
    function.argtypes = [word, ctypes.c_char_p, word, word, word, word]
    function.restype = word
    return function
