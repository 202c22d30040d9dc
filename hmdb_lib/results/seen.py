"""Record the videos that weights have learned from, and hold them against a test part."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from safetensors import SafetensorError, safe_open

from hmdb_lib.errors import UserError
from hmdb_lib.results.runs import Run, write_whole

FILE = "seen.txt"


def hashes(videos: pd.DataFrame) -> pd.DataFrame:
    """Hash the path and the source of each video, 12 hexadecimal digits each."""
    return pd.DataFrame({name: [_hash(f"{name}:{value}") for value in videos[name]] for name in ("path", "group")})


def record(run: Run, learned: pd.DataFrame, before: Iterable[str]) -> None:
    """Write what a run's weights have seen into its folder: the videos that train or choose, and `before`."""
    found = {*hashes(learned).to_numpy().ravel(), *before}
    write_whole(run.folder / FILE, "\n".join(sorted(found)) + "\n")


def read(folder: Path) -> list[str] | None:
    """Read what the weights of a run have seen; None for a run of before this was recorded."""
    file = folder / FILE
    return file.read_text(encoding="utf-8").split() if file.exists() else None


def check(pretrained: str, test: pd.DataFrame, allowed: bool) -> tuple[list[str], int]:
    """Return what given weights have seen, and how many test videos of it or of their sources.

    `pretrained` is `model.pretrained`. Published weights, and runs of before this was recorded, have no list. Raises
    UserError when they have seen test videos, unless that is `allowed`.
    """
    seen = _of(pretrained)
    count = int(hashes(test).isin(seen).any(axis=1).sum())
    if count and not allowed:
        raise UserError(
            f"model.pretrained={pretrained}: has learned from {count} of the {len(test)} test videos or from their "
            "sources, so that their accuracy would flatter; start from a run of this split, or set "
            "train.allow_seen=true, which marks every table"
        )
    return seen, count


def _of(pretrained: str) -> list[str]:
    path = Path(pretrained).expanduser()
    if path.suffix == ".safetensors" and path.is_file():
        try:
            with safe_open(path, "np") as tensors:
                about = json.loads((tensors.metadata() or {}).get("hmdb_lib", "{}"))
        except (SafetensorError, OSError, ValueError):
            return []  # loading the weights says what is wrong with the file
        return about.get("facts", {}).get("seen") or []
    folder = path if path.is_dir() else path.parent.parent
    if not path.exists():
        return []
    if not (folder / "config.yaml").exists():
        print(
            f"model.pretrained={pretrained}: holds no list of the videos it learned from, so that nobody can tell "
            "whether it has seen test videos; of a model trained here name the run's folder, or a file of hmdb export"
        )
        return []
    seen = read(folder)
    if seen is None:
        print(f"model.pretrained={pretrained}: was recorded before runs kept the list of videos they learned from")
    return seen or []


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
