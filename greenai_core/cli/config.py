"""Settings: flag > ``GREENAI_*`` > project TOML > user TOML > default.

The project file is the nearest ``greenai.toml``, or ``pyproject.toml`` with a
table ``[tool.greenai]``, from the current folder upwards; the user's is
``$XDG_CONFIG_HOME/greenai/config.toml``.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenai_core.errors import ConfigError
from greenai_core.user_folders import user_folder

DEFAULT = "default"

HIDDEN = "********"

ProfilerOptions = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Settings:
    """What can be configured.

    Attributes:
        profilers: names, or ``("auto",)``.
        precision: relative half-width of the repeatability interval to reach.
        max_time: longest measured time of one model, s.
        min_time: shortest, s.
        device: where models run: ``auto``, ``cpu``, ``cuda:0``.
        out: folder of the report.
        idle_time: how long idle is measured before and after a script, s.
        calibrations: ``auto`` for those that ``greenai calibrate`` keeps, ``none``,
            or the folder where they are kept.
        grading_url: address of the service that ``--grader web`` asks; empty for none.
        grading_timeout: how long a service is waited for, s.
        profiler: constructor options by profiler name.
    """

    profilers: tuple[str, ...] = ("auto",)
    precision: float = 0.02
    max_time: float = 60.0
    min_time: float = 1.0
    device: str = "auto"
    out: str = "greenai-report"
    idle_time: float = 5.0
    calibrations: str = "auto"
    grading_url: str = ""
    grading_timeout: float = 20.0
    profiler: ProfilerOptions = field(default_factory=dict)


@dataclass(frozen=True)
class Configuration:
    """The settings in force and where each comes from.

    Attributes:
        settings: the values.
        origins: by key (``precision``, ``profiler.modelled.tdp_w``): ``default``,
            a file, an environment variable, or a flag.
        files: the TOML files that were read.
    """

    settings: Settings
    origins: Mapping[str, str]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class _Layer:
    """Values from one place; ``origin`` gives the place of a key."""

    values: Mapping[str, Any]
    origin: Callable[[str], str]


def configure(flags: Mapping[str, Any] | None = None) -> Configuration:
    """Put the layers together.

    Args:
        flags: by key of ``Settings``; None for a flag that was not given. Text
            is understood as in environment variables.

    Raises:
        ConfigError: an unknown key or an impossible value; names file and key.
    """
    user, project = _user_file(), _project_file(Path.cwd())
    layers = [_file_layer(path, table) for path, table in (user, project) if path is not None]
    layers.append(_environment_layer())
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    layers.append(_Layer(given, flag_name))
    files = tuple(path for path, _ in (user, project) if path is not None)
    return _merged(layers, files)


def flag_name(key: str) -> str:
    """The flag that sets a key."""
    special = {
        "profilers": "--profiler",
        "calibrations": "--no-calibration",
        "grading_url": "--url",
        "grading_timeout": "--timeout",
    }
    return special.get(key, "--" + key.replace("_", "-"))


def variable_name(key: str) -> str:
    """The environment variable that sets a key."""
    return f"GREENAI_{key.upper()}"


def keys() -> tuple[str, ...]:
    """The keys that have one value each; ``profiler`` is a table of tables."""
    return tuple(f.name for f in dataclasses.fields(Settings) if f.name != "profiler")


def public(name: str, value: Any) -> Any:
    """What may be shown of an option: no password, no argument of a command, no query."""
    if any(word in name.lower() for word in ("password", "secret", "token", "auth")):
        return HIDDEN if value else value
    if not isinstance(value, str):
        return value
    if name == "command":
        words = [word for word in value.split() if "=" not in word]  # a variable may be one too
        return value if [value] == words else f"{words[0] if words else ''} {HIDDEN}".lstrip()
    if "://" in value:
        return re.sub(r"[?#].*", f"?{HIDDEN}", re.sub(r"://.*@", f"://{HIDDEN}@", value))
    return value


def _merged(layers: list[_Layer], files: tuple[Path, ...]) -> Configuration:
    values: dict[str, Any] = {}
    origins = dict.fromkeys(keys(), DEFAULT)
    options: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for key, raw in layer.values.items():
            origin = layer.origin(key)
            if key == "profiler":
                for name, table in _tables(raw, origin).items():
                    options.setdefault(name, {}).update(table)
                    origins.update(
                        {
                            f"profiler.{name}.{option}": "-O" if origin == "--profiler" else origin
                            for option in table
                        }
                    )
            else:
                values[key] = _checked(key, raw, origin)
                origins[key] = origin
    _keep_secrets_at_home(options, origins)
    settings = Settings(**values, profiler=options)
    return Configuration(_consistent(settings, origins), origins, files)


def _consistent(settings: Settings, origins: Mapping[str, str]) -> Settings:
    if settings.min_time <= settings.max_time:
        return settings
    if origins["min_time"] == DEFAULT:
        return dataclasses.replace(settings, min_time=settings.max_time)
    if origins["max_time"] == DEFAULT:
        return dataclasses.replace(settings, max_time=settings.min_time)
    raise ConfigError(
        f"min_time = {settings.min_time:g} s (from {origins['min_time']}) is more than "
        f"max_time = {settings.max_time:g} s (from {origins['max_time']})"
    )


# The layers


def _user_file() -> tuple[Path | None, Mapping[str, Any]]:
    try:
        path = user_folder("XDG_CONFIG_HOME", ".config") / "config.toml"
    except ConfigError:  # a user without a home folder has no settings of their own
        return None, {}
    return (path, _read(path)) if _is_file(path) else (None, {})


def _project_file(start: Path) -> tuple[Path | None, Mapping[str, Any]]:
    for folder in (start, *start.parents):
        own = folder / "greenai.toml"
        if _is_file(own):
            return own, _read(own)
        shared = folder / "pyproject.toml"
        if _is_file(shared) and b"greenai" in _content(shared):
            table = _read(shared).get("tool", {}).get("greenai")
            if table is not None:
                return shared, table
    return None, {}


def _is_file(path: Path) -> bool:
    """Where a folder is closed to this user, as another's home is, nothing in it is theirs."""
    return os.path.isfile(path)  # noqa: PTH113  # Path.is_file raises where it may not look


