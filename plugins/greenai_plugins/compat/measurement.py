"""``EnergyMeasurementTool`` and ``AsynchronousMeasurementTool``: energy to CSV files in kWh.

``LayerwiseMeasurementTool`` is here too, as it was.

The columns, their order and their units are those of the older tools. A cell whose value is
not known is empty, never 0, and a warning says why.
"""

from __future__ import annotations

import atexit
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from greenai_core import (
    LifecycleError,
    NoSensorError,
    Recorded,
    Recorder,
    Session,
    WindowResult,
    read_recording,
)

from .csv_files import Options, append, begin, cell, with_board
from .layerwise import LayerwiseMeasurementTool

__all__ = ["AsynchronousMeasurementTool", "EnergyMeasurementTool", "LayerwiseMeasurementTool"]

J_PER_KWH = 3_600_000.0
"""1 kWh = 1000 W · 3600 s, by definition."""

STRETCH_COLUMNS = ("elapsed time (s)", "CPU energy (kWh)", "GPU energy (kWh)")
"""Columns of ``EnergyMeasurementTool``."""

READING_COLUMNS = (
    "elapsed time (s)",
    "CPU energy (kWh)",
    "CPU utilisation (%)",
    "CPU temp (°C)",
    "GPU energy (kWh)",
    "GPU utilisation (%)",
    "GPU temp (°C)",
    "GPU power (W)",
)
"""Columns of ``AsynchronousMeasurementTool``; energies are those since its start."""


class EnergyMeasurementTool:
    """Energy and time of stretches of code, a row each.

    Args:
        out_file: a CSV file; emptied at once. A row is on the disk when ``stop`` returns. A
            stretch that is open when the program ends, by an exception too, ends there.
        gpu_num: number of the board, as nvidia-smi counts.
        header: whether the first line names the columns.
        profilers, options: see ``greenai_core.Session``.
    """

    def __init__(
        self,
        out_file: str | os.PathLike[str],
        gpu_num: int = 0,
        *,
        header: bool = False,
        profilers: str | Iterable[Any] = "auto",
        options: Options | None = None,
    ) -> None:
        self.out_file = Path(out_file)
        begin(self.out_file, STRETCH_COLUMNS if header else None)
        self._session = Session(profilers, options=with_board(options, gpu_num))
        self._known: bool | None = None
        self._told: set[str] = set()
        self._window: Any = None
        self._process = os.getpid()
        atexit.register(self._at_exit)

    def start(self) -> None:
        """Begin a stretch.

        Raises:
            LifecycleError: the one before has not ended.
        """
        if self._window is not None:
            raise LifecycleError("a stretch is being measured already: call stop() first")
        if self._known is None:
            self._known = self._open()
        self._window = _Timed() if not self._known else self._session.window("stretch")
        self._window.__enter__()

    def stop(self) -> None:
        """End it and write its row.

        Raises:
            LifecycleError: none has begun.
        """
        window, self._window = self._window, None
        if window is None:
            raise LifecycleError("nothing is being measured: call start() first")
        window.__exit__(None, None, None)
        result: WindowResult | None = window.result if self._known else None
        cells = [cell(window.duration_s)]
        for component, name in (("cpu", "CPU"), ("gpu", "GPU")):
            joules = self._joules(result, component, name)
            cells.append("" if joules is None else cell(joules / J_PER_KWH))
        append(self.out_file, [cells])

    def _open(self) -> bool:
        try:
            self._session.open()
        except NoSensorError as error:
            self._tell(f"energy is not known, its cells stay empty: {error}")
            return False
        return True

    def _joules(self, result: WindowResult | None, component: str, name: str) -> float | None:
        """Measured joules of all devices of that kind; None where one of them is not known."""
        if result is None:
            return None
        ids = {
            channel.id: channel.measured
            for channel in self._session.channels
            if channel.component == component and channel.contained_in is None
        }
        measured = [id for id, is_measured in ids.items() if is_measured]
        if not measured:
            self._tell(
                f"the {name} energy is not measured here, its cells stay empty; "
                "`greenai devices` says what would bring it in"
            )
            return None
        for missing in result.missing:
            if missing.id in measured:
                self._tell(f"the {name} energy of a stretch is not known: {missing.reason}")
                return None
        return math.fsum(c.energy_j for c in result.channels if c.id in measured)

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            warnings.warn(message, RuntimeWarning, stacklevel=4)

    def _at_exit(self) -> None:
        if os.getpid() != self._process:
            return  # a fork of the program that measures
        if self._window is not None:
            self.stop()
        self._session.close()


