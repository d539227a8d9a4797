"""A machine of known power for loops of networks."""

from __future__ import annotations

import pytest

from greenai_core import Session
from greenai_core.testing import SimulatedCounterProfiler


@pytest.fixture
def machine():
    """A session on a simulated socket of constant power, whose second is real time."""
    with Session([SimulatedCounterProfiler()]) as session:
        yield session
