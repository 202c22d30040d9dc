"""Read HMDB51's split lists."""

from pathlib import Path

import pandas as pd

from hmdb_lib.data.find import is_hidden
from hmdb_lib.errors import UserError

# SHA-256 of the sorted paths of each split's 1,530 test clips, a line each.
OFFICIAL_TEST = {
    1: "2dd41df9290d7b15290ec64c9e15cf225922aae0a3e42398c8989e0dcc2c2d97",
    2: "c423d1e9d6275ef6ab5cf03884a0eea7d70dd813ab7f7cf4254fee4b89af76a9",
    3: "680452337ce4a32ede942d5e772f325a13c94d1de92f96049c9efa78d2e3078d",
}
ROLES = {0: "unused", 1: "train", 2: "test"}


def read_split(folder: Path, split: int) -> pd.DataFrame:
    """Read the official lists `<class>_test_split<k>.txt` of one split (1 to 3).

    Returns one row per clip: `path` (`<class>/<file>`), `label` (the class), `role` (train, test or unused). Raises
    UserError when there are no lists, or a line is not `<file> <0|1|2>`.
    """
    ending = f"_test_split{split}.txt"
    lists = sorted(file for file in Path(folder).glob(f"*{ending}") if not is_hidden(file.name))
    if not lists:
        raise UserError(
            f"{folder}: no split lists named <class>{ending}; download them with python -m data_prep download"
        )
    rows = []
    for file in lists:
        label = file.name.removesuffix(ending)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            name, _, role = line.strip().rpartition(" ")
            if not name or role not in ("0", "1", "2"):
                raise UserError(f"{file}, line {number}: expected '<file> <0, 1 or 2>', found {line.strip()!r}")
            rows.append((f"{label}/{name.strip()}", label, ROLES[int(role)]))
    return pd.DataFrame(rows, columns=["path", "label", "role"])
