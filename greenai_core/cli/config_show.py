"""``greenai config``."""

from __future__ import annotations

from typing import Any

import click

from . import options, output
from .config import Configuration, keys, public


@click.group(short_help="The settings in force and where each comes from.")
def command() -> None:
    """The settings in force and where each comes from."""


@command.command("show")
@options.sensor_options
@options.loop_options
@options.device_option
@options.out_option
@options.json_flag
def show(as_json: bool, **flags: Any) -> None:
    """Each setting, its value, and where that comes from.

    \b
    The first of these that sets a value wins:
      1. a flag, --precision 1%
      2. an environment variable, GREENAI_PRECISION=1%
      3. the project: the nearest greenai.toml, or [tool.greenai] in
         pyproject.toml, from the current folder upwards
      4. the user: $XDG_CONFIG_HOME/greenai/config.toml (~/.config/…)
      5. the default

    \b
    A file looks like this:
      precision = "1%"
      profilers = ["rapl", "wattmeter"]
      [profiler.wattmeter]
      url = "http://192.0.2.7"

    \b
    Examples:
      greenai config show
      GREENAI_MAX_TIME=10 greenai config show --json
    """  # noqa: D301  # click takes \b for "keep these lines"
    configuration = options.configuration(flags)
    rows = list(values(configuration))
    if as_json:
        settings = {name: {"value": value, "origin": origin} for name, value, origin in rows}
        files = [str(path) for path in configuration.files]
        output.emit_json({"settings": settings, "files": files})
        return
    shown = [(name, _text(value), origin) for name, value, origin in rows]
    output.emit(output.table(("setting", "value", "from"), shown))


def values(configuration: Configuration) -> list[tuple[str, Any, str]]:
    """Name, value and origin of each setting, options of profilers included."""
    settings, origins = configuration.settings, configuration.origins
    rows = [(key, public(key, getattr(settings, key)), origins[key]) for key in keys()]
    for name, table in settings.profiler.items():
        for option, value in table.items():
            key = f"profiler.{name}.{option}"
            rows.append((key, public(option, value), origins[key]))
    return rows


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
