"""Scales: what an energy per functional unit is graded by, as immutable data.

A scale is a JSON object. Its ``reference`` is the median of a pinned set of
references, its ``thresholds`` are ratios to it, and its ``sha256`` is that of all the
rest, so that nobody changes a scale without changing its id. ``read_scale`` checks
one; where they are kept is the matter of ``scale_files``.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .errors import GradeError

LETTERS = "ABCDEFG"

FACTORS: Mapping[str, float] = {"A": 0.25, "B": 0.5, "C": 1.0, "D": 2.0, "E": 4.0, "F": 8.0}
"""Greatest ratio to the reference of each letter: each step is a factor of two, since
what models need spreads over orders of magnitude. G is beyond F."""

MEASURABLE = ("cpu", "dram", "gpu", "accelerator", "wall", "psys")
"""Components that a scope may name."""

ENOUGH_REFERENCES = 7
"""Below this many references a scale is provisional: their median says too
little of the extremes, so it gives neither A nor G."""

MOST_REFERENCES = 10**9

TIERS = ("measured", "estimated")
ORIGINS = ("own", "cited")

RESERVED = ("self/", "util/", "legacy/")
"""Beginnings of ids that mean something else than a reference set."""

LONGEST_ID = 200
LONGEST_TEXT = 2000

SMALLEST, LARGEST = 1e-60, 1e60
"""Joules and ratios outside of these are mistakes, and would overflow."""

MEDIAN_TOLERANCE = 1e-9
"""Relative; other programs may round the mean of two references otherwise."""


@dataclass(frozen=True)
class Reference:
    """One member of the pinned set.

    Attributes:
        name: of a model, a program, or a published entry.
        energy_j: above idle, of one unit.
        low_j, high_j: 95 % interval; None where the source tells none.
    """

    name: str
    energy_j: float
    low_j: float | None = None
    high_j: float | None = None


@dataclass(frozen=True)
class Scale:
    """A scale that was checked.

    Attributes:
        id: names the scale for ever; another reference makes another id.
        unit: the functional unit, such as ``image``.
        scope: components that the energy must be of.
        reference_j: joules of one unit that a ratio of 1 stands for.
        n: how many references it is the median of.
        limits: the greatest ratio to the reference of A, B, C, D, E and F.
        sources: where the references come from, in words.
        task: what is done; None where nobody said.
        hardware_class: what hardware it is for, and how its energy is known; None likewise.
        tier: ``measured``, or ``estimated`` where the references are modelled.
        origin: ``own``: measured by whoever made the scale; ``cited``: taken from
            publications; None where nobody said.
        command: that measures the references again.
        references: the set; empty where the sources alone tell it.
        notes: what else to know.
        sha256: of the rest, in hexadecimal.
    """

    id: str
    unit: str
    scope: tuple[str, ...]
    reference_j: float
    n: int
    limits: tuple[float, ...]
    sources: tuple[str, ...] = ()
    task: str | None = None
    hardware_class: str | None = None
    tier: str = "measured"
    origin: str | None = None
    command: str | None = None
    references: tuple[Reference, ...] = ()
    notes: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def provisional(self) -> bool:
        """Whether too few references stand behind it."""
        return self.n < ENOUGH_REFERENCES

    def limit_j(self, letter: str) -> float:
        """The most joules per unit that still get a letter better than G."""
        return float(self._limit(letter))

    def letter(self, joules: float | Fraction) -> str:
        """The letter of an energy per unit, by the decimal numbers as they are written.

        A limit belongs to the better letter. 0.7 J for 7 units is 0.1 J for one, whatever
        binary fractions make of it.

        Args:
            joules: finite.
        """
        energy = exact(joules)
        found = next((x for x in LETTERS[:-1] if energy <= self._limit(x)), LETTERS[-1])
        if self.provisional:
            return {"A": "B", "G": "F"}.get(found, found)
        return found

    def _limit(self, letter: str) -> Fraction:
        return exact(self.limits[LETTERS.index(letter)]) * exact(self.reference_j)


def exact(number: float | Fraction) -> Fraction:
    """The shortest decimal number that stands for a float, as a fraction.

    Raises:
        ValueError: it is infinite or NaN.
    """
    return number if isinstance(number, Fraction) else Fraction(repr(float(number)))


def scale_fingerprint(content: Mapping[str, Any]) -> str:
    """SHA-256 of a scale without its own hash, over canonical JSON.

    Canonical: keys sorted, no spaces, UTF-8, no NaN.

    Raises:
        GradeError: the scale holds what JSON cannot.
    """
    bare = {key: value for key, value in content.items() if key != "sha256"}
    try:
        text = json.dumps(
            bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return hashlib.sha256(text.encode()).hexdigest()
    except (TypeError, ValueError, RecursionError) as error:
        raise GradeError(f"the scale cannot be written as JSON: {error}") from error


def read_scale(content: Mapping[str, Any] | str) -> Scale:
    """The scale in the content of a JSON file.

    Raises:
        GradeError: a field is missing or wrong, or the hash does not fit.
    """
    content = _object(content)
    id = _id(content)
    task, hardware_class = _parts_of(id, content)
    scale = Scale(
        id=id,
        unit=_words(content, "unit"),
        scope=_scope(_words(content, "scope")),
        reference_j=_positive(_field(content, "reference"), "reference"),
        n=_count(content),
        limits=_limits(_field(content, "thresholds")),
        sources=_sources(content),
        task=task,
        hardware_class=hardware_class,
        tier=_one_of(content, "tier", TIERS) or TIERS[0],
        origin=_one_of(content, "origin", ORIGINS),
        command=_optional_words(content, "command"),
        references=_references(content),
        notes=_texts(content.get("notes", []), "notes"),
        sha256=_words(content, "sha256"),
    )
    found = scale_fingerprint(content)
    if scale.sha256 != found:
        raise GradeError(
            f"the scale {scale.id} was changed: its sha256 is {found}, not {scale.sha256}. "
            "Get the original; a changed scale needs an id of its own"
        )
    _check_set(scale)
    return scale


def _object(content: Mapping[str, Any] | str) -> Mapping[str, Any]:
    if isinstance(content, str):
        try:
            content = json.loads(content, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise GradeError(f"the scale is not JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise GradeError("the scale is no JSON object")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no key stands twice: readers differ in which one they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _field(content: Mapping[str, Any], name: str) -> Any:
    if name not in content:
        raise GradeError(f"the scale has no {name!r}")
    return content[name]


def _words(content: Mapping[str, Any], name: str) -> str:
    value = _field(content, name)
    if not isinstance(value, str) or not value.strip():
        raise GradeError(f"{name!r} of the scale is {_shown(value)}, not a text")
    return _plain(value, name, LONGEST_TEXT if name == "command" else LONGEST_ID)


def _plain(text: str, name: str, longest: int) -> str:
    """A text that steers no terminal and fills no page: scales come from strangers."""
    if not text.isprintable() or len(text) > longest:
        raise GradeError(
            f"{name!r} of the scale is {_shown(text)}: at most {longest} printable characters"
        )
    return text


def _shown(value: object) -> str:
    """A value for a message, not longer than a line or two."""
    text = repr(value)
    return text if len(text) <= LONGEST_ID else f"{text[:LONGEST_ID]}…"


def _optional_words(content: Mapping[str, Any], name: str) -> str | None:
    return None if content.get(name) is None else _words(content, name)


def _one_of(content: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str | None:
    value = content.get(name)
    if value is not None and value not in choices:
        raise GradeError(f"{name!r} of the scale is {_shown(value)}, not {' or '.join(choices)}")
    return value


def _texts(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(t, str) and t.strip() for t in value):
        raise GradeError(f"{name!r} of the scale is {_shown(value)}, not a list of texts")
    return tuple(_plain(text, name, LONGEST_TEXT) for text in value)


def _sources(content: Mapping[str, Any]) -> tuple[str, ...]:
    found = _texts(_field(content, "sources"), "sources")
    if not found:
        raise GradeError("'sources' of the scale is empty: name those of its references")
    return found


def _id(content: Mapping[str, Any]) -> str:
    id = _words(content, "id")
    if len(id) > LONGEST_ID or not id.isprintable() or " " in id:
        raise GradeError(
            f"'id' of the scale is {id[:LONGEST_ID]!r}: at most {LONGEST_ID} printable characters "
            "without spaces"
        )
    if id.startswith(RESERVED):
        raise GradeError(f"'id' of the scale is {id!r}, but {', '.join(RESERVED)} are no scales")
    return id


def _parts_of(id: str, content: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Task and hardware class, of the id where it tells them."""
    stated = _optional_words(content, "task"), _optional_words(content, "hardware_class")
    if not id.startswith("task/"):
        return stated
    parts = id.split("/")
    if len(parts) != 4 or not all(parts) or not re.fullmatch(r"\d{4}\.\d+", parts[3]):
        raise GradeError(f"the id {id!r} is not task/<task>/<hardware class>/<year.n>")
    told = parts[1], parts[2]
    if any(own not in (None, of_id) for own, of_id in zip(stated, told, strict=True)):
        raise GradeError(f"the id {id!r} tells another task or hardware class than the scale")
    return told


