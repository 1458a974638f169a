"""`python -m lipflow_core` is the command `lipflow-core`."""

import os
import sys

if __name__ == "__main__":
    # `python -m` puts the current folder first on the path, where a stranger's file would stand for any module.
    if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
        del sys.path[0]
    from lipflow_core.cli import main

    sys.exit(main())
