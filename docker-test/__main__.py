"""`python docker-test`: see `python docker-test --help`."""

import sys

from enginetest.cli import main

if __name__ == "__main__":
    sys.exit(main())
