"""A writer of RAR archives (format 4, stored, no compression): nothing that packs RAR may be had freely."""

import stat
import struct
from pathlib import Path
from zlib import crc32

_MAIN, _FILE, _END = 0x73, 0x74, 0x7B
_LONG_BLOCK = 0x8000  # data follow the header
_UNIX, _STORED, _VERSION = 3, 0x30, 20


def write_rar(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    """Write `files` (name -> content) and symbolic `links` (name -> target), names taken as they are, hostile or not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as archive:
        archive.write(b"Rar!\x1a\x07\x00" + _block(_MAIN, 0, bytes(6)))
        for name, content in files.items():
            archive.write(_file(name, content, stat.S_IFREG | 0o644) + content)
        for name, target in (links or {}).items():
            archive.write(_file(name, target.encode(), stat.S_IFLNK | 0o777) + target.encode())
        archive.write(_block(_END, 0x4000, b""))
    return path


def write_hmdb51(folder: Path, videos: dict[str, bytes], splits: dict[str, str]) -> tuple[Path, Path]:
    """Both archives of the laboratory, nested as theirs are: `videos` by `<class>/<file>`, `splits` by file name."""
    classes = {}
    for label in {name.partition("/")[0] for name in videos}:
        inner = write_rar(folder / "inner.rar", {n: c for n, c in videos.items() if n.startswith(f"{label}/")})
        classes[f"{label}.rar"] = inner.read_bytes()
        inner.unlink()
    lists = {f"testTrainMulti_7030_splits/{name}": text.encode() for name, text in splits.items()}
    return write_rar(folder / "hmdb51_org.rar", classes), write_rar(folder / "test_train_splits.rar", lists)


def _file(name: str, content: bytes, mode: int) -> bytes:
    encoded = name.encode("ascii")
    fields = struct.pack(
        "<IIBIIBBHI",
        len(content),
        len(content),
        _UNIX,
        crc32(content),
        0x5000_0000,
        _VERSION,
        _STORED,
        len(encoded),
        mode,
    )
    return _block(_FILE, _LONG_BLOCK, fields + encoded)


def _block(kind: int, flags: int, body: bytes) -> bytes:
    head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
    return struct.pack("<H", crc32(head) & 0xFFFF) + head
