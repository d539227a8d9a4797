"""The command line of ``greenai grade``: where its own options end, and what is graded.

Everything after SCRIPT, ``-m MODULE`` or ``--`` belongs to the program; after a model
file the options are ours again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click

from greenai_core.errors import ModelAmbiguous, ModelError
from greenai_core.model_factory import factory

SCRIPT, MODULE, NOTEBOOK, COMMAND, MODEL = "script", "module", "notebook", "command", "model"

KIND = "greenai.grade.kind"
"""Key of ``Context.meta`` under which the command finds what kind of target it has."""

NOTEBOOK_SUFFIX = ".ipynb"
PYTHON = (".py", ".pyw", ".pyc", ".pyz")

MODULE_FLAGS = ("-m", "--module")
FORMAT_FLAG = "--format"


@dataclass(frozen=True)
class Words:
    """A command line taken apart.

    Attributes:
        own: options of ours.
        kind: what is graded; empty where nothing was named.
        rest: the target and what follows it; of a module only what follows.
    """

    own: tuple[str, ...]
    kind: str
    rest: tuple[str, ...]


class GradeCommand(click.Command):
    """Knows where our options end, and shows them in sections."""

    sections: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Title -> names of the parameters in it."""

    allow_interspersed_args = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse our own options alone."""
        words = split(args, takes_value(self.params))
        ctx.meta[KIND] = words.kind
        if words.kind == MODEL:
            target, *more = words.rest
            parsed = [*words.own, *more, "--", target]
            ctx.allow_interspersed_args = True
        else:
            parsed = [*words.own, "--", *words.rest] if words.rest else list(words.own)
        return super().parse_args(ctx, parsed)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options in sections; what is in none comes last."""
        left = {
            parameter.name: record
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option)
            and (record := parameter.get_help_record(ctx)) is not None
        }
        for title, names in self.sections.items():
            records = [left.pop(name) for name in names if name in left]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
        if left:
            with formatter.section("Other options"):
                formatter.write_dl(list(left.values()))


def takes_value(parameters: Sequence[click.Parameter]) -> dict[str, bool]:
    """Each spelling of an option -> whether a value follows it."""
    return {
        spelling: not (option.is_flag or option.count)
        for option in parameters
        if isinstance(option, click.Option)
        for spelling in (*option.opts, *option.secondary_opts)
    }


def split(args: Sequence[str], values: Mapping[str, bool]) -> Words:
    """Take a command line apart.

    Args:
        args: after ``greenai grade``.
        values: see ``takes_value``. What is no option of ours is taken for a flag, so
            that it is told as such.
    """
    at, model_format = 0, False
    while at < len(args):
        word = args[at]
        if word == "--":
            rest = tuple(args[at + 1 :])
            return Words(tuple(args[:at]), _after_dashes(rest), rest)
        if word == "-" or not word.startswith("-"):
            rest = tuple(args[at:])
            return Words(tuple(args[:at]), kind_of(word, model_format), rest)
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        attached = "=" in word if word.startswith("--") else len(word) > 2
        follows = values.get(name, False) and not attached
        at += 2 if follows else 1
        model_format = model_format or name == FORMAT_FLAG
        if name in MODULE_FLAGS:
            return Words(tuple(args[:at]), MODULE, tuple(args[at:]))
    return Words(tuple(args), "", ())


def _after_dashes(rest: Sequence[str]) -> str:
    """A command; a Python file that nobody made executable is run as without the dashes."""
    if not rest:
        return ""
    path = Path(rest[0])
    executable = path.is_file() and path.stat().st_mode & 0o111
    return SCRIPT if path.suffix in PYTHON and path.is_file() and not executable else COMMAND


def kind_of(target: str, model_format: bool = False) -> str:
    """Whether a target is a script, a notebook, or a model file.

    Args:
        target: its path.
        model_format: somebody said which format of models it has.
    """
    path = Path(target)
    suffix = path.suffix.lower()
    if suffix == NOTEBOOK_SUFFIX:
        return NOTEBOOK
    if suffix in PYTHON or (path / "__main__.py").is_file():
        return SCRIPT
    return MODEL if model_format or _is_model(path) else SCRIPT


def _is_model(path: Path) -> bool:
    endings = {end for kind in factory.formats.values() for end in kind.suffixes if end[:1] == "."}
    if path.name.lower().endswith(tuple(endings)):
        return True
    if not path.exists():
        return False
    try:
        factory.get_model(path)
    except ModelAmbiguous:
        return True
    except ModelError:
        return path.is_dir()
    return True
