"""The tools that are compared, and how each is set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parents[1] / ".peers"


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes:
        name: as in the tables; also of its driver, requirements and environment.
        package: distribution on PyPI.
        statement: the import that its documentation shows.
        setting: how it is used here, in words.
        documentation: where that is written.
        windows: share of the usual number of windows, for tools that take long for each.
    """

    name: str
    package: str
    statement: str
    setting: str
    documentation: str
    windows: float = 1.0

    @property
    def python(self) -> Path:
        """Of its environment."""
        return ENVIRONMENTS / self.name / "bin" / "python"

    @property
    def driver(self) -> Path:
        """Runs it."""
        return HERE / "drivers" / f"drive_{self.name}.py"


GREENAI = "greenai"

TOOLS = (
    Tool(
        GREENAI,
        "greenai-core",
        "from greenai_core import Session",
        "`Session().window()`, everything as shipped",
        "tutorial.md",
    ),
    Tool(
        "codecarbon",
        "codecarbon",
        "from codecarbon import OfflineEmissionsTracker",
        "`OfflineEmissionsTracker` with `start_task` and `stop_task`, `rapl_include_dram=True`",
        "https://docs.codecarbon.io/",
    ),
    Tool(
        "zeus",
        "zeus",
        "from zeus.monitor import ZeusMonitor",
        "`ZeusMonitor(approx_instant_energy=True)`, `begin_window` and `end_window` with "
        "`sync_execution=False` (there is no CUDA work)",
        "https://ml.energy/zeus/measure/",
    ),
    Tool(
        "pyjoules",
        "pyJoules",
        "from pyJoules.energy_meter import EnergyMeter",
        "`EnergyMeter` on package, DRAM and GPU, `start` and `stop`",
        "https://pyjoules.readthedocs.io/",
    ),
    Tool(
        "pyrapl",
        "pyRAPL",
        "import pyRAPL",
        "`pyRAPL.setup()`, a `Measurement` with `begin` and `end`; it has no GPU",
        "https://pyrapl.readthedocs.io/",
    ),
    Tool(
        "carbontracker",
        "carbontracker",
        "from carbontracker.tracker import CarbonTracker",
        "an epoch for each window, `update_interval=0.1`; its figures per component, without "
        "its factor for the data centre",
        "https://github.com/saintslab/carbontracker",
    ),
    Tool(
        "perun",
        "perun",
        "from perun import perun",
        "a function under `@perun`, `rounds` = windows, `sampling_period=0.1`, the least "
        "that it allows (1 s by default)",
        "https://perun.readthedocs.io/",
        0.5,
    ),
)


def named(names: list[str] | None) -> list[Tool]:
    """These tools; all for None.

    Raises:
        ValueError: one is not known.
    """
    known = {tool.name: tool for tool in TOOLS}
    unknown = set(names or ()) - set(known)
    if unknown:
        raise ValueError(f"no tool {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(TOOLS)
