"""What the documents tell people to type exists."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import click
import pytest

import greenai_core
from greenai_core.cli.main import cli
from greenai_core.cli.study import SUBCOMMANDS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("docs/studies/*.md"),
        *ROOT.glob("examples/*/README.md"),
    )
)


def blocks(document):
    """Language and content of each fenced block."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(document):
    """Each command line of ``greenai``, without placeholders."""
    for language, content in blocks(document):
        if language in ("", "console", "sh", "bash"):
            for line in content.splitlines():
                command = re.sub(r"^\$ ", "", line.strip()).split("  #")[0].split(" | ")[0]
                if command.startswith("greenai ") and "…" not in command:
                    yield shlex.split(command)[1:]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_in_documents_parses_and_imports_public_names(document):
    for language, content in blocks(document):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.ImportFrom) and node.module == "greenai_core":
                unknown = {name.name for name in node.names} - set(greenai_core.__all__)
                assert not unknown


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_in_documents_have_these_options(document):
    for words in commands(document):
        command, context = cli, click.Context(cli, info_name="greenai")
        while isinstance(command, click.Group):
            name, *words = words
            command = command.get_command(context, name)
            assert command is not None, f"{document}: greenai {name}"
            context = click.Context(command, info_name=name, parent=context)
        if name == "study" and words[0] in SUBCOMMANDS:
            command = importlib.import_module(
                f"greenai_core.cli.{SUBCOMMANDS[words.pop(0)][0]}"
            ).command
        command.make_parser(context).parse_args(list(words))


def test_the_documents_do_hold_commands():
    """The two tests above look at something."""
    assert len([words for document in DOCUMENTS for words in commands(document)]) > 15
