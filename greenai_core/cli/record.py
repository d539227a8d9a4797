"""``greenai record``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from greenai_core.errors import ConfigError

from . import calibrations, child, exit_codes, options, output, sensors
from .faults import Faults
from .main import message
from .places import check_file
from .signals import INTERRUPTS

if TYPE_CHECKING:
    from greenai_core.recorder import Recorder
    from greenai_core.recording_order import Started, Summary

OF_READ = ("source", "start", "end", "file_format", "as_json", "program")
"""Parameters that ``--read`` knows."""

WHOLE = click.IntRange(min=1)


@click.command(
    short_help="Sensors to a file, row by row; and windows of such files.",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option("--out", metavar="FILE", help="Write the rows there: .csv, or .jsonl.")
@click.option(
    "--interval",
    type=options.Number(min=0.001, max=3600),
    default=0.1,
    show_default=True,
    metavar="S",
    help="Between two rows; 0.001 to 3600.",
)
@click.option(
    "--format", "file_format", type=click.Choice(["csv", "jsonl"]), help="Whatever the suffix says."
)
@click.option("--append", is_flag=True, help="Go on in the file if it is there.")
@click.option("--rotate-rows", type=WHOLE, metavar="N", help="Begin another file after so many.")
@click.option("--rotate-bytes", type=WHOLE, metavar="N", help="Begin another file after so many.")
@click.option(
    "--rotate-time",
    "rotate_s",
    type=options.Number(min=0, min_open=True),
    metavar="S",
    help="Begin another file after so long.",
)
@click.option(
    "--duration",
    "duration_s",
    type=options.Number(min=0, min_open=True),
    metavar="S",
    help="End after so long. [default: at Ctrl-C]",
)
@click.option("--pid", type=WHOLE, metavar="N", help="Follow that process and end with it.")
@click.option("--tree", is_flag=True, help="Follow COMMAND: CPU time and memory of its processes.")
@click.option("--read", "source", metavar="FILE", help="Tell the energy in a recorded file.")
@click.option(
    "--from", "start", metavar="T", help="Of --read: seconds since its beginning, or UTC."
)
@click.option("--to", "end", metavar="T", help="Of --read: likewise.")
@options.sensor_options
@options.json_flag
def command(
    program: tuple[str, ...],
    source: str | None,
    start: str | None,
    end: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Sensors to a file, row by row; and windows of such files.

    A process of its own writes a row every --interval: joules of counters since
    the beginning, watts, utilisation, temperature, memory and clocks of CPU and
    GPUs. Each row is in the file when the next is read, so a kill loses at most
    one. Without a COMMAND it goes on until --duration is over or Ctrl-C comes,
    which is a good end: exit code 0.

    With a COMMAND it ends with that, whose streams and exit code stay its own,
    128+n when signal n ended it, whatever happened to the recording. Where
    greenai itself fails before the command starts it is 125, 126 if the command
    cannot be executed, 127 if it is not found.

    --read tells the energy between two instants of a file, with intervals; times
    are seconds since its beginning (column time_s), or as 2026-01-31T12:00:00Z.

    \b
    Examples:
      greenai record --out run.csv -- python train.py
      greenai record --out run.jsonl --interval 0.01 --duration 60
      greenai record --out run.csv --pid 4711
      greenai record --read run.csv --from 10 --to 20 --json
    """  # noqa: D301  # click takes \b for "keep these lines"
    code = exit_codes.OK
    if source is None and (start is not None or end is not None):
        raise click.UsageError("--from and --to are of --read: name the file that it tells of.")
    if source is not None:
        _refuse(program)
        _read(source, start, end, flags["file_format"], as_json)
    elif program:
        code = _with_command(program, as_json, flags)
    else:
        code = _alone(as_json, flags)
    click.get_current_context().exit(code)


