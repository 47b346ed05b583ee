import json

from llmtrace.addons.hardening.refusals import Refusal, refusal_body, refusal_response

TOO_LARGE = Refusal(status=413, limit="body_bytes", message="the body is over 5 bytes")


def test_body_is_an_error_to_both_openai_and_anthropic_clients() -> None:
    body = json.loads(refusal_body(TOO_LARGE))
    assert body["type"] == "error"
    assert body["error"]["code"] == "llmtrace_body_bytes"
    assert body["error"]["message"] == TOO_LARGE.message


def test_response_is_whole_ends_the_connection_and_stops_retries() -> None:
    head, _, body = refusal_response(TOO_LARGE).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 413 ")
    assert b"content-length: %d" % len(body) in lines
    assert b"connection: close" in lines
    assert b"x-should-retry: false" in lines
