"""Power of boards that tell neither their power nor their limit, as reviews state it.

Only boards whose name stands for one figure, or for figures within the interval of the
model. GT 710, 720 and 730 were sold in versions of 19 to 64 W, those of laptops (MX150,
940MX) in versions of 10 to 30 W: they are left out.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class BoardDesign(NamedTuple):
    """What is known of a board's power.

    Attributes:
        pattern: of NVML's name of the board.
        power_w: thermal design power, W.
        source: where that can be read.
    """

    pattern: str
    power_w: float
    source: str


REVIEW_OF_GTX_1050 = "https://arduer.com/geforce-gtx-1050-gtx-1050-nuove-schede-video-nvidia/23901"

BOARDS = (
    BoardDesign(r"GTX 750$", 55, "https://myxa.com/300watt-graphics-card.html"),
    BoardDesign(r"GT 1030$", 30, "https://heise.de/-3698683"),
    BoardDesign(r"GTX 1050$", 75, REVIEW_OF_GTX_1050),
    BoardDesign(r"GTX 1050 Ti$", 75, REVIEW_OF_GTX_1050),
)


def find_board(name: str) -> BoardDesign | None:
    """What is stated of the board that NVML names so; None if it is not listed."""
    return next((one for one in BOARDS if re.search(one.pattern, name)), None)
