"""A stand-in for a model hub: the part of its HTTP interface that its client library uses to fetch
a model, on loopback, with ways to misbehave."""

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from llmtrace.testing.background import LOOPBACK

HANG_SECONDS: Final = 30.0
LARGE: Final = 100
"""Bytes from which a file is kept as hubs keep large ones: its etag is its SHA-256, and it comes
from another place, which is asked without the token."""
STORE: Final = "/store/"


@dataclass(slots=True, kw_only=True)
class Faults:
    """How a stand-in misbehaves. ``file`` is the name of the file that it concerns."""

    status: int = 0
    """Every answer has this status, or those of the file ``at`` if that is given."""
    at: str = ""
    says: bytes = b"{}"
    """What such an answer says: JSON, or a page if it begins with ``<``."""
    code: str = ""
    """``X-Error-Code`` of such an answer, such as ``GatedRepo``."""
    hangs: bool = False
    """Nothing is answered."""
    cut: str = ""
    """This file ends early, with the headers of a whole one."""
    changed: str = ""
    """This file comes with other bytes than were announced."""
    long: str = ""
    """This file comes twice, one behind the other."""
    bare: str = ""
    """This file comes without the headers of a hub."""
    endless: str = ""
    """This file breaks off again and again."""


@dataclass(slots=True)
class Repo:
    """A repository: its files by name, and the commit that each branch stands for."""

    files: Mapping[str, bytes]
    branches: dict[str, str] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        """The commit that its files are of."""
        digest = hashlib.sha1(usedforsecurity=False)
        for name, content in sorted(self.files.items()):
            digest.update(f"{name}\0".encode() + content)
        return digest.hexdigest()


class StandInHub:
    """Serves repositories from ``start`` to ``stop``; also a context manager."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults = Faults()
        self.token: str | None = None
        """What callers must send as their bearer token, if any."""
        self.calls: list[tuple[str, str]] = []
        """Method and path of each request."""
        self.over = threading.Event()
        hub = self

        class Handler(_Handler):
            serves = hub

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """What ``ml.endpoint`` is."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}"

    @property
    def store(self) -> str:
        """Where large files come from: another host, as far as names go."""
        return f"http://localhost:{self._server.server_address[1]}"

    def add(self, name: str, files: Mapping[str, bytes]) -> str:
        """Put a repository there, or new content into one; return its commit."""
        self.repos[name] = Repo(files)
        return self.repos[name].commit

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    serves: StandInHub

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        hub = self.serves
        path = unquote(urlsplit(self.path).path)
        hub.calls.append((self.command, path))
        if hub.faults.hangs:
            hub.over.wait(HANG_SECONDS)
            self.close_connection = True
            return None
        if path.startswith(STORE):
            return self._stored(path.removeprefix(STORE))
        if hub.token is not None and self.headers.get("authorization") != f"Bearer {hub.token}":
            return self._refuse(401, "")
        if hub.faults.status and path.endswith(hub.faults.at):
            return self._refuse(hub.faults.status, hub.faults.code)
        if path.startswith("/api/models/"):
            return self._info(path.removeprefix("/api/models/"))
        return self._file(path.lstrip("/"))

    def _info(self, path: str) -> None:
        name, _, revision = path.partition("/revision/")
        repo = self.serves.repos.get(name)
        if repo is None:
            return self._refuse(404, "RepoNotFound")
        if revision not in ("", "main", repo.commit):
            return self._refuse(404, "RevisionNotFound")
        said = {
            "id": name,
            "sha": repo.commit,
            "siblings": [_sibling(one, content) for one, content in repo.files.items()],
        }
        return self._answer(200, json.dumps(said).encode(), {"Content-Type": "application/json"})

    def _file(self, path: str) -> None:
        name, _, rest = path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        repo = self.serves.repos.get(name)
        if repo is None or file not in repo.files or revision != repo.commit:
            return self._refuse(404, "EntryNotFound")
        content = repo.files[file]
        headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{_etag(content)}"'}
        if file == self.serves.faults.bare:
            return self._content(file, content, {})
        if len(content) < LARGE:
            return self._content(file, content, headers)
        store = f"{self.serves.store}{STORE}{name}/{file}?Signature=secret"
        linked = {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(content))}
        return self._answer(302, b"", {**headers, **linked, "Location": store})

    def _stored(self, path: str) -> None:
        """Serve a large file from where hubs keep them."""
        owner, _, rest = path.partition("/")
        name, _, file = rest.partition("/")
        content = self.serves.repos[f"{owner}/{name}"].files[file]
        if "authorization" in self.headers:
            return self._refuse(400, "")  # stores take the signature or a token, not both
        return self._content(file, content, {"ETag": '"of the store"'})

    def _content(self, file: str, content: bytes, headers: Mapping[str, str]) -> None:
        faults = self.serves.faults
        if file == faults.changed:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if file == faults.cut and self.command == "GET":
            content = content[: len(content) // 2]
        if file == faults.long and self.command == "GET":
            content *= 2
        if file == faults.endless and self.command == "GET":
            return self._break_off(content, headers)
        return self._answer(200, content, headers)

    def _break_off(self, content: bytes, headers: Mapping[str, str]) -> None:
        """Send a few bytes, and close."""
        self._head(200, {**headers, "Content-Length": str(len(content))})
        self.wfile.write(content[:10])
        self.close_connection = True
        time.sleep(0.01)

    def _refuse(self, status: int, code: str) -> None:
        says = self.serves.faults.says
        kind = "text/html" if says.startswith(b"<") else "application/json"
        more = {"X-Error-Code": code} if code else {}
        self._answer(status, says, {"Content-Type": f"{kind}; charset=utf-8", **more})

    def _answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self._head(status, {**headers, "Content-Length": str(len(content))})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _etag(content: bytes) -> str:
    return _sha256(content) if len(content) >= LARGE else _blob(content)


def _sibling(name: str, content: bytes) -> dict[str, object]:
    said: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": _blob(content)}
    if len(content) >= LARGE:
        said["lfs"] = {"sha256": _sha256(content), "size": len(content), "pointerSize": 134}
    return said


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _blob(content: bytes) -> str:
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
