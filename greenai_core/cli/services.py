"""A grading service that ``greenai grade`` asks, if asked to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from greenai_core import environment
from greenai_core.errors import ConfigError, GradeError
from greenai_core.grading import Gradable
from greenai_core.processor_limits import POWERCAP, package_limits
from greenai_core.results import CommandResult, Grade
from greenai_core.runs import LONGEST_NAME, DevicePower, Run, new_key, run_of
from greenai_core.session import Session
from greenai_core.spool import Spool
from greenai_core.submission import SENT, Sender, submit

from . import output
from .config import DEFAULT, Configuration, configure
from .full_power import board_limits
from .judge import Judge

RAM_W_PER_GB = 0.3725
"""Power of memory that version 0 of the protocol assumed, W/GB."""


@dataclass(frozen=True)
class Service:
    """A service, and how it is spoken to.

    Attributes:
        sender: to it.
        key: of the run; made before it began.
        offline: no socket is opened, the run is kept.
        dry_run: nothing is sent or kept; the bytes are printed.
        deadline_s: the longest that it is waited for, s.
    """

    sender: Sender
    key: str
    offline: bool
    dry_run: bool
    deadline_s: float


def service(judge: Judge, flags: Mapping[str, Any]) -> Service | None:
    """The service that the options name; None for a grader that asks none.

    Raises:
        ConfigError: an option is missing, cannot be used, or is for another grader.
    """
    url = flags["url"]
    if not judge.asks_a_service:
        given = [f for f in ("offline", "dry_run", "token_file", "ca_file", "timeout") if flags[f]]
        if from_command_line("url"):  # an address in the environment is no request
            given.append("url")
        if given:
            flag = "--" + given[0].replace("_", "-")
            raise ConfigError(f"{flag} is for a grader that asks a service: give --grader web too")
        return None
    configuration = configure({"grading_url": url, "grading_timeout": flags["timeout"]})
    url = configuration.settings.grading_url
    if not url:
        raise ConfigError(
            f"--grader {judge.name} asks a service: name it with --url, or with the setting "
            "grading_url in your own config.toml"
        )
    files = {name: flags[name] for name in ("token_file", "ca_file")}
    kind: Any = judge.kind
    return Service(
        kind.sender(url, **options_of(configuration, files)),
        new_key(),
        flags["offline"],
        flags["dry_run"],
        configuration.settings.grading_timeout,
    )


def options_of(configuration: Configuration, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a sender: those that somebody gave.

    Args:
        configuration: with ``grading_timeout``, which is ``total_s`` there.
        given: by name; None for what was not given.
    """
    options = {name: value for name, value in given.items() if value}
    if configuration.origins["grading_timeout"] != DEFAULT:
        options["total_s"] = configuration.settings.grading_timeout
    return options


def graded(
    judge: Judge,
    service: Service,
    result: CommandResult,
    measured: Gradable,
    devices: Sequence[DevicePower],
    warnings: list[str],
) -> Grade:
    """The grade that the service's answer gives; whatever it does, this does not raise for it.

    Args:
        judge: the grader.
        service: it asks.
        result: of the run.
        measured: the same for the grader.
        devices: that ran it.
        warnings: what went wrong is added.

    Raises:
        GradeError: the grader cannot grade this.
    """
    run = run_of(result, key=service.key, devices=devices, memory_gb=_memory_gb())
    if not any(device.type == "CPU" for device in devices):
        warnings.append(
            "no driver tells the most that the processors draw, which a second letter may need: "
            "give it with --tdp WATTS"
        )
    more = {"duration_s": run.duration_s, "power_max_w": _most(run)}
    measured = replace(measured, options={k: v for k, v in more.items() if v is not None})
    if service.dry_run:
        _show(service.sender, run, warnings)
        return judge.grade(measured)
    if not service.offline:
        output.note(
            f"greenai: asking {service.sender.url}, for {service.deadline_s:g} s at most; Ctrl-C "
            "leaves the run for `greenai sync`"
        )
    try:
        outcome = submit(
            run,
            service.sender,
            Spool(),
            offline=service.offline,
            deadline_s=service.deadline_s,
        )
    except KeyboardInterrupt:
        warnings.append("asking the service was interrupted; `greenai sync` sends the run")
        return judge.grade(measured)
    if outcome.problem:
        warnings.append(f"{service.sender.url}: {outcome.state}: {outcome.problem}")
    if outcome.state == SENT and outcome.answer is not None:
        output.note(f"greenai: {service.sender.url} has answered")
    return judge.grade(measured, answer=outcome.answer)


def from_command_line(option: str) -> bool:
    """Whether an option stands on the command line."""
    source = click.get_current_context().get_parameter_source(option)
    return source is ParameterSource.COMMANDLINE


def _show(sender: Sender, run: Run, warnings: list[str]) -> None:
    """The very bytes, to stderr: stdout is the script's."""
    try:
        content = sender.dry_run(run)
    except GradeError as error:
        warnings.append(f"nothing would be sent: {error}")
        return
    output.note(f"greenai: would send to {sender.url}, {len(content)} bytes:")
    output.note(content.decode("utf-8", "backslashreplace"))


def _most(run: Run) -> float | None:
    """The most that the machine draws as version 0 reckons it, W; None where not known."""
    if run.memory_gb is None or not any(device.type == "CPU" for device in run.devices):
        return None
    return sum(d.max_power_w for d in run.devices) + run.memory_gb * RAM_W_PER_GB


def _memory_gb() -> float | None:
    import psutil

    try:
        return float(psutil.virtual_memory().total) / 2**30
    except (OSError, RuntimeError):
        return None


def devices(session: Session, tdp_w: float | None, powercap: Path = POWERCAP) -> list[DevicePower]:
    """Processors and boards that are measured, as far as the most that they draw is known.

    Args:
        session: the sensors.
        tdp_w: of the processors, as the user stated it; else the limit in force.
        powercap: the kernel's tree of power limits.
    """
    watts = tdp_w or sum(limit.power_w for limit in package_limits(powercap)) or None
    found = []
    if watts is not None:
        model = str(environment.describe()["cpu"].get("model") or "")
        found.append(_device("CPU", model, watts) or _device("CPU", "unknown processor", watts))
    ids = {channel.id for channel in session.channels}
    found += [_device("GPU", "board", w) for id, w in _limits_of_boards() if id in ids]
    return [device for device in found if device is not None]


def _limits_of_boards() -> list[tuple[str, float]]:
    try:
        return board_limits()
    except Exception:  # noqa: BLE001  # a fault of a plugin must not cost the run
        return []


def _device(type: str, name: str, watts: float) -> DevicePower | None:
    """A device; None where what a driver tells makes none."""
    try:
        return DevicePower(type, name[:LONGEST_NAME], watts)
    except ConfigError:
        return None
