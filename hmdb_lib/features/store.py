"""Keep the tokens of clips in a folder of shards, which training reads without decoding or computing anything.

A shard is one safetensors file: `tokens` (clips, T', H', W', C) of some videos one after the other, and as text the
store's key, what kind of clips they are, the videos (path, `files.state_of`, clips) and the tokens' CRC-32. It is
written whole and never changed, so that a killed computation keeps its finished shards, and machines can share a folder.
Shards are mapped into memory: a batch is copied straight from the system's file cache.
"""

import json
import time
import uuid
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hmdb_lib.environment import cores
from hmdb_lib.errors import UserError
from hmdb_lib.files import is_still, report_refusals, state_of, whole_file

SHARD_BYTES = 256 * 2**20
SHARD_SECONDS = 120.0  # what a killed computation loses at most


class FeatureStore:
    """Read and write the shards of a folder.

    Args:
        folder: made when the first shard is written.
        key: says what the numbers depend on; a shard with another one is not read.
        dtype: of the stored tokens.

    """

    def __init__(self, folder: Path, key: str, dtype: torch.dtype = torch.float16) -> None:
        self.folder, self.key, self.dtype = Path(folder), key, dtype

    def lock(self) -> FileLock:
        """Hold the folder while computing: another process waits, and finds the tokens when its turn comes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / ".lock")

    def read(self, kind: str, files: Mapping[str, Path]) -> dict[str, Tensor]:
        """Map the tokens of one kind of clips into memory: path -> (clips, T', H', W', C).

        `files` has each video's file: tokens of another version of a video are left out, with a line. A shard that does
        not fit its checksum, or its folder, is removed, with a line. Raises UserError for one that the system does not
        open: it may be whole, and stays.
        """
        found, stale = {}, set()
        shards = sorted(self.folder.glob(f"{kind}-*.safetensors"))
        with report_refusals(self.folder), ThreadPoolExecutor(cores()) as pool:
            for file, shard in zip(shards, pool.map(self._open, shards), strict=True):
                if isinstance(shard, str):
                    print(f"{file}: {shard}; its tokens are computed again")
                    file.unlink(missing_ok=True)
                    continue
                for path, state, tokens in shard:
                    if path not in files:
                        continue
                    if _is_of(files[path], state):
                        found[path] = tokens
                    else:
                        stale.add(path)
        if stale := stale - found.keys():
            print(f"{self.folder}: {len(stale)} videos have changed, such as {min(stale)}; computed again")
        return found

    def write(self, kind: str, videos: Iterable[tuple[str, Path, Tensor]]) -> None:
        """Write videos (path, file, tokens) as they come, a shard whenever there is enough for one.

        What came before an interruption or an error is kept. Raises DiskError.
        """
        for part in self.folder.glob(".*.part"):  # of a killed process
            part.unlink(missing_ok=True)
        waiting: list[tuple[str, dict[str, Any], Tensor]] = []
        held, since = 0, time.monotonic()
        for path, file, tokens in videos:
            waiting.append((path, state_of(file), tokens.to("cpu", self.dtype)))
            held += waiting[-1][2].nbytes
            if held >= SHARD_BYTES or time.monotonic() - since >= SHARD_SECONDS:
                self._write(kind, waiting)
                waiting, held, since = [], 0, time.monotonic()
        if waiting:
            self._write(kind, waiting)

    def _write(self, kind: str, videos: list[tuple[str, dict[str, Any], Tensor]]) -> None:
        tokens = torch.cat([tokens for _, _, tokens in videos])
        index = json.dumps([(path, state, len(rows)) for path, state, rows in videos])
        about = {"key": self.key, "videos": index, "crc32": str(_checksum(tokens))}
        file = self.folder / f"{kind}-{uuid.uuid4().hex[:12]}.safetensors"
        with report_refusals(self.folder), whole_file(file) as part:
            part.write_bytes(save({"tokens": tokens}, about))  # save_file hides the system's error for a full disk

    def _open(self, file: Path) -> list[tuple[str, dict[str, Any] | int, Tensor]] | str:
        """Open a shard: its videos, or why it cannot be used."""
        try:
            file.open("rb").close()  # for the system's own error: safetensors hides its number
        except FileNotFoundError:
            return []  # another process has removed it meanwhile
        try:
            with safe_open(file, "pt") as shard:
                about, tokens = shard.metadata() or {}, shard.get_tensor("tokens")
        except SafetensorError as error:
            return f"torn, or not a shard of this version ({error})"
        except (OSError, RuntimeError) as error:
            raise UserError(f"{file}: cannot be opened ({error}); close other programs, then call again") from error
        try:
            if about["key"] != self.key or tokens.dtype != self.dtype:
                return "holds tokens of other weights or settings"
            if str(_checksum(tokens)) != about["crc32"]:
                return "torn: the tokens do not fit their checksum"
            videos = json.loads(about["videos"])
            rows = tokens.split([count for _, _, count in videos])
        except (KeyError, ValueError, RuntimeError) as error:
            return f"torn, or not a shard of this version ({error})"
        return [(path, state, part) for (path, state, _), part in zip(videos, rows, strict=True)]


def _is_of(file: Path, state: dict[str, Any] | int) -> bool:
    """Tell whether tokens are of a file; shards of before know its bytes alone."""
    return file.stat().st_size == state if isinstance(state, int) else is_still(file, state)


def _checksum(tokens: Tensor) -> int:
    return zlib.crc32(tokens.contiguous().view(torch.uint8).numpy().reshape(-1).data)
