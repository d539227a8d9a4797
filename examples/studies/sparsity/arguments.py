"""The options that all scripts of these studies have."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from greenai_core import ComparisonSettings

from . import energy

SMALL_MAX_TIME_S = 10.0
FULL_MAX_TIME_S = 60.0


def parser(description: str, study: str) -> argparse.ArgumentParser:
    """A parser with the common options.

    Args:
        description: of the script.
        study: folder of the results in ``greenai-report``.
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--small",
        action="store_true",
        help="a setting for a laptop's CPU, minutes instead of hours",
    )
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="[default: 0 1 2]")
    made.add_argument("--epochs", type=int, help="times to go through the data")
    made.add_argument("--batch-size", type=int, help="samples in a training step")
    made.add_argument("--samples", type=int, help="learn from so many only")
    made.add_argument("--learning-rate", type=float)
    made.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        help="folder of torchvision's or Keras's files; nothing is downloaded "
        "[default: ./data, ~/data, ~/.keras/datasets]",
    )
    made.add_argument("--device", default="cpu", help="cpu or cuda [default: cpu]")
    made.add_argument("--threads", type=int, help="of PyTorch on the CPU")
    made.add_argument(
        "--profiler",
        default="auto",
        help="auto, a profiler's name, or own-cpu: modelled from the CPU time of this process "
        "alone, for machines without sensors that are busy with other things [default: auto]",
    )
    made.add_argument("--max-time", type=float, help="seconds for each work of a comparison, about")
    made.add_argument(
        "--out", type=Path, default=Path("greenai-report") / study, help="folder of the results"
    )
    return made


def begin(given: argparse.Namespace) -> None:
    """Set the number of threads."""
    if given.threads:
        torch.set_num_threads(given.threads)


def comparing(given: argparse.Namespace) -> ComparisonSettings:
    """How long works are compared."""
    usual = SMALL_MAX_TIME_S if given.small else FULL_MAX_TIME_S
    longest = given.max_time or usual
    return ComparisonSettings(max_time_s=longest, warm_up_s=min(0.5, longest), seed=0)


def about(given: argparse.Namespace, joules: str, data: Mapping[str, str]) -> dict[str, object]:
    """What a reader of the results has to know."""
    return {
        "setting": "small" if given.small else "document",
        "joules": joules,
        "data": dict(data),
        "device": energy.threads_of(given.device),
        "seeds": given.seeds,
    }
