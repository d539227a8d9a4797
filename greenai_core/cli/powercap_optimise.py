"""``greenai powercap optimise``."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import click

from greenai_core.errors import ConfigError, GreenAIError, PowerCapForbidden

from . import exit_codes, options, output, sensors
from .child import CannotStartError
from .powercap_report import CapReport, settings_of
from .powercap_work import FollowedCommand, RepeatedCommand
from .progress import Progress

if TYPE_CHECKING:
    from greenai_core.cap_results import CapProbe, CapResult


@click.command(
    "optimise",
    short_help="Find the best cap for a command.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.option(
    "--gpu",
    "gpus",
    multiple=True,
    metavar="GPU",
    help="Number as nvidia-smi counts, UUID, cuda:0, or cpu:0/package; of several all get the "
    "same cap. [default: 0]",
)
@click.option(
    "--objective",
    default="ed2p",
    show_default=True,
    metavar="WHAT",
    help="energy, edp, ed2p, or `energy within 5 % slowdown`.",
)
@click.option(
    "--steps",
    "pattern",
    metavar="REGEX",
    help="COMMAND is long, and a step of it ends with each line of its stdout in which this is "
    "found: caps are tried while it runs once. Without it COMMAND is run again and again.",
)
@click.option(
    "--probe",
    "probe_s",
    type=options.Number(min=0.01),
    default=2.5,
    show_default=True,
    metavar="S",
    help="Measure so long under each cap.",
)
@click.option(
    "--no-confirm", is_flag=True, help="Take what the curves promise; half a minute instead of one."
)
@click.option(
    "--limiter", metavar="NAME", default="auto", show_default=True, help="See `powercap set`."
)
@click.option("--shared", is_flag=True, help="Also where other processes use the device.")
@click.option("--csv", "csv_file", metavar="FILE", help="Write every probe there too, as CSV.")
@click.option("--picture", metavar="FILE", help="Draw the curves there too: .svg, or .png.")
@options.out_option
@options.sensor_options
@options.json_flag
def optimise(program: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Find the best cap for a command, and give the old one back.

    Five caps in random order, two more where the best must be, and the winner
    against the old cap in turns, so that a drift of the machine drops out. Where
    the interval holds no saving the old cap is the answer. The cap is not left in
    force: `greenai powercap set` does that. It takes a minute or two for short
    steps, and some 150 steps for long ones.

    COMMAND must do the same work each time it is run, and leave nothing behind
    that matters: it is run some 150 times. With --steps it is run once, and
    goes on under the best cap until it ends.

    The folder of --out gets report.json, probes.csv and curves.svg; Ctrl-C keeps
    what was measured. `greenai report` makes a page of it.

    \b
    Examples:
      sudo greenai powercap optimise -- python infer_once.py
      sudo greenai powercap optimise --objective energy -- ./kernel
      sudo greenai powercap optimise --steps 'step \\d+' -- python train.py
      sudo greenai powercap optimise --gpu cpu:0/package -- ./solver
    """  # noqa: D301  # click takes \b for "keep these lines"
    from greenai_core.cap_objectives import parse_objective

    parse_objective(flags["objective"])
    report = CapReport(program, flags)
    devices = list(flags["gpus"]) or [0]
    progress = Progress()
    progress.begin("caps")
    work = _work(program, flags["pattern"])
    probes: list[CapProbe] = []
    try:
        found = _search(work, devices, flags, progress, probes, report)
        progress.clear()
        report.deliver(found, as_json)
        if not found.complete:
            raise KeyboardInterrupt
        _finish(work, found, devices, flags)
    except PowerCapForbidden as error:
        progress.clear()
        _dry_run(devices, flags, error, report, as_json)
    except CannotStartError as error:
        output.complain(str(error))
        click.get_current_context().exit(error.code)
    finally:
        progress.clear()
        # Whatever became of the search: what somebody started is not killed half way.
        work.end()


def _work(program: tuple[str, ...], pattern: str | None) -> RepeatedCommand | FollowedCommand:
    if pattern is None:
        return RepeatedCommand(program)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--steps {pattern!r} is no regular expression: {error}") from error
    return FollowedCommand(program, compiled)


def _search(
    work: RepeatedCommand | FollowedCommand,
    devices: list[int | str],
    flags: dict[str, Any],
    progress: Progress,
    probes: list[CapProbe],
    report: CapReport,
) -> CapResult:
    from greenai_core.cap_devices import opened
    from greenai_core.cap_objectives import parse_objective
    from greenai_core.cap_optimise import optimise_power_cap
    from greenai_core.cap_outcomes import cut_short
    from greenai_core.cap_results import FAILED

    with opened(devices, flags["limiter"]) as (knob, found):
        ids = [setting.device for setting in found]
    with sensors.opened(report.configured) as session:
        session.accelerators = [device for device in ids if device.startswith("gpu:")]
        report.sensors(session)
        try:
            return optimise_power_cap(
                work.step,
                ids,
                flags["objective"],
                limiter=flags["limiter"],
                session=session,
                settings=settings_of(flags),
                shared=flags["shared"],
                progress=progress,
                told=probes.append,
            )
        except GreenAIError as error:
            if probes:
                progress.clear()
                aim = parse_objective(flags["objective"])
                known = knob, found, aim, probes, session.contains
                report.keep(cut_short(*known, outcome=FAILED, reason=str(error)))
            raise


def _finish(
    work: RepeatedCommand | FollowedCommand,
    found: CapResult,
    devices: list[int | str],
    flags: dict[str, Any],
) -> None:
    """Let a followed command go on to its end, under the best cap; its exit code is ours."""
    from greenai_core.power_caps import power_cap

    if not isinstance(work, FollowedCommand):
        return
    if found.kept_original:
        code = work.wait()
    else:
        cap = power_cap(devices, found.chosen, limiter=flags["limiter"], shared=flags["shared"])
        with cap:
            code = work.wait()
    click.get_current_context().exit(code)


def _dry_run(
    devices: list[int | str],
    flags: dict[str, Any],
    error: PowerCapForbidden,
    report: CapReport,
    as_json: bool,
) -> None:
    from greenai_core.cap_devices import opened
    from greenai_core.cap_objectives import parse_objective
    from greenai_core.cap_outcomes import dry_run

    output.complain("nothing was changed: setting a limit needs root. This would be tried:")
    with opened(devices, flags["limiter"]) as (knob, found):
        caps = settings_of(flags).grid
        made = dry_run(knob, found, parse_objective(flags["objective"]), caps, str(error))
    if not made.by_hand:
        made = dataclasses.replace(made, by_hand=tuple(filter(None, [error.by_hand])))
    if as_json:
        report.planned(made)
    else:
        output.emit("\n".join(made.by_hand))
    click.get_current_context().exit(exit_codes.MEASUREMENT)
