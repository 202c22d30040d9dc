"""The door to all but training: python -m hmdb_lib cost | study | predict | look | export | push | pull ..."""

import sys

from hmdb_lib.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
