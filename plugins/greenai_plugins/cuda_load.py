"""The program that keeps one NVIDIA board busy, for its calibration.

``python -m greenai_plugins.cuda_load UUID`` multiplies matrices with PyTorch for
the share of time that its stdin tells; see ``greenai_core.obey_levels``.
"""

from __future__ import annotations

import os
import sys
import time

from greenai_core import obey_levels

SIDE = 2048
"""Of the matrices: one product takes 0.1 to 2 ms, well below the period of the load."""

PRODUCTS = 4
"""Between two looks at the clock, so that the board does not wait for them."""


def main() -> None:
    """Keep busy the board that the command line names."""
    os.environ["CUDA_VISIBLE_DEVICES"] = sys.argv[1]
    import torch

    if not torch.cuda.is_available():
        raise SystemExit(f"PyTorch {torch.__version__} cannot use the board {sys.argv[1]}")
    matrix = torch.randn(SIDE, SIDE, device="cuda", dtype=torch.float16)

    def burn(seconds: float) -> None:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for _ in range(PRODUCTS):
                torch.mm(matrix, matrix)
            torch.cuda.synchronize()

    obey_levels(burn)


if __name__ == "__main__":
    main()