def _refuse(program: tuple[str, ...]) -> None:
    """Whatever is not of ``--read``, but was given along with it."""
    context = click.get_current_context()
    given = [
        max(parameter.opts, key=len)
        for parameter in context.command.params
        if parameter.name not in OF_READ
        and context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    given += ["COMMAND"] * bool(program)
    if given:
        raise click.UsageError(f"--read records nothing: leave out {', '.join(given)}.")


def _recorder(flags: dict[str, Any], tree: bool) -> Recorder:
    """A recorder with all that the flags say, checked before anything is started."""
    from greenai_core.recorder import Recorder

    if flags["out"] is None:
        raise click.UsageError("Missing option '--out', the file to record to.")
    settings = options.configuration(flags).settings
    sensors.session_for(settings)  # refuses what the process could not be told so well
    check_file(flags["out"], "--out")
    return Recorder(
        flags["out"],
        flags["interval"],
        "auto" if settings.profilers == ("auto",) else settings.profilers,
        settings.profiler,
        format=flags["file_format"],
        append=flags["append"],
        rotate_rows=flags["rotate_rows"],
        rotate_bytes=flags["rotate_bytes"],
        rotate_s=flags["rotate_s"],
        duration_s=flags["duration_s"],
        pid=flags["pid"],
        tree=tree,
        calibrations=calibrations.usable(settings),
    )


def _alone(as_json: bool, flags: dict[str, Any]) -> int:
    """Record until the duration is over, the process has ended, or a signal comes."""
    from .recordings import ProgressLine, as_report, ended

    if flags["tree"] and flags["pid"] is None:
        raise click.UsageError("--tree follows a COMMAND: give one, or --pid N.")
    recorder = _recorder(flags, tree=False)
    progress = ProgressLine()
    try:
        _tell_started(_started(recorder, progress=progress.shown), flags)
        summary = recorder.wait(progress)
    except KeyboardInterrupt:
        if not recorder.running:
            raise
        with INTERRUPTS.held():
            _stopped(recorder)
        summary = recorder.summary  # type: ignore[assignment]  # stop() leaves one, or raises
        INTERRUPTS.received = None
    finally:
        progress.clear()
    output.note(ended(summary))
    if as_json:
        output.emit_json(as_report(summary))
    return _told(summary)


def _with_command(program: tuple[str, ...], as_json: bool, flags: dict[str, Any]) -> int:
    """Record while a command runs; its exit code, whatever becomes of the recording."""
    from .recordings import as_report, ended

    try:
        if flags["pid"] is not None:
            raise click.UsageError("give --pid or a COMMAND, not both; --tree follows COMMAND.")
        recorder = _recorder(flags, tree=flags["tree"])
        _tell_started(_started(recorder), flags)
    except Exception as error:  # noqa: BLE001  # 125 tells that the command did not run
        output.complain(message(error))
        return exit_codes.WRAPPER_FAILED
    follow: Callable[[int], None] = recorder.follow if flags["tree"] else lambda pid: None
    cannot: child.CannotStartError | None = None
    code = exit_codes.OK
    try:
        code = child.run(program, follow)
    except child.CannotStartError as error:
        cannot = error
    try:
        _stopped(recorder, "the command ended" if cannot is None else "the command did not start")
        if recorder.summary is not None:
            output.note(ended(recorder.summary))
            _told(recorder.summary)
            if as_json:
                output.emit_json({**as_report(recorder.summary), "exit_code": code})
    except Exception as error:  # noqa: BLE001  # the exit code stays the command's
        Faults().add(error)
    if cannot is not None:
        output.complain(str(cannot))
        return cannot.code
    return code


def _started(recorder: Recorder, progress: bool = False) -> Started:
    try:
        return recorder.start(progress=progress)
    except OSError as error:
        raise output.OutputError(str(error.strerror or error)) from error


def _stopped(recorder: Recorder, reason: str = "") -> None:
    """Stop it; what could not be written is told from its summary."""
    try:
        recorder.stop(reason)
    except OSError:
        if recorder.summary is None:
            raise


def _told(summary: Summary) -> int:
    """Tell why rows are missing, if any are; the exit code."""
    if summary.failure:
        output.complain(summary.failure)
        return exit_codes.OUTPUT
    return exit_codes.OK


def _tell_started(started: Started, flags: Mapping[str, Any]) -> None:
    sensors.tell_not_used(started.skipped)
    for text in started.notes:
        output.warn(text)
    if started.calibrated:
        output.note(f"greenai: windows of {', '.join(started.calibrated)} are calibrated")
    output.note(
        f"greenai: recording {len(started.columns)} columns to {flags['out']}, a row every "
        f"{flags['interval']:g} s"
    )


def _read(source: str, start: str | None, end: str | None, form: str | None, as_json: bool) -> None:
    from greenai_core.recording_reading import read_recording

    from .recordings import instant, window_json, window_text

    try:
        recorded = read_recording(source, form)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise ConfigError(
            f"{source} cannot be read: {os.strerror(error.errno or 0)}. Give a file that "
            "`greenai record` wrote"
        ) from error
    window = recorded.window(
        None if start is None else instant(start, "--from"),
        None if end is None else instant(end, "--to"),
        Path(source).name,
    )
    for remark in recorded.remarks:
        output.note(f"greenai: {source}: {output.one_line(remark)}")
    if as_json:
        output.emit_json(window_json(recorded, window, start, end))
    else:
        output.emit(window_text(recorded, window))
