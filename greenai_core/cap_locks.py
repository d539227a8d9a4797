"""One lock a device, so that no two programs change its limit at once.

There are two files: one beside the records, and one for all users of the machine, who may
keep their records elsewhere. Others may have put something in their place, so no link is
followed, and only a plain file is taken; that of the machine is neither read nor written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import stat
import time
from collections.abc import Callable
from pathlib import Path

from .errors import PowerCapError

PATIENCE_S = 3.0
"""A lock whose program is dead is held by its watchdog, which is just giving limits back."""

GLANCE_S = 0.1
"""Who only looks whether a lock is held (``is_held``) has it for a moment."""

MACHINE = Path("/run/lock")
"""Where programs of all users lock devices (Filesystem Hierarchy Standard 3.0, 5.9)."""

VARIABLE = "GREENAI_LOCK_FOLDER"
"""Names another folder than ``MACHINE``: containers that share boards can mount one."""

KERNEL = Path("/proc/locks")

PLAIN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Follow no link, and do not wait for the other end of a pipe."""


class DeviceLock:
    """Keeps two programs from changing the limit of one device.

    The lock belongs to the open files, so a process that inherits them goes on holding it
    when this one is killed.

    Args:
        path: of the lock file beside the records.
        device: to lock.

    Attributes:
        fds: the open files.

    Raises:
        PowerCapError: somebody else holds it.
    """

    def __init__(self, path: Path, device: str) -> None:
        self.fds: list[int] = []
        try:
            self.fds.append(_own(path, device))
            folder = machine_folder()
            if folder is not None:
                self.fds += _shared(folder / f"greenai-powercap-{path.name}", device, path.parent)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let others have it, whoever else inherited it."""
        while self.fds:
            release(self.fds.pop())


def release(fd: int) -> None:
    """Release the lock of an open lock file, and close that."""
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)
    with contextlib.suppress(OSError):
        os.close(fd)


def is_held(path: Path) -> bool:
    """Whether a running program, or its watchdog, holds a lock."""
    try:
        fd = os.open(path, os.O_RDONLY | PLAIN)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def machine_folder() -> Path | None:
    """Where programs of all users lock; None where there is no such folder to be trusted.

    Strangers must not be able to rename what is in it, which is what the sticky bit is for.
    """
    folder = Path(os.environ.get(VARIABLE) or MACHINE)
    try:
        known = folder.lstat()
    except OSError:
        return None
    private = not known.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or known.st_mode & stat.S_ISVTX
    trusted = stat.S_ISDIR(known.st_mode) and known.st_uid in (0, os.geteuid()) and private
    return folder if trusted else None


def _own(path: Path, device: str) -> int:
    """Take the lock beside the records, and sign it."""

    def opened() -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | PLAIN, 0o644)

    remedy = "Set XDG_STATE_HOME to a folder that can be written"
    fd = _waited(path, device, opened, _signed, remedy)
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
    except OSError as error:
        release(fd)
        raise _not_locked(device, path, error, remedy) from error
    return fd


def _shared(path: Path, device: str, folder: Path) -> list[int]:
    """Take the lock of the machine; nothing where this user can make none."""

    def opened() -> int:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | PLAIN)
        with contextlib.suppress(FileExistsError):  # another was quicker
            fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | PLAIN, 0o644)
            os.fchmod(fd, 0o644)  # whatever the umask: others have to open it
            return fd
        return os.open(path, os.O_RDONLY | PLAIN)

    if not path.is_symlink() and not path.exists() and not os.access(path.parent, os.W_OK):
        return []
    return [_waited(path, device, opened, _by_kernel, "Look at it, and remove it as root", folder)]


def _waited(
    path: Path,
    device: str,
    opened: Callable[[], int],
    holder: Callable[[int], int],
    remedy: str,
    elsewhere: Path | None = None,
) -> int:
    """Open a lock file and lock it; a watchdog that is just restoring a limit is waited for."""
    began = time.monotonic()
    while True:
        try:
            fd = _checked(opened())
        except OSError as error:
            raise _not_locked(device, path, error, remedy) from error
        if _taken(fd):
            if os.fstat(fd).st_nlink:  # else somebody removed it meanwhile
                return fd
        else:
            pid, waited = holder(fd), time.monotonic() - began
            if waited > (GLANCE_S if _lives(pid) else PATIENCE_S):
                os.close(fd)
                raise _held(device, pid, elsewhere)
        os.close(fd)
        time.sleep(0.02)


def _checked(fd: int) -> int:
    """An open file that is a plain one, known by this name only.

    Raises:
        OSError: it is not.
    """
    known = os.fstat(fd)
    if stat.S_ISREG(known.st_mode) and known.st_nlink <= 1:
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "it is no plain file")


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _signed(fd: int) -> int:
    """The process that signed a lock file; 0 where none did."""
    return _number(os.pread(fd, 32, 0).decode("ascii", "replace"))


def _by_kernel(fd: int) -> int:
    """The process that locked a file, as the kernel has it; 0 where it does not tell."""
    ending = f":{os.fstat(fd).st_ino}"
    with contextlib.suppress(OSError):
        for line in KERNEL.read_text(encoding="ascii", errors="replace").splitlines():
            words = line.split()
            if "FLOCK" in words and len(words) > 5 and words[5].endswith(ending):
                return _number(words[4])
    return 0


def _number(text: str) -> int:
    plain = text.strip()
    return int(plain) if plain.isascii() and plain.isdecimal() else 0


def _held(device: str, pid: int, elsewhere: Path | None) -> PowerCapError:
    if pid == os.getpid():
        return PowerCapError(
            f"this process changes the limit of {device} already: end its `with power_cap(…)` "
            "block, or call reset_power_cap, first"
        )
    known = str(pid or "unknown")
    if elsewhere is not None:
        known += f", of the user {_user_of(pid)}, whose records are not in {elsewhere}"
    return PowerCapError(
        f"another greenai (process {known}) is changing the limit of {device}. Wait for it, or "
        "end it"
    )


def _user_of(pid: int) -> str:
    try:
        number = Path(f"/proc/{pid}").stat().st_uid
        return pwd.getpwuid(number).pw_name
    except OSError:
        return "unknown"
    except KeyError:
        return str(number)


def _not_locked(device: str, path: Path, error: OSError, remedy: str) -> PowerCapError:
    why = "it is a link" if error.errno == errno.ELOOP else error.strerror
    return PowerCapError(f"{device} cannot be locked: {path}: {why}. {remedy}")


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[:1] != ["Z"]
