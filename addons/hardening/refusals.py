"""What a client reads whose request is refused before any dialect is known."""

import json
from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that is not served: the status, the limit or rule it met, and why."""

    status: int
    limit: str
    message: str


def refusal_body(refusal: Refusal) -> bytes:
    """Write a refusal in the one JSON shape that both the OpenAI and Anthropic SDKs read."""
    return json.dumps(
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "code": f"llmtrace_{refusal.limit}",
                "message": refusal.message,
                "param": None,
            },
        }
    ).encode()


def refusal_headers(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of a refusal, in lower case; they tell SDKs not to try again."""
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-should-retry", b"false"),
    ]


def refusal_response(refusal: Refusal) -> bytes:
    """Write a refusal as a whole HTTP/1.1 response that ends its connection."""
    body = refusal_body(refusal)
    lines = [f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}".encode()]
    lines += [b"%s: %s" % header for header in refusal_headers(body)]
    lines += [b"connection: close", b"", body]
    return b"\r\n".join(lines)
