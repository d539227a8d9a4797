"""``greenai measure``."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from greenai_core.errors import ConfigError
from greenai_core.kept_windows import KeptWindows
from greenai_core.process_shares import ProcessTimes
from greenai_core.results import CommandResult
from greenai_core.spans import Window

from . import child, options, output, own_costs, sensors
from .command_report import deliver
from .faults import Faults
from .places import check_file


@click.command(
    short_help="The energy of any command.",
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@options.sensor_options
@click.option("--out", metavar="FILE", help="Write the report there, as JSON.")
@options.raw_flag
@click.option(
    "--no-edge-wait",
    is_flag=True,
    help="Do not wait, after the command, for the next value of a slow counter (0.1 s on a GPU). "
    "Short commands are known less well then.",
)
@click.option(
    "--by-process",
    is_flag=True,
    help="Split the energy over processes, by CPU time: a model, beside the measured total.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="JSON instead of the summary: on stdout after the command has ended, or to --out.",
)
def command(program: tuple[str, ...], out: str | None, as_json: bool, **flags: Any) -> None:
    """The energy of any command.

    Runs COMMAND and tells, on stderr, the joules of the machine's sensors from
    its start to its end: gross, that is with everything else the machine did.
    The command keeps its stdin, stdout and stderr; signals reach it; the exit
    code is its own, 128+n when signal n ended it, whatever happened to the
    sensors. Where greenai itself fails before the command starts it is 125, 126
    if the command cannot be executed, 127 if it is not found.

    --json prints the report on stdout once the command has ended; give --out
    FILE to keep it apart from what the command printed.

    \b
    Examples:
      greenai measure -- make -j8
      greenai measure --out build.json -- make -j8
      greenai measure --json -- ./quiet-job | jq .results[0].gross.energy_j
      greenai measure -p rapl -- python train.py --epochs 3
      greenai measure --by-process -- mpirun -n 4 ./solver
    """  # noqa: D301  # click takes \b for "keep these lines"
    settings = options.configuration(flags).settings
    file = None if out is None else check_file(out, "--out")
    if flags["raw"] and file is None:
        raise ConfigError("--raw keeps readings beside the report: give --out FILE too")
    with sensors.opened(settings, edge_wait=not flags["no_edge_wait"], observe=True) as session:
        session.await_edges()
        window = session.window("command")
        spent_s = time.process_time()
        following = (
            ProcessTimes([source.profiler for source in session.sources], session.clock)
            if flags["by_process"]
            else None
        )
        with following or contextlib.nullcontext():
            code = run_in(window, program, following.follow if following else None)
        spent_s = time.process_time() - spent_s
        try:
            notes, gross = session.notes(), window.result
            if following is not None:
                gross = replace(gross, by_process=following.splits(gross, session.channels))
                notes += following.notes
            result = CommandResult(
                command=program,
                exit_code=code,
                gross=gross,
                idle_power_w=None,
                net_energy_j=None,
                idle_share=None,
                utilisation_percent=None,
                units=None,
                unit=None,
                grade=None,
                warnings=notes,
                self_cost=own_costs.of_command(
                    window.result, session.channels, spent_s, os.cpu_count() or 1
                ),
            )
            kept = KeptWindows((window.kept,)) if flags["raw"] else None
            deliver("measure", result, settings, {}, as_json, file, session, kept)
        except Exception as error:  # noqa: BLE001  # the exit code stays the command's
            Faults().add(error)
    click.get_current_context().exit(code)


def run_in(
    window: Window,
    program: tuple[str, ...],
    started: Callable[[int, tuple[str, ...]], None] | None = None,
) -> int:
    """Run a program inside a window; a sensor that fails does not change its exit code.

    Args:
        window: whose energy is the program's.
        program: with its arguments.
        started: told its PID and command when it runs.

    Raises:
        Exit: it could not be started.
    """
    code = None
    try:
        with window:
            code = child.run(program, lambda pid: started(pid, program) if started else None)
    except child.CannotStartError as error:
        output.complain(str(error))
        raise click.exceptions.Exit(error.code) from error
    except Exception as error:
        if code is None:
            raise
        Faults().add(error)
    return code
