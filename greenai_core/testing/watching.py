"""See what code touches: files, folders, sockets, processes, libraries."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

_EVENTS = {
    "open",
    "os.listdir",
    "os.scandir",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "ctypes.dlopen",
}

_active = threading.local()
_installed: list[bool] = []


def _importing() -> bool:
    frame: Any = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    touched = getattr(_active, "touched", None)
    if touched is not None and event in _EVENTS and not _importing():
        touched.append(f"{event} {arguments[0]!r}" if arguments else event)


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """Collect what this thread opens, lists, connects to or starts inside the block.

    Importing a module is not counted.
    """
    if not _installed:
        # An audit hook cannot be removed again; outside the block it does nothing.
        sys.addaudithook(_hook)
        _installed.append(True)
    touched: list[str] = []
    _active.touched = touched
    try:
        yield touched
    finally:
        _active.touched = None


@contextlib.contextmanager
def without(libraries: Sequence[str]) -> Iterator[None]:
    """Make importing the libraries fail inside the block, loaded or not."""
    heads = tuple(f"{name}." for name in libraries)
    hidden = {
        name: module
        for name, module in sys.modules.items()
        if name in libraries or name.startswith(heads)
    }
    for name in {*hidden, *libraries}:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own way to forbid an import
    try:
        yield
    finally:
        for name in {*libraries, *hidden}:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)
