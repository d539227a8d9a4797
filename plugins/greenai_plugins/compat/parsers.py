"""``JsonParser``: the folder of one recording, as AIPowerMeter lays it out."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SEGMENT_END = "END OF RECORDING SEGMENT"
"""The line that closes a recording; others may follow it in the same file."""

ALIASES = {
    "nvidia_draw_absolute": "nvidia_power",
    "per_gpu_power_draw": "per_gpu_nvidia_power",
    "nvidia_mem_use": "nvidia_memory",
    "nvidia_sm_use": "nvidia_use_rate",
}
"""Names of metrics until 2025 -> since 2026; each is found under either."""

OWN_FILES = ("power_metrics.json", "windows.jsonl", "results_exp.json", "model_summary.json")
"""What belongs to a recording and goes when it is begun anew."""

Series = dict[str, Any]
"""``{"dates": [datetime, …], "values": [float, …]}``."""


class JsonParser:
    """Writes and reads the files of a recording.

    Args:
        location: the folder; made if it is not there.
        meta_data: a text about the recording, or a dictionary.
    """

    def __init__(
        self, location: str | os.PathLike[str], meta_data: str | Mapping[str, Any] = ""
    ) -> None:
        self.folder = os.fspath(location)
        folder = Path(location)
        self.power_metric_filename = str(folder / "power_metrics.json")
        self.exp_metric_filename = str(folder / "results_exp.json")
        self.metadata_filename = str(folder / "metadata.json")
        self.model_card_file = str(folder / "model_summary.json")
        self.windows_filename = str(folder / "windows.jsonl")
        self.wattmeter_logfile = str(folder / "omegawatt.csv")
        folder.mkdir(parents=True, exist_ok=True)
        if not Path(self.metadata_filename).exists():
            given = {"description": meta_data} if isinstance(meta_data, str) else dict(meta_data)
            self._write(self.metadata_filename, {**given, "date": str(_now())})

    def get_description(self) -> str | None:
        """What was told about the recording; None if nothing was."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found = json.loads(Path(self.metadata_filename).read_text(encoding="utf-8"))
            return found.get("description") or None
        return None

    def erase(self) -> None:
        """Delete what was recorded in the folder, and nothing else that is in it."""
        for name in OWN_FILES:
            Path(self.folder, name).unlink(missing_ok=True)

    def save_power_metrics(self, metrics: Mapping[str, Any], seconds: float | None = None) -> None:
        """Append one sample, of now.

        Args:
            metrics: by group (``cpu``, ``gpu``), by name.
            seconds: that its mean powers are of, those before now.
        """
        line: dict[str, Any] = {"date": str(_now()), "metrics": metrics}
        if seconds is not None:
            line["seconds"] = seconds
        self._append(self.power_metric_filename, line)

    def save_window(self, window: Mapping[str, Any]) -> None:
        """Append the energy of a whole recording, as JSON types."""
        self._append(self.windows_filename, window)

    def close_driver(self) -> None:
        """Close a recording; another may be appended."""
        self._append(self.power_metric_filename, SEGMENT_END)

    def save_exp_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Append figures of the experiment, such as an accuracy, of now."""
        self._append(self.exp_metric_filename, {"date": str(_now()), "metrics": metrics})

    def save_model_card(self, model_card: Mapping[str, Any]) -> None:
        """Write what is known of the model."""
        self._write(self.model_card_file, model_card)

    def get_model_card(self) -> dict[str, Any] | None:
        """What is known of the model; None if nothing was written."""
        with contextlib.suppress(OSError, ValueError):
            card: dict[str, Any] = json.loads(
                Path(self.model_card_file).read_text(encoding="utf-8")
            )
            return card
        return None

    def get_segments(self) -> list[datetime.datetime]:
        """When recordings ended that were gone on with later."""
        ends: list[datetime.datetime | None] = []
        last = None
        for line in self.lines():
            if line == SEGMENT_END:
                ends.append(last)
            else:
                last = line[0]
        return [end for end in ends[:-1] if end is not None]

    def windows(self) -> list[dict[str, Any]]:
        """The energies of whole recordings in this folder."""
        return [line for line in _read(self.windows_filename) if isinstance(line, dict)]

    def lines(self) -> Iterator[Any]:
        """Date, metrics and seconds of each sample, and ``SEGMENT_END`` where one ended.

        A line that cannot be read, such as one cut off by a kill, is left out.
        """
        for line in _read(self.power_metric_filename):
            if line == SEGMENT_END:
                yield SEGMENT_END
            with contextlib.suppress(TypeError, KeyError, ValueError):
                date = datetime.datetime.fromisoformat(line["date"])
                yield date, dict(line["metrics"]), line.get("seconds")

    def load_cpu_metrics(self) -> dict[str, Any] | None:
        """Series by name; what was told of several processes is their sum. None: no such."""
        return self._group("cpu")

    def load_gpu_metrics(self) -> dict[str, Any] | None:
        """Series by name, by board where the name begins with ``per_gpu``. None: no such."""
        found = {**(self._group("gpu_modelled") or {}), **(self._group("gpu") or {})}
        return found or None

    def load_wattmeter_metrics(self) -> dict[str, Any] | None:
        """Series of the power at the wall, by meter; from Omegawatt's log too. None: no such."""
        return self._group("wall") or _omegawatt(Path(self.wattmeter_logfile))

    def load_exp_metrics(self) -> dict[str, Any] | None:
        """Series of the figures of the experiment. None: no such."""
        found: dict[str, Any] = {}
        for line in _read(self.exp_metric_filename):
            with contextlib.suppress(TypeError, KeyError, ValueError):
                for date, figures in _experiments(line):
                    for name, value in figures.items():
                        _add(found, name, datetime.datetime.fromisoformat(date), value, None)
        return found or None

    def load_metrics(self) -> tuple[dict[str, Any] | None, ...]:
        """Series of CPU, GPU, experiment and wall; None for what there is none of."""
        return (
            self.load_cpu_metrics(),
            self.load_gpu_metrics(),
            self.load_exp_metrics(),
            self.load_wattmeter_metrics(),
        )

    def _group(self, group: str) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        for line in self.lines():
            if line == SEGMENT_END:
                continue
            date, metrics, seconds = line
            for name, value in metrics.get(group, {}).items():
                if name.startswith("per_gpu") and isinstance(value, dict):
                    for board, one in value.items():
                        _add(found.setdefault(name, {}), board, date, one, seconds)
                elif isinstance(value, dict):
                    _add(found, name, date, sum(value.values()), seconds)
                elif not isinstance(value, list):
                    _add(found, name, date, value, seconds)
        for old, new in ALIASES.items():
            for one, other in ((old, new), (new, old)):
                if one in found:
                    found.setdefault(other, found[one])
        return found or None

    def _append(self, file: str, line: Any) -> None:
        # One write a line, so that a kill between two leaves whole lines.
        with Path(file).open("ab") as out:
            out.write(json.dumps(line).encode() + b"\n")

    def _write(self, file: str, content: Mapping[str, Any]) -> None:
        Path(file).write_text(json.dumps(content), encoding="utf-8")


