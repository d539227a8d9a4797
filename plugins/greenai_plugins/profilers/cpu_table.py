"""Thermal design power and threads of common CPUs, from their makers' data sheets.

Intel: https://www.intel.com/content/www/us/en/ark.html ("TDP" or "Processor Base
Power", "Total Threads"). AMD: https://www.amd.com/en/products/specifications.html
("Default TDP", "# of Threads").
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Design(NamedTuple):
    """What the maker states of one socket."""

    pattern: str
    tdp_w: float
    threads: int


DESIGNS = (
    Design(r"Xeon.* E5-2680 v4\b", 120, 28),
    Design(r"Xeon.* E5-2699 v4\b", 145, 44),
    Design(r"Xeon.* Gold 6130\b", 125, 32),
    Design(r"Xeon.* Gold 6148\b", 150, 40),
    Design(r"Xeon.* Gold 6248\b", 150, 40),
    Design(r"Xeon.* Platinum 8180\b", 205, 56),
    Design(r"Xeon.* Platinum 8280\b", 205, 56),
    Design(r"Xeon.* Platinum 8380\b", 270, 80),
    Design(r"Xeon.* Platinum 8480\+", 350, 112),
    Design(r"i5-8250U\b", 15, 8),
    Design(r"i7-8550U\b", 15, 8),
    Design(r"i7-8700\b", 65, 12),
    Design(r"i9-9900K\b", 95, 16),
    Design(r"i7-10700\b", 65, 16),
    Design(r"i7-12700\b", 65, 20),
    Design(r"i9-13900K\b", 125, 32),
    Design(r"EPYC 7543\b", 225, 64),
    Design(r"EPYC 7742\b", 225, 128),
    Design(r"EPYC 7763\b", 280, 128),
    Design(r"EPYC 9654\b", 360, 192),
    Design(r"Ryzen 5 5600X\b", 65, 12),
    Design(r"Ryzen 7 5800X\b", 105, 16),
    Design(r"Ryzen 9 3900X\b", 105, 24),
    Design(r"Ryzen 9 5950X\b", 105, 32),
    Design(r"Ryzen 9 7950X\b", 170, 32),
    Design(r"Threadripper PRO 5975WX\b", 280, 64),
)


def find_design(model_name: str) -> Design | None:
    """The data sheet of the CPU that ``/proc/cpuinfo`` names so; None if not listed."""
    return next((one for one in DESIGNS if re.search(one.pattern, model_name)), None)
