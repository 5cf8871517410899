"""``python -m magiqa``."""

import sys

from magiqa.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
