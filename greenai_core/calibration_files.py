"""Where calibrations of this machine are kept: one JSON file a machine."""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .calibration import FEWEST_STAIRS, SCOPES, Calibration
from .environment import machine_identity, nvidia_driver
from .errors import CalibrationError, ConfigError, SchemaError
from .report_files import from_json, to_json, write_atomically
from .user_folders import user_folder

SCHEMA_VERSION = 1

OLD_DAYS = 365
"""Sensors age, and so do the machines around them. An assumption."""


@dataclass(frozen=True)
class Shelf:
    """The calibrations of one machine.

    Attributes:
        path: their file; it need not exist. None where the machine has no identity, or the user
            no home folder.
        machine: see ``machine_identity``.
        calibrations: one a channel.
        problem: why the file cannot be used; empty if it can.
    """

    path: Path | None
    machine: str | None
    calibrations: tuple[Calibration, ...]
    problem: str = ""

    def of(self, channel: str) -> Calibration | None:
        """That of a channel."""
        return next((c for c in self.calibrations if c.channel == channel), None)


def default_folder() -> Path:
    """``$XDG_DATA_HOME/greenai/calibrations``.

    Raises:
        ConfigError: neither that nor a home folder is known.
    """
    return user_folder("XDG_DATA_HOME", ".local/share") / "calibrations"


def read_shelf(folder: Path | None = None, root: Path = Path("/")) -> Shelf:
    """The calibrations of this machine; a file that cannot be used has none.

    Args:
        folder: where the files are; None for the default.
        root: where ``proc``, ``sys`` and ``etc`` are.
    """
    machine = machine_identity(root)
    if machine is None:
        return Shelf(None, None, ())
    try:
        path = (folder or default_folder()) / f"{machine}.json"
    except ConfigError:  # nothing can have been kept
        return Shelf(None, machine, ())
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Shelf(path, machine, ())
    except OSError as error:
        return Shelf(path, machine, (), _useless(path, f"it cannot be read ({error.strerror})"))
    try:
        return Shelf(path, machine, _decoded(content, machine))
    except (SchemaError, ValueError, RecursionError) as error:
        return Shelf(path, machine, (), _useless(path, str(error)))


def _useless(path: Path, why: str) -> str:
    return (
        f"the calibrations in {path} are not used: {why}. Remove that file, and calibrate again "
        "where they are needed"
    )


def _decoded(content: bytes, machine: str) -> tuple[Calibration, ...]:
    data = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    if not isinstance(data, dict) or not isinstance(data.get("calibrations"), list):
        raise SchemaError("it holds no calibrations")
    if data.get("schema_version") != SCHEMA_VERSION:
        raise SchemaError(f"its schema_version is {data.get('schema_version')!r}, not 1")
    if data.get("machine") != machine:
        raise SchemaError("they were made on another machine")
    found = [_one(item, f"calibrations[{i}]") for i, item in enumerate(data["calibrations"])]
    if len({calibration.channel for calibration in found}) < len(found):
        raise SchemaError("it holds two calibrations of one channel")
    return tuple(found)


def _one(data: Any, where: str) -> Calibration:
    made = from_json(Calibration, data, where)
    line = made.line
    positive = (line.gain, line.u_gain, line.u_offset_w)
    if min(positive) <= 0 or min(line.lack_w, made.u_meter, made.u_rest) < 0:
        raise SchemaError(f"{where} has a gain or an uncertainty that cannot be true")
    if made.scope not in SCOPES or len(made.stairs) < FEWEST_STAIRS:
        raise SchemaError(f"{where} has an unknown scope, or too few stairs")
    _when(made)
    return made


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def keep(shelf: Shelf, calibration: Calibration) -> Shelf:
    """The shelf with a calibration added, or put in the place of the channel's old one.

    Raises:
        CalibrationError: this machine has no identity to file it under, or the
            file there cannot be used.
        OSError: it cannot be written.
    """
    others = tuple(c for c in shelf.calibrations if c.channel != calibration.channel)
    return _write(shelf, (*others, calibration))


def find(shelf: Shelf, channel: str) -> Calibration:
    """The calibration of a channel.

    Raises:
        CalibrationError: there is none.
    """
    found = shelf.of(channel)
    if found is None:
        known = ", ".join(c.channel for c in shelf.calibrations) or "none"
        raise CalibrationError(
            f"no calibration of {channel} is kept for this machine (kept: {known})"
        )
    return found


def without(shelf: Shelf, channel: str) -> Shelf:
    """The shelf without the calibration of a channel.

    Raises:
        CalibrationError: there is none, or see ``keep``.
        OSError: it cannot be written.
    """
    find(shelf, channel)
    return _write(shelf, tuple(c for c in shelf.calibrations if c.channel != channel))


def check_shelf(shelf: Shelf) -> Path:
    """The file to write to.

    Raises:
        CalibrationError: see ``keep``.
        ConfigError: the user has no home folder to keep it in.
    """
    if shelf.problem:
        raise CalibrationError(shelf.problem)
    if shelf.machine is None:
        raise CalibrationError(
            "this machine has no identity to keep a calibration under: /etc/machine-id is missing "
            "or empty. `systemd-machine-id-setup` makes one; in a container mount that of the host"
        )
    return shelf.path or default_folder()  # which tells that there is no home folder


def _write(shelf: Shelf, calibrations: Sequence[Calibration]) -> Shelf:
    path = check_shelf(shelf)
    content = {
        "schema_version": SCHEMA_VERSION,
        "machine": shelf.machine,
        "calibrations": to_json(tuple(calibrations)),
    }
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())
    return Shelf(path, shelf.machine, tuple(calibrations))


def _when(calibration: Calibration) -> datetime.datetime:
    when = datetime.datetime.fromisoformat(calibration.date)
    if when.tzinfo is None:
        raise ValueError(f"the date {calibration.date!r} has no time zone")
    return when


def age_days(calibration: Calibration, now: datetime.datetime) -> int:
    """Whole days since it was made; 0 where the clock says that it is yet to come."""
    return max((now - _when(calibration)).days, 0)


def doubts(calibration: Calibration, now: datetime.datetime, driver: str | None) -> tuple[str, ...]:
    """Why a calibration may not hold any more; it is used all the same.

    Args:
        calibration: in use.
        now: with its time zone.
        driver: version of the sensor's driver now; see ``driver_of``.
    """
    found = []
    again = "Calibrate again to be sure"
    days = age_days(calibration, now)
    if days > OLD_DAYS:
        found.append(f"the calibration of {calibration.channel} is {days} days old. {again}")
    if calibration.driver != driver:
        found.append(
            f"the calibration of {calibration.channel} was made with the driver "
            f"{calibration.driver or 'unknown'}, and now it is {driver or 'unknown'}. {again}"
        )
    return tuple(found)


def driver_of(channel: str, root: Path = Path("/")) -> str | None:
    """Version of the driver that a channel's figures depend on; None where none is known to."""
    return nvidia_driver(root) if channel.startswith("gpu:") else None


def stored_calibrations(folder: Path | None = None) -> tuple[Calibration, ...]:
    """What ``greenai calibrate`` keeps for this machine, for ``Session(calibrations=…)``.

    A file that cannot be used, and calibrations that are old, are warned of.

    Args:
        folder: where the files are; None for the default.
    """
    shelf = read_shelf(folder)
    now = datetime.datetime.now(datetime.timezone.utc)
    told = [shelf.problem] if shelf.problem else []
    for calibration in shelf.calibrations:
        told += doubts(calibration, now, driver_of(calibration.channel))
    for text in told:
        warnings.warn(text, stacklevel=2)
    return shelf.calibrations
