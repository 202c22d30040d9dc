"""Read HMDB51's split lists."""

from pathlib import Path

import pandas as pd

from hmdb_lib.errors import UserError

ROLES = {0: "unused", 1: "train", 2: "test"}


def read_split(folder: Path, split: int) -> pd.DataFrame:
    """Read the official lists `<class>_test_split<k>.txt` of one split (1 to 3).

    Returns one row per clip: `path` (`<class>/<file>`), `label` (the class), `role` (train, test or unused). Raises
    UserError when there are no lists, or a line is not `<file> <0|1|2>`.
    """
    ending = f"_test_split{split}.txt"
    lists = sorted(Path(folder).glob(f"*{ending}"))
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
