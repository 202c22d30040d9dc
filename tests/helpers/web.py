"""A local web server with the faults of real ones, and a stand-in for the Hugging Face hub on top of it."""

import json
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

FAST = {"timeout": 1, "pause": 0.01, "attempts": 3}  # seconds, seconds, tries: as patient as a local server needs


@dataclass
class Page:
    """What a path answers. `faults` are used up, one a request: a status, or ("cut" or "stall", after so many bytes)."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    length: bool = True
    faults: list = field(default_factory=list)
    pause: float = 0  # seconds between blocks of 64 KiB


class Web:
    """`pages` by path; `requests` keeps (path, Range header) of each GET."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.commits: dict[str, dict[str, bytes]] = {}  # repository -> path -> content
        self.refusals: dict[str, int | str] = {}  # part of a path -> a status, or "die": the line is cut
        self.closing = threading.Event()

    def add_hub(self, repository: str, files: dict[str, bytes]) -> None:
        """Answer as the hub does for a data set: its description, its tree and its files."""
        commit = sha1(repository.encode()).hexdigest()
        info = {"id": repository, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
        tree = []
        for name, content in files.items():
            oid = sha1(content).hexdigest()
            tree.append({"type": "file", "path": name, "size": len(content), "oid": oid})
            for revision in (commit, "main"):
                page = Page(content, headers={"ETag": f'"{oid}"', "X-Repo-Commit": commit})
                self.pages[f"/datasets/{repository}/resolve/{revision}/{name}"] = page
        described = Page(json.dumps(info).encode(), headers={"Content-Type": "application/json"})
        self.pages[f"/api/datasets/{repository}"] = described
        self.pages[f"/api/datasets/{repository}/revision/{commit}"] = described
        listed = Page(json.dumps(tree).encode(), headers={"Content-Type": "application/json"})
        self.pages[f"/api/datasets/{repository}/tree/{commit}"] = listed

    def take(self, path: str, body: bytes) -> Page:
        """Answer as the hub does while a model is uploaded: make, look, commit; the files can then be fetched."""
        if path == "/api/repos/create":
            asked = json.loads(body)
            answer: dict = {"url": f"{self.url}/{asked['organization']}/{asked['name']}"}
        elif path == "/api/validate-yaml":
            answer = {"errors": [], "warnings": []}
        elif "/preupload/" in path:
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            answer = {"files": [file | {"shouldIgnore": False} for file in files]}
        else:
            repository, lines = path.removeprefix("/api/models/").partition("/commit/")[0], body.splitlines()
            for line in map(json.loads, lines):
                if line["key"] == "file":
                    self._keep(repository, line["value"]["path"], b64decode(line["value"]["content"]))
            answer = {"commitUrl": f"{self.url}/{repository}/commit/1", "commitOid": "1" * 40, "pullRequestUrl": None}
        return Page(json.dumps(answer).encode(), headers={"Content-Type": "application/json"})

    def _keep(self, repository: str, name: str, content: bytes) -> None:
        self.commits.setdefault(repository, {})[name] = content
        headers = {"ETag": f'"{sha1(content).hexdigest()}"', "X-Repo-Commit": "1" * 40}
        self.pages[f"/{repository}/resolve/main/{name}"] = Page(content, headers=headers)


@contextmanager
def serve() -> Iterator[Web]:
    """A server of its own for one test."""

    class Handler(BaseHTTPRequestHandler):
        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            refusal = next((answer for part, answer in web.refusals.items() if part in self.path), None)
            if isinstance(refusal, int):
                self.send_response(refusal)
                self.send_header("X-Error-Message", "you have no right here")
                self.send_header("Content-Length", "0")
                self.send_header("Connection", "close")
                self.end_headers()
            self.close_connection = self.close_connection or refusal is not None
            return refusal is None

        def do_HEAD(self) -> None:
            self.answer(head=True)

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            if "Content-Length" in self.headers:
                body = self.rfile.read(int(self.headers["Content-Length"]))
            else:
                body = b"".join(iter(self.chunk, b""))
            page = web.take(unquote(urlsplit(self.path).path), body)
            self.send_response(page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            self.wfile.write(page.body)

        def chunk(self) -> bytes:
            content = self.rfile.read(int(self.rfile.readline(), 16))
            self.rfile.readline()
            return content

        def answer(self, head: bool = False) -> None:
            path, wanted = unquote(urlsplit(self.path).path), self.headers.get("Range")
            page = web.pages.get(path, Page(b"not here", 404))
            if not head:
                web.requests.append((path, wanted))
            fault = page.faults.pop(0) if page.faults and not head else None
            status, body = (fault, b"") if isinstance(fault, int) else (page.status, page.body)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and page.ranges and status == 200 else 0
            if start:
                status = 206 if start < len(body) else 416
            self.send_response(status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            if page.length and "Content-Length" not in page.headers:
                self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if not head and status != 416:
                self.send_body(body[start:], page.pause, fault)

        def send_body(self, body: bytes, pause: float, fault: tuple[str, int] | None) -> None:
            kind, limit = fault if isinstance(fault, tuple) else ("", len(body))
            for begin in range(0, limit, 1 << 16):
                self.wfile.write(body[begin : min(begin + (1 << 16), limit)])
                time.sleep(pause)
            if kind == "stall":
                web.closing.wait(10)

        def log_message(self, *message: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *connection: object) -> None:
            pass  # clients are killed and hang up here: that is what is tested

    with Server(("127.0.0.1", 0), Handler) as server:
        web = Web(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield web
        web.closing.set()
        server.shutdown()
        thread.join()
