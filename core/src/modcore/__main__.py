"""``python -m modcore``: the command line."""

import sys

from modcore.cli import main

if __name__ == "__main__":
    sys.exit(main())
