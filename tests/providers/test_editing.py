"""A document is changed at the places that were named, and at no other byte."""

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.parts import Path
from llmtrace.providers import editing
from llmtrace.providers.editing import EditFailed, edit, put_member

CALL = (
    b'{ "model" : "m",\r\n\t"n": 1.0e2, "big": 123456789012345678901234567890,'
    b' "messages":[{"role":"user","content":"one \\u0074wo\\/"} ,\n'
    b' {"content":[{"type":"text","text":"three"},{"text":"\xc3\xa9"}]}],"x":null}\n'
)


@pytest.mark.parametrize(
    ("path", "new", "old_token", "new_token"),
    [
        pytest.param(("messages", 0, "content"), "1", b'"one \\u0074wo\\/"', b'"1"', id="escapes"),
        pytest.param(
            ("messages", 1, "content", 0, "text"), 'a"\\\n', b'"three"', b'"a\\"\\\\\\n"', id="deep"
        ),
        pytest.param(("messages", 1, "content", 1, "text"), "e", b'"\xc3\xa9"', b'"e"', id="utf-8"),
        pytest.param(("x",), "stop", b"null", b'"stop"', id="null"),
        pytest.param(("n",), 2, b"1.0e2", b"2", id="number"),
        pytest.param(("model",), {"a": [1]}, b'"m"', b'{"a":[1]}', id="by-an-object"),
        pytest.param(("model",), "\ud83d", b'"m"', b'"\\ud83d"', id="lone-surrogate"),
        pytest.param(("model",), 2**70, b'"m"', str(2**70).encode(), id="long-number"),
    ],
)  # fmt: skip
def test_only_the_value_changes(path: Path, new: Any, old_token: bytes, new_token: bytes) -> None:
    assert edit(CALL, {path: new}) == CALL.replace(old_token, new_token)


def test_containers_can_be_replaced_whole() -> None:
    document = b'{"a": [1, {"b": "]}"}, "["], "c": 2}'
    assert edit(document, {("a",): []}) == b'{"a": [], "c": 2}'
    assert edit(document, {("a", 1): None}) == b'{"a": [1, null, "["], "c": 2}'


def test_several_places_in_any_order() -> None:
    edits: dict[Path, Any] = {("messages", 1, "content", 0, "text"): "3", ("model",): "k"}
    changed = edit(CALL, edits)
    assert changed == CALL.replace(b'"three"', b'"3"').replace(b'"m"', b'"k"')


def test_nothing_to_change_is_the_document_itself() -> None:
    assert edit(CALL, {}) is CALL


def test_the_whole_document_can_be_one_value() -> None:
    assert edit(b' "a"\n', {(): "b"}) == b' "b"\n'


