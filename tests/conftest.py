"""Options of the whole test suite."""

from __future__ import annotations

import os
import signal
import tempfile

import pytest

_LOCKS = tempfile.TemporaryDirectory(prefix="greenai-locks-")
# Simulated boards have the same names in every run, and several runs may be at work.
os.environ["GREENAI_LOCK_FOLDER"] = _LOCKS.name

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background by a shell: children would inherit the deaf ear.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--system",
        action="store_true",
        help="also run the tests marked `system`, which need more than Python and a C compiler",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--system"):
        return
    skip = pytest.mark.skip(reason="a system test: run with --system")
    for item in items:
        if "system" in item.keywords:
            item.add_marker(skip)
