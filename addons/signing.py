"""Puts a new signature on a request that was changed after its client had signed it."""

import hashlib
from typing import Final

from mitmproxy import http

from llmtrace.pipeline.call import Call
from llmtrace.pipeline.credentials import MASK
from llmtrace.pipeline.resigning import RESIGNED
from llmtrace.pipeline.threads import off_loop
from llmtrace.providers.sigv4 import SignedRequest, sign

_BYTES: Final = ("utf-8", "surrogateescape")


async def sign_anew(request: http.Request, call: Call) -> bool:
    """Sign a request as it is to be sent, if it was changed and may be; return whether it was."""
    if call.forward is None or call.signing is None:
        return False
    if not call.signing.is_own:
        request.headers["accept-encoding"] = "identity"  # so that ``TokenFilter`` can read it
    fields = request.headers.fields
    body = request.raw_content or b""
    sent = SignedRequest(
        method=request.method,
        host=request.host_header or "",
        target=request.path,
        headers=[(name.decode(*_BYTES), value.decode(*_BYTES)) for name, value in fields],
        body_sha256=await off_loop(len(body), _sha256, body),
    )
    for name, value in sign(sent, call.signing).items():
        if value:
            request.headers[name] = value
        else:
            request.headers.pop(name, None)
    call.note(RESIGNED, "true")
    return True


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def token_filter(response: http.Response, call: Call) -> "TokenFilter | None":
    """Return what keeps the operator's token from a client, None where it cannot be told one.

    AWS answers a signature that is wrong with all that it is over: the token is part of it.
    """
    if call.forward is None or call.signing is None or call.signing.is_own:
        return None
    token = call.signing.keys.token
    return TokenFilter(token) if token and response.status_code >= 400 else None


class TokenFilter:
    """Takes a token out of an answer as it passes. It holds no more than the token's length."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._held = b""

    def next(self, chunk: bytes) -> bytes:
        """Take what a ``stream`` callable is given, which is empty at the end."""
        held = (self._held + chunk).replace(self._token, MASK.encode())
        kept = self._begun(held) if chunk else 0
        self._held = held[len(held) - kept :]
        return held[: len(held) - kept]

    def _begun(self, held: bytes) -> int:
        """Return how many bytes at the end may be the beginning of the token."""
        longest = min(len(held), len(self._token) - 1)
        return next((n for n in range(longest, 0, -1) if self._token.startswith(held[-n:])), 0)
