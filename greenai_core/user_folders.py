"""Where a user's own files are: the folders of the XDG base directory specification."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import ConfigError


def user_folder(variable: str, usual: str) -> Path:
    """The folder ``greenai`` of one kind.

    Args:
        variable: such as ``XDG_STATE_HOME``; counts where it is an absolute path.
        usual: below the home folder, such as ``.local/state``.

    Raises:
        ConfigError: neither the variable nor a home folder is known, as in a container that
            runs as a user without an entry in ``/etc/passwd``.
    """
    given = os.environ.get(variable, "")
    if Path(given).is_absolute():
        return Path(given) / "greenai"
    return at_home(f"~/{usual}", f"Set {variable} to a folder of yours") / "greenai"


def at_home(path: str, remedy: str = "Give it without ~") -> Path:
    """A path whose ``~`` is the home folder.

    Args:
        path: as people write it.
        remedy: what to do where there is no such folder.

    Raises:
        ConfigError: nobody knows that folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"there is no home folder to find {path} in. {remedy}") from error
