"""Splitting energy over processes: nothing is lost, nothing is invented."""

from __future__ import annotations

import math
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenai_core import of_tree
from greenai_core.process_results import IDLE, OTHERS, PROCESS, UNATTRIBUTED
from greenai_core.process_split import (
    MOST_OF_TREE,
    MOST_OTHERS,
    SPLIT_ERROR,
    Pool,
    Row,
    split,
)
from greenai_core.results import EnergySplit, ProcessShare

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def pool(energy: float = 100.0, **options: object) -> Pool:
    ends = {"low_j": energy * 0.9, "high_j": energy * 1.1, "idle_s": 0.0}
    return Pool("cpu", ("cpu:0/package",), energy, **{**ends, "by": "CPU time", **options})


def process(pid: int, busy_s: float, in_tree: bool = False) -> Row:
    return Row(PROCESS, busy_s, pid=pid, name=f"p{pid}", in_tree=in_tree)


def by_pid(found: EnergySplit) -> dict[int | None, ProcessShare]:
    return {share.pid: share for share in found.shares}


ROWS = st.lists(
    st.builds(
        Row,
        st.sampled_from([PROCESS, UNATTRIBUTED]),
        st.floats(0, 1e6),
        pid=st.integers(1, 10**6),
        in_tree=st.booleans(),
    ),
    max_size=200,
)


@given(
    ROWS,
    st.floats(0, 1e9),
    st.floats(0, 1e6),
    st.none() | st.floats(0, 2e9),
    st.floats(0, 1),
)
@settings(max_examples=100, deadline=None)
def test_shares_add_up_and_stay_within_what_there_is(
    rows: list[Row], energy: float, idle_s: float, idle_j: float | None, error: float
) -> None:
    asked = pool(
        energy,
        low_j=energy * (1 - error),
        high_j=energy * (1 + error),
        idle_s=idle_s,
        idle_j=idle_j,
        idle_u_j=0.01 * (idle_j or 0.0),
        tick_s=TICK_S,
    )
    found = split(asked, rows)
    total = math.fsum(share.energy_j for share in found.shares)
    assert total == pytest.approx(energy, rel=1e-12, abs=1e-300)
    for share in found.shares:
        assert 0 <= share.low_j <= share.energy_j <= share.high_j
        assert share.high_j <= asked.high_j * (1 + 1e-12)
        assert share.method == "modelled"
    assert len(found.shares) <= MOST_OF_TREE + MOST_OTHERS + 3 + len(rows)


def test_without_idle_power_an_idle_second_counts_like_a_busy_one() -> None:
    found = split(pool(idle_s=60.0), [process(1, 30.0, True), process(2, 10.0)])
    one, two = by_pid(found)[1], by_pid(found)[2]
    assert (one.energy_j, two.energy_j) == pytest.approx((30.0, 10.0))
    assert found.shares[-1].kind == IDLE
    assert found.shares[-1].energy_j == pytest.approx(60.0)
    assert one.high_j == pytest.approx(75.0 * 1.1), "all of it, if to be idle takes nothing"
    assert "idle power not known" in found.basis


