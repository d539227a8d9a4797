"""A laptop's battery × faults: what a window tells in whose middle the fault comes."""

from __future__ import annotations

import pytest
from fault_tables import EXACT, Case, Impossible, Table, cases, told
from sysfs_faults import NO_COUNT, NO_NETWORK, WHOLE, Place, harmed, later, measured

from greenai_core import PluginUnavailable
from greenai_core.testing import SysfsTree, VirtualClock
from greenai_plugins.profilers.battery import BatteryProfiler

FOLDER = "class/power_supply"
BATTERY = f"{FOLDER}/BAT0"
POWER = f"{BATTERY}/power_now"
WATTS = 14.0


class Gauge(BatteryProfiler):
    """One of the quick ones: a new value each second."""

    def __init__(self, *, root: object) -> None:
        super().__init__(root=root, period_s=1.0)


TABLE: Table = {
    "EIO": Case(lambda at: at.tree.fail(at.path), "could not be read"),
    "EACCES": Case(lambda at: at.tree.deny(at.path), "Permission denied"),
    "reset": NO_COUNT,
    "wrap": NO_COUNT,
    "stuck": Case(
        lambda at: at.tree.stick(at.path), EXACT, "not seen: steady power looks the same"
    ),
    "constant zero": Case(lambda at: at.tree.write(at.path, "0\n"), "told 0 W"),
    "NaN": Case(lambda at: at.tree.write(at.path, "nan\n"), "instead of a number"),
    "negative": Case(
        lambda at: at.tree.write(at.path, "-14000000\n"), EXACT, "exact: the status has the sign"
    ),
    "GPU lost": Impossible("a battery is no GPU"),
    "slow read": Case(later(0.05), EXACT),
    "unplugged": Case(lambda at: at.tree.remove(at.folder), "is gone"),
    "HTTP 500": NO_NETWORK,
    "hang": Case(later(20.0, reads=1), "gave no power for 1"),
    "half a JSON": NO_NETWORK,
    "frame cut": WHOLE,
}


@pytest.mark.parametrize("case", cases(TABLE))
def test_a_fault_inside_a_window(case, tmp_path):
    with measured(SysfsTree.laptop, Gauge, POWER, BATTERY, tmp_path) as (place, session):
        told(harmed(place, session, case.harm), "battery:BAT0", case.outcome, WATTS, 0.5)


def plug_in(at: Place) -> None:
    at.tree.set(f"{FOLDER}/AC/online", 1)


def charge(at: Place) -> None:
    at.tree.set(f"{BATTERY}/status", "Charging")


def fill(at: Place) -> None:
    at.tree.set(f"{BATTERY}/status", "Full")


def plug_in_for_two_seconds(at: Place) -> None:
    plug_in(at)
    at.clock.sleep(2.0)
    at.tree.set(f"{FOLDER}/AC/online", 0)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (plug_in, "AC is plugged in"),
        (charge, "BAT0 says 'Charging' and 14 W"),
        (fill, "BAT0 says 'Full'"),
        (plug_in_for_two_seconds, "AC is plugged in .it was plugged in inside a window"),
    ],
)
@pytest.mark.parametrize("when", [2.0, 30.0, 57.0])
def test_no_figure_where_a_charger_helped(harm, reason, when, tmp_path):
    """However late or short: what came out of the battery is not what was used."""
    with measured(SysfsTree.laptop, Gauge, POWER, BATTERY, tmp_path) as (place, session):
        with session.window() as outer:
            place.clock.sleep(when)
            harm(place)
            place.clock.sleep(62.0 - when)
        told(outer.result, "battery:BAT0", reason, WATTS, 0.5)


def test_after_the_charger_is_unplugged_windows_have_figures_again(tmp_path):
    with measured(SysfsTree.laptop, Gauge, POWER, BATTERY, tmp_path) as (place, session):
        with session.window() as spoilt:
            place.clock.sleep(10.0)
            plug_in_for_two_seconds(place)
        assert spoilt.energy_j is None
        place.clock.sleep(2.0)
        with session.window() as well:
            place.clock.sleep(20.0)
        assert well.energy_j == pytest.approx(280.0, rel=0.01)


def test_blocks_of_a_run_in_which_a_charger_helped_are_none(tmp_path):
    """Runs of repeated work are cut from a recording, not from windows."""
    clock = VirtualClock()
    with SysfsTree.laptop(tmp_path) as tree:
        tree.drive(clock, 0.01)
        profiler = Gauge(root=tmp_path)
        profiler.open(clock)
        recording = profiler.record()
        instants = [clock.now()]
        for second in range(40):
            tree.set(f"{FOLDER}/AC/online", int(second in (5, 6)))
            clock.sleep(1.0)
            recording.tick()
            instants.append(clock.now())
        [shown] = recording.readings(clock.now())
        assert "plugged in" in shown.blocks(range(41), instants)
        recording.close()
        profiler.close()


@pytest.mark.parametrize(
    ("harm", "reason", "hint"),
    [
        (lambda tree: tree.remove(BATTERY), "no battery in", "wattmeter"),
        (lambda tree: tree.set(f"{BATTERY}/present", 0), "no battery in", "wattmeter"),
        (lambda tree: tree.set(f"{FOLDER}/AC/online", 1), "AC is plugged in", "Unplug"),
        (lambda tree: tree.set(f"{BATTERY}/status", "Charging"), "'Charging'", "Unplug"),
        (lambda tree: tree.write(POWER, "0\n") or tree.set(f"{BATTERY}/status", "Full"),
         "none is discharged", "Unplug"),
        (lambda tree: (tree.root / POWER).unlink(), "neither power nor current", "wattmeter"),
        (lambda tree: tree.deny(POWER), "Permission denied", "upower"),
    ],
)  # fmt: skip
def test_what_does_not_work_is_refused_when_opened(harm, reason, hint, tmp_path):
    clock = VirtualClock()
    with SysfsTree.laptop(tmp_path) as tree:
        tree.drive(clock)
        harm(tree)
        profiler = BatteryProfiler(root=tmp_path)
        with pytest.raises(PluginUnavailable, match=reason) as caught:
            profiler.open(clock)
        assert hint in caught.value.hint
        assert not profiler.is_open
