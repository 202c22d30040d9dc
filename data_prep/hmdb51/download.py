"""Get HMDB51 from the first source that gives all of it."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from data_prep.hmdb51.sources import Part, Sources, Splits, Videos, summary
from data_prep.hmdb51.verify import HMDB51, Whole, verify
from hmdb_lib.errors import UserError
from hmdb_lib.files import DiskError

SOURCES = Sources()


def get_hmdb51(
    root: Path | str,
    archive: Path | str | None = None,
    whole: Whole = HMDB51,
    sources: Sources = SOURCES,
    workers: int | None = None,
) -> Path:
    """Download HMDB51 into `root`: `videos/<class>/*.avi`, `splits/*.txt` and `manifest.csv`; return `root`.

    Tries in order what is there already (it may be read-only), an archive of an earlier call, a Kaggle input (linked,
    not copied), on the Hugging Face hub the laboratory's archives, a zip file of the videos and a mirror of single files,
    and the official address. With `archive`, your own `hmdb51_org.rar`, nothing is downloaded for the videos;
    `test_train_splits.rar` may lie beside it; or a zip file of the class folders, with the lists or without. Prints which
    source it used and why not the others. An interrupted call is continued by the next.
    `workers`: processes that unpack, see `parallel_map`. Raises UserError when no source gives everything, and
    DiskError as soon as the disk is too small.

    Example:
        >>> hl.get_hmdb51("data/hmdb51", archive="hmdb51_org.rar")

    """
    root = Path(root).absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{root}: cannot be made ({error.strerror}); name a folder that you can write to") from error
    splits, videos = Splits(root, whole, sources, workers), Videos(root, whole, sources, workers)
    own = Path(archive) if archive else None
    if own and not own.is_file():
        raise UserError(f"{own}: no such archive")
    beside = own.with_name(splits.archive.name) if own else None
    zipped = zipfile.ZipFile(own).namelist() if own and zipfile.is_zipfile(own) else []
    if any(name.endswith(splits.ending) for name in zipped):
        beside = own
    fetched = [_use_first(splits, beside if beside and beside.exists() else None), _use_first(videos, own)]
    if not (own and own.absolute().is_relative_to(videos.downloads)):  # your own archive is left where it lies
        shutil.rmtree(videos.downloads, ignore_errors=True)
    if any(fetched) or (os.access(root, os.W_OK) and not (root / "manifest.csv").exists()):
        verify(root, whole=whole, workers=workers)
    return root


def _use_first(part: Part, own: Path | None) -> bool:
    """Try the sources until the part is complete; return whether anything had to be fetched."""
    passed = []
    for name, get in _candidates(part, own):
        if passed and not os.access(part.place.parent, os.W_OK):
            raise UserError(f"{part.place}: not whole and read-only; name a folder that you can write to")
        if passed:
            part.require_own()
            print(f"{part.name}: trying {name}")
        try:
            get()
            problems = part.problems(part.place)
        except DiskError:
            raise  # no other source would help
        except UserError as error:
            problems = [str(error)]
        if not problems:
            print(f"{part.name}: {name}" + (f"; passed over: {'; '.join(passed)}" if passed else ""))
            return bool(passed)
        passed.append(f"{name} ({summary(problems)})")
    raise UserError(
        f"HMDB51's {part.name} are nowhere to be had: {'; '.join(passed)}. "
        f"Get {part.sources.videos.name} and {part.sources.splits.name} by hand, side by side, "
        "and name the first (--archive)"
    )


def _candidates(part: Part, own: Path | None) -> list[tuple[str, Callable[[], None]]]:
    already = ("already there", lambda: None)
    if own:
        return [already, (f"your {own}", lambda: part.from_archive(own))]
    earlier = next(part.downloads.rglob(part.archive.name), None)
    return [
        already,
        *([("an archive downloaded earlier", lambda: part.from_archive(earlier))] if earlier else []),
        ("Kaggle input", part.from_kaggle),
        (f"hub, {part.sources.laboratory}", part.from_laboratory),
        *([(f"hub, {part.sources.zipped}", part.from_zip)] if isinstance(part, Videos) else []),
        (f"hub, {part.sources.mirror}", part.from_mirror),  # 6,766 files, at 3,000 in 5 minutes
        ("official address", part.from_address),
    ]
