"""Download one file over HTTP: resume it, retry it, check its SHA-256 before it gets its name."""

from collections.abc import Callable
from pathlib import Path

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception

from hmdb_lib.errors import UserError
from hmdb_lib.files import report_refusals, require_disk, sha256_of
from hmdb_lib.progress import Bar


class FetchError(UserError):
    """Report that an address did not give the file; another source may."""


def fetch(url: str, file: Path, sha256: str, timeout: float = 30, pause: float = 1, attempts: int = 5) -> None:
    """Download `url` to `file`, through `<file>.part` beside it, which a later call continues.

    timeout: seconds without a byte after which the connection counts as lost. pause, attempts: see `retry`. Raises
    FetchError (wrong address, no connection, wrong checksum) or DiskError. Bytes with a wrong checksum are deleted;
    those of a lost connection are kept.
    """
    if file.exists():
        check_or_delete(file, sha256)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    try:
        with report_refusals(file.parent):
            retry(lambda: _continue(url, part, timeout), lambda: _size(part), _is_temporary, pause, attempts)
    except httpx.HTTPStatusError as error:
        raise FetchError(f"{error.request.url} answers {error.response.status_code}") from error
    except httpx.HTTPError as error:
        raise FetchError(f"{url}: {one_line(error)}; call again to continue at {_size(part) / 1e6:.1f} MB") from error
    check_or_delete(part, sha256)
    part.replace(file)


def check(file: Path, sha256: str) -> None:
    """Raise FetchError unless the file has this SHA-256."""
    found = sha256_of(file)
    if found != sha256:
        raise FetchError(f"{file}: its sha256 is {found}, expected {sha256}: damaged, or another file")


def check_or_delete(file: Path, sha256: str) -> None:
    """Check a file; delete one that is not as expected, so that the next call downloads it again."""
    try:
        check(file, sha256)
    except FetchError as error:
        file.unlink()
        raise FetchError(f"{error}; it was deleted, call again to download it again") from None


def retry(
    action: Callable[[], object],
    progress: Callable[[], int],
    is_temporary: Callable[[BaseException], bool],
    pause: float,
    attempts: int,
) -> None:
    """Repeat `action` after temporary faults until it ends, or until `attempts` in a row bring no `progress` (bytes).

    `pause`: seconds before the first new attempt; doubled for each that brings nothing, up to a minute.
    """
    best, idle = progress(), 0

    def count(state: RetryCallState) -> None:
        nonlocal best, idle
        idle = idle + 1 if progress() <= best else 0
        best = max(best, progress())

    def report(state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        assert error
        assert state.next_action
        Bar.write(f"connection lost ({one_line(error)}), next attempt in {state.next_action.sleep:.0f} s")

    Retrying(
        retry=retry_if_exception(is_temporary),
        after=count,
        stop=lambda state: idle >= attempts,
        wait=lambda state: min(60, pause * 2 ** max(0, idle - 1)),
        before_sleep=report,
        reraise=True,
    )(action)


def one_line(error: BaseException) -> str:
    """Shorten an error to its kind and the first line of its message."""
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
            Bar(desc=part.stem, total=have + left if left else None, initial=have, unit="B", unit_scale=True) as bar,
        ):
            for chunk in response.iter_raw():
                file.write(chunk)
                bar.update(len(chunk))


def _is_temporary(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (408, 429) or error.response.is_server_error
    return isinstance(error, httpx.TransportError)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
