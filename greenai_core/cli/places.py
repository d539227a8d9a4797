"""Whether a result can be written, found out before the work instead of after it."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from greenai_core.errors import ConfigError

from .output import FULL, cannot_write

PROBE_BYTES = 4096


def check_file(text: str, flag: str) -> Path:
    """The file that a flag names; its folder is made where it is missing.

    Raises:
        ConfigError: nothing can be written there, or it names a folder.
        OutputError: the disk is full.
    """
    path = Path(text)
    if text.endswith(os.sep) or path.is_dir():
        raise ConfigError(f"{flag} {text!r} is a folder: give the name of a file")
    _check(path, flag, make_folder=True)
    return path


def check_report(folder: str, name: str) -> Path:
    """The report of that name in the folder of ``--out``, which is made where it is missing.

    Raises:
        ConfigError: nothing can be written there.
        OutputError: the disk is full.
    """
    path = Path(folder) / name
    if path.is_dir():
        raise ConfigError(f"--out {folder}: {path} is a folder, so the report cannot be written")
    _check(path, "--out", make_folder=True)
    return path


def check_save(text: str, model: str) -> None:
    """See that a trained model can be saved: a file, or a folder where the model is one.

    Raises:
        ConfigError: it cannot be written there, or the other kind is there already.
        OutputError: the disk is full.
    """
    path, whole = Path(text), Path(model).is_dir()
    if not path.parent.is_dir():
        raise ConfigError(f"--save {text}: there is no folder {path.parent}. Create it first")
    if whole and path.exists() and not path.is_dir():
        raise ConfigError(f"--save {text} is a file, but {model} is a folder: give another name")
    if not whole and (text.endswith(os.sep) or path.is_dir()):
        raise ConfigError(f"--save {text} is a folder: give the name of a file")
    _check(path, "--save", make_folder=False)


def _check(path: Path, flag: str, *, make_folder: bool) -> None:
    try:
        target = path.resolve()
        if target.exists() and not _is_replaced(target):
            if not os.access(target, os.W_OK):
                raise PermissionError(13, "Permission denied")
            return
        if make_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".greenai-") as probe:
            probe.write(bytes(PROBE_BYTES))
    except OSError as error:
        told = cannot_write(path, error)
        raise told if error.errno in FULL else ConfigError(f"{flag}: {told}") from error


def _is_replaced(target: Path) -> bool:
    """Whether it is renamed over, as files and folders are; devices and pipes are written to."""
    mode = target.stat().st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
