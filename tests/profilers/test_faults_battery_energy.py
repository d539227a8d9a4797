"""A laptop's battery, by the energy left in it, × faults in the middle of a window."""

from __future__ import annotations

from functools import partial

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told
from sysfs_faults import NO_NETWORK, WHOLE, Place, later, measured

from greenai_core import PluginUnavailable
from greenai_core.testing import Latch, SysfsTree, VirtualClock
from greenai_plugins.profilers.battery import BatteryEnergyProfiler

FOLDER = "class/power_supply"
BATTERY = f"{FOLDER}/BAT0"
ENERGY = f"{BATTERY}/energy_now"
WATTS, SECONDS, PERIOD_S = 14.0, 60.0, 2.0


class Gauge(BatteryEnergyProfiler):
    """A quick one, so that the tests are."""

    def __init__(self, *, root: object) -> None:
        super().__init__(root=root, period_s=PERIOD_S)


TABLE: Table = {
    "EIO": Case(lambda at: at.tree.fail(at.path), "could not be read"),
    "EACCES": Case(lambda at: at.tree.deny(at.path), "Permission denied"),
    "reset": Case(lambda at: at.tree.write(at.path, "60000000\n"), "cannot be true|reset"),
    "wrap": Impossible("what is left in a battery ends at 0, and the machine with it"),
    "stuck": Case(
        lambda at: at.tree.stick(at.path), "did not move", "missing after 20 update periods"
    ),
    "constant zero": Case(lambda at: at.tree.write(at.path, "0\n"), "jumped|reset"),
    "NaN": Case(lambda at: at.tree.write(at.path, "nan\n"), "instead of a number"),
    "negative": Case(lambda at: at.tree.write(at.path, "-70000000\n"), "jumped|reset"),
    "GPU lost": Impossible("a battery is no GPU"),
    "slow read": Case(later(0.05), EXACT),
    "unplugged": Case(lambda at: at.tree.remove(at.folder), "is gone"),
    "HTTP 500": NO_NETWORK,
    "hang": Case(later(20.0, reads=1), EXACT, "exact, once it answers"),
    "half a JSON": NO_NETWORK,
    "frame cut": WHOLE,
}


def on_battery(root):
    build = partial(SysfsTree.laptop, energy_latch=Latch(PERIOD_S))
    return measured(build, Gauge, ENERGY, BATTERY, root, drive_s=0.1)


def window(place, session, harm):
    with session.window() as window:
        place.clock.sleep(SECONDS / 2)
        harm(place)
        place.clock.sleep(SECONDS / 2)
    return window.result


@pytest.mark.parametrize("case", cases(TABLE))
def test_a_fault_inside_a_window(case, tmp_path):
    with on_battery(tmp_path) as (place, session):
        if case is TABLE["stuck"]:
            case.harm(place)  # what had moved before would be told as the energy so far
            place.clock.sleep(1.0)
            result = window(place, session, lambda at: None)
        else:
            result = window(place, session, case.harm)
        told(result, "battery:BAT0", case.outcome, WATTS, 2.1)


def plug_in_for_two_seconds(at: Place) -> None:
    at.tree.set(f"{FOLDER}/AC/online", 1)
    at.clock.sleep(2.0)
    at.tree.set(f"{FOLDER}/AC/online", 0)


@pytest.mark.parametrize("when", [2.0, 30.0, 57.0])
def test_no_figure_where_a_charger_helped(when, tmp_path):
    with on_battery(tmp_path) as (place, session):
        with session.window() as spoilt:
            place.clock.sleep(when)
            plug_in_for_two_seconds(place)
            place.clock.sleep(62.0 - when)
        told(spoilt.result, "battery:BAT0", "plugged in|reset", WATTS, 2.1)
        with session.window() as well:
            place.clock.sleep(SECONDS)
        told(well.result, "battery:BAT0", EXACT, WATTS, 2.1)


@pytest.mark.parametrize(
    ("harm", "reason", "hint"),
    [
        (lambda tree: tree.remove(BATTERY), "no battery in", "wattmeter"),
        (lambda tree: tree.set(f"{FOLDER}/AC/online", 1), "AC is plugged in", "Unplug"),
        (lambda tree: tree.set(f"{BATTERY}/status", "Charging"), "'Charging'", "Unplug"),
        (lambda tree: (tree.root / ENERGY).unlink(), "does not tell the energy", "battery"),
        (lambda tree: tree.deny(ENERGY), "Permission denied", "upower"),
    ],
)
def test_what_does_not_work_is_refused_when_opened(harm, reason, hint, tmp_path):
    clock = VirtualClock()
    with SysfsTree.laptop(tmp_path) as tree:
        tree.drive(clock)
        harm(tree)
        profiler = BatteryEnergyProfiler(root=tmp_path)
        with pytest.raises(PluginUnavailable, match=reason) as caught:
            profiler.open(clock)
        assert hint in caught.value.hint
        assert not profiler.is_open
