"""Where HMDB51 is published, and how each of these places gives its videos and its split lists."""

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from pathlib import Path, PurePosixPath

from huggingface_hub import DatasetInfo, HfApi, hf_hub_download, snapshot_download

from data_prep.hmdb51.fetch import fetch, one_line, patiently, prove, prove_or_delete
from data_prep.hmdb51.unpack import unpack, unpack_videos
from data_prep.hmdb51.verify import SPLITS, Whole, split_problems, video_problems
from hmdb_lib.errors import UserError
from hmdb_lib.files import is_disk_full, report_full_disk, require_disk

_PICTURES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Archive:
    """One of the laboratory's archives. `size`: bytes, roughly."""

    name: str
    size: float
    sha256: str


@dataclass(frozen=True)
class Sources:
    """The places. `timeout`, `pause` (seconds) and `attempts` are those of `fetch`."""

    videos: Archive = Archive(
        "hmdb51_org.rar", 2.1e9, "9e714a0d8b76104d76e932764a7ca636f929fff66279cda3f2e326fa912a328e"
    )
    splits: Archive = Archive(
        "test_train_splits.rar", 2e5, "229c94f845720d01eb3946d39f39292ea962d50a18136484aa47c1eba251d2b7"
    )
    kaggle: Path = Path("/kaggle/input")
    mirror: str = "CVML-TueAI/HMDB51"
    laboratory: str = "Serrelab/hmdb51"
    hub: str | None = None  # None: what HF_ENDPOINT names, else the Hugging Face hub
    official: str = "https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10"
    timeout: float = 30
    pause: float = 1
    attempts: int = 5


class SourceError(UserError):
    """This source has not what is wanted; another one may."""


class Part:
    """Half of the data set, `Splits` or `Videos`. A method `from_...` tries one source; UserError says that it failed.

    `place` is the folder to make; archives and unfinished folders wait in `downloads`.
    """

    name: str
    ending: str  # of a file
    depth: int  # of a file below `place`

    def __init__(self, root: Path, whole: Whole, sources: Sources, workers: int | None) -> None:
        self.place, self.downloads = root / self.name, root / "downloads"
        self.whole, self.sources, self.workers = whole, sources, workers
        self.archive: Archive = getattr(sources, self.name)

    def problems(self, folder: Path) -> list[str]:
        """What `folder` lacks to be this part whole, a line each."""
        raise NotImplementedError

    def unpack(self, archive: Path) -> None:
        """Make `place` of the laboratory's archive."""
        raise NotImplementedError

    def from_mirror(self) -> None:
        """The Hugging Face data set that holds single files."""
        raise NotImplementedError

    def from_archive(self, archive: Path) -> None:
        """An archive on this machine, which stays."""
        prove(archive, self.archive.sha256)
        self.unpack(archive)

    def from_kaggle(self) -> None:
        """A mounted Kaggle input: linked, for it is read-only and the working disk is small."""
        inputs = self.sources.kaggle
        if not inputs.is_dir():
            raise SourceError(f"no {inputs} here")
        pictures: list[Path] = []
        found = Counter(file.parents[self.depth - 1] for file in _files(inputs, self.ending, pictures))
        if not found:
            frames = f", but {pictures[0]} holds loose frames, which are no videos" if pictures else ""
            raise SourceError(f"no *{self.ending} below {inputs}{frames}")
        largest = found.most_common(1)[0][0]
        self._put(next((folder for folder in found if not self.problems(folder)), largest), link=True)

    def from_laboratory(self) -> None:
        """The laboratory's own data set on the Hugging Face hub."""
        repository = self.sources.laboratory
        with _hub_faults():
            info = self._ask_hub(repository)
            path = next(
                (s.rfilename for s in info.siblings if PurePosixPath(s.rfilename).name == self.archive.name), None
            )
            if not path:
                raise SourceError(f"holds no {self.archive.name}")
            self._need_disk_for_archive()
            self._patiently(
                lambda: hf_hub_download(
                    repository,
                    path,
                    repo_type="dataset",
                    revision=info.sha,
                    local_dir=self.downloads,
                    endpoint=self.sources.hub,
                )
            )
        prove_or_delete(self.downloads / path, self.archive.sha256)
        self.unpack(self.downloads / path)

    def from_address(self) -> None:
        """The official address."""
        self._need_disk_for_archive()
        file, sources = self.downloads / self.archive.name, self.sources
        url = f"{sources.official}/{self.archive.name}"
        fetch(url, file, self.archive.sha256, sources.timeout, sources.pause, sources.attempts)
        self.unpack(file)

    def _ask_hub(self, repository: str) -> DatasetInfo:
        # Fails at once where there is no network; a download tries for half a minute.
        return HfApi(self.sources.hub).dataset_info(repository, timeout=10)

    def _patiently(self, action: Callable[[], object]) -> None:
        with report_full_disk(self.downloads):
            patiently(action, lambda: _bytes(self.downloads), _hub_passes, self.sources.pause, self.sources.attempts)

    def _need_disk_for_archive(self) -> None:
        # The archive, the class archives out of it, and the first classes out of those.
        require_disk(
            self.place.parent, 2.3 * self.archive.size - _bytes(self.downloads), f"{self.archive.name}, unpacked,"
        )

    def _put(self, folder: Path, link: bool = False) -> None:
        """Move or link `folder` to `place` when it is whole; what stood there gives way only then."""
        problems = self.problems(folder)
        if problems:
            raise SourceError(summary(problems))
        if self.place.is_symlink():
            self.place.unlink()
        elif self.place.exists():
            shutil.rmtree(self.place)
        if link:
            self.place.symlink_to(folder, target_is_directory=True)
        else:
            folder.rename(self.place)


