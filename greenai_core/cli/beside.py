"""What the devices showed beside the joules, as a short table."""

from __future__ import annotations

from collections.abc import Sequence

from greenai_core.results import InferenceResult, Observed, Report, TrainingResult

from . import figures, output

UUID_SHOWN = 8
"""Characters of a board's UUID: what nvidia-smi's users tell boards by."""

HEADERS = ("utilisation", "memory", "hottest", "clock", "slowed down by")


def text(report: Report, names: Sequence[str]) -> list[str]:
    """The table of a report of models; none where nobody looked.

    Args:
        report: of inferences or training steps.
        names: what its models are called, in their order.
    """
    results = [r for r in report.results if isinstance(r, (InferenceResult, TrainingResult))]
    rows: list[tuple[str, ...]] = []
    for name, result in zip(names, results, strict=True):
        rows += [(name, *row) for row in _rows(result.observations)]
    if not rows:
        return []
    if len(results) == 1:
        return [output.table(("device", *HEADERS), [row[1:] for row in rows])]
    return [output.table(("model", "device", *HEADERS), rows)]


def table(observations: Sequence[Observed]) -> str:
    """The table of one window; empty where nobody looked."""
    rows = _rows(observations)
    return output.table(("device", *HEADERS), rows) if rows else ""


def _rows(observations: Sequence[Observed]) -> list[tuple[str, ...]]:
    by_device: dict[str, dict[str, Observed]] = {}
    for one in observations:
        by_device.setdefault(one.device, {})[one.quantity] = one
    return [
        (
            _short(device),
            _percent(seen.get("utilisation")),
            _most(seen.get("memory_used"), "B"),
            _degrees(seen.get("temperature")),
            _clock(seen.get("clock")),
            ", ".join(seen["throttling"].reasons) if "throttling" in seen else "",
        )
        for device, seen in by_device.items()
    ]


def _short(device: str) -> str:
    kind, _, uuid = device.partition("GPU-")
    return f"{kind}GPU-{uuid[:UUID_SHOWN]}" if kind == "gpu:" and uuid else device


def _percent(seen: Observed | None) -> str:
    return "" if seen is None or seen.mean is None else f"{seen.mean:.0f} %"


def _most(seen: Observed | None, unit: str) -> str:
    return "" if seen is None or seen.most is None else figures.quantity(seen.most, unit)


def _degrees(seen: Observed | None) -> str:
    return "" if seen is None or seen.most is None else f"{seen.most:.0f} °C"


def _clock(seen: Observed | None) -> str:
    return "" if seen is None or seen.mean is None else figures.quantity(seen.mean * 1e6, "Hz")
