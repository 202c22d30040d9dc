import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.tiny_hmdb51 import mount_small_disk
from helpers.web import FAST, Page, serve

from data_prep.hmdb51 import fetch as fetching
from data_prep.hmdb51.fetch import FetchError, fetch
from hmdb_lib.files import DiskError

BODY = os.urandom(900_000)


def sha256(body):
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as server:
        yield server


@pytest.fixture
def file(tmp_path):
    return tmp_path / "a.rar"


def get(web, file):
    fetch(f"{web.url}/a.rar", file, sha256(BODY), **FAST)


def only_file(file):
    return [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_file_is_fetched_whole_and_not_asked_for_again(web, file):
    web.pages["/a.rar"] = Page(BODY)
    get(web, file)
    get(web, file)
    assert file.read_bytes() == BODY
    assert only_file(file)
    assert web.requests == [("/a.rar", None)]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_a_lost_connection_goes_on_where_it_was(web, file, fault, capsys):
    web.pages["/a.rar"] = Page(BODY, faults=[(fault, 500_000)])
    get(web, file)
    assert file.read_bytes() == BODY
    assert web.requests == [("/a.rar", None), ("/a.rar", "bytes=500000-")]
    assert "connection lost" in capsys.readouterr().out


def test_a_line_that_breaks_often_but_moves_on_is_not_given_up(web, file):
    web.pages["/a.rar"] = Page(BODY, faults=[("cut", 100_000)] * 8)  # of 3 attempts in a row
    get(web, file)
    assert file.read_bytes() == BODY


def test_a_server_that_knows_no_ranges_starts_over(web, file):
    web.pages["/a.rar"] = Page(BODY, ranges=False, faults=[("cut", 500_000)])
    get(web, file)
    assert file.read_bytes() == BODY


def test_a_dead_line_is_told_and_the_next_call_goes_on(web, file):
    web.pages["/a.rar"] = Page(BODY, faults=[("cut", 500_000), *[("cut", 0)] * 5])
    with pytest.raises(FetchError, match=r"continue at 0\.5 MB"):
        get(web, file)
    assert not file.exists()
    web.pages["/a.rar"].faults.clear()
    get(web, file)
    assert file.read_bytes() == BODY
    assert web.requests[-1] == ("/a.rar", "bytes=500000-")


def test_a_busy_server_is_asked_again(web, file):
    web.pages["/a.rar"] = Page(BODY, faults=[503, 429])
    get(web, file)
    assert file.read_bytes() == BODY


def test_a_part_that_was_complete_before_the_end_is_taken(web, file):
    web.pages["/a.rar"] = Page(BODY)
    file.with_name("a.rar.part").write_bytes(BODY)
    get(web, file)
    assert file.read_bytes() == BODY


def test_bytes_with_a_wrong_checksum_are_deleted_and_the_next_call_starts_afresh(web, file):
    web.pages["/a.rar"] = Page(BODY[::-1])
    with pytest.raises(FetchError, match=f"expected {sha256(BODY)}.*deleted"):
        get(web, file)
    assert list(file.parent.iterdir()) == []
    web.pages["/a.rar"] = Page(BODY)
    get(web, file)
    assert web.requests[-1] == ("/a.rar", None)


def test_a_file_that_went_bad_on_disk_is_deleted_and_fetched_again(web, file):
    web.pages["/a.rar"] = Page(BODY)
    file.write_bytes(BODY[:-1])
    with pytest.raises(FetchError, match="deleted"):
        get(web, file)
    get(web, file)
    assert file.read_bytes() == BODY


def test_a_missing_page_is_told_at_once(web, file):
    with pytest.raises(FetchError, match=r"/a\.rar answers 404"):
        get(web, file)
    assert len(web.requests) == 1


def test_a_redirect_to_a_web_page_is_told_and_what_was_there_is_kept(web, file):
    web.pages["/a.rar"] = Page(status=301, headers={"Location": "/"})
    web.pages["/"] = Page(b"<html>Welcome to our lab", headers={"Content-Type": "text/html"}, ranges=False)
    file.with_name("a.rar.part").write_bytes(BODY[:1000])
    with pytest.raises(FetchError, match="leads to a web page"):
        get(web, file)
    assert file.with_name("a.rar.part").read_bytes() == BODY[:1000]


def test_an_address_without_a_server_is_told(file):
    with pytest.raises(FetchError, match="ConnectError"):
        fetch("http://127.0.0.1:9/a.rar", file, "", **FAST)


def test_too_small_a_disk_is_told_before_the_first_byte(web, file):
    web.pages["/a.rar"] = Page(b"", headers={"Content-Length": str(10**15)})
    with pytest.raises(DiskError, match=r"needs 1e\+06 GB of free disk, [\d.]+ GB are free"):
        get(web, file)
    assert list(file.parent.iterdir()) == []


def test_a_disk_that_fills_up_is_told_and_the_next_call_goes_on(web, tmp_path):
    web.pages["/a.rar"] = Page(BODY, length=False)  # so that nobody can know before
    with mount_small_disk(tmp_path / "disk") as disk:
        (disk / "hog").write_bytes(bytes(800_000))
        with pytest.raises(DiskError, match="the disk is full"):
            get(web, disk / "a.rar")
        kept = (disk / "a.rar.part").stat().st_size
        (disk / "hog").unlink()
        get(web, disk / "a.rar")
        assert (disk / "a.rar").read_bytes() == BODY
    assert web.requests[-1] == ("/a.rar", f"bytes={kept}-")
    assert kept > 0


@pytest.mark.slow
def test_killed_in_the_middle_the_next_call_goes_on(web, file):
    web.pages["/a.rar"] = Page(BODY, pause=0.05)
    call = f"from pathlib import Path; from data_prep.hmdb51.fetch import fetch; fetch({web.url + '/a.rar'!r}, Path({str(file)!r}), '')"
    root = Path(fetching.__file__).parents[1]
    child = subprocess.Popen([sys.executable, "-c", call], cwd=root, stderr=subprocess.DEVNULL)
    part = file.with_name("a.rar.part")
    while not part.exists() or part.stat().st_size < 200_000:
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = part.stat().st_size
    assert not file.exists()
    get(web, file)
    assert file.read_bytes() == BODY
    assert web.requests[-1] == ("/a.rar", f"bytes={kept}-")
