"""Folders that AIPowerMeter wrote, read as a study.

The layout is that of its benchmark: ``input_<size>/run_<k>/power_metrics.json`` beside
``latency.csv`` (a number a line, s) or ``latency.json`` (a list), perhaps ``omegawatt.csv`` and
``model_summary.json``; and the same inside ``<model>/`` and ``batch_<b>/``. Nothing but these files
is needed: no pandas, no AIPowerMeter.

A damaged file costs what is damaged, and says so: a recording cut in the middle of a line loses
that line only.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .aipowermeter_lines import read_lines
from .aipowermeter_runs import Work, cell_of
from .aipowermeter_wattmeter import Plugs, read_plugs
from .errors import SchemaError
from .parameters import ParameterCount
from .statistics import Vector
from .study_cells import FAILED, CellKey, CellRecord
from .study_files import JOURNAL, REPORT
from .study_results import StudiedModel

SAMPLES = "power_metrics.json"
CARD = "model_summary.json"
LEVELS = 6
"""Of folders that are looked into; a study has four at most."""

FLOAT_BYTES = 4
"""AIPowerMeter's model card counts parameters as 32-bit numbers."""

_SIZE = re.compile(r"input_?(\d+)")
_RUN = re.compile(r"(\d+)$")
_BATCH = re.compile(r"batch_(\d+)$")


@dataclass(frozen=True)
class AIPowerMeterOptions:
    """What the folders do not tell.

    Attributes:
        inferences: in each recording, by input size; needed where no latencies were written.
        every_inferences: the same of all sizes that ``inferences`` does not name.
        batch_size: samples in one inference, where no folder ``batch_<b>`` says so.
        plugs: of the wattmeter that feed the machine; empty for all that something draws from.
    """

    inferences: Mapping[int, int] = field(default_factory=dict)
    every_inferences: int | None = None
    batch_size: int = 1
    plugs: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Place:
    """Where a recording lies, and what its path says."""

    folder: Path
    key: CellKey


def is_aipowermeter(folder: Path) -> bool:
    """Whether there is a recording of AIPowerMeter somewhere below."""
    return next(_places(folder, AIPowerMeterOptions()), None) is not None


def read_aipowermeter(
    folder: str | os.PathLike[str], options: AIPowerMeterOptions | None = None
) -> Iterator[CellRecord]:
    """The recordings below a folder as the cells of a study, one by one.

    Args:
        folder: that ``input_<size>`` folders are in, at any depth.
        options: what the folders do not tell.

    Raises:
        SchemaError: there is none.
    """
    root = Path(folder)
    chosen = options or AIPowerMeterOptions()
    found = False
    for place in _places(root, chosen):
        found = True
        yield _cell(place, root, chosen)
    if not found:
        raise SchemaError(
            f"{root} holds no study: neither cells.jsonl, which `greenai study` writes, nor "
            f"input_<size>/run_<k>/{SAMPLES}, which AIPowerMeter wrote. Give the folder that "
            "these are in"
        )


def writers_of(folder: str | os.PathLike[str]) -> tuple[bool, bool]:
    """Whether AIPowerMeter wrote recordings below a folder, and whether greenai did.

    Experiments of greenai's ``compat`` and cells of its studies have the same files.
    """
    own = {_is_own(place.folder) for place in _places(Path(folder), AIPowerMeterOptions())}
    return False in own, True in own


def _is_own(folder: Path) -> bool:
    """By a study's report beside the samples, or the seconds that each of ours is of."""
    if (folder / REPORT).is_file():
        return True
    try:
        with (folder / SAMPLES).open("rb") as file:
            first = json.loads(file.readline())
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and "seconds" in first


def studied_models(folder: str | os.PathLike[str], names: list[str]) -> tuple[StudiedModel, ...]:
    """What the model cards say of each model; the first card of each counts."""
    cards: dict[str, StudiedModel] = {}
    for place in _places(Path(folder), AIPowerMeterOptions()):
        name = place.key.model
        if name not in cards and (place.folder / CARD).is_file():
            cards[name] = _card(name, place.folder / CARD)
    return tuple(cards.get(name, StudiedModel(name)) for name in names)


def _card(name: str, path: Path) -> StudiedModel:
    try:
        data = json.loads(path.read_bytes())
        total, macs = data.get("total_params"), data.get("total_mult_adds")
        trainable = data.get("trainable_params", total)
        count = None
        if isinstance(total, int) and isinstance(trainable, int):
            count = ParameterCount(trainable, total - trainable, FLOAT_BYTES * total)
        return StudiedModel(
            name, None, count, macs if isinstance(macs, int) else None, "AIPowerMeter's model card"
        )
    except (OSError, ValueError, AttributeError):
        return StudiedModel(name, note=f"{path.name} cannot be read")


