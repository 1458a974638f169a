"""`python -m lipflow_core` is the command `lipflow-core`."""

import sys

from lipflow_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
