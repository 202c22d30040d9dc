"""Get HMDB51's videos and split lists from the places that publish them."""

import json
import os
import re
import shutil
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from pathlib import Path, PurePosixPath

from huggingface_hub import DatasetInfo, HfApi

from data_prep.hmdb51.fetch import FetchError, check, check_or_delete, fetch, one_line, retry
from data_prep.hmdb51.unpack import unpack, unpack_videos
from data_prep.hmdb51.verify import SPLITS, Whole, split_problems, video_problems
from hmdb_lib.data.find import is_hidden
from hmdb_lib.data.sources import CONVENTIONS
from hmdb_lib.errors import UserError
from hmdb_lib.files import is_disk_full, report_refusals, require_disk

DOWNLOADS = ".hmdb51-downloads"  # archives and unfinished folders; nobody else's, since it is removed at the end
_PICTURES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Archive:
    """Name one of the laboratory's archives. `size`: bytes, roughly."""

    name: str
    size: float
    sha256: str


@dataclass(frozen=True)
class Sources:
    """Name the places, and for `fetch` the timeout and pause (seconds) and the attempts."""

    videos: Archive = Archive(
        "hmdb51_org.rar", 2.1e9, "9e714a0d8b76104d76e932764a7ca636f929fff66279cda3f2e326fa912a328e"
    )
    splits: Archive = Archive(
        "test_train_splits.rar", 2e5, "229c94f845720d01eb3946d39f39292ea962d50a18136484aa47c1eba251d2b7"
    )
    kaggle: Path = Path("/kaggle/input")
    mirror: str = "CVML-TueAI/HMDB51"
    laboratory: str = "Serrelab/hmdb51"
    zipped: str = "jili5044/hmdb51"  # hmdb51.zip, the class folders
    hub: str | None = None  # None: what HF_ENDPOINT names, else the Hugging Face hub
    official: str = "https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10"
    timeout: float = 30
    pause: float = 1
    attempts: int = 5


