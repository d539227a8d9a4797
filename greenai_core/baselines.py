"""A user's own baselines: what a run cost before, to tell what a change made of it.

Files are in the state folder, one a baseline, in a folder of its own for each machine.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import GradeError, SchemaError
from .figures import Figure
from .grading import Gradable
from .report_files import from_json, to_json, write_atomically
from .user_folders import user_folder

SCHEMA_VERSION = 1

LOCK = ".lock"


@dataclass(frozen=True)
class Baseline:
    """What one functional unit cost.

    Attributes:
        name: given by the user: of a model, a script, an experiment.
        created: UTC, ISO 8601.
        unit: the functional unit.
        per_unit_j: energy above idle of one, J.
        components: what it is of.
        channels: that it was measured on.
        machine: see ``environment.machine_identity``; None where it is not known.
        input: what was run on what; None where nobody said.
    """

    name: str
    created: str
    unit: str
    per_unit_j: Figure
    components: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    machine: str | None = None
    input: str | None = None


@dataclass(frozen=True)
class Change:
    """One energy over another, less one: −0.1 is 10 % less.

    Attributes:
        share: the estimate.
        low, high: 95 %, by repeatability alone: both are of one machine and its sensors,
            whose gain leaves their ratio alone.
    """

    share: float
    low: float
    high: float


def default_folder() -> Path:
    """``$XDG_STATE_HOME/greenai/baselines``.

    Raises:
        ConfigError: neither that nor a home folder is known.
    """
    return user_folder("XDG_STATE_HOME", ".local/state") / "baselines"


def baseline_of(measured: Gradable, name: str, created: datetime.datetime) -> Baseline:
    """What was measured, as a baseline.

    Args:
        measured: with a functional unit and energy above idle.
        name: to find it by.
        created: with its time zone.

    Raises:
        GradeError: later runs could not be compared with it.
    """
    energy = measured.per_unit()
    if not name.strip():
        raise GradeError("a baseline needs a name")
    if measured.unit is None or measured.units is None:
        raise GradeError("a baseline needs a functional unit: --units 1000 --unit image")
    if measured.missing:
        raise GradeError(f"no figure for {', '.join(measured.missing)}, so this run is no baseline")
    if energy is None:
        raise GradeError("a baseline needs energy above idle: measure idle too")
    if energy.repeat_low <= 0:
        raise GradeError(
            f"{energy.value:.3g} J/{measured.unit} cannot be told from zero: run for longer"
        )
    when = created.astimezone(datetime.timezone.utc)
    return Baseline(
        name=name,
        created=when.isoformat(timespec="seconds"),
        unit=measured.unit,
        per_unit_j=energy,
        components=measured.components,
        channels=measured.channels,
        machine=measured.machine,
        input=measured.input,
    )


def save_baseline(baseline: Baseline, folder: Path | None = None) -> Path:
    """Keep a baseline, in the place of an older one of that name and machine.

    Args:
        baseline: to be kept.
        folder: where baselines are; None for the default.

    Returns:
        Its file.

    Raises:
        OSError: it cannot be written.
        ConfigError: the user has no home folder to keep it in.
    """
    path = _path(baseline.name, baseline.machine, folder)
    content = {"schema_version": SCHEMA_VERSION, **to_json(baseline)}
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    with _locked(path.parent):
        write_atomically(path, (text + "\n").encode("utf-8", "backslashreplace"))
    return path


def load_baseline(name: str, machine: str | None, folder: Path | None = None) -> Baseline:
    """The baseline of that name.

    Args:
        name: as it was kept.
        machine: this one; see ``environment.machine_identity``.
        folder: where baselines are; None for the default.

    Raises:
        GradeError: there is none, or its file cannot be used.
        ConfigError: the user has no home folder where it could be.
    """
    path = _path(name, machine, folder)
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise GradeError(
            f"no baseline {name!r} is kept for this machine. Keep one with --baseline save"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise GradeError(f"the baseline {path} cannot be read: {reason}") from error
    try:
        return read_baseline(content)
    except GradeError as error:
        raise GradeError(f"{path}: {error}. Keep a new one with --baseline save") from error


def drop_baseline(name: str, machine: str | None, folder: Path | None = None) -> bool:
    """Forget a baseline; whether there was one.

    Raises:
        OSError: it cannot be removed.
    """
    path = _path(name, machine, folder)
    if not path.exists():
        return False
    with _locked(path.parent), contextlib.suppress(FileNotFoundError):
        path.unlink()
        return True
    return False


def read_baseline(content: Mapping[str, Any] | str) -> Baseline:
    """The baseline in the content of its file.

    Raises:
        GradeError: it is none.
    """
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise GradeError(f"the baseline is not JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise GradeError("the baseline is no JSON object")
    version = content.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise GradeError(f"the baseline has schema_version {version!r}, not {SCHEMA_VERSION}")
    try:
        baseline = from_json(Baseline, content, "baseline")
        datetime.datetime.fromisoformat(baseline.created)
    except (SchemaError, ValueError) as error:
        raise GradeError(f"the baseline is broken: {error}") from error
    energy = baseline.per_unit_j
    ends = (energy.repeat_low, energy.value, energy.repeat_high)
    if not all(map(math.isfinite, ends)) or not 0 < ends[0] <= ends[1] <= ends[2]:
        raise GradeError("the baseline is broken: its joules are no interval above zero")
    return baseline


def energy_change(now: Figure, before: Figure) -> Change:
    """One energy against another of the same machine.

    The interval is Fieller's, of a ratio of two independent normal figures, of their
    repeatability (E. C. Fieller, J. R. Stat. Soc. B 16, 1954, 175).

    Args:
        now: J.
        before: J; its interval leaves out zero.

    Raises:
        GradeError: ``before`` cannot be told from zero.
    """
    y, x = now.value, before.value
    uy, ux = ((f.repeat_high - f.repeat_low) / 2 for f in (now, before))
    room = x * x - ux * ux
    if x <= 0 or room <= 0:
        raise GradeError(f"a baseline of {x:.3g} J cannot be told from zero: keep a longer one")
    # Where now is far from before the root stays real, since room is above 0.
    half = math.sqrt(max((x * y) ** 2 - room * (y * y - uy * uy), 0.0)) / room
    middle = x * y / room
    return Change(y / x - 1, middle - half - 1, middle + half - 1)


def _path(name: str, machine: str | None, folder: Path | None) -> Path:
    """A file name that tells people what it is, and two names never share."""
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip(".-")[:40] or "baseline"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    own = re.sub(r"[^A-Za-z0-9]", "", machine or "") or "unknown-machine"
    return (folder or default_folder()) / own / f"{slug}-{digest}.json"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time, of all processes of the user."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
