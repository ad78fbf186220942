"""`python -m guardian`: the command line."""

import sys

from guardian.cli import main

if __name__ == "__main__":
    sys.exit(main())