@pytest.mark.parametrize(
    ("document", "path", "said"),
    [
        pytest.param(b'{"a":"b"}', ("c",), "c: there is no such place", id="no-key"),
        pytest.param(b'{"a":["b"]}', ("a", 1), "a[1]: there is no such place", id="no-item"),
        pytest.param(b'{"a":"b"}', ("a", "b"), "a: there is nothing within", id="a-string"),
        pytest.param(b'{"a":["b"]}', ("a", "0"), "a.0: there is no such place", id="a-list"),
        pytest.param(b'{"a":{"0":1}}', ("a", 0), "a[0]: there is no such place", id="a-dict"),
        pytest.param(b'{"a":"b","\\u0061":"c"}', ("a",), "a: this key stands twice", id="twice"),
        pytest.param(b'{"a":"b"', ("a",), "ends before its time", id="cut"),
        pytest.param(b'{"a":["b', ("a",), "not JSON", id="cut-in-a-string"),
        pytest.param(b'{"a":"b"}{}', ("a",), "goes on after its end", id="two-documents"),
        pytest.param(b'["b" "c"]', (1,), "not JSON", id="no-comma"),
        pytest.param(b'{"b" "c"}', ("b",), "not JSON", id="no-colon"),
        pytest.param(b"", (), "ends before its time", id="empty"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_place(document: bytes, path: Path, said: str) -> None:
    with pytest.raises(EditFailed) as caught:
        edit(document, {path: "x"})
    assert said in str(caught.value)


def test_a_place_within_another_is_refused() -> None:
    with pytest.raises(EditFailed, match="a: a value is to change, and something within it too"):
        edit(b'{"a":{"b":"c"}}', {("a", "b"): "x", ("a",): "y"})


def test_what_is_expected_must_stand_there() -> None:
    path = ("messages", 0, "content")
    assert edit(CALL, {path: "x"}, expected={path: "one two/"}) != CALL
    with pytest.raises(EditFailed, match="not what was read") as caught:
        edit(CALL, {path: "x"}, expected={path: "other"})
    assert "one" not in str(caught.value)
    assert caught.value.where == "messages[0].content"


@pytest.mark.parametrize(
    ("document", "changed"),
    [
        pytest.param(b'{"x":{"a@b": {"t":"s"}}}', b'{"x":{"NEW": {"t":"s"}}}', id="of-an-object"),
        pytest.param(b'{"x":{"a@b" : "c"}}', b'{"x":{"NEW" : "c"}}', id="of-another-text"),
        pytest.param(b'{"x":{"\\u0061@b":1}}', b'{"x":{"NEW":1}}', id="escaped"),
        pytest.param(b'{"x":{"a@b":"a@b"}}', b'{"x":{"NEW":"NEW"}}', id="of-the-same-text"),
    ],
)
def test_a_member_is_renamed_where_its_name_is_what_was_read(
    document: bytes, changed: bytes
) -> None:
    path = ("x", "a@b")
    assert edit(document, {path: "NEW"}, expected={path: "a@b"}) == changed


@pytest.mark.parametrize(
    ("document", "path", "text", "changed"),
    [
        pytest.param(b'{"n": 123456 }', ("n",), "123456", b'{"n": "NEW" }', id="number"),
        pytest.param(b"[[-12]]", (0, 0), "-12", b'[["NEW"]]', id="in-a-list"),
        pytest.param(b'{"[1]":[1]}', ("[1]",), "[1]", b'{"NEW":[1]}', id="name-like-its-value"),
    ],
)
def test_a_number_is_changed_where_it_is_what_was_read(
    document: bytes, path: Path, text: str, changed: bytes
) -> None:
    assert edit(document, {path: "NEW"}, expected={path: text}) == changed


@pytest.mark.parametrize("value", [b"124", b"true", b"[123]", b"1.23e2"])
def test_another_value_than_the_number_that_was_read_stays(value: bytes) -> None:
    with pytest.raises(EditFailed, match="not what was read"):
        edit(b'{"n":' + value + b"}", {("n",): "NEW"}, expected={("n",): "123"})


def test_a_name_stays_a_string() -> None:
    with pytest.raises(EditFailed, match="name of a member is a string"):
        edit(b'{"a":1}', {("a",): 2}, expected={("a",): "a"})


def test_an_item_of_a_list_has_no_name() -> None:
    with pytest.raises(EditFailed, match="not what was read"):
        edit(b'{"0":[1]}', {("0", 0): "NEW"}, expected={("0", 0): "0"})


def test_a_value_that_is_no_json_is_refused() -> None:
    with pytest.raises(EditFailed, match="cannot be written"):
        edit(b'{"a":1}', {("a",): b"bytes"})  # type: ignore[dict-item]  # what a caller got wrong


@pytest.mark.parametrize("cut", range(1, len(CALL) - 1))
def test_a_document_that_is_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(EditFailed):
        edit(CALL[:cut], {("model",): "new"})


def test_depth_is_no_limit() -> None:
    depth = 2_000
    document = b"[" * depth + b'"a"' + b"]" * depth
    assert edit(document, {(0,) * (depth): "b"}) == document.replace(b"a", b"b")
    assert edit(document, {(0,): "b"}) == b'["b"]'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def places(value: Any, path: Path = ()) -> list[Path]:
    if isinstance(value, dict):
        return [p for key, item in value.items() for p in places(item, (*path, key))]
    if isinstance(value, list):
        return [p for index, item in enumerate(value) for p in places(item, (*path, index))]
    return [path]


def put(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@settings(max_examples=300, deadline=None)
@given(data=st.data(), value=JSON, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_any_places_of_any_document(
    data: st.DataObject, value: Any, ascii_only: bool, indent: int | None
) -> None:
    document = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    there = places(value)
    chosen = data.draw(st.lists(st.sampled_from(there), unique=True, max_size=3)) if there else []
    new = {path: data.draw(st.text()) for path in chosen}
    changed = edit(document, new)
    for path, text in new.items():
        value = put(value, path, text)
    assert json.loads(changed) == value
    # What is around the tokens is as it was: with a mark in each place, both are the same bytes.
    marks = {path: f"\x01{index}" for index, path in enumerate(chosen)}
    assert edit(changed, marks) == edit(document, marks)


@pytest.mark.parametrize("window", range(2, 12))
@pytest.mark.parametrize(
    "text", ["", "plain text", r"\" \\", '"""""', "\\" * 7, "ü" * 9, "a\n" * 8]
)
def test_a_string_is_passed_in_windows_that_change_nothing(
    monkeypatch: pytest.MonkeyPatch, text: str, window: int
) -> None:
    monkeypatch.setattr(editing, "WINDOW", window)
    document = json.dumps([text, text, 1]).encode()
    assert json.loads(edit(document, {(1,): "new"})) == [text, "new", 1]
    string = json.dumps(text).encode()
    for cut in range(1, len(string)):
        with pytest.raises(EditFailed):
            edit(string[:cut], {(): "new"})


def test_a_lone_surrogate_is_read_as_it_was() -> None:
    assert edit(b'["\\ud800 a"]', {(0,): "b"}, expected={(0,): "\ud800 a"}) == b'["b"]'


def test_a_long_conversation_is_changed_in_no_time() -> None:
    text = 'He said "no".\n' * 140
    messages = [{"role": "user", "content": [{"type": "text", "text": text}]} for _ in range(140)]
    document = json.dumps({"model": "m", "messages": messages}).encode()
    path: Path = ("messages", 137, "content", 0, "text")
    times = []
    for _ in range(5):
        began = time.perf_counter()
        edit(document, {path: "x", ("messages", 3, "content", 0, "text"): "y"})
        times.append(time.perf_counter() - began)
    assert len(document) > 300_000
    assert min(times) < 0.025  # it takes about a millisecond


@pytest.mark.parametrize(
    ("document", "path", "changed"),
    [
        pytest.param(b'{"a": 1}', ("b",), b'{"a": 1,"b":7}', id="beside-others"),
        pytest.param(b"{}", ("b",), b'{"b":7}', id="in-an-empty-object"),
        pytest.param(b' {"a":1} \n', ("b",), b' {"a":1,"b":7} \n', id="space-around"),
        pytest.param(b'{"b": null, "a":1}', ("b",), b'{"b": 7, "a":1}', id="for-null"),
        pytest.param(b'{"b": 70}', ("b",), b'{"b": 7}', id="for-another"),
        pytest.param(
            b'{"o": {"x": 1.0 }, "z": 2}',
            ("o", "b"),
            b'{"o": {"x": 1.0 ,"b":7}, "z": 2}',
            id="within",
        ),
        pytest.param(b'{"o":null}', ("o", "b"), b'{"o":{"b":7}}', id="within-null"),
        pytest.param(b'{"a":[]}', ("o", "b"), b'{"a":[],"o":{"b":7}}', id="within-what-is-missing"),
        pytest.param(b'{"\\u006f":{}}', ("o", "b"), b'{"\\u006f":{"b":7}}', id="name-escaped"),
    ],
)
def test_a_member_is_put_and_every_other_byte_stays(
    document: bytes, path: tuple[str, ...], changed: bytes
) -> None:
    assert put_member(document, orjson.loads(document), path, 7) == changed


@pytest.mark.parametrize("document", [b"[]", b'"text"', b'{"o": [1]}', b'{"o": true}'])
def test_nothing_is_put_into_what_is_no_object(document: bytes) -> None:
    with pytest.raises(EditFailed):
        put_member(document, orjson.loads(document), ("o", "b"), 7)
