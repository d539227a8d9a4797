"""The old grading service, version 0 of its protocol, as methods."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from greenai_core import (
    Answer,
    ConfigError,
    DevicePower,
    GradeError,
    Run,
    Sender,
    ServiceRefused,
    ServiceUnreachable,
    new_key,
)

from . import web_figures
from .web_adapter import Patience
from .web_address import address, find_token
from .web_deadline import Deadline
from .web_figures import NOT_MEANINGFUL, LegacyFigure, figures_of, fixed
from .web_http import Asked, Transport
from .web_rows import ClassRow, class_row, device_row, rows

OBJECT = "Sistema software"
"""What the old service calls all that is no building."""

NO_CLASS = 404

LONGEST_S = 86_400.0
"""A day; what systems take for a timeout ends somewhere, too."""


@dataclass(frozen=True)
class LegacyGrade:
    """A letter of the old service.

    Attributes:
        value: that was asked about.
        letter: as the service gave it.
        low, high: the class that it is of reaches from ``low`` up to, without, ``high``.
        note: what the letter does not mean.
    """

    value: float
    letter: str
    low: float
    high: float
    note: str = NOT_MEANINGFUL


class GradingService(Sender):
    """A service that speaks version 0; nothing is sent before a method is called.

    Args:
        url: its address; ``https``, or ``http`` on this very machine.
        token_file: file with a token, readable for its owner alone; the variable
            ``GREENAI_TOKEN`` goes first, and a token is not needed by every service.
        ca_file: certificates to trust instead of the usual ones.
        offline: no socket is opened; every call raises ``ServiceUnreachable``.
        connect_s: how long to wait for a connection, s; 5 unless given.
        read_s: how long to wait in silence, s; 15 unless given.
        total_s: the longest that one call may take, with all its tries, s; 20 unless given.
        patience: how often to try, and how long to wait in between.

    Raises:
        ConfigError: the address, the token or a file cannot be used.
    """

    grader: ClassVar[str] = "web"

    def __init__(
        self,
        url: str,
        *,
        token_file: str | os.PathLike[str] | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        offline: bool = False,
        connect_s: float | None = None,
        read_s: float | None = None,
        total_s: float | None = None,
        patience: Patience | None = None,
    ) -> None:
        if ca_file is not None and not Path(ca_file).is_file():
            raise ConfigError(f"web: there is no file {os.fspath(ca_file)!r} of certificates")
        place = address(url)
        self.url = place.base
        self._host = place.host
        self._offline = offline
        certificates = None if ca_file is None else os.fspath(ca_file)
        waiting = patience or Patience()
        waiting = dataclasses.replace(
            waiting,
            connect_s=_seconds("connect_s", connect_s, waiting.connect_s),
            read_s=_seconds("read_s", read_s, waiting.read_s),
            total_s=_seconds("total_s", total_s, waiting.total_s),
        )
        self._transport = Transport(place, find_token(token_file), certificates, waiting)

    # The calls of the old protocol

    def get_cpus(self) -> list[DevicePower]:
        """The processors that the service knows.

        Raises:
            ServiceError: no answer that can be used.
        """
        return self._known("CPU")

    def get_gpus(self) -> list[DevicePower]:
        """The GPUs that the service knows. See ``get_cpus``."""
        return self._known("GPU")

    def post_new_device(
        self, device_name: str, device_type: str, power_cap: float, *, key: str = ""
    ) -> DevicePower:
        """Tell the service of a device.

        Args:
            device_name: as its maker calls it.
            device_type: ``CPU`` or ``GPU``.
            power_cap: the most that it draws, W.
            key: under which the call may be repeated; made anew if not given.

        Raises:
            ConfigError: name, type or power cap cannot be used.
            ServiceRefused: the service has it with another power cap, or takes no devices.
            ServiceError: no answer that can be used.
        """
        device = DevicePower(device_type, device_name, power_cap)
        asked = self._posting(device, key or new_key())
        with self._call() as deadline:
            try:
                self._ask(asked, deadline)
            except ServiceRefused as error:
                if error.status != NO_CLASS or not self._has(device, deadline):
                    raise
                # Version 0 says 404 to what it has already, also when that came from a first
                # try whose answer was lost.
        return device

    def delete_device_with_wrong_specs(self, device_name: str, device_type: str) -> None:
        """Have the service forget a device.

        Raises:
            ServiceRefused: it does not know it (404), or asks for a token.
            ServiceError: no answer that can be used.
        """
        asked = Asked("DELETE", _device_path(DevicePower(device_type, device_name, 1.0)))
        with self._call() as deadline:
            self._ask(asked, deadline)

    def get_grade(self, value: float) -> LegacyGrade:
        """The letter of a figure, by the classes with ``number_metrics`` 1.

        Raises:
            GradeError: below zero, or no number; nothing was sent.
            ServiceRefused: no class holds it (404).
            ServiceError: no answer that can be used.
        """
        asked = _question(value)
        with self._call() as deadline:
            return self._graded(value, asked, deadline)

    @staticmethod
    def utilisation_percentage(energy: float, duration: float, power_max: float) -> float:
        """Mean power as a share of the most that a device draws, %.

        Args:
            energy: J.
            duration: s.
            power_max: W.

        Raises:
            GradeError: time or power cap are not positive.
        """
        return web_figures.utilisation_percentage(energy, duration, power_max)

    # A run

    def send(self, run: Run) -> Answer:
        """Ask for the letters of both figures, and of the ends of their intervals.

        Only those numbers leave the machine. Asking twice is the same as once.

        Raises:
            GradeError: the run has no figure to ask about.
            ServiceRefused: no class holds any figure, or a token is asked for.
            ServiceError: no answer that can be used.
        """
        found: dict[ClassRow, None] = {}
        lines = [NOT_MEANINGFUL]
        unknown = []
        figures = figures_of(run)
        with self._call() as deadline:
            for figure in figures:
                try:
                    grade = self._of(figure, found, deadline)
                except ServiceRefused as error:
                    if error.status != NO_CLASS:
                        raise
                    unknown.append(error)
                    lines.append(f"{figure.name}: no class ({figure.value:.4g})")
                else:
                    lines.append(f"{figure.name}: {grade.letter} ({figure.value:.4g})")
        if len(unknown) == len(figures):
            raise unknown[0]
        content = {"classes": [dataclasses.asdict(row) for row in found]}
        return Answer(self._host, content, tuple(lines))

    def dry_run(self, run: Run) -> bytes:
        """The bytes of the requests that ``send`` makes, one after the other.

        A token is shown as ``TOKEN``.

        Raises:
            GradeError: the run has no figure to ask about.
        """
        values = [value for figure in figures_of(run) for value in figure.questions]
        return b"".join(self._transport.wire(_question(value)) for value in values)

    def _call(self) -> Deadline:
        """The time of one call.

        Raises:
            ServiceUnreachable: nobody is to be asked.
        """
        if self._offline:
            raise ServiceUnreachable(f"offline: {self.url} was not asked")
        return self._transport.call()

    def _graded(self, value: float, asked: Asked, deadline: Deadline) -> LegacyGrade:
        try:
            answer = self._ask_json(asked, deadline)
        except ServiceRefused as error:
            if error.status != NO_CLASS:
                raise
            raise ServiceRefused(
                f"{self.url} has no class that holds {fixed(value)}, or is no grading service",
                NO_CLASS,
            ) from error
        found = rows(answer, self.url)
        row = class_row(found[0] if found else {}, self.url)
        return LegacyGrade(value, row.letter, row.low, row.high)

    def _of(
        self, figure: LegacyFigure, found: dict[ClassRow, None], deadline: Deadline
    ) -> LegacyGrade:
        """The grade of a figure; its class and those of the interval's ends are added."""
        graded: list[LegacyGrade | ServiceRefused] = []
        for value in figure.questions:
            try:
                grade = self._graded(value, _question(value), deadline)
            except ServiceRefused as error:
                if error.status != NO_CLASS:
                    raise
                graded.append(error)
            else:
                graded.append(grade)
                found[ClassRow(grade.letter, grade.low, grade.high)] = None
        of_value = graded[0]
        if isinstance(of_value, ServiceRefused):
            raise of_value
        return of_value

    def _known(self, kind: str) -> list[DevicePower]:
        with self._call() as deadline:
            try:
                answer = self._ask_json(Asked("GET", f"/cpus/{kind}/"), deadline)
            except ServiceRefused as error:
                if error.status == NO_CLASS:
                    return []  # version 0 says 404 where it knows none
                raise
        return [device_row(row, self.url) for row in rows(answer, self.url)]

    def _has(self, device: DevicePower, deadline: Deadline) -> bool:
        """Whether the service knows a device with this very power cap."""
        try:
            answer = self._ask_json(Asked("GET", _device_path(device)), deadline)
        except ServiceRefused:
            return False
        known = [device_row(row, self.url) for row in rows(answer, self.url)]
        return any(abs(one.max_power_w - device.max_power_w) < 0.005 for one in known)

    @staticmethod
    def _posting(device: DevicePower, key: str) -> Asked:
        form = {
            "object": OBJECT,
            "value_type": device.name,
            "object_type": device.type,
            "value1": fixed(device.max_power_w),
            "value2": "0.0",
            "value3": "0.0",
        }
        return Asked("POST", "/calculationData/", form, key)

    def _ask_json(self, asked: Asked, deadline: Deadline) -> Any:
        try:
            return self._transport.ask_json(asked, deadline)
        except ServiceRefused as error:
            if error.status != NO_CLASS:
                raise
            return self._transport.ask_json(_without_slash(asked), deadline)

    def _ask(self, asked: Asked, deadline: Deadline) -> None:
        try:
            self._transport.ask(asked, deadline)
        except ServiceRefused as error:
            if error.status != NO_CLASS:
                raise
            self._transport.ask(_without_slash(asked), deadline)


def _seconds(name: str, given: float | None, usual: float) -> float:
    if given is None:
        return usual
    if not 0 < given <= LONGEST_S:
        raise ConfigError(f"web: {name} is {given}, not a positive number of seconds within a day")
    return given


def _without_slash(asked: Asked) -> Asked:
    """The same for a service whose addresses end without one, which is 404 to the other.

    What is 404 for another reason is 404 again.
    """
    return dataclasses.replace(asked, path=asked.path.rstrip("/"))


def _question(value: float) -> Asked:
    return Asked("GET", f"/classificationDataC/1/{fixed(value)}/")


def _device_path(device: DevicePower) -> str:
    """The address of a device.

    Raises:
        GradeError: the name has a slash, for which version 0 has no spelling.
    """
    if "/" in device.name:
        raise GradeError(
            f"the old service has no address for a device with a slash in its name: {device.name}"
        )
    parts = (OBJECT, device.type, device.name)
    return "/softwareCalculationData/" + "".join(f"{quote(part, safe='')}/" for part in parts)
