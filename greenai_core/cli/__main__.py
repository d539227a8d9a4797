"""``python -m greenai_core.cli`` is the command ``greenai``."""

import sys

from .main import main

if __name__ == "__main__":
    sys.exit(main())