def _scope(text: str) -> tuple[str, ...]:
    parts = tuple(text.split("+"))
    unknown = [part for part in parts if part not in MEASURABLE]
    if unknown or len(set(parts)) < len(parts):
        raise GradeError(
            f"'scope' of the scale is {text!r}, not components joined by '+', such as 'cpu+dram'"
        )
    return parts


def _positive(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise GradeError(f"{name!r} of the scale is {_shown(value)}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number <= 0:
        raise GradeError(f"{name!r} of the scale is {number}, not a positive number")
    if not SMALLEST <= number <= LARGEST:
        raise GradeError(f"{name!r} of the scale is {number}, past all reason")
    return number


def _count(content: Mapping[str, Any]) -> int:
    n = _field(content, "n")
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST_REFERENCES:
        raise GradeError(f"'n' of the scale is {_shown(n)}, not a number of references")
    return n


def _limits(thresholds: object) -> tuple[float, ...]:
    wanted = LETTERS[:-1]
    if not isinstance(thresholds, Mapping) or set(thresholds) != set(wanted):
        raise GradeError(
            "'thresholds' of the scale must give one ratio to each of A, B, C, D, E, F"
        )
    limits = tuple(_positive(thresholds[letter], f"thresholds.{letter}") for letter in wanted)
    if any(after <= before for before, after in itertools.pairwise(limits)):
        raise GradeError(f"'thresholds' of the scale do not rise from A to F: {limits}")
    return limits


def _references(content: Mapping[str, Any]) -> tuple[Reference, ...]:
    items = content.get("references", [])
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise GradeError("'references' of the scale is no list of objects")
    return tuple(
        Reference(
            _words(item, "name"),
            _positive(_field(item, "energy_j"), f"references[{i}].energy_j"),
            *(
                None if item.get(end) is None else _positive(item[end], f"references[{i}].{end}")
                for end in ("low_j", "high_j")
            ),
        )
        for i, item in enumerate(items)
    )


def _check_set(scale: Scale) -> None:
    """See that the reference is what its set says.

    Raises:
        GradeError: it is not.
    """
    energies = [reference.energy_j for reference in scale.references]
    if not energies:
        return
    if len(energies) != scale.n or len({r.name for r in scale.references}) < scale.n:
        raise GradeError(
            f"the scale {scale.id} says n = {scale.n}, and lists {len(energies)} references"
            f" of {len({r.name for r in scale.references})} names"
        )
    median = statistics.median(energies)
    if not math.isclose(median, scale.reference_j, rel_tol=MEDIAN_TOLERANCE):
        raise GradeError(
            f"the reference of the scale {scale.id} is {scale.reference_j} J, but the median of "
            f"its references is {median} J"
        )
