import json

from llmtrace.providers.endings.base import document, frame, said


def test_a_document_that_is_none_is_empty() -> None:
    assert document(b"[DONE]") == document(b"[1]") == {}
    assert document(b'{"a": 1}') == {"a": 1}


def test_a_frame_is_ascii() -> None:
    made = frame({"a": "é \udc00"}, event="x")
    assert made.event == "x"
    assert json.loads(made.data.decode("ascii")) == {"a": "é \udc00"}


def test_what_is_said_after_something_stands_apart() -> None:
    assert said("", "b") == "b"
    assert said("a", "b") == "a\n\nb"