class Splits(Part):
    """The official lists, `splits/<class>_test_split<k>.txt`."""

    name, ending, depth = "splits", "_test_split1.txt", 1

    def problems(self, folder: Path) -> list[str]:
        """See `Part`."""
        return split_problems(folder, self.whole)

    def unpack(self, archive: Path) -> None:
        """See `Part`."""
        folder = self.downloads / "splits"
        unpack(archive, folder, ".txt")
        self._put(folder)

    def from_mirror(self) -> None:
        """`metadata_split<k>.jsonl`, a line a video: {"video_path": "Videos/<class>/<file>", ..., "subset": 0 to 2}."""
        lists = defaultdict(list)
        with _hub_faults():
            info = self._ask_hub(self.sources.mirror)
            for split in SPLITS:
                file = hf_hub_download(
                    self.sources.mirror,
                    f"metadata_split{split}.jsonl",
                    repo_type="dataset",
                    revision=info.sha,
                    local_dir=self.downloads,
                    endpoint=self.sources.hub,
                )
                for line in Path(file).read_text(encoding="utf-8").splitlines():
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
    """The clips, `videos/<class>/*.avi`."""

    name, ending, depth = "videos", ".avi", 2

    def problems(self, folder: Path) -> list[str]:
        """See `Part`."""
        return video_problems(folder, self.place.with_name("splits"), self.whole)

    def unpack(self, archive: Path) -> None:
        """See `Part`."""
        if self.place.is_symlink():
            self.place.unlink()
        unpack_videos(archive, self.place, self.downloads, self.workers)

    def from_mirror(self) -> None:
        """Single files below `Videos/<class>` or `hmdb51_org/<class>`, whichever of them is there."""
        local = self.downloads / "mirror"
        with _hub_faults():
            info = self._ask_hub(self.sources.mirror)
            files = (PurePosixPath(sibling.rfilename) for sibling in info.siblings)
            found = Counter(file.parent.parent for file in files if file.suffix == self.ending)
            folder, count = max(found.items(), key=itemgetter(1), default=("", 0))
            if count < self.whole.videos:
                raise SourceError(f"holds {count} videos, not {self.whole.videos}")
            require_disk(self.place.parent, self.archive.size - _bytes(local), "the videos")
            self._patiently(
                lambda: snapshot_download(
                    self.sources.mirror,
                    repo_type="dataset",
                    revision=info.sha,
                    local_dir=local,
                    allow_patterns=f"{folder}/*",
                    endpoint=self.sources.hub,
                )
            )
        self._put(local / folder)


def summary(problems: list[str]) -> str:
    """The first of several lines, and how many more there are."""
    return problems[0] + (f"; and {len(problems) - 1} more faults" if len(problems) > 1 else "")


def _files(folder: Path, ending: str, pictures: list[Path]) -> Iterator[Path]:
    """Files below `folder` that end so; `pictures` collects folders of loose frames, whose neighbours are not entered.

    A hundred thousand files of frames would take minutes to list on a mounted input.
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
    """Whatever goes wrong with the hub is one line, and the next source's turn."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # its errors stem from requests, httpx or httpx2, by the version of huggingface_hub
        raise SourceError(one_line(error)) from error


def _hub_passes(error: BaseException) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return (
        isinstance(error, Exception)
        and not is_disk_full(error)
        and (status is None or status in (408, 429) or status >= 500)
    )


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
