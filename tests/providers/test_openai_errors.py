"""Errors in the shape that OpenAI's clients show."""

import json

import pytest

from llmtrace.providers.openai_errors import OpenAIErrors


def test_refusal_has_the_error_object() -> None:
    body = OpenAIErrors().refusal(status=400, code="llmtrace_policy_violation", message="No.")
    assert json.loads(body) == {
        "error": {
            "message": "No.",
            "type": "invalid_request_error",
            "param": None,
            "code": "llmtrace_policy_violation",
        }
    }


@pytest.mark.parametrize(
    ("code", "kind"),
    [("llmtrace_blocked", "policy_violation"), ("llmtrace_limit", "server_error")],
)
def test_a_stream_ends_with_the_error_and_done(code: str, kind: str) -> None:
    first, second, rest = OpenAIErrors().stream_error(code=code, message="No.").split(b"\n\n")
    error = {"message": "No.", "type": kind, "param": None, "code": code}
    assert json.loads(first.removeprefix(b"data: ")) == {"error": error}
    assert (second, rest) == (b"data: [DONE]", b"")
