"""What several channels of the whole machine add up to, if to anything."""

from __future__ import annotations

import pytest

from greenai_core import Channel
from greenai_core.channels import contents, overlap


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
