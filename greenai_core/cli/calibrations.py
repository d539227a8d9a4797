"""The calibrations that a command uses, and what there is to say of them."""

from __future__ import annotations

import datetime

from greenai_core.calibration import Calibration
from greenai_core.calibration_files import Shelf, doubts, driver_of, read_shelf
from greenai_core.session import Session
from greenai_core.user_folders import at_home

from . import output
from .config import Settings

NONE = "none"
AUTO = "auto"


def shelf_of(settings: Settings) -> Shelf:
    """What is kept for this machine, used or not."""
    auto = settings.calibrations in (AUTO, NONE)
    return read_shelf(None if auto else at_home(settings.calibrations))


def usable(settings: Settings) -> tuple[Calibration, ...]:
    """Those that figures may be corrected with; none where they are switched off."""
    return () if settings.calibrations == NONE else shelf_of(settings).calibrations


def tell(session: Session, settings: Settings) -> None:
    """One line on stderr for each calibration in use, and warnings."""
    if settings.calibrations == NONE:
        return
    problem = shelf_of(settings).problem
    if problem:
        output.warn(problem)
    for text in session.unused_calibrations:
        output.warn(text)
    for calibration in session.calibrations:
        output.note(f"greenai: {calibration.channel} is {calibration}")
        for doubt in doubtful(calibration):
            output.warn(doubt)


def doubtful(calibration: Calibration) -> tuple[str, ...]:
    """Why it may not hold any more."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return doubts(calibration, now, driver_of(calibration.channel))
