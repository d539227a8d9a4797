"""What a study measures, and how: the content of ``STUDY.toml`` as plain data."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .errors import ConfigError
from .loop import LoopSettings
from .study_cells import CellKey

PIXELS = "pixels"
TOKENS = "tokens"
SIZE = "size"

MOST_LATENCIES = 20_000
"""Kept of one cell, half a megabyte."""

LEAST_PERIOD_S = 0.05


@dataclass(frozen=True)
class PlannedModel:
    """A model of a study: a file, or a function of Python.

    Attributes:
        name: in the study, and of its folder.
        file: the model file; None for a callable.
        callable: ``file.py:function``; None for a file. See ``study_work``.
        sizes: of the input.
        batch_sizes: samples in one inference.
        size_name: what a size is: ``pixels`` sets height and width of images, ``tokens``
            the length of sequences; any other word only names it. By default ``pixels`` of a
            file, and ``size`` of a callable, which alone knows what it makes of it.
        format: of the file, where it does not tell itself.
        options: of the format.
        input_shapes: by input, of inputs whose shape the file does not say; ``"size"`` and
            ``"batch"`` stand for the cell's.
        axes: sizes of axes that the file leaves open, beside those that the size sets;
            ``"size"`` stands for the cell's.
        note: in words, such as ``random weights``.
    """

    name: str
    file: str | None = None
    callable: str | None = None
    sizes: tuple[int, ...] = ()
    batch_sizes: tuple[int, ...] = (1,)
    size_name: str = ""
    format: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    input_shapes: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    axes: Mapping[str, int | str] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if not self.size_name:
            object.__setattr__(self, "size_name", PIXELS if self.callable is None else SIZE)


@dataclass(frozen=True)
class StudyPlan:
    """A study, completely.

    Attributes:
        name: of the study.
        models: at least one, each with sizes and batch sizes.
        runs: times that each model × size × batch size is measured.
        seconds: of measuring in each cell; None for as long as ``precision`` takes.
        precision: relative half-width of the repeatability interval at which a cell stops.
        min_seconds, max_seconds: bounds of a cell that stops by precision, s.
        warm_up_s: of unmeasured work before, s.
        idle_s: idle measured before and after each cell, s; 0 for none, None for what the
            sensors need.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` …
        seed: of the order of the cells inside each run; None for one drawn at the start.
        cell_timeout_s: after so long a cell that has not ended is given up, with all that it
            takes: loading, warm-up, idle; None for never. s.
        period_s: between two lines of ``power_metrics.json``, s.
        latencies: most of them kept of one cell.
        fresh_process: whether each cell has a process of its own.
        profilers: names, or ``("auto",)``.
        profiler_options: by profiler name.
    """

    name: str
    models: tuple[PlannedModel, ...]
    runs: int = 10
    seconds: float | None = None
    precision: float = 0.02
    min_seconds: float = 1.0
    max_seconds: float = 60.0
    warm_up_s: float = 0.5
    idle_s: float | None = 0.0
    device: str = "auto"
    seed: int | None = None
    cell_timeout_s: float | None = None
    period_s: float = 2.0
    latencies: int = MOST_LATENCIES
    fresh_process: bool = True
    profilers: tuple[str, ...] = ("auto",)
    profiler_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def size_name(self) -> str:
        """What ``size`` counts: of all models; ``size`` where they differ in that."""
        names = {model.size_name for model in self.models}
        return names.pop() if len(names) == 1 else SIZE

    @property
    def flat(self) -> bool:
        """Whether its folder needs none for models and batch sizes: there is one of each."""
        return len(self.models) == 1 and len(self.models[0].batch_sizes) == 1

    def model(self, name: str) -> PlannedModel:
        """The model of that name.

        Raises:
            KeyError: there is none.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)

    def folder(self, cell: CellKey) -> str:
        """Where the files of a cell lie, relative to the study's folder."""
        inner = f"input_{cell.size}/run_{cell.run}"
        return inner if self.flat else f"{cell.model}/batch_{cell.batch_size}/{inner}"

    def cells(self) -> tuple[CellKey, ...]:
        """All cells in the order in which they are measured.

        One run after the other, and inside a run at random, so that what changes with time
        (heat above all) does not look like an effect of size.

        Raises:
            ConfigError: the plan has no seed yet.
        """
        if self.seed is None:
            raise ConfigError(f"the study {self.name!r} has no seed yet: `plan.seeded()` gives one")
        ordered: list[CellKey] = []
        for run in range(self.runs):
            cells = [
                CellKey(model.name, size, batch, run)
                for model in self.models
                for batch in model.batch_sizes
                for size in model.sizes
            ]
            random.Random(f"{self.seed}/{run}").shuffle(cells)  # noqa: S311  # no secret
            ordered += cells
        return tuple(ordered)

    def seeded(self) -> StudyPlan:
        """The plan with a seed: its own, else one drawn now."""
        if self.seed is not None:
            return self
        return replace(self, seed=random.SystemRandom().randrange(2**31))

    def loop(self) -> LoopSettings:
        """When a cell stops."""
        if self.seconds is None:
            return LoopSettings(self.precision, self.min_seconds, self.max_seconds, self.warm_up_s)
        return LoopSettings(self.precision, self.seconds, self.seconds, self.warm_up_s)


def differences(one: StudyPlan, other: StudyPlan) -> tuple[str, ...]:
    """What differs between two plans, in words.

    Where files lie does not count, nor when a cell is given up, nor what a callable's size is
    called: none of them changes a figure.
    """
    found = []
    for item in fields(StudyPlan):
        if item.name not in ("models", "seed", "cell_timeout_s"):
            found += _differs(item.name, getattr(one, item.name), getattr(other, item.name))
    if one.seed is not None and other.seed is not None:
        found += _differs("seed", one.seed, other.seed)
    ours, theirs = ({m.name: m for m in plan.models} for plan in (one, other))
    if list(ours) != list(theirs):
        return (*found, *_differs("models", list(ours), list(theirs)))
    for name, model in ours.items():
        for item in fields(PlannedModel):
            if item.name == "size_name" and model.callable is not None:
                continue
            pair = [getattr(m, item.name) for m in (model, theirs[name])]
            if item.name in ("file", "callable"):
                pair = [where and where.rpartition("/")[2] for where in pair]
            found += _differs(f"{item.name} of {name}", *pair)
    return tuple(found)


def _differs(name: str, one: Any, other: Any) -> list[str]:
    return [] if one == other else [f"{name} is {_shown(one)}, was {_shown(other)}"]


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "not set" if value is None else str(value)


def _check(plan: StudyPlan) -> None:
    """Refuse what cannot be measured.

    Raises:
        ConfigError: with the name of the field.
    """
    if not plan.models:
        raise ConfigError(f"the study {plan.name!r} has no model: name at least one")
    names = [model.name for model in plan.models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two models are called {', '.join(twice)}: give each its own name")
    for model in plan.models:
        if (model.file is None) == (model.callable is None):
            raise ConfigError(f"the model {model.name!r} needs either a file or a callable")
        if not is_folder_name(model.name):
            raise ConfigError(
                f"the model's name {model.name!r} cannot be the name of a folder: give another"
            )
        for what, sizes in (("sizes", model.sizes), ("batch_sizes", model.batch_sizes)):
            wrong = _wrong_sizes(sizes)
            if wrong:
                raise ConfigError(f"{what} of {model.name} {wrong}")
    least = {"runs": 1, "precision": 0, "latencies": 1, "period_s": LEAST_PERIOD_S}
    for name, bound in least.items():
        value = getattr(plan, name)
        if not (bound < value if name == "precision" else bound <= value):
            raise ConfigError(f"{name} is {value}: give {_more_than(name, bound)}")
    if plan.seconds is not None and not plan.seconds > 0:
        raise ConfigError(f"seconds is {plan.seconds}: give more than 0")
    if not 0 < plan.min_seconds <= plan.max_seconds:
        raise ConfigError(
            f"min_seconds = {plan.min_seconds:g} and max_seconds = {plan.max_seconds:g}: the "
            "first is more than 0 and not more than the second"
        )
    _check_timeout(plan)


def _check_timeout(plan: StudyPlan) -> None:
    if plan.cell_timeout_s is None:
        return
    measured = (plan.seconds or plan.max_seconds) + plan.warm_up_s + 2 * (plan.idle_s or 0.0)
    if not plan.cell_timeout_s > measured:
        raise ConfigError(
            f"cell_timeout_s is {plan.cell_timeout_s:g}, but measuring a cell may take "
            f"{measured:g} s, and loading it more: give more, or let cells take less "
            "(seconds or max_seconds)"
        )


def _more_than(name: str, bound: float) -> str:
    return f"more than {bound:g}" if name == "precision" else f"{bound:g} or more"


def _wrong_sizes(sizes: Sequence[int]) -> str:
    if not sizes:
        return "are missing: say which"
    if min(sizes) < 1:
        return f"hold {min(sizes)}: each is 1 or more"
    twice = sorted({size for size in sizes if sizes.count(size) > 1})
    return f"hold {', '.join(map(str, twice))} twice" if twice else ""


MOST_NAME = 100
"""Characters; file systems take 255 bytes."""


def is_folder_name(name: str) -> bool:
    """Whether a folder of that name can be made on any file system."""
    plain = all(char.isalnum() or char in "._+-=@ " for char in name)
    return plain and 0 < len(name) <= MOST_NAME and name.strip(". ") == name