@pytest.mark.parametrize("idle_share", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("utilisation", [0.05, 0.5, 1.0])
def test_the_interval_holds_what_is_above_idle(idle_share: float, utilisation: float) -> None:
    """P = P_idle + (P_max - P_idle) · utilisation, with idle up to 40 % of full power."""
    full_w, seconds = 100.0, 50.0
    idle_w = idle_share * full_w
    energy = (idle_w + (full_w - idle_w) * utilisation) * seconds
    exact = {"low_j": energy, "high_j": energy}
    asked = pool(energy, idle_s=(1 - utilisation) * seconds, **exact)
    found = split(asked, [process(1, utilisation * seconds)])
    above = (full_w - idle_w) * utilisation * seconds
    share = by_pid(found)[1]
    assert share.low_j <= above * (1 + 1e-9)
    assert above <= share.high_j * (1 + 1e-9)


@settings(deadline=None)
@given(st.floats(0.1, 1e4), st.lists(st.floats(0.01, 1e3), min_size=1, max_size=9))
def test_what_rounding_leaves_is_not_told_as_energy(energy: float, busy: list[float]) -> None:
    """Nothing was idle: its row says 0 J, not some attojoules."""
    found = split(pool(energy), [process(pid, busy_s) for pid, busy_s in enumerate(busy, 1)])
    assert found.shares[-1].energy_j == 0.0


def test_known_idle_power_stays_apart() -> None:
    asked = pool(idle_s=60.0, idle_j=40.0, idle_u_j=2.0)
    found = split(asked, [process(1, 30.0), process(2, 10.0)])
    assert by_pid(found)[1].energy_j == pytest.approx(45.0)
    assert by_pid(found)[2].energy_j == pytest.approx(15.0)
    idle = found.shares[-1]
    assert (idle.kind, idle.energy_j) == (IDLE, pytest.approx(40.0))
    assert idle.low_j == pytest.approx(40.0 - math.hypot(4.0, 2.0))
    assert "as it was measured" in found.basis


def test_an_idle_power_above_what_was_used_leaves_nothing_to_split() -> None:
    found = split(pool(idle_j=150.0), [process(1, 5.0)])
    assert by_pid(found)[1].energy_j == 0.0
    assert found.shares[-1].energy_j == 100.0


def test_an_interval_tells_what_it_is_made_of() -> None:
    found = split(pool(idle_j=0.0), [process(1, 5.0), process(2, 15.0)])
    half = 25.0 * math.hypot(SPLIT_ERROR, 0.1)
    assert by_pid(found)[1].high_j == pytest.approx(25.0 + half)
    assert "±40%" in found.basis
    assert "±10.0% of the energy itself" in found.basis


def test_memory_is_split_with_less_faith() -> None:
    asked = Pool("dram", ("cpu:0/dram",), 10.0, 10.0, 10.0, "CPU time", 0.0)
    share = split(asked, [process(1, 1.0), process(2, 1.0)]).shares[0]
    assert (share.low_j, share.high_j) == (0.0, 10.0)


def test_a_window_in_which_no_time_passed_is_nobodys() -> None:
    found = split(pool(), [process(1, 0.0)])
    (share,) = found.shares
    assert (share.kind, share.energy_j, share.name) == (UNATTRIBUTED, 100.0, "too short to tell")
    assert of_tree(found) is None


def test_small_ones_share_a_row() -> None:
    rows = [process(n, 1.0 + n) for n in range(50)] + [process(99, 0.5, True)]
    found = split(pool(), rows)
    assert found.shares[0].in_tree, "however small: it was asked about"
    assert sum(share.kind == PROCESS for share in found.shares) == MOST_OTHERS + 1
    (rest,) = [share for share in found.shares if share.kind == OTHERS]
    assert rest.name == "30 other processes"
    assert rest.busy_s == sum(1.0 + n for n in range(30))


def test_the_tree_together() -> None:
    rows = [process(1, 60.0, True), process(2, 30.0, True), process(3, 10.0)]
    found = split(pool(), rows)
    own = of_tree(found)
    assert own is not None
    assert own.energy_j == pytest.approx(90.0)
    assert own.high_j == found.high_j, "no more than there is"
    assert own.busy_s == 90.0


def test_a_process_of_few_ticks_is_known_no_better_than_those() -> None:
    """Linux tells 10 ms steps: one of them may have been next to nothing, or three."""
    rows = [process(1, TICK_S), process(2, 99 * TICK_S)]
    split_finely = by_pid(split(pool(idle_j=0.0), rows))[1]
    told = by_pid(split(pool(idle_j=0.0, tick_s=TICK_S), rows))[1]
    assert split_finely.low_j > 0.0
    assert told.low_j == 0.0
    assert told.high_j > 2.5
