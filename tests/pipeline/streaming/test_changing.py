import base64
import json

import pytest

from llmtrace.pipeline.streaming.changing import changed, without_offsets
from llmtrace.pipeline.streaming.entries import Change
from llmtrace.providers.base import Json
from llmtrace.providers.editing import EditFailed


def doc(value: Json) -> bytes:
    return json.dumps(value).encode()


def test_only_the_text_changes() -> None:
    data = b'{ "a" : {"b": ["x", "old"]}, "big": 123456789012345678901234567890, "c":1.50}'
    out = changed(data, [Change(("a", "b", 1), "old", "\ud800 new")], dialect="openai.chat")
    assert out == data.replace(b'"old"', b'"\\ud800 new"')


def test_arguments_that_are_an_object_stay_one() -> None:
    data = doc({"input": {"a": "old"}})
    change = Change(("input",), '{"a":"old"}', '{"a": "new"}')
    assert json.loads(changed(data, [change], dialect="x")) == {"input": {"a": "new"}}
    emptied = changed(data, [Change(("input",), '{"a":"old"}', "")], dialect="x")
    assert json.loads(emptied) == {"input": {}}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(Change(("b",), "old", "new"), id="no-such-place"),
        pytest.param(Change(("a",), "other", "new"), id="another-text"),
        pytest.param(Change(("a", "x"), "o", "new"), id="below-a-text"),
        pytest.param(Change(("a key",), "a key", "new"), id="the-name-of-a-member"),
        pytest.param(Change(("n",), "1.0", "new"), id="a-number"),
    ],
)
def test_what_is_not_there_is_not_changed(change: Change) -> None:
    with pytest.raises(EditFailed):
        changed(doc({"a": "old", "a key": "a key", "n": 1}), [change], dialect="x")


def test_two_texts_at_one_place_are_not_changed() -> None:
    change = Change(("a",), "old", "new")
    with pytest.raises(EditFailed):
        changed(doc({"a": "old"}), [change, change], dialect="x")


def test_what_says_the_text_again_goes() -> None:
    body: Json = {
        "choices": [
            {"delta": {"content": "old"}, "logprobs": {"content": [{"token": "old"}]}},
            {"token_ids": [1, 2], "finish_reason": None},
        ],
        "input": {"logprobs": [1], "annotations": [{"start": 1}]},
    }
    change = Change(("choices", 0, "delta", "content"), "old", "new")
    assert json.loads(changed(doc(body), [change], dialect="openai.chat")) == {
        "choices": [
            {"delta": {"content": "new"}, "logprobs": None},
            {"token_ids": [], "finish_reason": None},
        ],
        "input": {"logprobs": [1], "annotations": [{"start": 1}]},
    }


def test_offsets_go_and_other_notes_stay() -> None:
    body: Json = {
        "annotations": [{"start_index": 1, "url": "u"}],
        "citations": [{"type": "page", "cited_text": "t"}],
        "groundingSupports": [{"segment": {"startIndex": 1}}],
    }
    assert json.loads(without_offsets(doc(body))) == {
        "annotations": [],
        "citations": [{"type": "page", "cited_text": "t"}],
        "groundingSupports": [],
    }


def test_an_event_in_base64_is_changed_within() -> None:
    inner = doc({"delta": {"text": "old"}, "n": 1})
    data = doc({"bytes": base64.b64encode(inner).decode(), "note": "old"})
    changes = [Change(("delta", "text"), "old", "new"), Change(("note",), "old", "also new")]
    out = json.loads(changed(data, changes, dialect="bedrock.invoke"))
    assert out["note"] == "also new"
    assert base64.b64decode(out["bytes"]) == inner.replace(b"old", b"new")


def test_an_answer_of_invoke_that_is_whole_is_changed_as_it_stands() -> None:
    out = changed(
        doc({"generation": "old"}),
        [Change(("generation",), "old", "new")],
        dialect="bedrock.invoke",
    )
    assert json.loads(out) == {"generation": "new"}
