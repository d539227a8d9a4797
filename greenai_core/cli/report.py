"""``greenai report``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from greenai_core import registry
from greenai_core.errors import ConfigError, SchemaError
from greenai_core.export import Exporter, ReportSource

from . import output
from .places import check_file
from .report_sources import sources_of
from .reports import FILE_NAME

GROUP = "greenai.exporters"

SUFFIXES = {
    ".html": "html",
    ".htm": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".svg": "svg",
    ".png": "png",
    ".csv": "csv",
    ".json": "json",
}
"""End of a file's name -> the exporter that writes it, where ``--to`` does not say."""

DEFAULT = "report.html"


@click.command(short_help="A page with tables and pictures, of reports, studies, recordings.")
@click.argument("names", nargs=-1, required=True, metavar="DIR|REPORT...")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    help="Write there: .html, .md, or one picture as .svg or .png. May be given several times. "
    f"[default: {DEFAULT}]",
)
@click.option("--to", "exporter", metavar="NAME", help="An exporter, whatever the suffix says.")
@click.option(
    "--picture",
    metavar="NAME",
    help="Which picture an .svg or .png is. [default: that of the file's name, or the first]",
)
@click.option("--pictures", "folder", metavar="DIR", help="Write every picture there.")
@click.option(
    "--pictures-as",
    "drawn_as",
    type=click.Choice(["svg", "png"]),
    default="svg",
    show_default=True,
    help="What they are.",
)
def command(
    names: tuple[str, ...],
    outputs: tuple[str, ...],
    exporter: str | None,
    picture: str | None,
    folder: str | None,
    drawn_as: str,
) -> None:
    """A page with tables and pictures, of reports, studies, recordings.

    Each DIR holds a report.json, or is the folder of a study; each REPORT is such
    a file, or a recording of `greenai record`. The page is one file: no network,
    no other files, readable on a phone, on paper, and by keyboard. Several are
    shown side by side; reports of bench or of train, and studies, are compared
    with the first.

    \b
    Examples:
      greenai report greenai-report
      greenai report study/ -o study.html --pictures figures/
      greenai report old/ new/ -o compared.html -o compared.md
      greenai report run.csv -o power.svg
    """  # noqa: D301  # click takes \b for "keep these lines"
    wanted = outputs or (() if folder else (DEFAULT,))
    files = [(_apart(name, names), _exporter(name, exporter)) for name in wanted]
    drawer = None if folder is None else _load(drawn_as)
    sources = sources_of(names)
    made: dict[str, bytes] = {}
    if folder is not None and drawer is not None:
        made = _draw(drawer, sources, Path(folder), alone=not files)
    for file, writer in files:
        content = _written(writer, sources, file, picture)
        if made and writer.name == "markdown":
            content += _links(made, Path(folder or ""), file, drawn_as)
        output.save(file, content)
        output.note(f"greenai: written to {file} ({len(content) / 1000:.0f} kB)")


def _apart(output: str, names: Sequence[str]) -> Path:
    """Where a page may be written: over nothing that it is made of.

    Raises:
        ConfigError: it is one of what is shown, or no place for a file.
    """
    file = check_file(output, "--output")
    for name in names:
        for source in (Path(name), Path(name) / FILE_NAME):
            if file.exists() and source.is_file() and file.samefile(source):
                raise ConfigError(
                    f"--output {output}: that is {source}, which the page is made of, and would "
                    "be lost; give another name"
                )
    return file


def _exporter(file: str, name: str | None) -> Exporter:
    """The exporter for a file.

    Raises:
        ConfigError: its suffix tells none.
    """
    found = name or SUFFIXES.get(Path(file).suffix.lower())
    if found is None:
        raise ConfigError(
            f"--output {file}: its suffix tells no format; give one of "
            f"{', '.join(SUFFIXES)}, or name an exporter with --to"
        )
    return _load(found)


def _load(name: str) -> Exporter:
    exporter: Exporter = registry.load(GROUP, name)()
    return exporter


def _written(
    exporter: Exporter, sources: Sequence[ReportSource], file: Path, picture: str | None
) -> bytes:
    """The content of a file: all of it, or the picture that was asked for.

    Raises:
        SchemaError: there is no such picture.
    """
    if exporter.name not in ("svg", "png"):
        return exporter.export_several(sources)
    if picture is None and file.stem not in _names(sources):
        return exporter.export_several(sources)
    parts = exporter.export_parts(sources)
    name = picture or file.stem
    if name not in parts:
        raise SchemaError(f"there is no picture {name!r} of these; there are {', '.join(parts)}")
    return parts[name]


def _names(sources: Sequence[ReportSource]) -> Sequence[str]:
    """Names of the pictures; SVGs are quickly made."""
    return list(_load("svg").export_parts(sources))


def _draw(
    drawer: Exporter, sources: Sequence[ReportSource], folder: Path, *, alone: bool
) -> dict[str, bytes]:
    """Every picture in the folder; without any, the page that was asked for too is still made.

    Raises:
        SchemaError: nothing can be drawn, and nothing else was asked for.
    """
    try:
        parts = dict(drawer.export_parts(sources))
    except SchemaError as error:
        if alone:
            raise
        output.note(f"greenai: no pictures: {error}")
        return {}
    for name, content in parts.items():
        output.save(check_file(str(folder / f"{name}{drawer.suffix}"), "--pictures"), content)
    output.note(f"greenai: {len(parts)} pictures written to {folder}")
    return parts


def _links(made: Mapping[str, bytes], folder: Path, file: Path, suffix: str) -> bytes:
    """Pictures in Markdown, by their path from that file."""
    from os.path import relpath
    from urllib.parse import quote

    beside = relpath(folder, file.parent)
    links = [
        f"![{name}]({quote(f'{beside}/{name}.{suffix}')})" for name in made if "-log" not in name
    ]
    return ("\n## Files of the pictures\n\n" + "\n\n".join(links) + "\n").encode()
