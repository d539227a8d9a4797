"""``greenai calibrate``."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import click

from greenai_core.blocks import Source
from greenai_core.calibration import (
    PART,
    SCOPES,
    WALL,
    Calibration,
    Stair,
    check_pair,
    fit_line,
    slope_of_rest,
)
from greenai_core.calibration_files import (
    Shelf,
    age_days,
    check_shelf,
    driver_of,
    find,
    keep,
    without,
)
from greenai_core.channels import SUPERSETS, Channel, contents
from greenai_core.errors import CalibrationError, ConfigError, NoSensorError
from greenai_core.loads import BurnerLoad, CommandLoad, Load, cpu_commands
from greenai_core.report_files import to_json
from greenai_core.session import Session
from greenai_core.staircase import LEVELS, PASSES, Plan, climb, plan

from . import figures, options, output, sensors
from .calibration_text import remarks, text
from .calibrations import NONE, doubtful, shelf_of
from .progress import Progress
from .signals import INTERRUPTS


class _Calibrate(click.Group):
    """A group whose name alone, with two channels, calibrates."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """``SENSOR METER …`` is short for ``run SENSOR METER …``."""
        asks = not args or args[0] in (*self.commands, *ctx.help_option_names, "--debug")
        return super().parse_args(ctx, args if asks else ["run", *args])


@click.group(
    cls=_Calibrate, short_help="Compare a sensor with a wattmeter, so that its joules are known."
)
def command() -> None:
    """Compare a sensor with a wattmeter, so that its joules are known.

    `greenai calibrate SENSOR METER` loads the part that SENSOR watches in steps,
    draws a straight line through what both tell, and keeps it for this machine.
    From then on every figure of SENSOR is corrected with it and says so;
    --no-calibration leaves it out. SENSOR and METER are ids of channels as
    `greenai devices` lists them.

    \b
    What the meter sees decides what the corrected joules mean:
      --scope part  the meter is in the supply line of that very part: gain and
                    offset are corrected
      --scope wall  the meter is at the wall: the gain holds the loss of the
                    power supply, and the joules are those that the wall sees,
                    without what the rest of the machine draws all the time

    \b
    Examples:
      greenai calibrate gpu:GPU-0c… wall:riser --scope part \\
          -O wattmeter.url=http://192.0.2.7 -O wattmeter.label=riser
      greenai calibrate cpu:0/package wall:plug --scope wall \\
          --load 'stress-ng --cpu 0 --cpu-load {level}' -O wattmeter.url=…
      greenai calibrate list
      greenai calibrate show gpu:GPU-0c…
      greenai calibrate remove gpu:GPU-0c…
    """  # noqa: D301  # click takes \b for "keep these lines"


def _share(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """``1%`` or ``0.01``."""
    if text is None:
        return None
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise click.BadParameter("is no share: write 1% or 0.01.", context, parameter)
    return share


@command.command("run", short_help="Calibrate SENSOR with METER (the word run can be left out).")
@click.argument("sensor")
@click.argument("meter")
@click.option(
    "--scope", type=click.Choice(SCOPES), help="What the meter sees; needed for one at the wall."
)
@click.option(
    "--meter-uncertainty",
    "u_meter",
    metavar="SHARE",
    callback=_share,
    help="Standard uncertainty of the meter, e.g. 1%. [default: what its profiler states]",
)
@click.option(
    "--load",
    "template",
    metavar="COMMAND",
    help="Load of one stair; {level} becomes 0 to 100. [default: all cores; on a GPU PyTorch]",
)
@click.option(
    "--levels",
    type=click.IntRange(4, 50),
    default=LEVELS,
    show_default=True,
    help="Different loads, from idle to full.",
)
@click.option(
    "--passes",
    type=click.IntRange(1, 20),
    default=PASSES,
    show_default=True,
    help="How often each is held, in another random order every time.",
)
@click.option(
    "--settle",
    "settle_s",
    type=options.Number(min=0),
    metavar="S",
    help="Seconds before each is measured. [default: what the sensors need]",
)
@options.sensor_options
@options.json_flag
def run(
    sensor: str,
    meter: str,
    scope: str | None,
    u_meter: float | None,
    template: str | None,
    levels: int,
    passes: int,
    settle_s: float | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Load a part in steps, and compare its sensor with a meter.

    Nothing else should run meanwhile. Ctrl-C ends the load; what was measured
    is kept if every load was held once and no complete calibration is there.
    """
    settings = options.configuration(flags).settings
    shelf = shelf_of(settings)
    check_shelf(shelf)
    bare = dataclasses.replace(settings, calibrations=NONE)
    with output.stdout_kept_clean(), sensors.opened(bare) as session:
        watched, source = _find(session, sensor)
        against, other = _find(session, meter)
        check_pair(watched, against, source is other, u_meter)
        scope = _scope(scope, against)
        stairs = plan(
            source.profiler.grain_s(watched),
            other.profiler.grain_s(against),
            levels=levels,
            passes=passes,
            settle_s=settle_s,
        )
        measured, interrupted = _climb(session, (source, watched), meter, template, stairs)
    made = _made(source, watched, against, scope, u_meter, measured, interrupted)
    old = shelf.of(sensor)
    if interrupted and old is not None and old.complete:
        output.note(
            f"greenai: interrupted after {len(made.stairs)} stairs; the complete calibration of "
            f"{sensor} of {old.date[:10]} is kept, this one is not"
        )
        raise KeyboardInterrupt
    _keep(shelf, made)
    _tell(made, watched, as_json)
    if interrupted:
        raise KeyboardInterrupt


