"""Thermal design power and threads of common CPUs, from their makers' data sheets.

Intel: "TDP" or "Processor Base Power", and "Total Threads", of the product's page,
https://ark.intel.com/content/www/us/en/ark/products/<number>.html. AMD: "Default TDP"
and "# of Threads" of the product in
https://www.amd.com/en/products/specifications/processors.html. Looked up, every row, in
an export of both (github.com/felixsteinke/cpu-spec-dataset) in 2026.
"""

from __future__ import annotations

import re
from typing import NamedTuple

AMD = "AMD, processor specifications"


class Design(NamedTuple):
    """What the maker states of one socket.

    Attributes:
        pattern: of the kernel's name of the CPU.
        tdp_w: thermal design power, W.
        threads: hardware threads.
        source: number of the product at Intel; or AMD's table.
    """

    pattern: str
    tdp_w: float
    threads: int
    source: str


DESIGNS = (
    Design(r"Xeon.* E5-2680 v4\b", 120, 28, "Intel ARK 91754"),
    Design(r"Xeon.* E5-2699 v4\b", 145, 44, "Intel ARK 91317"),
    Design(r"Xeon.* Gold 6130\b", 125, 32, "Intel ARK 120492"),
    Design(r"Xeon.* Gold 6148\b", 150, 40, "Intel ARK 120489"),
    Design(r"Xeon.* Gold 6248\b", 150, 40, "Intel ARK 192446"),
    Design(r"Xeon.* Platinum 8180\b", 205, 56, "Intel ARK 120496"),
    Design(r"Xeon.* Platinum 8280\b", 205, 56, "Intel ARK 192478"),
    Design(r"Xeon.* Platinum 8380\b", 270, 80, "Intel ARK 212287"),
    Design(r"Xeon.* Platinum 8480\+", 350, 112, "Intel ARK 231746"),
    Design(r"i5-8250U\b", 15, 8, "Intel ARK 124967"),
    Design(r"i7-8550U\b", 15, 8, "Intel ARK 122589"),
    Design(r"i7-8700\b", 65, 12, "Intel ARK 126686"),
    Design(r"i9-9900K\b", 95, 16, "Intel ARK 186605"),
    Design(r"i7-10700\b", 65, 16, "Intel ARK 199316"),
    Design(r"i7-12700\b", 65, 20, "Intel ARK 134591"),
    Design(r"i9-13900K\b", 125, 32, "Intel ARK 230496"),
    Design(r"EPYC 7543\b", 225, 64, AMD),
    Design(r"EPYC 7742\b", 225, 128, AMD),
    Design(r"EPYC 7763\b", 280, 128, AMD),
    Design(r"EPYC 9654\b", 360, 192, AMD),
    Design(r"Ryzen 5 5600X\b", 65, 12, AMD),
    Design(r"Ryzen 7 5800X\b", 105, 16, AMD),
    Design(r"Ryzen 9 3900X\b", 105, 24, AMD),
    Design(r"Ryzen 9 5950X\b", 105, 32, AMD),
    Design(r"Ryzen 9 7950X\b", 170, 32, AMD),
    Design(r"Threadripper PRO 5975WX\b", 280, 64, AMD),
)


def find_design(model_name: str) -> Design | None:
    """The data sheet of the CPU that ``/proc/cpuinfo`` names so; None if not listed."""
    return next((one for one in DESIGNS if re.search(one.pattern, model_name)), None)
