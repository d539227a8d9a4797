"""Which class opens each model of a command, and with which options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenai_core.errors import ConfigError
from greenai_core.model import DLLibrary
from greenai_core.model_factory import factory

from .faults import Faults
from .options import ModelFlags


@dataclass(frozen=True)
class Choice:
    """A model file, the class that opens it, and the options for it."""

    path: str
    library: type[DLLibrary]
    options: Mapping[str, Any]

    def open(self) -> DLLibrary:
        """The opened model; its weights are loaded on first use."""
        return self.library(self.path, **self.options)


def choose(
    paths: Sequence[str],
    flags: ModelFlags,
    faults: Faults,
    device: str | None = None,
    *,
    installed: bool = True,
) -> list[Choice]:
    """A choice for each path that a format claims; the others become faults.

    Args:
        paths: of the models.
        flags: how to open them.
        faults: told what is wrong with a path.
        device: where they run; None where they will not.
        installed: whether the library of each format must be there; most formats
            count parameters without it.

    Raises:
        ConfigError: an option suits none of the models.
    """
    chosen = []
    for path in paths:
        try:
            library = factory.get_model(path, format=flags.format)
            if installed:
                library.check_available()
        except Exception as error:  # noqa: BLE001  # one bad file must not hide the others
            faults.add(error, path)
        else:
            known = {k: v for k, v in flags.options.items() if k in library.option_names}
            common = {"device": device, "input_shapes": flags.shapes or None}
            given = {key: value for key, value in common.items() if value is not None}
            chosen.append(Choice(path, library, {**given, **known}))
    _check_all_used(chosen, flags)
    return chosen


def _check_all_used(chosen: Sequence[Choice], flags: ModelFlags) -> None:
    for key, spelling in flags.spellings.items():
        if chosen and not any(key in choice.options for choice in chosen):
            formats = ", ".join(sorted({choice.library.format for choice in chosen}))
            known = sorted({name for choice in chosen for name in choice.library.option_names})
            raise ConfigError(
                f"{spelling} is no option of the format {formats} "
                f"(its options: {', '.join(known) or 'none'})"
            )
