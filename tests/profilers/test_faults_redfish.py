"""What happens when a management controller fails in the middle of a window."""

from __future__ import annotations

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told

from greenai_core import Session
from greenai_core.testing import FakeBmc, VirtualClock
from greenai_plugins.profilers.redfish import RedfishProfiler

WATTS = 400.0
NO_COUNTER = Impossible("it tells power, no count that could jump")


def fault(name):
    def harm(bmc, clock):
        bmc.fault = name

    return harm


TABLE: Table = {
    "EIO": Case(fault("500"), "status 500"),
    "EACCES": Case(fault("401"), "wants a password"),
    "reset": Case(fault("reset"), "does not answer"),
    "wrap": NO_COUNTER,
    "stuck": Impossible("one value for long cannot be told from a steady load"),
    "constant zero": Case(fault("zero"), "cannot be the power"),
    "NaN": Case(fault("nan"), "cannot be the power"),
    "negative": Case(fault("negative"), "cannot be the power"),
    "GPU lost": Impossible("it measures no GPU"),
    "slow read": Case(lambda bmc, clock: clock.lapse(0.8), EXACT),
    "unplugged": Case(
        lambda bmc, clock: (setattr(bmc, "fault", "hang"), bmc.closed.set()), "does not answer"
    ),
    "HTTP 500": Case(fault("500"), "status 500"),
    "hang": Case(fault("hang"), "did not answer within"),
    "half a JSON": Case(fault("half"), "not JSON"),
    "frame cut": Impossible("HTTP has no frames; see half a JSON"),
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_fault(case):
    clock = VirtualClock(100.0)
    with FakeBmc(power=WATTS, clock=clock) as bmc:
        profiler = RedfishProfiler(url=bmc.url, period_s=1.0, timeout_s=0.05)
        with Session([profiler], clock=clock) as session:
            with session.window() as window:
                clock.sleep(20.0)
                case.harm(bmc, clock)
                clock.sleep(20.0)
            told(window.result, "wall:127.0.0.1", case.outcome, WATTS, 0.5)
