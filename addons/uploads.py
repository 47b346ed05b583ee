"""Tells uploads of files by their heads alone: they may be larger than what is read."""

import re
from typing import Final

from mitmproxy import http

from llmtrace.providers.detect import BadPath, canonical_path

UPLOAD_PATHS: Final = re.compile(r".*/(files|uploads|audio|images)(/.*)?|/upload/.*", re.IGNORECASE)


def is_upload_path(target: str) -> bool:
    """Whether a path takes files, whoever serves it."""
    try:
        return UPLOAD_PATHS.fullmatch(canonical_path(target)) is not None
    except BadPath:
        return False


def upload_size(request: http.Request) -> int:
    """Return the announced size of a body that is no JSON, 0 for all others."""
    length = request.headers.get("content-length", "")
    kind = request.headers.get("content-type", "").lower()
    if not length.isdigit() or "json" in kind or not kind:
        return 0
    return int(length)
