"""The serial frames of an OmegaWatt meter: bytes in, measurements out.

A frame is ``FE FD FC FB``, u16 length, u16 id, u32 delta in 2^-32 s, u32 number of
samples, the sums of the squared voltages of 3 phases, then for each module of 6
plugs the sums of 6 squared currents and of 6 powers, all f32, and the exclusive or of
every byte from the length on; little-endian. The length counts neither itself nor
the last byte. From the maker's own reader, ``wattmetre_lib.c`` in
https://github.com/GreenAI-Uppa/AIPowerMeter/blob/main/docsrc/experiments/wattmeter_rapid1.zip
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import xor

MAGIC = b"\xfe\xfd\xfc\xfb"
PLUGS_A_MODULE = 6
MAX_MODULES = 16
_HEAD = struct.Struct("<HII3f")
_MODULE = struct.Struct("<12f")
_BEFORE = len(MAGIC) + 2

SIZES = {_HEAD.size + _MODULE.size * modules: modules for modules in range(1, MAX_MODULES + 1)}
"""Lengths that a frame can state -> its number of modules."""


@dataclass(frozen=True)
class Frame:
    """One measurement of all plugs.

    Attributes:
        id: of the frame, as sent.
        delta_s: as sent, s.
        samples: that the sums are of.
        watts: mean power of each plug; NaN where the meter sent none.
        skipped: bytes before it that belong to no good frame.
        size: of the frame on the wire, bytes.
    """

    id: int
    delta_s: float
    samples: int
    watts: tuple[float, ...]
    skipped: int
    size: int


class FrameParser:
    """Finds the good frames in a stream of bytes, whatever lies between them.

    Never holds more than one frame of the greatest size, whatever length a damaged
    one claims.

    Args:
        modules: that every frame must have; None for any number.
    """

    def __init__(self, modules: int | None = None) -> None:
        self.modules = modules
        self.bad_checksums = 0
        self.bad_lengths = 0
        self.empty = 0
        self.skipped = 0
        """Bytes that belonged to no good frame."""
        self._rest = b""
        self._skipped_before = 0

    def feed(self, content: bytes) -> list[Frame]:
        """The frames that these bytes complete, in order."""
        data = self._rest + content
        frames = []
        at = 0
        while True:
            start = data.find(MAGIC, at)
            if start < 0:
                # The last bytes may be the beginning of the next frame's.
                start = max(at, len(data) - len(MAGIC) + 1)
                self._skip(start - at)
                break
            self._skip(start - at)
            at = start
            if len(data) < start + _BEFORE:
                break
            length = int.from_bytes(data[start + len(MAGIC) : start + _BEFORE], "little")
            if not self._possible(length):
                self.bad_lengths += 1
                at = self._past_magic(start)
                continue
            end = start + _BEFORE + length + 1
            if len(data) < end:
                break
            at = end
            found = self._frame(data[start:end])
            if found is None:
                at = self._past_magic(start)
            else:
                frames.append(found)
        self._rest = data[start:]
        return frames

    def told(self) -> str:
        """What the bytes showed that were no good frames."""
        return (
            f"{self.bad_checksums} wrong checksums, {self.bad_lengths} impossible lengths, "
            f"{self.skipped} bytes outside of frames"
        )

    def _possible(self, length: int) -> bool:
        modules = SIZES.get(length)
        return modules is not None and self.modules in (None, modules)

    def _past_magic(self, start: int) -> int:
        # A frame that was cut short may hold the beginning of the next one.
        self._skip(1)
        return start + 1

    def _skip(self, count: int) -> None:
        self.skipped += count
        self._skipped_before += count

    def _frame(self, whole: bytes) -> Frame | None:
        if reduce(xor, whole[len(MAGIC) :]):
            self.bad_checksums += 1
            return None
        id, delta, samples, *_ = _HEAD.unpack_from(whole, _BEFORE)
        skipped, self._skipped_before = self._skipped_before, 0
        if not samples:
            self.empty += 1
        return Frame(
            id,
            delta / 2**32,
            samples,
            _powers(whole[_BEFORE + _HEAD.size : -1], samples),
            skipped,
            len(whole),
        )


def _powers(modules: bytes, samples: int) -> tuple[float, ...]:
    if not samples:
        return (float("nan"),) * (PLUGS_A_MODULE * len(modules) // _MODULE.size)
    sums = [one for module in _MODULE.iter_unpack(modules) for one in module[PLUGS_A_MODULE:]]
    return tuple(one / samples for one in sums)


def counting(ids: Sequence[int]) -> bool:
    """Whether the ids of successive frames count them; else they name the meter, or nothing."""
    steps = [(b - a) % 65536 for a, b in pairwise(ids)]
    return bool(steps) and 2 * steps.count(1) > len(steps)