class Part(ABC):
    """Make one part of the data set, `Splits` or `Videos`. Each method `from_...` tries one source, or raises UserError.

    `place` is the folder to make; archives and unfinished folders lie in `downloads`.
    """

    name: str
    own: str  # regular expression of a file's name
    ending: str  # of a file
    depth: int  # of a file below `place`

    def __init__(self, root: Path, whole: Whole, sources: Sources, workers: int | None) -> None:
        self.place, self.downloads = root / self.name, root / DOWNLOADS
        self.whole, self.sources, self.workers = whole, sources, workers
        self.archive: Archive = getattr(sources, self.name)
        self.hub = HfApi(sources.hub)

    @abstractmethod
    def problems(self, folder: Path) -> list[str]:
        """List what `folder` lacks to be this part, a line each."""

    @abstractmethod
    def unpack(self, archive: Path) -> None:
        """Make `place` from the laboratory's archive."""

    @abstractmethod
    def from_mirror(self) -> None:
        """Take the single files of the mirror on the Hugging Face hub."""

    def require_own(self) -> None:
        """Raise UserError where `place` holds files that are not HMDB51's, which are never removed."""
        files = (Path(folder) / name for folder, _, names in os.walk(self.place) for name in names)
        other = next(
            (file for file in files if not re.fullmatch(self.own, file.name) and not is_hidden(file.name)), None
        )
        if other and not self.place.is_symlink():  # of a link, only the link is removed
            raise UserError(f"{other}: is none of HMDB51's {self.name}; move it away, or name another folder")

    def from_archive(self, archive: Path) -> None:
        """Take an archive on this machine, and leave it there; a zip file, whose checksum nobody knows, by what it holds."""
        if not zipfile.is_zipfile(archive):
            check(archive, self.archive.sha256)
            self.unpack(archive)
            return
        folder = self.downloads / f"{self.name}-zip"
        try:
            with zipfile.ZipFile(archive) as packed:
                members = [
                    file for file in packed.infolist() if file.filename.endswith(self.ending[self.ending.rindex(".") :])
                ]
                require_disk(self.place.parent, sum(file.file_size for file in members), f"{archive.name}, unpacked,")
                packed.extractall(folder, members)
        except (zipfile.BadZipFile, zlib.error) as error:
            raise FetchError(f"{archive}: damaged ({error})") from error
        self._take(folder)

    def from_kaggle(self) -> None:
        """Link a mounted Kaggle input, which is read-only, because the working disk is small."""
        inputs = self.sources.kaggle
        if not inputs.is_dir():
            raise FetchError(f"no {inputs} here")
        self._take(inputs, link=True)

    def from_laboratory(self) -> None:
        """Download the laboratory's archive from the Hugging Face hub."""
        archive = self._from_hub(self.sources.laboratory, self.archive.name)
        check_or_delete(archive, self.archive.sha256)
        self.unpack(archive)

    def _from_hub(self, repository: str, name: str) -> Path:
        """Download an archive, which may lie in any folder of its repository."""
        with _hub_faults():
            info = self._ask_hub(repository)
            path = next((s.rfilename for s in info.siblings or () if PurePosixPath(s.rfilename).name == name), None)
            if not path:
                raise FetchError(f"holds no {name}")
            self._require_disk_for_archive()
            self._retry(lambda: self._download(repository, path, info.sha))
        return self.downloads / path

    def from_address(self) -> None:
        """Download the archive from the official address."""
        self._require_disk_for_archive()
        file, sources = self.downloads / self.archive.name, self.sources
        url = f"{sources.official}/{self.archive.name}"
        fetch(url, file, self.archive.sha256, sources.timeout, sources.pause, sources.attempts)
        self.unpack(file)

    def _ask_hub(self, repository: str) -> DatasetInfo:
        # Fails at once without a network; a download tries for half a minute.
        return self.hub.dataset_info(repository, timeout=10)

    def _download(self, repository: str, path: str, revision: str | None) -> Path:
        how = {"repo_type": "dataset", "revision": revision, "local_dir": self.downloads}
        return Path(self.hub.hf_hub_download(repository, path, **how))

    def _retry(self, action: Callable[[], object]) -> None:
        sources = self.sources
        with report_refusals(self.downloads):
            retry(action, lambda: _bytes(self.downloads), _is_temporary, sources.pause, sources.attempts)

    def _require_disk_for_archive(self) -> None:
        # The archive, the class archives out of it, and the first classes out of those.
        size = 2.3 * self.archive.size - _bytes(self.downloads)
        require_disk(self.place.parent, size, f"{self.archive.name}, unpacked,")

    def _take(self, inputs: Path, link: bool = False) -> None:
        """Find this part anywhere below a folder, and move or link it to `place`."""
        pictures: list[Path] = []
        found = Counter(file.parents[self.depth - 1] for file in _files(inputs, self.ending, pictures))
        if not found:
            frames = f", but {pictures[0]} holds loose frames, which are no videos" if pictures else ""
            raise FetchError(f"no *{self.ending} below {inputs}{frames}")
        largest = found.most_common(1)[0][0]
        self._put(next((folder for folder in found if not self.problems(folder)), largest), link)

    def _put(self, folder: Path, link: bool = False) -> None:
        """Move or link `folder` to `place` if it is complete; only then is what was there removed."""
        problems = self.problems(folder)
        if problems:
            raise FetchError(summary(problems))
        if self.place.is_symlink():
            self.place.unlink()
        elif self.place.exists():
            shutil.rmtree(self.place)
        if link:
            self.place.symlink_to(folder, target_is_directory=True)
        else:
            folder.rename(self.place)