def _made(
    source: Source,
    sensor: Channel,
    meter: Channel,
    scope: str,
    u_meter: float | None,
    stairs: Sequence[Stair],
    interrupted: bool,
) -> Calibration:
    return Calibration(
        channel=sensor.id,
        profiler=source.profiler.name,
        meter=meter.id,
        scope=scope,
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        line=fit_line(stairs),
        u_meter=u_meter or meter.gain_uncertainty,
        u_rest=slope_of_rest(stairs) if scope == WALL else 0.0,
        stairs=tuple(stairs),
        software=metadata.version("greenai-core"),
        driver=driver_of(sensor.id),
        complete=not interrupted,
    )


def _find(session: Session, id: str) -> tuple[Channel, Source]:
    for source in session.sources:
        for channel in source.channels:
            if channel.id == id:
                return channel, source
    known = ", ".join(channel.id for channel in session.channels)
    raise NoSensorError(
        f"there is no channel {id} (in use: {known}). `greenai devices` lists them; a wattmeter "
        "is used when its address is given, -O wattmeter.url=http://…"
    )


def _scope(given: str | None, meter: Channel) -> str:
    if given is None and meter.component in SUPERSETS:
        raise ConfigError(
            f"{meter.id} is a meter of the kind that sees a whole machine. Say --scope wall if it "
            "does: the calibrated joules are then those that the wall sees. Say --scope part if "
            "it is in the supply line of the sensor's part alone"
        )
    return given or PART


def _climb(
    session: Session, sensor: tuple[Source, Channel], meter: str, template: str | None, stairs: Plan
) -> tuple[list[Stair], bool]:
    """The stairs, and whether Ctrl-C ended them.

    Raises:
        KeyboardInterrupt: before every load was held once.
    """
    source, channel = sensor
    parts = contents(session.channels, session.accelerators)
    rest = [c.id for c in session.channels if c.id in parts and c.measured]
    rest = [id for id in rest if id not in (channel.id, meter)]
    output.note(
        f"greenai: {len(stairs.levels)} stairs, about {stairs.duration_s / 60:.1f} min. "
        "Let nothing else run meanwhile"
    )
    measured: list[Stair] = []
    bar = Progress()
    bar.begin(channel.id)
    try:
        with contextlib.closing(_load(source, channel, template)) as load:
            sources, clock = session.sources, session.clock
            for stair in climb(load, sources, channel.id, meter, rest, clock, stairs, bar):
                measured.append(stair)
    except KeyboardInterrupt:
        held = {stair.level for stair in measured}
        if held != set(stairs.levels):
            output.note(
                f"greenai: interrupted after {len(measured)} of {len(stairs.levels)} stairs; "
                "nothing was kept"
            )
            raise
        return measured, True
    finally:
        bar.clear()
    return measured, False


def _load(source: Source, channel: Channel, template: str | None) -> Load:
    if template is not None:
        return CommandLoad(template)
    if channel.component == "cpu":
        return BurnerLoad(cpu_commands())
    command = source.profiler.load_command(channel)
    if command is None:
        raise ConfigError(
            f"greenai has no load for {channel.id} here (a GPU needs PyTorch with CUDA). Give one "
            "with --load 'COMMAND {level}'"
        )
    return BurnerLoad([command])


def _keep(shelf: Shelf, made: Calibration) -> None:
    try:
        with INTERRUPTS.held():
            keep(shelf, made)
    except OSError as error:
        raise output.cannot_write(check_shelf(shelf), error) from error


def _tell(made: Calibration, sensor: Channel, as_json: bool) -> None:
    for remark in remarks(made, sensor):
        output.warn(remark)
    if as_json:
        output.emit_json(made)
    else:
        output.emit(text(made))


def _shelf() -> Shelf:
    shelf = shelf_of(options.configuration({}).settings)
    if shelf.problem:
        raise CalibrationError(shelf.problem)
    return shelf


@command.command("list", short_help="The calibrations kept for this machine.")
@options.json_flag
def list_(as_json: bool) -> None:
    """The calibrations kept for this machine, with their age."""
    shelf = _shelf()
    for calibration in shelf.calibrations:
        for doubt in doubtful(calibration):
            output.warn(doubt)
    if as_json:
        kept = [{"path": str(shelf.path), **to_json(c)} for c in shelf.calibrations]
        output.emit_json(kept)
    elif not shelf.calibrations:
        output.emit("No calibration is kept for this machine.")
    else:
        output.emit(output.table(("channel", "meter", "scope", "gain", "age"), _rows(shelf)))


def _rows(shelf: Shelf) -> Sequence[tuple[str, ...]]:
    now = datetime.datetime.now(datetime.timezone.utc)
    return [
        (
            made.channel,
            made.meter,
            made.scope,
            f"{made.line.gain:.3f} ± {figures.percent(made.u_gain)}",
            f"{age_days(made, now)} days" + ("" if made.complete else ", incomplete"),
        )
        for made in shelf.calibrations
    ]


@command.command("show", short_help="One calibration with its stairs.")
@click.argument("channel")
@options.json_flag
def show(channel: str, as_json: bool) -> None:
    """One calibration with its stairs."""
    made = find(_shelf(), channel)
    for doubt in doubtful(made):
        output.warn(doubt)
    if as_json:
        output.emit_json(made)
    else:
        output.emit(text(made))


@command.command("remove", short_help="Forget a calibration.")
@click.argument("channel")
def remove(channel: str) -> None:
    """Forget the calibration of CHANNEL: its figures are the sensor's own again."""
    shelf = _shelf()
    try:
        without(shelf, channel)
    except OSError as error:
        raise output.cannot_write(check_shelf(shelf), error) from error
    output.note(f"greenai: the calibration of {channel} is removed")
