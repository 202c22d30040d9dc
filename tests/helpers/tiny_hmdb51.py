"""A data set as HMDB51 is laid out, of two classes and eight clips, with the names that break globs, shells and URLs."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data_prep.hmdb51.verify import Whole

WHOLE = Whole(classes=2, videos=8, train=2, test=1)
NAMES = {
    label: [f"Yards!!!_&_[a;b]_(#{n}) 100%_{label}_f_nm_np1_fr_med_{n}.avi" for n in range(4)]
    for label in ("golf", "wave")
}
VIDEOS = {f"{label}/{name}": f"{name} ".encode() * 1000 for label, names in NAMES.items() for name in names}
SPLITS = {
    f"{label}_test_split{split}.txt": "".join(
        f"{name} {role} \n" for name, role in zip(names, (1, 1, 2, 0), strict=True)
    )
    for label, names in NAMES.items()
    for split in (1, 2, 3)
}


def write_folders(root: Path, videos: dict[str, bytes] = VIDEOS) -> Path:
    """`root/videos` and `root/splits` as files."""
    for name, content in videos.items():
        (root / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "videos" / name).write_bytes(content)
    (root / "splits").mkdir(parents=True, exist_ok=True)
    for name, text in SPLITS.items():
        (root / "splits" / name).write_text(text)
    return root


def mirror(folder: str = "Videos") -> dict[str, bytes]:
    """The files of the mirror on the hub: single videos below `folder`, and each split's list as lines of JSON."""
    files = {f"{folder}/{name}": content for name, content in VIDEOS.items()}
    for split in (1, 2, 3):
        rows = []
        for label in NAMES:
            for line in SPLITS[f"{label}_test_split{split}.txt"].splitlines():
                name, role = line.strip().rsplit(" ", 1)
                rows.append({"video_path": f"{folder}/{label}/{name}", "label": label, "subset": int(role)})
        files[f"metadata_split{split}.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return files


def files_in(folder: Path) -> dict[str, bytes]:
    """Path below `folder` -> content, of every file."""
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@contextmanager
def mount_small_disk(folder: Path, size: str = "1200k") -> Iterator[Path]:
    """A disk of that size; skips the test where mounting one needs other rights."""
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    try:
        done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"cannot mount a small disk: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
