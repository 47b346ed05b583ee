import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.cli.transcript import (
    SHOWN_CHARS,
    SHOWN_PARTS,
    Line,
    answer_lines,
    laid_out,
    request_lines,
)
from llmtrace.domain.traces import Body
from llmtrace.providers.registry import DIALECTS
from llmtrace.testing.records import a_trace


def request(**body: object) -> list[Line]:
    return list(request_lines(a_trace(), Body(content=json.dumps(body).encode())))


def test_a_request_is_who_said_what() -> None:
    lines = request(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "one"},
                                         {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": "three"},
        ],
        tools=[{"type": "function", "function": {"name": "run_shell", "description": "Run."}}],
    )  # fmt: skip
    assert lines == [
        Line("tools", "run_shell"),
        Line("system", "Be brief."),
        Line("user", "one\ntwo"),
        Line("assistant", "three"),
    ]


def test_of_a_long_conversation_the_newest_parts_are_shown() -> None:
    roles = ["user", "assistant"] * 20
    lines = request(messages=[{"role": r, "content": f"text {n}"} for n, r in enumerate(roles)])
    assert lines[0].text == f"({40 - SHOWN_PARTS} earlier parts are left out)"
    assert [line.text for line in lines[1:]] == [f"text {n}" for n in range(32, 40)]


def test_an_answer_that_came_whole() -> None:
    body = {
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "I look.",
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "run_shell", "arguments": '{"command": "ls"}'},
                        }
                    ],
                },
            }
        ]
    }
    kept = Body(content=json.dumps(body).encode(), media_type="application/json")
    assert answer_lines(a_trace(), kept) == [
        Line("assistant", "I look."),
        Line("tool_call", 'run_shell {"command": "ls"}'),
    ]


def test_an_answer_that_was_streamed() -> None:
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("Hel", "lo")]
    content = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks)
    kept = Body(content=content, media_type="text/event-stream; charset=utf-8")
    assert answer_lines(a_trace(), kept) == [Line("assistant", "Hello")]


def test_an_error_is_shown() -> None:
    content = json.dumps({"error": {"message": "slow down", "code": "rate_limited"}}).encode()
    (line,) = answer_lines(a_trace(), Body(content=content, media_type="application/json"))
    assert line.who == "error"
    assert "slow down" in line.text


def test_what_is_no_json_is_shown_as_it_is() -> None:
    assert request_lines(a_trace(), Body(content=b"--boundary")) == [Line("", "--boundary")]
    assert answer_lines(a_trace(), Body(content=b"")) == [Line("", "(empty)")]


def test_long_texts_are_cut_and_control_characters_are_seen() -> None:
    rows = list(laid_out([Line("user", "a\x1b[2J\0b\n\n\n" + "x" * 9999)], width=None))
    assert rows[0] == ("user", "a\\x1b[2J\\x00b")
    assert rows[1][0] == ""
    assert rows[1][1].endswith("… (10,007 characters)")
    assert len(rows[1][1]) < SHOWN_CHARS + 40


def test_lines_fit_the_screen() -> None:
    rows = list(laid_out([Line("user", "word " * 100)], width=60))
    assert len(rows) > 8
    assert all(len(text) <= 45 for _, text in rows)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=25, deadline=None)
@given(
    content=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["messages", "role", "content", "choices", "type", "text", "input"]),
            inner, max_size=3),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)  # fmt: skip
def test_any_bytes_can_be_shown(dialect: str, content: bytes) -> None:
    trace = a_trace(dialect=dialect)
    for media_type in ("application/json", "text/event-stream"):
        body = Body(content=content, media_type=media_type)
        lines = [*request_lines(trace, body), *answer_lines(trace, body)]
        assert all(text.isprintable() for _, text in laid_out(lines, width=80))