class Splits(Part):
    """Make the official lists, `splits/<class>_test_split<k>.txt`."""

    name, own, ending, depth = "splits", r".+_test_split\d\.txt", "_test_split1.txt", 1

    def problems(self, folder: Path) -> list[str]:
        """List what is wrong with the lists."""
        return split_problems(folder, self.whole)

    def unpack(self, archive: Path) -> None:
        """Unpack the lists."""
        folder = self.downloads / "splits"
        unpack(archive, folder, ".txt")
        self._put(folder)

    def from_mirror(self) -> None:
        """Read `metadata_split<k>.jsonl`, lines of {"video_path": "Videos/<class>/<file>", ..., "subset": 0 to 2}."""
        lists = defaultdict(list)
        with _hub_faults():
            info = self._ask_hub(self.sources.mirror)
            for split in SPLITS:
                file = self._download(self.sources.mirror, f"metadata_split{split}.jsonl", info.sha)
                for line in file.read_text(encoding="utf-8").splitlines():
                    row = json.loads(line)
                    video = PurePosixPath(row["video_path"])
                    lists[f"{video.parent.name}_test_split{split}.txt"].append(f"{video.name} {row['subset']} \n")
        folder = self.downloads / "splits"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, lines in lists.items():
            (folder / name).write_text("".join(lines), encoding="utf-8")
        self._put(folder)


class Videos(Part):
    """Make the clips, `videos/<class>/*.avi`."""

    name, own, ending, depth = "videos", CONVENTIONS["HMDB51"] + r"\.avi", ".avi", 2

    def problems(self, folder: Path) -> list[str]:
        """List what is wrong with the videos."""
        return video_problems(folder, self.place.with_name("splits"), self.whole)

    def unpack(self, archive: Path) -> None:
        """Unpack the videos, class by class."""
        if self.place.is_symlink():
            self.place.unlink()
        unpack_videos(archive, self.place, self.downloads, self.workers)

    def from_mirror(self) -> None:
        """Download the files of `Videos/<class>` or `hmdb51_org/<class>`, whichever is there."""
        local, repository = self.downloads / "mirror", self.sources.mirror
        with _hub_faults():
            info = self._ask_hub(repository)
            files = (PurePosixPath(sibling.rfilename) for sibling in info.siblings or ())
            found = Counter(file.parent.parent for file in files if file.suffix == self.ending)
            folder, count = max(found.items(), key=itemgetter(1), default=("", 0))
            if count < self.whole.videos:
                raise FetchError(f"holds {count} videos, not {self.whole.videos}")
            require_disk(self.place.parent, self.archive.size - _bytes(local), "the videos")
            how = {"repo_type": "dataset", "revision": info.sha, "local_dir": local, "allow_patterns": f"{folder}/*"}
            self._retry(lambda: self.hub.snapshot_download(repository, **how))
        self._put(local / folder)

    def from_zip(self) -> None:
        """Download a zip file of the class folders from the hub; what it holds is what is checked."""
        archive = self._from_hub(self.sources.zipped, "hmdb51.zip")
        try:
            self.from_archive(archive)
        except FetchError:
            archive.unlink()  # so that the next call downloads it again
            raise


def summary(problems: list[str]) -> str:
    """Shorten several lines to the first and the number of the others."""
    return problems[0] + (f"; and {len(problems) - 1} more faults" if len(problems) > 1 else "")


def _files(folder: Path, ending: str, pictures: list[Path]) -> Iterator[Path]:
    """Yield the files below `folder` with this ending; collect folders of loose frames in `pictures`.

    The neighbours of such a folder are not entered: a hundred thousand frames take minutes to list on a mounted input.
    """
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=attrgetter("name"))
    if sum(Path(entry.name).suffix.lower() in _PICTURES for entry in entries) > 10:
        pictures.append(folder)
        return
    for entry in entries:
        if entry.name.endswith(ending):
            yield Path(entry)
        elif entry.is_dir():
            yield from _files(Path(entry), ending, pictures)
            if pictures and pictures[-1] == Path(entry):
                return


@contextmanager
def _hub_faults() -> Iterator[None]:
    """Turn whatever goes wrong with the hub into a FetchError of one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of requests, httpx or httpx2, by the version of huggingface_hub
        raise FetchError(one_line(error)) from error


def _is_temporary(error: BaseException) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)
    answer_is_temporary = status is None or status in (408, 429) or status >= 500
    return isinstance(error, Exception) and not is_disk_full(error) and answer_is_temporary


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