def _places(root: Path, options: AIPowerMeterOptions) -> Iterator[_Place]:
    """The folders with samples, in the order of their names; numbers by size."""
    for folder, names in _walk(root, LEVELS):
        if SAMPLES in names:
            key = _key(root, folder, options)
            if key is not None:
                yield _Place(folder, key)


def _walk(folder: Path, levels: int) -> Iterator[tuple[Path, set[str]]]:
    inner: list[str] = []
    names: set[str] = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                (inner.append if entry.is_dir() else names.add)(entry.name)
    except OSError as error:
        raise SchemaError(f"{folder} cannot be read: {error.strerror}") from error
    yield folder, names
    if levels:
        for name in sorted(inner, key=_natural):
            yield from _walk(folder / name, levels - 1)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part or 0), rest) for part, rest in re.findall(r"(\d*)(\D*)", name)]


def _key(root: Path, folder: Path, options: AIPowerMeterOptions) -> CellKey | None:
    parts = (root.absolute().name, *folder.relative_to(root).parts)
    sizes = [n for n, part in enumerate(parts) if _SIZE.search(part)]
    if not sizes:
        return None
    at = sizes[-1]
    size = _SIZE.search(parts[at])
    run = next((m for part in reversed(parts[at + 1 :]) if (m := _RUN.search(part))), None)
    batch, model = options.batch_size, ""
    for part in parts[:at]:
        found = _BATCH.match(part)
        if found:
            batch = int(found[1])
        else:
            model = part
    if size is None:
        return None
    return CellKey(model or "model", int(size[1]), batch, int(run[1]) if run else 0)


def _cell(place: _Place, root: Path, options: AIPowerMeterOptions) -> CellRecord:
    where = str(place.folder.relative_to(root))
    try:
        content = (place.folder / SAMPLES).read_bytes()
    except OSError as error:
        reason = f"{SAMPLES} cannot be read: {error.strerror}"
        return CellRecord(place.key, FAILED, reason, "", "", where)
    recorded = read_lines(content)
    notes = []
    if recorded.cut:
        notes.append(f"{SAMPLES} ends in the middle of a line: that line is lost")
    others = len(recorded.damaged) - recorded.cut
    if others:
        lines = ", ".join(map(str, recorded.damaged[:5]))
        notes.append(f"{SAMPLES} of run {place.key.run}: damaged lines left out ({lines})")
    if (place.folder / REPORT).is_file():
        notes.append(
            f"written by `greenai study`, whose {JOURNAL} is missing: read as AIPowerMeter's "
            "files, in which what was modelled does not count"
        )
    latencies, more = _latencies(place.folder)
    told = options.inferences.get(place.key.size, options.every_inferences)
    inferences = told if told is not None else (len(latencies) or None)
    plugs, about = _plugs(place.folder, options)
    work = Work(inferences, latencies)
    return cell_of(place.key, where, recorded, work, plugs, [*notes, *more, *about])


def _latencies(folder: Path) -> tuple[Vector, list[str]]:
    """Of each inference, s; as ``concat_power_measure.py`` does, the JSON goes first."""
    for name in ("latency.json", "latency.csv"):
        try:
            content = (folder / name).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            return np.empty(0), [f"{name} cannot be read: {error.strerror}"]
        words = content.strip().removeprefix(b"[").removesuffix(b"]").replace(b",", b" ").split()
        if name.endswith(".csv") and words and not content.endswith(b"\n"):
            words.pop()  # half a number is a number too
            note = [f"{name} ends in the middle of a line: that line is lost"]
        elif name.endswith(".json") and words and not content.rstrip().endswith(b"]"):
            words.pop()
            note = [f"{name} is cut short: its last number is lost"]
        else:
            note = []
        try:
            values = np.array(words, dtype=np.float64)
        except ValueError:
            values = np.array([_number(word) for word in words])
        good = values[np.isfinite(values) & (values > 0)]
        if len(good) < len(values):
            note.append(f"{name}: {len(values) - len(good)} entries are no latencies")
        return good, note
    return np.empty(0), []


def _number(word: bytes) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _plugs(folder: Path, options: AIPowerMeterOptions) -> tuple[Plugs | None, list[str]]:
    try:
        content = (folder / "omegawatt.csv").read_bytes()
    except FileNotFoundError:
        return None, []
    except OSError as error:
        return None, [f"omegawatt.csv cannot be read: {error.strerror}"]
    found = read_plugs(content)
    if found is None:
        return None, ["omegawatt.csv holds no good row of a wattmeter"]
    notes = []
    powers = found.powers
    if options.plugs:
        powers = {plug: one for plug, one in powers.items() if plug in options.plugs}
        missing = [str(plug) for plug in options.plugs if plug not in powers]
        if missing:
            notes.append(f"omegawatt.csv: nothing drew power from plug {', '.join(missing)}")
    elif len(powers) > 1:
        notes.append(
            "omegawatt.csv: several plugs draw power, and which of them feed the machine is not "
            "recorded: each is told by itself; --plugs names them"
        )
    return Plugs(powers, found.bad_rows), notes
