"""Errors in OpenAI's shape, which most providers' clients understand.

Source: the ``APIError`` classes of the openai SDK 3.52, and what its clients show to a person.
"""

import json
from collections.abc import Mapping
from typing import Final

from llmtrace.providers.base import Json

DONE: Final = b"[DONE]"
"""The datum that ends a stream of chat chunks."""

_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def encode(value: Json) -> bytes:
    """Write JSON in ASCII, so that any text can be written, lone surrogates included."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def error_object(*, kind: str, code: str, message: str) -> dict[str, Json]:
    """Return the object that stands under ``error``."""
    return {"message": message, "type": kind, "param": None, "code": code}


def kind_of(status: int) -> str:
    """Return the error type that goes with an HTTP status."""
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")


def stream_kind(code: str) -> str:
    """Return the error type for the end of a stream: a policy's doing, or a mishap."""
    policy = code.startswith(("llmtrace_policy", "llmtrace_blocked"))
    return "policy_violation" if policy else "server_error"


class OpenAIErrors:
    """``refusal`` and ``stream_error`` of ``base.Dialect``, for chat and its kin."""

    def refusal(self, *, status: int, code: str, message: str) -> bytes:
        """Return ``{"error": {...}}``."""
        return encode({"error": error_object(kind=kind_of(status), code=code, message=message)})

    def stream_error(self, *, code: str, message: str) -> bytes:
        """Return an event with the error, and ``[DONE]``: ``openai.APIError`` in the SDK."""
        error = error_object(kind=stream_kind(code), code=code, message=message)
        return b"data: " + encode({"error": error}) + b"\n\ndata: " + DONE + b"\n\n"