def _add(
    found: dict[str, Any],
    name: str,
    date: datetime.datetime | float,
    value: Any,
    seconds: float | None,
) -> None:
    if isinstance(value, (int, float)):
        series = found.setdefault(name, {"dates": [], "values": [], "seconds": []})
        series["dates"].append(date)
        series["values"].append(value)
        series["seconds"].append(seconds)


def _experiments(line: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Dates and figures; older files are one list, or one object, of epochs."""
    if isinstance(line, dict) and "metrics" in line:
        yield line["date"], line["metrics"]
        return
    for one in line.values() if isinstance(line, dict) else line:
        yield one["end_training_epoch"], {k: v for k, v in one.items() if k != "end_training_epoch"}


def _omegawatt(log: Path) -> dict[str, Any] | None:
    """The columns of ``wattmetre-read`` with whole frames; the last line may be cut off."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return None
    found: dict[str, Any] = {}
    header: list[str] = []
    for line in lines[:-1]:
        cells = line.split(",")
        if cells[0] == "#timestamp":
            header = cells
        elif header and len(cells) == len(header):
            row = dict(zip(header, cells, strict=True))
            with contextlib.suppress(ValueError):
                instant = float(row["#timestamp"])
                if row.get("#frame_is_ok", "").strip().lower() != "true":
                    continue
                for name in header[2:]:
                    _add(found, name.strip(), instant, float(row[name]), None)
    return found or None


def _read(file: str) -> Iterator[Any]:
    try:
        content = Path(file).read_bytes()
    except FileNotFoundError:
        return
    for line in content.split(b"\n"):
        with contextlib.suppress(ValueError, RecursionError):
            yield json.loads(line)


def _now() -> datetime.datetime:
    # AIPowerMeter's dates are local and carry no zone; scripts compare them with such.
    return datetime.datetime.now()  # noqa: DTZ005