def _read(path: Path) -> Mapping[str, Any]:
    # The standard library has it since 3.11.
    tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        data: Mapping[str, Any] = tomllib.loads(_content(path).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return data


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _file_layer(path: Path, table: Mapping[str, Any]) -> _Layer:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path}: [tool.greenai] is not a table")
    for key, value in table.items():
        if key not in (*keys(), "profiler"):
            known = ", ".join((*keys(), "[profiler.NAME]"))
            raise ConfigError(f"{path}: there is no setting {key!r} (settings: {known})")
        if isinstance(value, str) and key in _TIMES:
            raise ConfigError(f"{path}: {key} = {value!r} is not a number of seconds")
        if key == "profilers" and not isinstance(value, list):
            raise ConfigError(f'{path}: profilers is not a list of names, like ["auto"]')
    if path.name != "config.toml" and "grading_url" in table:
        raise ConfigError(
            f"{path}: grading_url decides who is told of your runs, and gets your token, so it is "
            "not taken from a project's file. Give it with --url, or in your own config.toml"
        )
    if path.name != "config.toml":
        _refuse_from_strangers(path, _tables(table.get("profiler", {}), str(path)))
    values = dict(table)
    out = values.get("out")
    if isinstance(out, str) and out and path.name != "config.toml":
        values["out"] = str(path.parent / out)  # a project's report stays in the project
    return _Layer(values, lambda key: str(path))


OWN_FILE = "config.toml"
PROJECT_FILES = ("greenai.toml", "pyproject.toml")
SECRETS = {"password", "password_env", "headers_env"}

_OWN_FILE_ONLY = {
    "command": "runs a program",
    "shell": "runs a program",
    "program": "runs a program",
    "perf": "runs a program",
    "password_env": "sends a secret of yours to an address",
    "headers_env": "sends a secret of yours to an address",
    "verify": "decides who may be told a password",
}


