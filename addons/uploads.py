"""Bodies that pass unread while they come: told by their heads alone, and counted.

A file may be larger than what is read, and so may what goes to somebody who is no provider.
"""

import re
import sys
from collections.abc import Callable
from typing import Final

from mitmproxy import http

from llmtrace.providers.detect import BadPath, canonical_path

UPLOAD_PATHS: Final = re.compile(r".*/(files|uploads|audio|images)(/.*)?|/upload/.*", re.IGNORECASE)
BLOB_PATH: Final = re.compile(
    r"(?:/[\w.-]+)*/api/blobs/sha256(?::|-|%3a)[0-9a-f]{64}(?:\?.*)?", re.IGNORECASE | re.ASCII
)
"""Where Ollama takes a file of a model, named by its digest, which it verifies. It is matched with
the path as it was sent: no spelling of another route fits."""
BLOBS_OF: Final = "ollama"
NO_LIMIT: Final = sys.maxsize


class Passing:
    """Passes a body on as it comes, and says how much of it came."""

    def __init__(self, *, limit: int, passed: Callable[[int], None] = lambda _size: None) -> None:
        """``limit`` is how many bytes it may have in all; its layer keeps it."""
        self.limit = limit
        self._passed = passed

    def __call__(self, chunk: bytes) -> bytes:
        """Return a chunk as it is."""
        self._passed(len(chunk))
        return chunk


def is_upload_path(target: str) -> bool:
    """Whether a path takes files, whoever serves it."""
    try:
        return UPLOAD_PATHS.fullmatch(canonical_path(target)) is not None
    except BadPath:
        return False


def upload_size(request: http.Request) -> int:
    """Return the announced size of a body that is no JSON, 0 for all others."""
    kind = request.headers.get("content-type", "").lower()
    return 0 if "json" in kind or not kind else _announced(request) or 0


def is_large_upload(request: http.Request, most: int) -> bool:
    """Whether a request brings a file of more than ``most`` bytes."""
    return upload_size(request) > most and is_upload_path(request.path)


def is_large_blob(request: http.Request, provider: str, most: int) -> bool:
    """Whether a request brings Ollama a file of a model that has more than ``most`` bytes.

    So too where it does not announce how many: Ollama's own clients send it in chunks, as JSON.
    """
    size = _announced(request)
    return (
        provider == BLOBS_OF
        and request.method == "POST"
        and (size is None or size > most)
        and BLOB_PATH.fullmatch(request.path) is not None
    )


def _announced(request: http.Request) -> int | None:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdigit() else None
