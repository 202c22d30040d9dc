"""Run `python -m hmdb_lib <command> ...`, as the console script `hmdb` does."""

import sys

from hmdb_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