class AsynchronousMeasurementTool:
    """Readings at an interval, taken by a process of their own.

    What is read is written at once to ``<out_file>.recording.csv``, which survives a kill;
    ``stop``, or the end of the program by an exception too, makes ``out_file`` of it.

    Args:
        out_file: a CSV file with the columns of ``READING_COLUMNS``.
        gpu_num: number of the board, as nvidia-smi counts.
        header: whether the first line names the columns.
        profilers, options: see ``greenai_core.Recorder``.
    """

    def __init__(
        self,
        out_file: str | os.PathLike[str],
        gpu_num: int = 0,
        *,
        header: bool = False,
        profilers: str | Sequence[str] = "auto",
        options: Options | None = None,
    ) -> None:
        self.out_file = Path(out_file)
        self._header = header
        self._profilers = profilers
        self._options = with_board(options, gpu_num)
        self._recorder: Recorder | None = None
        begin(self.out_file, None)
        self._process = os.getpid()
        atexit.register(self._at_exit)

    @property
    def recording(self) -> Path:
        """The file of what was read; ``greenai record --read`` gives its windows."""
        return self.out_file.with_name(f"{self.out_file.name}.recording.csv")

    def start(self, interval: float = 1) -> None:
        """Begin to take readings.

        Args:
            interval: seconds between two of them.

        Raises:
            LifecycleError: they are being taken already.
            ConfigError: an interval that cannot be kept.
            NoSensorError: nothing can be read here.
        """
        if self._recorder is not None:
            raise LifecycleError("readings are being taken already: call stop() first")
        for old in (self.recording, Path(f"{self.recording}.meta.json")):
            old.unlink(missing_ok=True)
        recorder = Recorder(self.recording, interval, self._profilers, self._options)
        recorder.start()
        self._recorder = recorder

    def stop(self) -> None:
        """Take the last one, and write ``out_file``.

        Raises:
            LifecycleError: none are being taken.
        """
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            raise LifecycleError("no readings are being taken: call start() first")
        try:
            recorder.stop()
        finally:
            rows, unknown = readings(self.recording)
            begin(self.out_file, READING_COLUMNS if self._header else None)
            append(self.out_file, rows)
        if unknown:
            warnings.warn(
                f"not known here, so left empty: {', '.join(unknown)}; `greenai devices` says "
                "what would bring energy in",
                RuntimeWarning,
                stacklevel=2,
            )

    def _at_exit(self) -> None:
        if self._recorder is not None and os.getpid() == self._process:
            self.stop()


def readings(recording: str | os.PathLike[str]) -> tuple[list[list[str]], tuple[str, ...]]:
    """A recording in the columns of ``AsynchronousMeasurementTool``.

    Args:
        recording: a file that a ``Recorder`` wrote.

    Returns:
        the rows, as text, and the columns of which nothing is known. Energies are those since
        the start, in kWh, of all sockets or boards recorded; means over the boards of what
        cannot be added up.

    Raises:
        SchemaError: it is not a recording.
    """
    recorded = read_recording(recording)
    boards = sorted(_devices(recorded.names, "gpu:"))
    columns = (
        [float(instant) for instant in recorded.times],
        _energy(recorded, "cpu"),
        _joined(recorded, ["host utilisation [%]"], sum),
        _joined(recorded, ["host temperature [degC]"], sum),
        _energy(recorded, "gpu"),
        _joined(recorded, [f"{id} utilisation [%]" for id in boards], _mean),
        _joined(recorded, [f"{id} temperature [degC]" for id in boards], _mean),
        _joined(recorded, [f"{id} [W]" for id in boards], sum),
    )
    unknown = tuple(
        name
        for name, column in zip(READING_COLUMNS, columns, strict=True)
        if all(math.isnan(value) for value in column)
    )
    rows = [[cell(value) for value in row] for row in zip(*columns, strict=True)]
    return rows, unknown


def _devices(names: Iterable[str], kind: str) -> set[str]:
    return {name.split(" ")[0] for name in names if name.startswith(kind)}


def _energy(recorded: Recorded, component: str) -> list[float]:
    """Energy in kWh since the start, of all measured devices; NaN where one is not known."""
    sums = [math.nan] * len(recorded.times)
    devices = [
        one
        for one in recorded.meta.channels
        if one.channel.component == component
        and one.channel.contained_in is None
        and one.channel.measured
    ]
    for number, one in enumerate(devices):
        if one.energy:
            joules = [float(value) for value in recorded.column(one.energy)]
        else:
            joules = _integrated(recorded, one.power)
        sums = joules if number == 0 else [a + b for a, b in zip(sums, joules, strict=True)]
    return [value / J_PER_KWH for value in sums]


def _integrated(recorded: Recorded, column: str) -> list[float]:
    """Joules since the start of a power that is read now and then, by trapezoids."""
    joules, energy_j, last = [], 0.0, None
    for instant, watts in zip(recorded.times, recorded.column(column), strict=True):
        if not math.isnan(watts):
            if last is not None:
                energy_j += (instant - last[0]) * (watts + last[1]) / 2
            last = (instant, watts)
        joules.append(math.nan if last is None else energy_j)
    return joules


def _joined(
    recorded: Recorded,
    names: Sequence[str],
    join: Callable[[Sequence[float]], float],
    factor: float = 1.0,
) -> list[float]:
    """One column of several; NaN in each row where one of them is not known."""
    here = [name for name in names if name in recorded.names]
    if not here or (join is sum and len(here) < len(names)):
        return [math.nan] * len(recorded.times)
    found = [recorded.column(name) for name in here]
    return [factor * float(join(values)) for values in zip(*found, strict=True)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


class _Timed:
    """The time of a stretch, where nothing tells its energy."""

    duration_s = math.nan

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.duration_s = time.perf_counter() - self._began
