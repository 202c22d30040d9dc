"""Load an experiment's videos, the sample data set being drawn where it is missing."""

import json

from data_prep.drawn.sample import make_sample
from hmdb_lib.config import Config
from hmdb_lib.data.load import data_root, load
from hmdb_lib.data.loader import ClipData
from hmdb_lib.environment import Place


def read_data(config: Config, place: Place) -> ClipData:
    """Load an experiment's data from a machine's folders; draw the sample data set where it is missing."""
    if config.data.dataset == "sample":
        root = data_root(config, place)
        made = root / "sample.json"  # it may have been drawn with another seed, or other classes
        drawn = json.loads(made.read_text(encoding="utf-8")) if made.exists() else {}
        if not root.exists():
            print(f"drawing the sample data set in {root}")
        make_sample(root, **{key: drawn[key] for key in ("seed", "clips", "classes") if key in drawn})
    return load(config, place)
