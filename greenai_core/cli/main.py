"""The command ``greenai``: finds the subcommand, turns errors into one line and an exit code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

import click

from greenai_core.errors import GreenAIError

from . import exit_codes, watcher
from .output import abandon_stdout, complain, note
from .signals import INTERRUPTS

COMMANDS = {
    "devices": ("devices", "The sensors of this machine, and how to get the missing ones."),
    "plugins": ("plugins", "What is installed: formats, profilers, limiters, graders, exporters."),
    "params": ("params", "Count the parameters of model files."),
    "run": ("run", "One inference: what the model answers."),
    "bench": ("bench", "Joules, seconds and watts of one inference, with intervals."),
    "compare": ("compare", "Which of several models uses less energy, and by how much."),
    "train": ("train", "Joules, seconds and watts of training: a step, or whole epochs."),
    "layers": ("layers", "Where in a model the joules go: layer by layer, adding up."),
    "study": ("study", "How energy grows with the size of the input: a whole study."),
    "measure": ("measure", "The energy of any command."),
    "record": ("record", "Sensors to a file, row by row; and windows of such files."),
    "grade": ("grade", "Energy above idle and a grade: of a script, a command, a model."),
    "sync": ("sync", "Send the runs that a grading service did not get yet."),
    "scale": ("scale", "Scales that grades are given on: list, show, build."),
    "calibrate": ("calibrate", "Compare a sensor with a wattmeter, so that its joules are known."),
    "powercap": ("powercap", "Power caps: show, set, reset, restore, and find the best one."),
    "explain": ("explain", "Where figures come from, and what makes them uncertain."),
    "export": ("export", "A report as CSV, Markdown or JSON."),
    "report": ("report", "A page with tables and pictures, of reports, studies, recordings."),
    "config": ("config_show", "The settings in force and where each comes from."),
}
"""Command -> its module and the first line of its help."""

WRAPPERS = ("measure", "grade")
"""Commands whose exit code is that of another program; their own failures are 125."""


NO_ARGUMENTS: tuple[type[click.UsageError], ...] = tuple(
    kind for kind in [getattr(click.exceptions, "NoArgsIsHelpError", None)] if kind
)
"""The error whose message is a whole help; click before 8.2 shows that itself."""


@dataclass
class State:
    """What the whole command line knows.

    Attributes:
        debug: show tracebacks.
    """

    debug: bool = False


def _debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().ensure_object(State).debug = True


debug_option = click.Option(
    ["--debug"],
    is_flag=True,
    expose_value=False,
    callback=_debug,
    help="Show tracebacks (GREENAI_DEBUG=1 does too).",
)


class LazyGroup(click.Group):
    """Imports a command's module when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, with ``--debug`` added."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        command: click.Command = module.command
        if debug_option not in command.params:
            command.params.append(debug_option)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``--help``, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    params=[debug_option],
)
@click.version_option(package_name="greenai-core", prog_name="greenai")
@click.pass_context
def cli(context: click.Context) -> None:
    """What a deep-learning model costs in joules, with an error bar.

    \b
    Begin with:
      greenai devices                  which sensors this machine has
      greenai bench resnet.onnx        joules of one inference
      greenai measure -- make -j8      joules of any command
      greenai bench --help             more examples

    Results go to stdout, everything else to stderr; --json is for machines.
    Exit codes: 0 fine, 2 usage, 3 plugin, 4 model, 5 sensor, 6 output, 7 report,
    8 worse (compare --fail-if-worse), 9 grading service.
    """  # noqa: D301  # click takes \b for "keep these lines"
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(exit_codes.USAGE)


def main(args: Sequence[str] | None = None) -> int:
    """Run ``greenai``.

    Args:
        args: the command line; None for that of this process.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    try:
        if args is None and watcher.wanted(arguments):
            ended = watcher.split()
            if ended is not None:
                return ended
        with INTERRUPTS.installed():
            return _run(arguments)
    except KeyboardInterrupt:
        note("greenai: interrupted")
        return exit_codes.SIGNAL + (INTERRUPTS.received or signal.SIGINT)


def _run(arguments: list[str]) -> int:
    if "_GREENAI_COMPLETE" in os.environ:
        from click.shell_completion import shell_complete

        instruction = os.environ["_GREENAI_COMPLETE"]
        return shell_complete(cli, {}, "greenai", "_GREENAI_COMPLETE", instruction)
    state = State(debug=os.environ.get("GREENAI_DEBUG", "") not in ("", "0"))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # an ASCII terminal shows ? for ±, not a crash
    command = None
    try:
        with cli.make_context("greenai", arguments, obj=state) as context:
            try:
                cli.invoke(context)
            finally:
                command = context.invoked_subcommand
    except click.exceptions.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        abandon_stdout()
        return exit_codes.BROKEN_PIPE
    except Exception as error:  # noqa: BLE001  # the last stop: one line instead of a traceback
        return _failed(error, state, _wraps(command, arguments))
    return exit_codes.OK


def _wraps(command: str | None, arguments: Sequence[str]) -> bool:
    """Whether the exit code was to be that of another program."""
    return command in WRAPPERS or (command == "record" and "--" in arguments)


def _failed(error: Exception, state: State, wraps: bool) -> int:
    """Tell the error; its exit code."""
    if state.debug:
        note("".join(traceback.format_exception(error)).rstrip())
    code = exit_codes.of(error)
    if code == exit_codes.OUTPUT:
        abandon_stdout()
    if isinstance(error, NO_ARGUMENTS):
        note(error.format_message())
        return code
    complain(message(error))
    return exit_codes.WRAPPER_FAILED if wraps else code


def message(error: Exception) -> str:
    """What to tell people of an error."""
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "greenai"
        return f"{error.format_message()} `{where} --help` shows how"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, GreenAIError):
        return str(error)
    if exit_codes.of(error) == exit_codes.OUTPUT:
        return f"a file could not be written: {error}. Free some space, or choose another place"
    return (
        f"unexpected {type(error).__name__}: {error}. This is a fault of greenai or of a plugin: "
        "run it again with --debug and report what it prints"
    )
