"""A grading service on loopback, and runs to send to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenai_core import Bounds, DevicePower, Run, Spool, new_key
from greenai_core.testing import GradingServer
from greenai_plugins.graders.web_adapter import Patience
from greenai_plugins.graders.web_client import GradingService

CERTIFICATE = Path(__file__).parents[1] / "data" / "loopback.pem"


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.delenv("GREENAI_TOKEN", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def waits():
    """Seconds that the client would have waited between its tries."""
    return []


@pytest.fixture
def patience(waits):
    """Silence is given up after 0.3 s, and waiting takes no time."""
    return Patience(read_s=0.3, connect_s=0.3, sleep=waits.append, chance=lambda: 1.0)


@pytest.fixture
def server():
    with GradingServer() as running:
        yield running


@pytest.fixture
def service(server, patience):
    """A client of ``server``."""
    return GradingService(server.url, patience=patience)


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


@pytest.fixture
def run():
    """60 W above idle for 10 s on a machine that draws 200 W at most."""
    return Run(
        key=new_key(),
        created="2024-05-01T10:00:00+00:00",
        duration_s=10.0,
        net_energy_j=Bounds(600.0, 590.0, 610.0),
        gross_energy_j=Bounds(900.0, 880.0, 920.0),
        devices=(DevicePower("CPU", "Example 9", 100.0), DevicePower("GPU", "Board 7", 94.04)),
        memory_gb=16.0,
    )
