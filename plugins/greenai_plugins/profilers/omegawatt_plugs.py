"""Which plugs of an OmegaWatt meter feed this machine, and what its figures are worth."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from greenai_core import Channel, ConfigError

GAIN = 0.015 / math.sqrt(3)
FULL_SCALE_W = 11_000.0
OFFSET_W = 0.0002 * FULL_SCALE_W / math.sqrt(3)
SOURCE = (
    "1.5 % and 0.02 % of full scale (11 kW, the smallest sensor), each as a uniform error, by the "
    "maker's guide, https://github.com/GreenAI-Uppa/AIPowerMeter/blob/main/docsrc/MV2_guide4.pdf"
)
TYPICAL_W = 200.0
"""Until the power is known, the share of the full scale's error is that at so much."""

LABEL = r"[\w.-]+"


@dataclass(frozen=True)
class Plugs:
    """Plugs that are told as one channel, their sum.

    Attributes:
        label: the channel is ``wall:<label>``.
        numbers: of the plugs, from 1.
    """

    label: str
    numbers: tuple[int, ...]

    @property
    def id(self) -> str:
        """Of the channel."""
        return f"wall:{self.label}"


def parse_plugs(profiler: str, given: Any, label: str) -> tuple[Plugs, ...]:
    """``"1+2"`` -> their sum as one channel; ``"psu1=1,psu2=2"`` -> two channels.

    Raises:
        ConfigError: it has another form, or names something twice.
    """
    texts = given if isinstance(given, (list, tuple)) else str(given).split(",")
    found = []
    for text in map(str, texts):
        name, equals, numbers = text.strip().rpartition("=")
        if not re.fullmatch(r"\d+(\+\d+)*", numbers) or bool(name) != bool(equals):
            raise ConfigError(
                f"{profiler}: plugs {given!r} is not of the form 1, 1+2 (their sum) or "
                "psu1=1,psu2=2"
            )
        found.append(Plugs(name or label, tuple(int(number) for number in numbers.split("+"))))
    labels = [plugs.label for plugs in found]
    chosen = [number for plugs in found for number in plugs.numbers]
    if len({*labels}) < len(labels):
        raise ConfigError(
            f"{profiler}: plugs {given!r} makes two channels of one name. Write 1+2 for the sum, "
            "or name them: psu1=1,psu2=2"
        )
    if len({*chosen}) < len(chosen) or min(chosen) < 1:
        raise ConfigError(f"{profiler}: plugs {given!r}: each plug once, counted from 1")
    for one in labels:
        if not re.fullmatch(LABEL, one):
            raise ConfigError(
                f"{profiler}: the name {one!r} must be made of letters, digits, '.', '_' and '-'"
            )
    return tuple(found)


def channels(
    plugs: Sequence[Plugs], period_s: float, gain: float | None, part_of: str, about: str
) -> list[Channel]:
    """The channels of the plugs; arguments as the options of the profilers."""
    return [
        revised(
            Channel(
                one.id,
                "wall",
                "sampled",
                contained_in=f"wall:{part_of}" if part_of else None,
                update_period_s=period_s,
                gain_uncertainty=gain or 0.0,
                gain_source="given by the user" if gain is not None else SOURCE,
                description=f"OmegaWatt {about}, plug {' + '.join(map(str, one.numbers))}",
            ),
            TYPICAL_W,
        )
        for one in plugs
    ]


def revised(channel: Channel, watts: float) -> Channel:
    """The channel with the gain uncertainty that the meter has at a mean power."""
    if channel.gain_source != SOURCE:
        return channel
    offset = OFFSET_W / max(watts, OFFSET_W)
    return replace(channel, gain_uncertainty=math.hypot(GAIN, offset))


def table(watts: Sequence[float]) -> str:
    """What the plugs show now, for people who have to choose."""
    return ", ".join(f"plug {n}: {w:.0f} W" for n, w in enumerate(watts, 1))
