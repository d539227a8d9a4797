"""``Experiment`` and ``ExpResults``: AIPowerMeter's way to record and to read energy.

As a script it prints what was recorded::

    python -m greenai_plugins.compat.experiment --output_folder power_measure
"""

from __future__ import annotations

import argparse
import atexit
import datetime
import itertools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .model_card import model_card
from .parsers import JsonParser
from .recording import STOP_MESSAGE, Measuring, Stopping

__all__ = ["STOP_MESSAGE", "ExpResults", "Experiment"]

Point = dict[str, Any]
"""``{"date": s, "value": …, "seconds": …}``; the value is the mean of so many seconds before."""

Curve = list[list[Point]]
"""Points by segment; a segment is one recording."""

PARTS = (
    ("CPU packages", "intel_power"),
    ("cores", "total_cpu_power"),
    ("memory", "total_dram_power"),
    ("platform (psys)", "psys_power"),
    ("CPU, modelled", "modelled_cpu_power"),
    ("memory, modelled", "modelled_dram_power"),
    ("NVIDIA boards", "nvidia_power"),
)
"""What ``print`` shows, and the metric whose integral it is."""


class Experiment:
    """Begins and ends recordings.

    Args:
        driver: where they are written.
        model: a ``torch.nn.Module`` for the model card; None: no card.
        input_size: shape of its input, with the batch.
        cont: go on in a folder that has recordings; else they are deleted.
        profilers, options: see ``greenai_core.Session``.
    """

    def __init__(
        self,
        driver: JsonParser,
        model: Any = None,
        input_size: Sequence[int] | None = None,
        cont: bool = False,
        *,
        profilers: str | Iterable[Any] = "auto",
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.db_driver = driver
        self._profilers = profilers
        self._options = options
        if not cont:
            driver.erase()
        if model is not None:
            driver.save_model_card(model_card(model, input_size))

    def measure_yourself(
        self, period: float = 1, measurement_period: float | None = None
    ) -> tuple[Measuring, Stopping]:
        """Record until ``STOP_MESSAGE`` is put into the queue, or the program ends.

        What is recorded is the whole machine, as sensors see it.

        Args:
            period: seconds between two samples.
            measurement_period: the same under a newer name; goes before ``period``.

        Returns:
            what records, with ``join`` and ``is_alive``, and the queue.
        """
        period_s = period if measurement_period is None else measurement_period
        measuring = Measuring(self.db_driver, period_s, self._profilers, self._options)
        atexit.register(measuring.end)
        measuring.start()
        return measuring, Stopping(measuring)

    def measure_from_pid_list(
        self, pid_list: Sequence[int], period: float = 1
    ) -> tuple[Measuring, Stopping]:
        """The same; sensors see the machine, whichever processes are named.

        `greenai measure --by-process` divides energy between processes.
        """
        return self.measure_yourself(period)


class ExpResults:
    """What was recorded in a folder.

    Args:
        db_driver: of the folder.

    Raises:
        FileNotFoundError: nothing was recorded there.
    """

    def __init__(self, db_driver: JsonParser) -> None:
        self.db_driver = db_driver
        found = db_driver.load_metrics()
        self.cpu_metrics, self.gpu_metrics, self.exp_metrics, self.wattmeter_metrics = found
        self.segments = db_driver.get_segments()
        if not any(found):
            raise FileNotFoundError(
                f"{db_driver.folder} holds no recording: give a folder in which "
                "power_metrics.json has samples"
            )

    def list_metrics(self) -> dict[str, list[str]]:
        """Names of the metrics by group."""
        groups = {
            "CPU": self.cpu_metrics,
            "GPU": self.gpu_metrics,
            "Experiment": self.exp_metrics,
            "wattmeter": self.wattmeter_metrics,
        }
        return {name: list(group or ()) for name, group in groups.items()}

    def get_curve(self, name: str) -> Curve | dict[str, Curve] | None:
        """The points of a metric by segment, and by board for those of boards.

        Args:
            name: of the metric, under its newer or its older name.

        Returns:
            None where there is no such metric.
        """
        for group in (self.cpu_metrics, self.gpu_metrics, self.exp_metrics, self.wattmeter_metrics):
            found = (group or {}).get(name)
            if found is not None and "dates" in found:
                return self._segmented(found)
            if found is not None:
                return {board: self._segmented(one) for board, one in found.items()}
        return None

    def total_(
        self, metric_name: str, start: float | None = None, end: float | None = None
    ) -> float | dict[str, float] | None:
        """A metric integrated over time: joules, for a power in watts.

        Our samples are means since the one before and are added up. Those of AIPowerMeter
        are joined by straight lines, which leaves out what came before the first one.

        Args:
            metric_name: see ``get_curve``.
            start: seconds since the epoch; None from the beginning.
            end: likewise; None to the end.

        Returns:
            by board for those of boards; None where there is no such metric.
        """
        curve = self.get_curve(metric_name)
        if isinstance(curve, dict):
            return {board: _total(one, start, end) for board, one in curve.items()}
        return None if curve is None else _total(curve, start, end)

    def average_(
        self, metric_name: str, start: float | None = None, end: float | None = None
    ) -> float | dict[str, float] | None:
        """Mean of a metric over time; see ``total_``."""
        curve = self.get_curve(metric_name)
        if isinstance(curve, dict):
            return {board: _average(one, start, end) for board, one in curve.items()}
        return None if curve is None else _average(curve, start, end)

    def max_(
        self, metric_name: str, start: float | None = None, end: float | None = None
    ) -> float | dict[str, float] | None:
        """Largest value of a metric; see ``total_``."""
        curve = self.get_curve(metric_name)
        if isinstance(curve, dict):
            return {board: _largest(one, start, end) for board, one in curve.items()}
        return None if curve is None else _largest(curve, start, end)

    def total_power_draw(self, start: float | None = None, end: float | None = None) -> float:
        """Joules of the CPU packages and of all boards together.

        Raises:
            LookupError: neither was measured.
        """
        both = [self.total_(name, start, end) for name in ("intel_power", "nvidia_power")]
        known = [joules for joules in both if isinstance(joules, float)]
        if not known:
            raise LookupError(
                f"{self.db_driver.folder} has neither measured CPU packages nor boards"
            )
        return math.fsum(known)

    def get_exp_duration(
        self, start: float | None = None, end: float | None = None
    ) -> tuple[float, float, float]:
        """How long was recorded, and the first and the last instant, s since the epoch."""
        for group in (self.cpu_metrics, self.gpu_metrics, self.wattmeter_metrics, self.exp_metrics):
            for name in group or {}:
                curve = self.get_curve(name)
                if isinstance(curve, dict):
                    curve = next(iter(curve.values()))
                inside = _inside(curve or [], start, end)
                if inside:
                    first = inside[0][0]
                    began = first["date"] - (first["seconds"] or 0.0)
                    return math.fsum(map(_seconds, inside)), began, inside[-1][-1]["date"]
        raise LookupError(f"{self.db_driver.folder} has no sample in that stretch of time")

    def get_summary(self, start: float | None = None, end: float | None = None) -> dict[str, Any]:
        """Joules of each part that was recorded, and how long that took."""
        duration, first, last = self.get_exp_duration(start, end)
        summary: dict[str, Any] = {
            "duration": duration,
            "start": str(_local(first)),
            "end": str(_local(last)),
            "cpu": {},
            "gpu": {},
        }
        for group, metrics in (("cpu", self.cpu_metrics), ("gpu", self.gpu_metrics)):
            for name in metrics or {}:
                if name.endswith(("power", "_draw")) or "draw_" in name:
                    summary[group][f"total_{name.removeprefix('total_')}"] = self.total_(
                        name, start, end
                    )
        return summary

    def __str__(self) -> str:
        lines = ["Available metrics:"]
        for group, names in self.list_metrics().items():
            lines += [group, f"  {', '.join(names) or 'not available'}"]
        return "\n".join(lines)

    def print_metrics(self) -> None:
        """Print the names of the metrics."""
        print(self)

    def print(self) -> None:
        """Print the joules that were recorded."""
        print("\n".join(self.summary_lines()))

    def summary_lines(self) -> list[str]:
        """What ``print`` prints."""
        lines = ["=" * 28 + " EXPERIMENT SUMMARY " + "=" * 28]
        description = self.db_driver.get_description()
        lines += [description] if description else []
        card = self.db_driver.get_model_card()
        if card is not None:
            lines.append(_card_line(card))
        duration, first, last = self.get_exp_duration()
        lines.append(
            f"Experiment duration: {duration:.4g} seconds. Start: {_local(first)} "
            f"end: {_local(last)}"
        )
        lines += ["", "ENERGY CONSUMPTION:"]
        totals = {what: self.total_(name) for what, name in PARTS}
        lines += [f"{what}: {one:.4g} J" for what, one in totals.items() if isinstance(one, float)]
        if not any(isinstance(totals[what], float) for what in ("CPU packages", "NVIDIA boards")):
            lines.append("measured: nothing; `greenai devices` says what would bring it in")
        for board, joules in _boards(self.total_("per_gpu_nvidia_power")):
            lines.append(f"  board {board}: {joules:.4g} J")
        for board, percent in _boards(self.average_("per_gpu_nvidia_use_rate")):
            lines.append(f"  board {board}: used {percent:.3g} % of the time")
        for board, held in _boards(self.max_("per_gpu_nvidia_memory")):
            lines.append(f"  board {board}: {held / 2**30:.3g} GiB of memory at most")
        for number, window in enumerate(self.db_driver.windows(), start=1):
            lines.append(_window_line(number, window))
        return lines

    def display_curves(self, metric_names: Sequence[str], saveto: str | None = None) -> None:
        """Draw metrics over time; needs matplotlib.

        Args:
            metric_names: those that there are none of are left out.
            saveto: a picture; None shows a window.
        """
        import numpy as np
        from matplotlib import pyplot

        figure, axes = pyplot.subplots()
        for name in metric_names:
            curve = self.get_curve(name)
            curves = curve if isinstance(curve, dict) else {"": curve or []}
            for number, (board, segments) in enumerate(curves.items()):
                colour = f"C{number + len(axes.lines)}"
                for at, points in enumerate(segments):
                    label = f"{name} {board}".strip() if at == 0 else None
                    dates = [_local(point["date"]) for point in points]
                    values = [point["value"] for point in points]
                    axes.plot(np.array(dates), values, label=label, color=colour)
        axes.legend()
        figure.autofmt_xdate()
        if saveto is None:
            pyplot.show()
        else:
            figure.savefig(saveto)
        pyplot.close(figure)

    def _segmented(self, series: Mapping[str, Sequence[Any]]) -> Curve:
        borders = [_stamp(end) for end in self.segments]
        segments: Curve = [[] for _ in range(len(borders) + 1)]
        for date, value, seconds in zip(
            series["dates"], series["values"], series["seconds"], strict=True
        ):
            instant = _stamp(date)
            at = sum(instant > border for border in borders)
            segments[at].append({"date": instant, "value": value, "seconds": seconds})
        return [segment for segment in segments if segment]


def _inside(curve: Curve, start: float | None, end: float | None) -> Curve:
    low, high = -math.inf if start is None else start, math.inf if end is None else end
    kept = [[point for point in segment if low <= point["date"] <= high] for segment in curve]
    return [segment for segment in kept if segment]


def _total(curve: Curve, start: float | None, end: float | None) -> float:
    return math.fsum(map(_area, _inside(curve, start, end)))


def _area(segment: Sequence[Point]) -> float:
    if all(point["seconds"] is not None for point in segment):
        return math.fsum(point["value"] * point["seconds"] for point in segment)
    pairs = itertools.pairwise(segment)
    return math.fsum((b["date"] - a["date"]) * (a["value"] + b["value"]) / 2 for a, b in pairs)


def _seconds(segment: Sequence[Point]) -> float:
    if all(point["seconds"] is not None for point in segment):
        return math.fsum(point["seconds"] for point in segment)
    return float(segment[-1]["date"] - segment[0]["date"])


def _average(curve: Curve, start: float | None, end: float | None) -> float:
    inside = _inside(curve, start, end)
    seconds = math.fsum(map(_seconds, inside))
    values = [point["value"] for segment in inside for point in segment]
    if seconds == 0.0:
        return math.fsum(values) / len(values) if values else math.nan
    return math.fsum(map(_area, inside)) / seconds


def _largest(curve: Curve, start: float | None, end: float | None) -> float:
    inside = _inside(curve, start, end)
    return max((float(p["value"]) for one in inside for p in one), default=math.nan)


def _boards(found: Any) -> list[tuple[str, float]]:
    return sorted(found.items()) if isinstance(found, dict) else []


def _window_line(number: int, window: Mapping[str, Any]) -> str:
    joules, what = window.get("energy_j"), ", ".join(window.get("contains", ()))
    if joules is None:
        return f"recording {number}: its energy is not known"
    return (
        f"recording {number}: {joules:.4g} J ({window['low_j']:.4g} … {window['high_j']:.4g}), "
        f"{window['method']}: {what}"
    )


def _card_line(card: Mapping[str, Any]) -> str:
    macs = card.get("total_mult_adds")
    told = "" if macs is None else f" and {macs} multiply-accumulates of one forward pass"
    return f"MODEL SUMMARY: {card.get('total_params')} parameters{told}"


def _stamp(date: Any) -> float:
    return date.timestamp() if isinstance(date, datetime.datetime) else float(date)


def _local(instant: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(instant)  # noqa: DTZ006  # as the files have it


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was recorded in a folder; draw curves where they are asked for."""
    parser = argparse.ArgumentParser(description="What was recorded in a folder.")
    parser.add_argument("--output_folder", default="power_measure")
    parser.add_argument("--curve", help="metrics to draw, commas between")
    parser.add_argument("--saveto", help="a picture; a window is shown without it")
    given = parser.parse_args(arguments)
    try:
        results = ExpResults(JsonParser(given.output_folder))
    except FileNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    results.print()
    if given.curve:
        results.display_curves(given.curve.split(","), given.saveto)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
