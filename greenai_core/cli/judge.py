"""How ``greenai grade`` grades: everything that can be wrong is found before the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from greenai_core import registry
from greenai_core.errors import ConfigError, GradeError
from greenai_core.grading import Gradable, Grader
from greenai_core.results import Grade
from greenai_core.scale_files import built_in_scales, find_scale, scales_for
from greenai_core.scales import Scale
from greenai_core.submission import ServiceGrader

GROUP = "greenai.graders"


@dataclass(frozen=True)
class Judge:
    """A grader and what it is given.

    Attributes:
        name: of the plugin.
        kind: its class.
        given: options for it.
        task: of ``--task``; None where nobody said.
        scales: that the task leaves to choose from; empty where one was named.
        hardware_class: of ``--hardware``.
    """

    name: str
    kind: Callable[..., Grader]
    given: Mapping[str, Any]
    task: str | None = None
    scales: tuple[Scale, ...] = ()
    hardware_class: str | None = None

    @property
    def asks_a_service(self) -> bool:
        """Whether it grades what a service answered."""
        return isinstance(self.kind, type) and issubclass(self.kind, ServiceGrader)

    def unit(self) -> str | None:
        """The functional unit of its scales, where they agree on one."""
        scale = self.given.get("scale")
        named = (scale,) if isinstance(scale, Scale) else self.scales
        units = {one.unit for one in named}
        return units.pop() if len(units) == 1 else None

    def grade(self, measured: Gradable, **more: Any) -> Grade:
        """The grade.

        Args:
            measured: what is graded.
            more: options of the grader that were not known before the run.

        Raises:
            GradeError: the grader cannot grade this.
        """
        measured = replace(measured, hardware_class=self.hardware_class)
        given = {**self.given, **more}
        if not self.scales:
            return self.kind(**given).grade(measured)
        fitting = _fitting(self.scales, measured)
        if len({scale.hardware_class for scale in fitting}) == 1:
            return self.kind(**given, scale=fitting[-1]).grade(measured)
        grade = self.kind(**given).grade(measured)
        why = _no_scale(str(self.task), self.scales, fitting, measured)
        reasons = [reason for reason in grade.reasons if "no reference" not in reason]
        return replace(grade, reasons=(*reasons, why))


def judge(
    name: str,
    *,
    scale: str | None = None,
    task: str | None = None,
    hardware_class: str | None = None,
    pue: float | None = None,
) -> Judge:
    """The grader with its options: a wrong one must not cost a run.

    Args:
        name: of the plugin.
        scale: of ``--scale``: a file, or the id of a shipped scale.
        task: of ``--task``.
        hardware_class: of ``--hardware``.
        pue: of ``--pue``; only some graders take one.

    Raises:
        GradeError: the scale cannot be used, or the grader takes none.
        ConfigError: there is no scale for the task.
        PluginNotFound: no such grader is installed.
    """
    kind: Callable[..., Grader] = registry.load(GROUP, name)
    known = getattr(kind, "option_names", {})
    given: dict[str, Any] = {}
    scales: tuple[Scale, ...] = ()
    if pue is not None and "pue" in known:
        given["pue"] = pue
    if scale is not None:
        if "scale" not in known:
            raise GradeError(f"the grader {name!r} takes no scale")
        given["scale"] = _scale(kind, scale, given)
        _check_task(given["scale"], task)
    elif task is not None and "scale" in known:
        scales = _for_task(task, hardware_class)
        kind(**given)
    else:
        kind(**given)
    return Judge(name, kind, given, task, scales, hardware_class)


def _scale(kind: Callable[..., Grader], name: str, given: Mapping[str, Any]) -> Scale | str:
    """The scale as this grader takes it: checked, or as the text of its file.

    Raises:
        GradeError: it cannot be used.
    """
    path = Path(name)
    if getattr(kind, "name", "") == "scale" or not path.is_file():
        found = find_scale(name)
        kind(scale=found, **given)
        return found
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise GradeError(f"the scale {name} cannot be read: {reason}") from error
    try:
        kind(scale=text, **given)
    except GradeError as error:
        raise GradeError(f"{name}: {error}") from error
    return text


def _check_task(scale: Scale | str, task: str | None) -> None:
    if isinstance(scale, Scale) and task and scale.task and scale.task != task:
        raise ConfigError(f"--task {task}: the scale {scale.id} is for {scale.task}")


def _for_task(task: str, hardware_class: str | None) -> tuple[Scale, ...]:
    """The shipped scales of a task.

    Raises:
        ConfigError: there are none.
    """
    found = scales_for(task, hardware_class)
    if found:
        return found
    known = sorted({f"{one.task} on {one.hardware_class}" for one in built_in_scales()})
    on = f" on {hardware_class}" if hardware_class else ""
    raise ConfigError(
        f"no scale is shipped for the task {task!r}{on} (there are: {'; '.join(known)}). "
        "Name a file of your own with --scale; `greenai scale build` makes one"
    )


def _fitting(scales: Sequence[Scale], measured: Gradable) -> list[Scale]:
    """Those that are of the same components, and as well known."""
    energy = measured.net_energy_j or measured.gross_energy_j
    tier = "estimated" if energy is not None and "modelled" in energy.method else "measured"
    return [
        scale
        for scale in scales
        if scale.tier == tier and set(scale.scope) == set(measured.components)
    ]


def _no_scale(
    task: str, scales: Sequence[Scale], fitting: Sequence[Scale], measured: Gradable
) -> str:
    if fitting:
        ids = ", ".join(scale.id for scale in fitting)
        return f"ungraded: several scales fit {task}: choose one with --scale ({ids})"
    energy = measured.net_energy_j or measured.gross_energy_j
    modelled = energy is not None and "modelled" in energy.method
    has = f"{'+'.join(measured.components) or 'unknown parts'}, {_tier(modelled)}"
    ids = ", ".join(
        f"{scale.id} ({'+'.join(scale.scope)}, {_tier(scale.tier == 'estimated')})"
        for scale in scales
    )
    return f"ungraded: no reference: the energy is of {has}; scales for {task}: {ids}"


def _tier(modelled: bool) -> str:
    return "modelled" if modelled else "measured"
