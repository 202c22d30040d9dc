"""One file over HTTP: resumed by range, retried with growing pauses, proved by its checksum before it gets its name."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential
from tqdm.auto import tqdm

from hmdb_lib.errors import UserError
from hmdb_lib.files import report_full_disk, require_disk


class FetchError(UserError):
    """This address did not give the file; another source may."""


def fetch(url: str, file: Path, sha256: str, timeout: float = 30, pause: float = 1, attempts: int = 5) -> None:
    """Download `url` to `file`, through `<file>.part` beside it, which a later call continues.

    timeout: seconds without a byte after which the connection counts as stalled. pause: seconds before the first new
    try, doubled for each further one up to a minute. attempts: tries in a row that bring no new byte before it gives
    up. Raises FetchError (wrong address, no connection, wrong checksum) or DiskError. Bytes with a wrong checksum are
    deleted; those of a broken connection are kept.
    """
    if file.exists():
        prove_or_delete(file, sha256)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    try:
        with report_full_disk(file.parent):
            patiently(lambda: _continue(url, part, timeout), lambda: _size(part), _passes, pause, attempts)
    except httpx.HTTPStatusError as error:
        raise FetchError(f"{error.request.url} answers {error.response.status_code}") from error
    except httpx.HTTPError as error:
        raise FetchError(f"{url}: {one_line(error)}; call again to continue at {_size(part) / 1e6:.1f} MB") from error
    prove_or_delete(part, sha256)
    part.replace(file)


def prove(file: Path, sha256: str) -> None:
    """Raise FetchError unless the file has this SHA-256."""
    with file.open("rb") as bytes_:
        found = hashlib.file_digest(bytes_, "sha256").hexdigest()
    if found != sha256:
        raise FetchError(f"{file}: its sha256 is {found}, expected {sha256}: damaged, or another file")


def prove_or_delete(file: Path, sha256: str) -> None:
    """As `prove`, and a file that is not the expected one is gone, so that the next call starts afresh."""
    try:
        prove(file, sha256)
    except FetchError as error:
        file.unlink()
        raise FetchError(f"{error}; it was deleted, call again to download it afresh") from None


def patiently(
    action: Callable[[], object],
    progress: Callable[[], int],
    passes: Callable[[BaseException], bool],
    pause: float,
    attempts: int,
) -> None:
    """Repeat `action` after each fault that `passes`, until it ends or `attempts` in a row made no `progress`."""
    retrying = Retrying(
        retry=retry_if_exception(passes),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(pause, max=60),
        before_sleep=_tell,
        reraise=True,
    )
    best = progress()
    while True:
        try:
            retrying(action)
            return
        except Exception as error:
            if not passes(error) or progress() <= best:
                raise
            best = progress()


def one_line(error: BaseException) -> str:
    """An error's kind and the first line of its message: the hub's have many lines, a time-out's none."""
    return f"{type(error).__name__}: {error}".strip(": \n").splitlines()[0]


def _continue(url: str, part: Path, timeout: float) -> None:
    have = _size(part)
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    # The laboratory's certificate has been broken for years; the checksum proves the file, whoever sent it.
    with httpx.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True, verify=False) as response:
        if have and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is left to ask for: the checksum tells whether the part is the file
        response.raise_for_status()
        if response.headers.get("Content-Type", "").startswith("text/"):
            raise FetchError(f"{url} leads to a web page ({response.url}), not to a file")
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            have = 0  # a server that knows no ranges sends the file from its start
        left = int(response.headers.get("Content-Length", 0))  # 0: not told
        require_disk(part.parent, left, f"the rest of {part.stem}")
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(desc=part.stem, total=have + left if left else None, initial=have, unit="B", unit_scale=True) as bar,
        ):
            for chunk in response.iter_raw():
                file.write(chunk)
                bar.update(len(chunk))


def _passes(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (408, 429) or error.response.is_server_error
    return isinstance(error, httpx.TransportError)


def _tell(state: RetryCallState) -> None:
    error, seconds = state.outcome.exception(), state.next_action.sleep
    tqdm.write(f"connection lost ({one_line(error)}), next try in {seconds:.0f} s")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
