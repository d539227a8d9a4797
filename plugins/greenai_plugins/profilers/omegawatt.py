"""Power at the wall socket from an OmegaWatt meter, read live from its serial port."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from greenai_core import (
    Channel,
    ConfigError,
    PluginUnavailable,
    ReadingError,
    Sample,
    StreamProfiler,
)

from .meter_options import label_of, number
from .omegawatt_frames import PLUGS_A_MODULE, Frame, FrameParser
from .omegawatt_means import MEAN_S, Means
from .omegawatt_plugs import channels, parse_plugs, revised, table
from .omegawatt_port import OpenPort, Port, emptied, open_serial, opened
from .omegawatt_stream import FrameStream

STALE_S = 0.1
"""Frames that the adapter has kept since before the port was opened come within this time."""

LEARN_S = 0.5
"""The pace of the frames is learnt for so long before the first sample."""

SILENT_S = 2.0
"""A meter that sends no good frame for so long after opening is none."""

READ_BYTES = 65536


class OmegawattProfiler(StreamProfiler):
    """An OmegaWatt meter whose plug, or plugs, feed this machine.

    A sample is the mean of one cycle of the mains, 20 ms. Its instant is known to some
    10 ms: the meter's own samples count its time, and the quickest arrivals tie that to
    the session's clock.

    Args:
        port: of the meter, like ``/dev/ttyUSB0``.
        plugs: ``1``, ``1+2`` for the sum, or ``psu1=1,psu2=2`` for two channels.
        label: the channel is called ``wall:<label>``.
        modules: of 6 plugs, in one frame; None to look at the frames.
        gain: relative standard uncertainty (k = 1), if the meter was calibrated.
        part_of: name of what this meter and others feed together, each a part of it.
        open_port: opens the port; for tests.

    Raises:
        ConfigError: an option has a value that cannot be used.
    """

    name: ClassVar[str] = "omegawatt"
    requires: ClassVar[Mapping[str, str]] = {"serial": "omegawatt"}
    automatic: ClassVar[bool] = False
    period_s: ClassVar[float] = MEAN_S
    option_names: ClassVar[Mapping[str, str]] = {
        "port": "serial port of the meter, like /dev/ttyUSB0",
        "plugs": "what feeds this machine: 1, 1+2 (their sum), or psu1=1,psu2=2",
        "label": "the channel becomes wall:<label> (default: omegawatt)",
        "modules": "modules of 6 plugs (default: look at the frames)",
        "gain": "relative standard uncertainty of a calibrated meter, such as 0.005",
        "part_of": "what several channels feed together; those of one name are added up",
    }

    def __init__(
        self,
        *,
        port: str = "",
        plugs: Any = "",
        label: str = "omegawatt",
        modules: int | None = None,
        gain: float | None = None,
        part_of: str = "",
        open_port: OpenPort = open_serial,
    ) -> None:
        super().__init__()
        self._name = str(port)
        label = label_of(self.name, label)
        self._plugs = parse_plugs(self.name, plugs, label) if plugs != "" else ()
        self._modules = None if modules is None else int(number(self.name, "modules", modules, 1))
        self._gain = None if gain is None else number(self.name, "gain", gain, 0)
        self._part_of = label_of(self.name, part_of) if part_of else ""
        self._open_port = open_port
        self._port: Port | None = None
        self._stream: FrameStream | None = None
        self._means: Mapping[str, Means] = {}
        self._seen: dict[str, tuple[float, int]] = {}
        self._refused = 0

    def check_available(self) -> None:
        """Return if there is the port; what comes from it is seen when it is opened.

        Raises:
            PluginUnavailable: pyserial is missing, or no port was given or can be opened.
        """
        super().check_available()
        if not self.is_open:
            self._opened().close()

    def _opened(self) -> Port:
        if not self._name:
            raise PluginUnavailable(
                "no port of an OmegaWatt meter was given",
                "Give it with -O omegawatt.port=/dev/ttyUSB0 (in Python port=…)",
            )
        return opened(self._name, self._open_port)

    def connect(self) -> Sequence[Channel]:
        """Open the port, throw away what is old, and learn the pace of the frames.

        Raises:
            PluginUnavailable: the port cannot be opened; nothing, or something else, comes
                from it; or the plug is not named.
        """
        self._port = self._opened()
        try:
            return self._learn()
        except OSError as error:
            self.disconnect()
            raise PluginUnavailable(
                f"the port {self._name} fails: {error}", "Unplug the meter, and plug it in again"
            ) from error
        except BaseException:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """Give the port back."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def deliver(self) -> Iterator[Sample]:
        """The means that are complete with the frames that have arrived.

        Raises:
            ReadingError: frames are missing or damaged, or the port is gone. The good
                ones come first.
        """
        stream = self._stream
        if self._port is None or stream is None:
            raise ReadingError(f"the meter at {self._name} is not open: call open() first")
        try:
            content = self._port.read(READ_BYTES)
        except OSError as error:
            raise ReadingError(
                f"the port {self._name} cannot be read ({error}): is the meter unplugged?"
            ) from error
        frames = stream.take(content, self.clock.now())
        problems = [stream.trouble] if stream.trouble else []
        for instant, frame in frames:
            yield from self._samples(instant, frame, problems)
        if problems:
            raise ReadingError(f"{self._name}: {problems[-1]}")

    def _samples(self, instant: float, frame: Frame, problems: list[str]) -> Iterator[Sample]:
        for plugs in self._plugs:
            watts = sum(frame.watts[number - 1] for number in plugs.numbers)
            try:
                for time, mean in self._means[plugs.id].add(instant, watts, frame.samples):
                    total, count = self._seen.get(plugs.id, (0.0, 0))
                    self._seen[plugs.id] = total + mean, count + 1
                    yield Sample(time, plugs.id, mean)
            except ReadingError as error:
                self._refused += 1
                problems.append(str(error))

    def revised(self, channel: Channel) -> Channel:
        """With the uncertainty that the meter has at the mean power so far."""
        total, count = self._seen.get(channel.id, (0.0, 0))
        return revised(channel, total / count) if count else channel

    def notes(self) -> Sequence[str]:
        """How many frames were lost or refused."""
        stream = self._stream
        if stream is None or not (stream.lost or self._refused):
            return [*super().notes()]
        return [
            *super().notes(),
            f"{self._name}: of {stream.lost + stream.good} frames {stream.lost} were lost or "
            f"damaged and {self._refused} refused ({stream.told()}). Holes of up to "
            f"{5 * self.period_s:g} s are bridged, longer ones leave a window without a figure. "
            "Look at the cable, and whether the machine keeps up",
        ]

    def _learn(self) -> Sequence[Channel]:
        assert self._port is not None
        self.clock.sleep(STALE_S)
        emptied(self._port)
        parser = FrameParser(self._modules)
        began = self.clock.now()
        arrivals: list[tuple[float, Frame]] = []
        received = 0
        jitter = random.Random()  # noqa: S311  # no secret: it only breaks the rhythm
        while not (arrivals and self.clock.now() - arrivals[0][0] >= LEARN_S):
            if not arrivals and self.clock.now() - began > SILENT_S:
                raise PluginUnavailable(*self._why_nothing(received, parser))
            # At every phase of the frames, or what is the quickest arrival is not seen.
            self.clock.sleep(MEAN_S * jitter.uniform(0.25, 0.75))
            content = self._port.read(READ_BYTES)
            received += len(content)
            now = self.clock.now()
            arrivals += [(now, frame) for frame in parser.feed(content) if frame.samples]
        plug_count = Counter(len(frame.watts) for _, frame in arrivals).most_common(1)[0][0]
        arrivals = [one for one in arrivals if len(one[1].watts) == plug_count]
        if arrivals[-1][0] - arrivals[0][0] < LEARN_S / 2 or len(arrivals) < 4:
            raise PluginUnavailable(
                f"{self._name} sent {len(arrivals)} good frames in {LEARN_S:g} s ({parser.told()})",
                "Look at the cable, and whether another program reads the same port",
            )
        self._check_plugs(arrivals[-1][1])
        parser.modules = plug_count // PLUGS_A_MODULE
        self._stream = stream = FrameStream(parser, began, arrivals)
        frame_s = stream.frame_s
        self.period_s = max(MEAN_S, frame_s)  # type: ignore[misc]  # of this instance alone
        self._means = {plugs.id: Means(plugs.id, frame_s) for plugs in self._plugs}
        self._seen = {}
        self._refused = 0
        about = f"meter at {self._name}, a frame every {1e3 * frame_s:.1f} ms"
        return channels(self._plugs, self.period_s, self._gain, self._part_of, about)

    def _why_nothing(self, received: int, parser: FrameParser) -> tuple[str, str]:
        if not received:
            return (
                f"the port {self._name} sends nothing",
                "Switch the meter on, and see that the cable is in its USB or data socket",
            )
        hint = "Give the port of the meter"
        if self._modules:
            hint += f", and see that modules={self._modules} is right (or leave it out)"
        return (
            f"what {self._name} sends, {received} bytes in {SILENT_S:g} s, holds no frame of an "
            f"OmegaWatt meter ({parser.told()})",
            hint,
        )

    def _check_plugs(self, frame: Frame) -> None:
        shown = f"the meter at {self._name} shows {table(frame.watts)}"
        if not self._plugs:
            raise PluginUnavailable(
                f"{shown}; which of them feeds this machine was not said",
                "Name it with -O omegawatt.plugs=1 (1+2 for the sum of two)",
            )
        most = max(number for plugs in self._plugs for number in plugs.numbers)
        if most > len(frame.watts):
            raise ConfigError(f"omegawatt: there is no plug {most}: {shown}")