def _refuse_from_strangers(path: Path, options: ProfilerOptions) -> None:
    """A folder from a stranger must not run or send what it likes when greenai is used there."""
    for profiler, given in options.items():
        for name in sorted({*_OWN_FILE_ONLY} & {*given}):
            raise ConfigError(
                f"{path}: profiler.{profiler}.{name} {_OWN_FILE_ONLY[name]}, so it is not taken "
                f"from a project's file. Give it with -O {profiler}.{name}=…, or in your own "
                "config.toml"
            )


def _keep_secrets_at_home(options: ProfilerOptions, origins: Mapping[str, str]) -> None:
    """What the user's own file holds for one address is not sent to that of a project's file."""
    for profiler, given in options.items():
        url = Path(origins.get(f"profiler.{profiler}.url", OWN_FILE)).name
        if url not in PROJECT_FILES:
            continue
        for name in SECRETS & {*given}:
            if Path(origins[f"profiler.{profiler}.{name}"]).name == OWN_FILE:
                raise ConfigError(
                    f"profiler.{profiler}.url comes from {origins[f'profiler.{profiler}.url']}, "
                    f"so profiler.{profiler}.{name} of your own {OWN_FILE} is not sent there. "
                    f"If that is meant, give -O {profiler}.url=…"
                )


def _environment_layer() -> _Layer:
    values = {key: os.environ.get(variable_name(key), "") for key in keys()}
    return _Layer({key: text for key, text in values.items() if text}, variable_name)


# The values

LONGEST_WAIT_S = 86_400.0
"""A day: timeouts of systems end somewhere."""

_TIMES = ("max_time", "min_time", "idle_time", "grading_timeout")


def _checked(key: str, raw: Any, origin: str) -> Any:
    """The value of a key from whatever place.

    Raises:
        ConfigError: it cannot be used; names the place.
    """
    try:
        if key == "profilers":
            return _profilers(raw)
        if key == "precision":
            return _precision(raw)
        if key == "device":
            return _device(raw)
        if key in _TIMES:
            seconds = _seconds(raw, least_open=key != "idle_time")
            if key == "grading_timeout" and seconds > LONGEST_WAIT_S:
                raise ValueError("is longer than a day")  # one place adds key and origin
            return seconds
        if not isinstance(raw, str) or not raw:
            raise ValueError("is not text")  # one place adds key and origin
    except ValueError as error:
        raise ConfigError(f"{origin}: {key} = {raw!r} {error}") from error
    return raw


def _profilers(raw: Any) -> tuple[str, ...]:
    names = [name.strip() for name in raw.split(",")] if isinstance(raw, str) else list(raw)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("is not a list of names")
    if "auto" in names and len(names) > 1:
        raise ValueError("mixes 'auto' with names: 'auto' stands alone")
    return tuple(dict.fromkeys(names))


def _precision(raw: Any) -> float:
    try:
        if isinstance(raw, bool):
            raise TypeError
        text = str(raw).strip()
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except (TypeError, ValueError) as error:
        raise ValueError("is no precision: write 2% or 0.02") from error
    if not 0 < value < 1:
        raise ValueError("is no precision between 0% and 100%: write 2% or 0.02")
    return value


def _device(raw: Any) -> str:
    """Those that ``DLLibrary`` knows."""
    if not isinstance(raw, str) or not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", raw):
        raise ValueError("is no device: give cpu, cuda, cuda:1 or auto")
    return raw


def _seconds(raw: Any, *, least_open: bool) -> float:
    try:
        if isinstance(raw, bool):
            raise TypeError
        value = float(raw)
    except (TypeError, ValueError) as error:
        raise ValueError("is not a number of seconds") from error
    if not math.isfinite(value) or value < 0 or (least_open and value == 0):
        raise ValueError("is not a usable number of seconds")
    return value


def _tables(raw: Any, origin: str) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(raw, Mapping) or not all(isinstance(t, Mapping) for t in raw.values()):
        raise ConfigError(f"{origin}: write options of profilers as tables, [profiler.NAME]")
    return raw
