"""What is known of a recording beside its rows: kept in a sidecar, or in the first line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .channels import Channel
from .errors import SchemaError
from .recording_order import CSV
from .recording_rows import LEADING, NOTES, Column
from .report_files import from_json, to_json
from .results import Skipped

VERSION = 1
KEY = "greenai_recording"
END = "end"

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class RecordedChannel:
    """A channel and the columns that hold it.

    Attributes:
        profiler: that read it.
        channel: with what is known of its gain.
        grain_s: seconds between two values of it that can differ.
        energy, power, age: names of columns; empty where there is none.
        gain, offset_w: of its calibration, which windows are corrected with and rows are not.
    """

    profiler: str
    channel: Channel
    grain_s: float
    energy: str = ""
    power: str = ""
    age: str = ""
    gain: float = 1.0
    offset_w: float = 0.0


@dataclass(frozen=True)
class Ending:
    """How a recording ended.

    Attributes:
        rows: of the whole recording.
        missed: ticks without a row.
        time_s: of the last row.
        reason: why it ended.
        notes: what the sensors say that readers of the figures must know.
    """

    rows: int
    missed: int
    time_s: float
    reason: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Meta:
    """All that windows of a recording need beside its rows.

    Attributes:
        recording: a name that all files of one recording share.
        part: number of the file, 0 for the first.
        created: UTC, ISO 8601, of the recording.
        greenai: version that wrote it.
        machine: see ``greenai_core.environment.describe``.
        boot: id of the boot; CLOCK_MONOTONIC means nothing beyond it.
        start_monotonic_s: instant of 0 in ``time_s``.
        interval_s: between two rows.
        columns: between the leading ones and the notes.
        channels: with energy.
        skipped: profilers that were not used, and why.
        end: None while it goes on, and after it was killed.
    """

    recording: str
    part: int
    created: str
    greenai: str
    machine: dict[str, Any]
    boot: str
    start_monotonic_s: float
    interval_s: float
    columns: tuple[Column, ...]
    channels: tuple[RecordedChannel, ...]
    skipped: tuple[Skipped, ...] = ()
    end: Ending | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All columns of the file."""
        return (*LEADING, *(column.name for column in self.columns), NOTES)


def boot_id() -> str:
    """A name of this boot of the machine; empty where the system has none."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def encoded(meta: Meta) -> dict[str, Any]:
    """As JSON types, with the version of the format."""
    return {KEY: VERSION, **to_json(meta)}


def decoded(data: Any, where: str) -> Meta:
    """What ``encoded`` made these JSON types of.

    Raises:
        SchemaError: another version, or a field that does not fit.
    """
    if not isinstance(data, dict) or KEY not in data:
        raise SchemaError(f"{where} does not belong to a recording of greenai")
    if data[KEY] != VERSION:
        raise SchemaError(
            f"{where} has version {data[KEY]!r}, this greenai reads {VERSION}. "
            "Upgrade greenai-core to read it"
        )
    return from_json(Meta, data, where)


def sidecar(path: Path) -> Path:
    """Where a CSV file has what is known beside its rows."""
    return path.with_name(path.name + ".meta.json")


def part_path(path: Path, part: int) -> Path:
    """Name of the file after so many rotations: ``run.csv``, ``run.0001.csv``."""
    return path if part == 0 else path.with_name(f"{path.stem}.{part:04d}{path.suffix}")


def parts_of(path: Path) -> list[Path]:
    """The file and those that it was continued in, in their order.

    One that is empty had just been made when its writer was killed: nothing is known of it.
    """
    pattern = re.compile(re.escape(path.stem) + r"\.(\d{4,})" + re.escape(path.suffix))
    numbered = []
    for other in path.parent.iterdir() if path.parent.is_dir() else ():
        match = pattern.fullmatch(other.name)
        if match and other.stat().st_size:
            numbered.append((int(match[1]), other))
    return [path, *(other for _, other in sorted(numbered))]


def read_meta(path: Path, format: str) -> Meta:
    """What is known of one file.

    Raises:
        SchemaError: it is missing, or of another version.
        OSError: it cannot be read.
    """
    try:
        if format == CSV:
            place = sidecar(path)
            content = place.read_text(encoding="utf-8")
        else:
            place = path
            with path.open(encoding="utf-8") as file:
                content = file.readline()
        data = json.loads(content)
    except FileNotFoundError as error:
        if not path.exists():
            raise
        raise SchemaError(
            f"{place} is missing: it tells what the columns of {path} are, and how well they are "
            "known. Put it back beside the file; without it any program reads the CSV, but no "
            "window can be told"
        ) from error
    except ValueError as error:
        raise SchemaError(f"{place} does not begin as a recording of greenai does") from error
    return decoded(data, str(place))
