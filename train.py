"""Train, evaluate and record one experiment: python train.py [row] [key=value ...]."""

import sys

from hmdb_lib.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
