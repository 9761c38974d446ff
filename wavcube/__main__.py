"""`python -m wavcube` is the `wavcube` command."""

import sys

from wavcube.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
