"""What several channels of the whole machine add up to, if to anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenai_core import Channel
from greenai_core.channels import MODELLED, contents, overlap


def channel(id: str, component: str = "wall", inside: str | None = None) -> Channel:
    return Channel(id, component, "sampled", contained_in=inside)


@pytest.mark.parametrize(
    ("channels", "total", "doubtful"),
    [
        ([channel("wall:a")], ("wall:a",), False),
        ([channel("wall:rack"), channel("wall:plug", inside="wall:rack")], ("wall:rack",), False),
        ([channel("wall:a"), channel("wall:b")], (), True),
        ([channel("wall:a", inside="wall:x"), channel("wall:b", inside="wall:y")], (), True),
        ([channel("wall:a"), channel("wall:b"), channel("cpu:0/package", "cpu")],
         ("cpu:0/package",), False),
        ([channel("psys", "psys"), channel("psys-1", "psys")], (), True),
    ],
)  # fmt: skip
def test_what_a_total_of_the_whole_machine_is(
    channels: list[Channel], total: tuple[str, ...], doubtful: bool
) -> None:
    assert contents(channels) == total
    assert bool(overlap(channels)) == doubtful


def test_memory_inside_a_measured_socket_is_not_modelled_on_top() -> None:
    """NVIDIA's Grace: the socket holds its memory, which is told, and modelled beside."""
    socket = channel("cpu:0/package", "cpu")
    memory = channel("cpu:0/dram", "dram", socket.id)
    model = replace(channel("model:dram", "dram"), method=MODELLED)
    assert contents([socket, memory, model]) == (socket.id,)
    assert contents([model, memory, socket]) == (socket.id,)
    assert contents([socket, model]) == (socket.id, model.id)


def test_dies_are_not_added_to_the_socket_that_another_tool_tells() -> None:
    dies = [channel(f"cpu:0-die-{n}/package", "cpu") for n in range(2)]
    other = channel("cpu:1-die-0/package", "cpu")
    assert contents([*dies, other]) == tuple(die.id for die in [*dies, other])
    assert contents([*dies, channel("cpu:0/package", "cpu"), other]) == (
        "cpu:0/package",
        other.id,
    )
