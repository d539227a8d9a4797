"""From a path to the class that opens it, and to the opened model."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import registry
from .errors import ModelAmbiguous, ModelError, ModelUnrecognised, PluginBroken, PluginError
from .model import DLLibrary


class DLModelFactory:
    """Knows the formats of model files and tells them apart.

    Args:
        installed: begin with every format that an installed plugin registers;
            False begins with none (``register_predefined_formats`` adds them).
    """

    def __init__(self, installed: bool = False) -> None:
        self._by_suffix: dict[str, type[DLLibrary]] = {}
        self._formats: dict[str, type[DLLibrary]] = {}
        self._broken: dict[str, Exception] = {}
        self._installed = installed

    def register_predefined_formats(self) -> None:
        """Add every format that an installed plugin registers."""
        self._installed = True

    def register_format(self, suffix: str, library: type[DLLibrary]) -> None:
        """Let ``library`` open every file whose name ends with ``suffix``.

        It wins over the formats of plugins.

        Args:
            suffix: with its dot, ``".custom"``; ``"/"`` for folders.
            library: subclass of ``DLLibrary``.
        """
        if not (isinstance(library, type) and issubclass(library, DLLibrary)):
            raise TypeError(f"{library!r} is not a subclass of DLLibrary")
        if not suffix:
            raise ValueError("a suffix cannot be empty")
        self._by_suffix[suffix.lower()] = library

    @property
    def formats(self) -> dict[str, type[DLLibrary]]:
        """The formats of plugins, by name."""
        if self._installed and not self._formats:
            loaded, self._broken = registry.load_all("greenai.models")
            for name, library in loaded.items():
                if isinstance(library, type) and issubclass(library, DLLibrary):
                    self._formats[name] = library
                else:
                    self._broken[name] = PluginBroken(f"{library!r} is no DLLibrary")
        return self._formats

    def get_model(
        self, path: str | os.PathLike[str], *, format: str | None = None
    ) -> type[DLLibrary]:
        """The class that opens the file; call it with the path and options.

        Args:
            path: the model file or folder.
            format: name of the format, where the file alone does not decide.

        Raises:
            ModelUnrecognised: there is no such file, it cannot be read, or no
                format claims it.
            ModelAmbiguous: several formats claim it.
            PluginNotFound: ``format`` is not installed.
        """
        if format is not None:
            return self.formats.get(format) or registry.load("greenai.models", format)
        file = Path(path)
        _check_readable(file)
        registered = self._registered(os.fspath(path))
        if registered is not None:
            return registered
        if file.is_file() and file.stat().st_size == 0:
            raise ModelUnrecognised(f"{path} is empty. Copy or export it again")
        claims = self._claims(file)
        if len(claims) > 1:
            candidates = ", ".join(sorted(library.format for library in claims))
            raise ModelAmbiguous(
                f"{path} could be any of {candidates}. Decide with --format NAME "
                "(in Python format=NAME)"
            )
        if not claims:
            raise ModelUnrecognised(self._unknown(file))
        return claims[0]

    def load(
        self, path: str | os.PathLike[str], *, format: str | None = None, **options: Any
    ) -> DLLibrary:
        """The opened model; its weights are loaded on first use.

        Args:
            path: the model file or folder.
            format: name of the format, where the file alone does not decide.
            options: for the class: ``device``, ``enable_GPU``,
                ``input_shapes``, and those of the format.

        Raises:
            ModelUnrecognised, ModelAmbiguous: see ``get_model``.
            ModelLoadError: an option does not suit the format.
        """
        return self.get_model(path, format=format)(path, **options)

    def _claims(self, file: Path) -> list[type[DLLibrary]]:
        """The formats that recognise the file; one that fails to look is set aside."""
        claims = []
        for name, library in list(self.formats.items()):
            try:
                if library.recognises(file):
                    claims.append(library)
            except Exception as error:  # noqa: BLE001  # a stranger's fault must not hide the others
                self._broken[name] = error
        return claims

    def _registered(self, path: str) -> type[DLLibrary] | None:
        lower = path.lower()
        matches = [suffix for suffix in self._by_suffix if lower.endswith(suffix)]
        if Path(path).is_dir() and "/" in self._by_suffix:
            matches.append("/")
        return self._by_suffix[max(matches, key=len)] if matches else None

    def _unknown(self, file: Path) -> str:
        known = sorted({suffix for lib in self.formats.values() for suffix in lib.suffixes})
        message = f"no format recognises {file}"
        by_suffix = [
            library.format
            for library in self.formats.values()
            if any(file.name.lower().endswith(suffix) for suffix in library.suffixes)
        ]
        if by_suffix:
            message += (
                f": its name suggests {' or '.join(sorted(by_suffix))}, but its content is not "
                "that. It may be truncated or mislabelled: copy or export it again, or give its "
                "true format with --format NAME (in Python format=NAME)"
            )
        elif known:
            message += (
                f" (known endings: {', '.join(known)}). Give its format with --format NAME "
                "(in Python format=NAME), or install a plugin for it"
            )
        else:
            message += ": no format is registered"
        if self._broken:
            message += f". Broken plugins: {', '.join(sorted(self._broken))} (greenai plugins)"
        return message


def _check_readable(path: Path) -> None:
    """Tell a file that is missing or locked from one that no format knows.

    Raises:
        ModelUnrecognised: it is missing or cannot be read.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            next(path.iterdir(), None)
        elif stat.S_ISREG(mode):
            path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelUnrecognised(f"there is no model file {path}. Check the path") from error
    except OSError as error:
        raise ModelUnrecognised(
            f"{path} cannot be read: {error.strerror}. Check its permissions"
        ) from error


def available(library: type[DLLibrary]) -> str:
    """Why the library of a format cannot be used here; empty if it can."""
    try:
        library.check_available()
    except PluginError as error:
        return str(error)
    return ""


factory = DLModelFactory(installed=True)
"""Ready-made, with every installed format."""


@contextlib.contextmanager
def opened(model: DLLibrary | str | os.PathLike[str]) -> Iterator[DLLibrary]:
    """The model itself, left open; or the one of a path, closed afterwards.

    Raises:
        ModelError: it is neither.
    """
    if isinstance(model, DLLibrary):
        yield model
    elif not isinstance(model, (str, os.PathLike)):
        raise ModelError(
            f"a {type(model).__name__} is neither a path nor an opened model. A PyTorch network in "
            "memory is measured as TorchNetwork(network, example), of "
            "greenai_plugins.integrations.torch_network"
        )
    else:
        with factory.load(model) as library:
            yield library
