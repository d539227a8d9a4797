"""Measures the references of the scales that greenai ships.

    python tools/reference_sets.py --out references
    greenai scale build references/report.json --unit image --id ...

The set ``light``: the nine image classifiers inside the package onnx, one image of
224 × 224 at a time on the CPU, energy above idle. No sensor is asked: the modelled
profiler is given the CPU time of this process alone, so that what else a machine
does is in no figure. On a quiet machine ``greenai bench -p modelled`` finds the same.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from greenai_core import Report, Session, write_report
from greenai_core.environment import describe
from greenai_core.loop import LoopSettings
from greenai_plugins.profilers.modelled import ModelledProfiler

IDLE_S = 2.0
"""The CPU time of a process that waits is none, so a short idle time is enough."""


def light_models() -> list[Path]:
    """The architectures inside the package onnx, without their weights."""
    import onnx

    folder = Path(onnx.__file__).parent / "backend/test/data/light"
    return sorted(folder.glob("*.onnx"))


def own_seconds(machine: object) -> float:
    """CPU time of this process, all threads, s."""
    spent = os.times()
    return spent.user + spent.system


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the set; its report goes to the folder of ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("references"))
    parser.add_argument("--max-time", type=float, default=45.0, help="seconds for each model")
    options = parser.parse_args(arguments)
    settings = LoopSettings(max_time_s=options.max_time)
    results = []
    with Session(profilers=[ModelledProfiler(busy=own_seconds)]) as session:
        for model in light_models():
            result = session.evaluate_inference(model, settings=settings, idle_s=IDLE_S)
            results.append(result)
            net = result.net_energy_per_inference_j
            if net is not None:
                print(f"{model.stem}: {net.value:.4g} J above idle", file=sys.stderr)
    report = Report(
        kind="bench",
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        environment=describe(),
        settings={"idle_s": IDLE_S, "max_time_s": options.max_time, "busy": "this process"},
        results=tuple(results),
    )
    options.out.mkdir(parents=True, exist_ok=True)
    write_report(report, options.out / "report.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
