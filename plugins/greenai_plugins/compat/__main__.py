"""A command and its energy, as ``python -m deep_learning_power_measure`` recorded it.

::

    python -m greenai_plugins.compat --output_folder power_measure --cmd "python train.py"
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from .experiment import STOP_MESSAGE, Experiment, ExpResults
from .parsers import JsonParser


def _truth(word: str) -> bool:
    if word.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise argparse.ArgumentTypeError(f"{word!r} is neither True nor False")
    return word.lower() in ("true", "1", "yes")


def main(arguments: Sequence[str] | None = None) -> int:
    """Record while a command runs; its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m greenai_plugins.compat", description="Record while a command runs."
    )
    parser.add_argument("--cmd", required=True, help="the command, as you would type it")
    parser.add_argument(
        "--cont", type=_truth, default=False, help="True: go on in a folder with recordings"
    )
    parser.add_argument("--output_folder", default="power_measure")
    parser.add_argument("--period", type=float, default=0.1, help="accepted, not needed")
    parser.add_argument(
        "--measurement_period", type=float, default=2.0, help="seconds between two samples"
    )
    given = parser.parse_args(arguments)
    driver = JsonParser(given.output_folder)
    _, queue = Experiment(driver, cont=given.cont).measure_yourself(
        period=given.period, measurement_period=given.measurement_period
    )
    try:
        # A shell, since what is given is a line as one would type it.
        done = subprocess.run(given.cmd, shell=True, check=False)  # noqa: S602
    finally:
        queue.put(STOP_MESSAGE)
    try:
        ExpResults(driver).print()
    except FileNotFoundError as error:
        sys.stderr.write(f"{error}\n")
    code = done.returncode
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    raise SystemExit(main())
