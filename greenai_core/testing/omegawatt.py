"""An OmegaWatt meter that is not there: its serial frames and its log, of a known power.

The bytes that have arrived are a function of the clock, so the true energy of any
stretch of time is known. :func:`wired` puts the meter behind a real pseudo-terminal.
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from greenai_core.clock import Clock

from .profiles import Constant, PowerProfile

MAGIC = b"\xfe\xfd\xfc\xfb"
PLUGS_A_MODULE = 6
SAMPLES_PER_S = 15_600
WIRE_S = 1e-3
"""Between the end of a frame's measurement and its last byte, at the least."""


def frame(
    id: int,
    watts: Sequence[float],
    *,
    seconds: float = 0.01,
    samples: int = 156,
    volts: float = 230.0,
) -> bytes:
    """One frame as the meter sends it.

    Args:
        id: number of the frame, modulo 2^16.
        watts: mean power of each plug; a multiple of six.
        seconds: that it covers.
        samples: that its sums are of.
        volts: of the first phase.
    """
    body = struct.pack("<HII", id % 65536, min(round(seconds * 2**32), 2**32 - 1), samples)
    body += struct.pack("<3f", volts**2 * samples, 0.0, 0.0)
    for first in range(0, len(watts), PLUGS_A_MODULE):
        module = watts[first : first + PLUGS_A_MODULE]
        body += struct.pack("<6f", *((w / volts) ** 2 * samples for w in module))
        body += struct.pack("<6f", *(w * samples for w in module))
    return sealed(body)


def sealed(body: bytes) -> bytes:
    """The body with the header before it, and the checksum after it."""
    counted = struct.pack("<H", len(body)) + body
    checksum = 0
    for byte in counted:
        checksum ^= byte
    return MAGIC + counted + bytes([checksum])


class SimulatedOmegawatt:
    """A meter of as many modules as its plugs fill: its serial port, and its log.

    Args:
        power: watts of the first plug, or of each, or profiles of the clock's seconds;
            it is the truth.
        clock: whose time they are given.
        period_s: between two frames.
        drift: of the meter's own clock, relative.
        jitter_s: a frame arrives late by up to as much, at random.
        seed: of that.
    """

    def __init__(
        self,
        power: float | PowerProfile | Sequence[float | PowerProfile] = 100.0,
        *,
        clock: Clock,
        period_s: float = 0.01,
        drift: float = 0.0,
        jitter_s: float = 0.0,
        seed: int = 1,
    ) -> None:
        several = [power] if isinstance(power, (int, float, PowerProfile)) else [*power]
        several += [0.0] * (-len(several) % PLUGS_A_MODULE)
        self.plugs = [p if isinstance(p, PowerProfile) else Constant(float(p)) for p in several]
        self.clock = clock
        self.period_s = period_s * (1 + drift)
        self.nominal_s = period_s
        self.jitter_s = jitter_s
        self.harm: Callable[[int, bytes], bytes] = lambda number, content: content
        """What becomes of a frame on its way: ``b""`` for lost."""
        self.first_id = 0
        """Id of the frame that was measured first, before all others."""
        self.scale = 1.0
        """Times the true power; NaN and negative numbers are faults."""
        self.unplugged = False
        self.log_harm: Callable[[str], str] = lambda row: row
        """What becomes of a row of the log."""
        self._began = clock.now()
        self._jitter = random.Random(seed)  # noqa: S311  # repeatable, no secret
        self._next = 0

    def energy_j(self, start: float, end: float, plug: int = 1) -> float:
        """True energy of a plug between two instants of the clock, J."""
        return self.plugs[plug - 1].energy(start, end)

    def mean_w(self, number: int) -> list[float]:
        """True mean power of each plug while a frame was measured, W."""
        start = self._began + number * self.period_s
        end = start + self.period_s
        return [self.scale * plug.energy(start, end) / self.period_s for plug in self.plugs]

    def due(self, before: float) -> Iterator[tuple[int, float]]:
        """Frames that are there by an instant and were not yet taken: number, its end."""
        while (end := self._began + (self._next + 1) * self.period_s) + WIRE_S <= before:
            self._next += 1
            yield self._next - 1, end

    # As a port: what pyserial's ``Serial`` gives of it

    def open_port(self, name: str) -> SimulatedOmegawatt:
        """The port, which is the meter itself.

        Raises:
            OSError: it is unplugged.
        """
        if self.unplugged:
            raise FileNotFoundError(2, "No such file or directory", name)
        return self

    def read(self, size: int) -> bytes:
        """What has arrived meanwhile.

        Raises:
            OSError: it is unplugged.
        """
        if self.unplugged:
            raise OSError(5, "Input/output error")
        late = self._jitter.uniform(0, self.jitter_s)
        content = b""
        for number, _ in self.due(self.clock.now() - late):
            samples = round(self.nominal_s * SAMPLES_PER_S)
            watts = self.mean_w(number)
            whole = frame(number + self.first_id, watts, seconds=self.nominal_s, samples=samples)
            content += self.harm(number, whole)
        return content

    def reset_input_buffer(self) -> None:
        """Throw away what has arrived."""
        for _ in self.due(self.clock.now()):
            pass

    def close(self) -> None:
        """Nothing is held."""

    # As wattmetre-read

    def log_header(self) -> str:
        """The first line of the log."""
        plugs = "".join(f",#current{n},#activepow{n}" for n in range(1, len(self.plugs) + 1))
        return f"#timestamp,#frame_is_ok,#U1,#U2,#U3{plugs}\n"

    def log_rows(self, wall: Callable[[float], float]) -> str:
        """The rows that have been written since the last call.

        Args:
            wall: Unix time of an instant of the clock.
        """
        rows = []
        for number, end in self.due(self.clock.now()):
            values = "".join(f",{abs(w) / 230.0:.1f},{w:.1f}" for w in self.mean_w(number))
            rows.append(self.log_harm(f"{wall(end + WIRE_S):.9f},true,230.0,0.0,0.0{values}\n"))
        return "".join(rows)


@contextlib.contextmanager
def wired(meter: SimulatedOmegawatt) -> Iterator[Path]:
    """The meter behind a pseudo-terminal, sending in real time: the path of its port."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(meter.period_s / 4):
            with contextlib.suppress(OSError):  # a full buffer loses frames, as real ones do
                content = meter.read(65536)
                if content:
                    os.write(ours, content)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield Path(os.ttyname(theirs))
    finally:
        stop.set()
        sender.join()
        os.close(ours)
        with contextlib.suppress(OSError):
            os.close(theirs)


def logged(
    meter: SimulatedOmegawatt,
    path: Path,
    wall: Callable[[float], float],
    *,
    batch_s: float = 0.3,
) -> Callable[[], None]:
    """Let the meter's clock write its log, in batches; returns what ends that.

    Args:
        meter: whose log.
        path: of the file.
        wall: Unix time of an instant of the clock.
        batch_s: how often rows arrive together.
    """
    with path.open("a", encoding="ascii") as file:
        file.write(meter.log_header())

    def write() -> None:
        if meter.unplugged:
            return
        with path.open("a", encoding="ascii") as file:
            file.write(meter.log_rows(wall))

    return meter.clock.repeat(write, lambda: batch_s).cancel


def interference(fraction: float, seed: int = 1) -> Callable[[int, bytes], bytes]:
    """A ``harm`` that turns one bit of so many frames."""
    noise = random.Random(seed)  # noqa: S311  # repeatable, no secret

    def harm(number: int, content: bytes) -> bytes:
        if noise.random() >= fraction:
            return content
        place = noise.randrange(8 * len(content))
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        return bytes(damaged)

    return harm
