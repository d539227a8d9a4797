"""The profiler ``kettle``: joules from a text file that something else keeps up to date.

The file holds one number, the joules used since some start: ``1234.567``. It must be
replaced in one step (written beside and renamed), so that no reader sees half of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from greenai_core import Channel, CounterProfiler, PluginUnavailable, ReadingError

UNIT_J = 1e-3
UPDATE_PERIOD_S = 0.01
GAIN = (0.02, "assumption: a kettle's meter, ±2 % (k = 1)")


class KettleProfiler(CounterProfiler):
    """Joules of everything on the socket, from a file.

    Args:
        file: the file; the environment variable KETTLE_FILE by default.
    """

    name = "kettle"
    option_names: ClassVar[Mapping[str, str]] = {
        "file": "text file of joules (default: the environment variable KETTLE_FILE)"
    }

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        path = file or os.environ.get("KETTLE_FILE")
        self._file = None if path is None else Path(path)

    def check_available(self) -> None:
        """Return if the file can be read.

        Raises:
            PluginUnavailable: nobody said where it is, or it cannot be read.
        """
        if self._file is None:
            raise PluginUnavailable(
                "no file of joules was given",
                "Set KETTLE_FILE=/path/to/joules, or give --option kettle.file=/path/to/joules",
            )
        try:
            self._file.read_text()
        except OSError as error:
            raise PluginUnavailable(
                f"{self._file} cannot be read ({error.strerror})",
                "Check the path, and that the program that writes it runs",
            ) from error

    def connect(self) -> Sequence[Channel]:
        """One channel: what stands on the socket."""
        self.check_available()
        gain, source = GAIN
        return [
            Channel(
                "wall:kettle",
                "wall",
                "counter",
                resolution_j=UNIT_J,
                update_period_s=UPDATE_PERIOD_S,
                gain_uncertainty=gain,
                gain_source=source,
                description=f"joules in {self._file}",
            )
        ]

    def disconnect(self) -> None:
        """Nothing is held open."""

    def read(self, channel: Channel) -> int:
        """The joules of the file, in mJ; greenai makes windows and intervals of them.

        Raises:
            ReadingError: the file is gone, or holds no number. It is never taken for 0.
        """
        assert self._file is not None
        try:
            return round(float(self._file.read_text()) / UNIT_J)
        except (OSError, ValueError, OverflowError) as error:
            raise ReadingError(f"{channel.id}: {self._file} gives no joules ({error})") from error
