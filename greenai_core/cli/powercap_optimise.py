"""``greenai powercap optimise``."""

from __future__ import annotations

import dataclasses
import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greenai_core.errors import ConfigError, PowerCapForbidden

from . import exit_codes, options, output, sensors
from .child import CannotStartError
from .figures import percent
from .places import check_file
from .powercap_work import FollowedCommand, RepeatedCommand
from .progress import Progress

if TYPE_CHECKING:
    from greenai_core.cap_results import CapProbe, CapRatio, CapResult
    from greenai_core.cap_search import SearchSettings

SETTLE_S, SETTLE_SHARE = 0.5, 0.2


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
@click.option("--csv", "csv_file", metavar="FILE", help="Write every probe there, as CSV.")
@click.option("--picture", metavar="FILE.svg", help="Draw the curves there.")
@click.option("--out", metavar="FILE.json", help="Write the result there, as JSON.")
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

    \b
    Examples:
      sudo greenai powercap optimise -- python infer_once.py
      sudo greenai powercap optimise --objective energy -- ./kernel
      sudo greenai powercap optimise --steps 'step \\d+' -- python train.py
      sudo greenai powercap optimise --gpu cpu:0/package -- ./solver
    """  # noqa: D301  # click takes \b for "keep these lines"
    from greenai_core.cap_objectives import parse_objective

    parse_objective(flags["objective"])
    places = {flag: check_file(flags[flag], name) for flag, name in FILES if flags[flag]}
    devices = list(flags["gpus"]) or [0]
    progress = Progress()
    progress.begin("caps")
    work = _work(program, flags["pattern"])
    probes: list[CapProbe] = []
    try:
        found = _search(work, devices, flags, progress, probes)
        progress.clear()
        _deliver(found, program, flags, places, as_json)
        if not found.complete:
            raise KeyboardInterrupt
        _finish(work, found, devices, flags)
    except PowerCapForbidden as error:
        _dry_run(devices, flags["limiter"], error, as_json)
    except CannotStartError as error:
        output.complain(str(error))
        click.get_current_context().exit(error.code)
    finally:
        progress.clear()
        _write_probes(places, probes)
        # Whatever became of the search: what somebody started is not killed half way.
        work.end()


FILES = (("csv_file", "--csv"), ("picture", "--picture"), ("out", "--out"))


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
) -> CapResult:
    from greenai_core.cap_devices import opened
    from greenai_core.cap_optimise import optimise_power_cap

    settings = options.configuration(flags).settings
    with opened(devices, flags["limiter"]) as (_, found):
        ids = [setting.device for setting in found]
    with sensors.opened(settings) as session:
        session.accelerators = [device for device in ids if device.startswith("gpu:")]
        return optimise_power_cap(
            work.step,
            ids,
            flags["objective"],
            limiter=flags["limiter"],
            session=session,
            settings=_settings(flags["probe_s"], confirm=not flags["no_confirm"]),
            shared=flags["shared"],
            progress=progress,
            told=probes.append,
        )


def _settings(probe_s: float, *, confirm: bool) -> SearchSettings:
    from greenai_core.cap_search import SearchSettings

    settle_s = min(SETTLE_S, SETTLE_SHARE * probe_s)
    bare = SearchSettings(probe_s=probe_s, settle_s=settle_s)
    return bare if confirm else dataclasses.replace(bare, quads=0)


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
    devices: list[int | str], limiter: str, error: PowerCapForbidden, as_json: bool
) -> None:
    from greenai_core.cap_devices import opened
    from greenai_core.cap_search import Range, grid

    output.complain("nothing was changed: setting a limit needs root. This would be tried:")
    with opened(devices, limiter) as (knob, settings):
        lines = []
        for one in settings:
            original = one.high if one.current is None else one.current
            for cap in grid(Range(one.low, original), None, 5):
                lines.append(knob.limiter.by_hand(one.device, cap))
    lines = lines or [error.by_hand]
    if as_json:
        output.emit_json({"by_hand": lines})
    else:
        output.emit("\n".join(lines))
    click.get_current_context().exit(exit_codes.MEASUREMENT)


def _write_probes(places: dict[str, Path], probes: list[CapProbe]) -> None:
    from greenai_core.cap_picture import probes_csv

    if "csv_file" in places and probes:
        output.save(places["csv_file"], probes_csv(probes).encode())
        output.note(f"greenai: probes written to {places['csv_file']}")


def _deliver(
    found: CapResult,
    program: tuple[str, ...],
    flags: dict[str, Any],
    places: dict[str, Path],
    as_json: bool,
) -> None:
    from greenai_core.cap_picture import picture
    from greenai_core.environment import describe

    document = {
        "schema_version": found.schema_version,
        "kind": "powercap",
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "environment": describe(),
        "command": list(program),
        "steps": flags["pattern"],
        "result": found,
    }
    if "picture" in places:
        output.save(places["picture"], picture(found).encode())
        output.note(f"greenai: picture written to {places['picture']}")
    if "out" in places:
        output.save(places["out"], output.json_bytes(document))
        output.note(f"greenai: result written to {places['out']}")
    for text in found.warnings:
        output.warn(text)
    if as_json:
        output.emit_json(document)
    else:
        output.emit(text_of(found))


def text_of(found: CapResult) -> str:
    """The result, for people."""
    unit = found.unit
    rows = [
        [f"{p.cap:g} {unit}", p.role, f"{p.seconds_s:.4g} s", f"{p.power_w:.4g} W",
         f"{p.energy_j:.4g} J"]
        for p in found.probes
    ]  # fmt: skip
    lines = [
        output.table(["cap", "probe", "time of a step", "power", "energy"], rows, right=(2, 3, 4)),
        "",
        output.heading(f"{found.chosen:g} {unit}" + (", as it was" if found.kept_original else "")),
        output.paragraph(found.reason, "  "),
    ]
    if found.saving is not None and found.slowdown is not None and found.candidate is not None:
        which = f"{found.candidate:g} {unit} against {found.original:g} {unit}"
        lines += [
            f"  {which}:",
            f"  energy saved  {_share(found.saving)}",
            f"  slower by     {_share(found.slowdown)}",
        ]
    lines.append(f"  energies contain {', '.join(found.contains)}")
    return "\n".join(lines)


def _share(ratio: CapRatio) -> str:
    return f"{percent(ratio.value)} ({percent(ratio.low)} to {percent(ratio.high)})"
