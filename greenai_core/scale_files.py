"""Where scales are kept: those that greenai ships, and a user's own files."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from .errors import GradeError
from .scales import Scale, read_scale

SUFFIX = ".json"

LARGEST_FILE = 1_000_000
"""Characters; seven thousand references fit."""


def built_in_scales() -> tuple[Scale, ...]:
    """The scales that greenai ships, by id.

    Raises:
        GradeError: one was changed after it was installed.
    """
    found = (_checked(name, text) for name, text in _shipped())
    return tuple(sorted(found, key=lambda scale: scale.id))


def find_scale(name: str) -> Scale:
    """The scale with an id that greenai ships, or in a file.

    Args:
        name: an id such as ``task/image-classification/x86-vcpu-modelled/2026.1``, or
            the path of a file.

    Raises:
        GradeError: there is neither, or the scale is broken or was changed.
    """
    for file, text in _shipped():
        if file == file_name(name):
            return _checked(name, text)
    try:
        with Path(name).open(encoding="utf-8") as stream:
            text = stream.read(LARGEST_FILE + 1)
    except UnicodeDecodeError as error:
        raise GradeError(f"the scale {name} cannot be read: it is not UTF-8") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        known = ", ".join(scale.id for scale in built_in_scales()) or "none"
        raise GradeError(
            f"the scale {name} cannot be read: {reason}. Give the path of a scale's file, or the "
            f"id of a built-in one ({known})"
        ) from error
    if len(text) > LARGEST_FILE:
        raise GradeError(
            f"the scale {name} is no scale: it is longer than {LARGEST_FILE} characters"
        )
    return _checked(name, text)


def scales_for(task: str, hardware_class: str | None = None) -> tuple[Scale, ...]:
    """The shipped scales of a task, newest last.

    Args:
        task: as in the ids.
        hardware_class: only those for it; None for all.
    """
    return tuple(
        sorted(
            (
                scale
                for scale in built_in_scales()
                if scale.task == task and hardware_class in (None, scale.hardware_class)
            ),
            key=_age,
        )
    )


def file_name(id: str) -> str:
    """Name of the file of a shipped scale."""
    return id.replace("/", "_") + SUFFIX


def _age(scale: Scale) -> tuple[int, ...]:
    version = scale.id.rpartition("/")[2].split(".")
    return tuple(int(part) for part in version if part.isdecimal())


def _shipped() -> Iterator[tuple[str, str]]:
    folder = resources.files("greenai_core") / "data" / "scales"
    for file in sorted(folder.iterdir(), key=lambda item: item.name):
        if file.name.endswith(SUFFIX):
            yield file.name, file.read_text(encoding="utf-8")


def _checked(name: str, text: str) -> Scale:
    try:
        return read_scale(text)
    except GradeError as error:
        raise GradeError(f"{name}: {error}") from error
