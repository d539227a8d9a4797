"""``python -m greenai_core`` is the command ``greenai``."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
