import gzip
import io
import json

import pytest

from llmtrace.cli import scantexts
from llmtrace.cli.scantexts import (
    FORMATS,
    Document,
    Entry,
    Unreadable,
    entries,
    format_of,
)
from llmtrace.domain.parts import Origin, Role


def read(form: str, data: bytes, role: Role = Role.USER) -> list[Entry]:
    return list(FORMATS[form](io.BytesIO(data), "f", role))


def texts(found: list[Entry]) -> list[str]:
    return [piece.text for one in found if isinstance(one, Document) for piece in one.pieces]


def reasons(found: list[Entry]) -> list[tuple[int, str]]:
    return [(one.line, one.reason) for one in found if isinstance(one, Unreadable)]


def test_a_file_is_one_text() -> None:
    (entry,) = read("text", "a\nb ü".encode(), Role.TOOL_RESULT)
    assert isinstance(entry, Document)
    (piece,) = entry.pieces
    assert (piece.text, piece.role, piece.origin) == (
        "a\nb ü", Role.TOOL_RESULT, Origin.UNTRUSTED,
    )  # fmt: skip
    assert (entry.source, entry.line) == ("f", 0)


def test_a_text_in_utf_16_knows_how_it_is_written() -> None:
    (entry,) = read("text", "\ufeffhi ü".encode("utf-16-le"))
    assert isinstance(entry, Document)
    assert texts([entry]) == ["hi ü"]
    assert entry.encoding.encode("hi ü") == "\ufeffhi ü".encode("utf-16-le")


@pytest.mark.parametrize("form", list(FORMATS))
@pytest.mark.parametrize(
    ("data", "what"),
    [
        pytest.param(gzip.compress(b'{"text":"a"}\n' * 9), "gzip", id="gzip"),
        pytest.param(b"PK\x03\x04\n\n\n", "a zip archive", id="zip"),
    ],
)
def test_what_is_no_text_is_told_once_for_the_file(form: str, data: bytes, what: str) -> None:
    (entry,) = read(form, data)
    assert isinstance(entry, Unreadable)
    assert entry.reason.startswith(f"not scanned: {what}, no text; unpack it")


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "text"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_json_is_utf_8(form: str, mark: str) -> None:
    (entry,) = read(form, (mark + '{"text":"a"}\n{"text":"b"}\n').encode("utf-16-le"))
    assert isinstance(entry, Unreadable)
    assert entry.reason.startswith("not scanned: JSON in UTF-16")
    assert "(iconv -f UTF-16" in entry.reason


def test_rows_are_read_in_order_with_their_lines() -> None:
    found = read("jsonl", b'\xef\xbb\xbf{"text":"a","id":1}\r\n\n \t\n{"text":""}\n{"text":"c"}')
    assert texts(found) == ["a", "", "c"]
    assert [one.line for one in found] == [1, 4, 5]
    assert isinstance(found[0], Document)
    assert found[0].row == {"text": "a", "id": 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b"{", "not JSON", id="cut-short"),
        pytest.param(b"sesame", "not JSON", id="no-json"),
        pytest.param(b"\xff\xfe", "not JSON", id="no-utf-8"),
        pytest.param(b"[" * 100_000, "not JSON", id="too-deep"),
        pytest.param(b"[1]", "not an object", id="a-list"),
        pytest.param(b'{"txt": "sesame"}', "no 'text'", id="no-text"),
        pytest.param(b'{"text": null}', "no 'text'", id="null"),
        pytest.param(b'{"text": 7}', "'text' is a number", id="a-number"),
        pytest.param(b'{"text": ["sesame"]}', "'text' is a list", id="a-list-of-texts"),
    ],
)
def test_a_row_that_is_none_is_told_with_its_line_and_the_rest_is_read(
    line: bytes, reason: str
) -> None:
    found = read("jsonl", b'{"text":"a"}\n' + line + b'\n{"text":"b"}\n')
    assert texts(found) == ["a", "b"]
    ((number, said),) = reasons(found)
    assert number == 2
    assert said.startswith(reason)
    assert "sesame" not in said


def test_a_lone_surrogate_is_a_text() -> None:
    assert texts(read("jsonl", b'{"text":"a\\ud800b"}')) == ["a\ud800b"]


def test_what_is_too_long_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scantexts, "MAX_BYTES", 20)
    monkeypatch.setattr(scantexts, "_SKIP", 7)
    found = read("jsonl", b'{"text":"' + b"x" * 99 + b'"}\n{"text":"b"}\n' + b"y" * 99)
    assert texts(found) == ["b"]
    assert [line for line, _ in reasons(found)] == [1, 3]
    for form in ("text", "openai"):
        ((_, reason),) = reasons(read(form, b"x" * 21))
        assert "the file is longer" in reason


TRANSCRIPTS = [
    (
        "openai",
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]},
        [("messages[0].content", "system"), ("messages[1].content", "user")],
    ),
    ("openai", {"input": "u"}, [("input", "user")]),
    (
        "anthropic",
        {"system": "s", "messages": [{"role": "user", "content": [{"type": "text", "text": "u"}]}]},
        [("system", "system"), ("messages[0].content[0].text", "user")],
    ),
    (
        "gemini",
        {"contents": [{"role": "user", "parts": [{"text": "u"}]}]},
        [("contents[0].parts[0].text", "user")],
    ),
    (
        "bedrock",
        {"messages": [{"role": "user", "content": [{"text": "u"}]}]},
        [("messages[0].content[0].text", "user")],
    ),
    (
        "ollama",
        {"messages": [{"role": "user", "content": "u"}]},
        [("messages[0].content", "user")],
    ),
    ("ollama", {"prompt": "u"}, [("prompt", "user")]),
]


@pytest.mark.parametrize(
    ("form", "body", "parts"),
    TRANSCRIPTS,
    ids=["chat", "responses", "anthropic", "gemini", "bedrock", "ollama", "ollama-generate"],
)
def test_a_transcript_is_read_as_its_provider_does(
    form: str, body: dict[str, object], parts: list[tuple[str, str]]
) -> None:
    data = json.dumps(body).encode()
    (entry,) = read(form, b"\n" + data + b"\n")
    assert isinstance(entry, Document)
    assert [(piece.location, piece.role) for piece in entry.pieces] == parts
    assert entry.body == data


def test_what_is_no_text_in_a_transcript_is_told() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    content = [{"type": "text", "text": "u"}, image]
    (entry,) = read(
        "openai", json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    )
    assert isinstance(entry, Document)
    assert "image at messages[0].content[1]" in entry.unread


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"a":1,"a":2}'])
def test_what_is_no_request_is_told(data: bytes) -> None:
    (entry,) = read("anthropic", data)
    assert isinstance(entry, Unreadable)


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.jsonl", "jsonl"), ("A.NDJSON", "jsonl"), ("a.json", "text"), ("-", "text"), ("a", "text")],
)
def test_a_name_tells_its_format(name: str, form: str) -> None:
    assert format_of(name) == form


def test_files_are_read_one_after_the_other_and_closed() -> None:
    class Broken(io.BytesIO):
        def read(self, _: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    files = [("a.jsonl", io.BytesIO(b'{"text":"x"}')), ("b", Broken()), ("c", io.BytesIO(b"y"))]
    found = list(entries(files, None, Role.USER))
    assert texts(found) == ["x", "y"]
    assert reasons(found) == [(0, "cannot be read: Input/output error")]
    assert all(file.closed for _, file in files)
