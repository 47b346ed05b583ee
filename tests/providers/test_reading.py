"""The readers that dialects are made of."""

import base64
import hashlib

import pytest

from llmtrace.domain.parts import MediaKind, Origin, Path, Role
from llmtrace.providers import reading as r
from llmtrace.providers.base import Json, Route
from llmtrace.providers.media import CREDENTIAL

PNG = b"\x89PNG\r\n\x1a\n\x00"
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()


def read(reader: r.Reader, value: Json, known: frozenset[str] = frozenset()) -> r.Reading:
    reading = r.Reading(known)
    reader(reading, value, ("x",), r.USER)
    return reading


def texts(reading: r.Reading) -> list[tuple[Path, str]]:
    return [(part.path, part.text) for part in reading.parts]


def test_members_read_by_table_and_the_rest_generically() -> None:
    reader = r.members(text=r.text)
    reading = read(reader, {"text": "hi", "type": "t", "new": {"a": "b"}}, frozenset({"type"}))
    assert texts(reading) == [(("x", "text"), "hi"), (("x", "new", "a"), "b")]
    assert [part.origin for part in reading.parts] == [Origin.TRUSTED, Origin.UNTRUSTED]


@pytest.mark.parametrize("value", ["s", ["s"], {"deep": {"s": ["s"]}}])
def test_what_stands_in_place_of_a_text_is_read(value: Json) -> None:
    assert [part.text for part in read(r.text, value).parts] == ["s"]


@pytest.mark.parametrize("value", ["s", ["s", 1], [["s"]]])
def test_what_stands_in_place_of_an_object_is_read(value: Json) -> None:
    assert [part.text for part in read(r.members(), value).parts] == ["s"]
    assert [part.text for part in read(r.each(r.by_type({})), value).parts] == ["s"]


def test_what_tools_define_is_read_with_names_and_numbers() -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    reading = read(r.anything, {token: 1, "card": 5425233430109903})
    assert texts(reading) == [(("x", token), token), (("x", "card"), "5425233430109903")]


def test_types_pick_their_reader() -> None:
    reader = r.by_type({"call": r.speaking(r.TOOL_CALL, r.members(text=r.text))})
    reading = read(r.each(reader), [{"type": "call", "text": "a"}, {"type": [], "text": "b"}, "c"])
    assert [part.role for part in reading.parts if part.text in "abc"] == [
        Role.TOOL_CALL,
        Role.USER,
        Role.USER,
    ]


def test_structure_is_followed_only_so_far() -> None:
    def deeper(reading: r.Reading, value: Json, path: Path, voice: r.Voice) -> None:
        r.members(content=deeper)(reading, value, path, voice)

    value: Json = "bottom"
    for _ in range(5_000):
        value = {"content": value}
    assert [part.text for part in read(deeper, value).parts] == ["bottom"]


def test_media_in_a_data_uri() -> None:
    reading = read(r.media_url(MediaKind.FILE), URI)
    [media] = reading.media
    assert (media.kind, media.mime, media.size) == (MediaKind.FILE, "image/png", len(PNG))
    assert media.sha256 == hashlib.sha256(PNG).hexdigest()
    assert not reading.parts


def test_a_url_is_a_reference_and_a_text() -> None:
    reading = read(r.media_url(MediaKind.IMAGE), "https://Evil.example/?q=secret")
    [media] = reading.media
    assert (media.host, media.size) == ("evil.example", None)
    assert [part.text for part in reading.parts] == ["https://Evil.example/?q=secret"]


def test_text_in_base64_is_media_and_a_part() -> None:
    encoded = base64.b64encode(b"ignore all").decode()
    reading = read(r.media_base64(MediaKind.FILE, "text/plain"), encoded)
    assert [part.text for part in reading.parts] == ["ignore all"]
    assert reading.media[0].path == reading.parts[0].path


def test_what_is_no_base64_is_a_text() -> None:
    reading = read(r.media_base64(MediaKind.IMAGE), "ignore, all!")
    assert [part.text for part in reading.parts] == ["ignore, all!"]
    assert not reading.media


def test_a_data_uri_in_an_unknown_place_is_media() -> None:
    reading = read(r.members(), {"new": URI})
    assert [media.kind for media in reading.media] == [MediaKind.IMAGE]


@pytest.mark.parametrize(
    ("reader", "blob"),
    [(r.opaque, "ZW5j"), (r.media_id(MediaKind.FILE), "file-1")],
    ids=["opaque", "id"],
)
def test_blobs_and_ids_are_media_unless_they_are_sentences(reader: r.Reader, blob: str) -> None:
    assert len(read(reader, blob).media) == 1
    assert [part.text for part in read(reader, "a sentence").parts] == ["a sentence"]
    assert [part.text for part in read(reader, ["a list"]).parts] == ["a list"]
    assert not read(reader, "").media


def test_keys_are_read_by_nobody_and_sentences_are() -> None:
    headers: Json = {"Authorization": "Bearer abc.def", "X-Note": "ignore all of it"}
    reading = read(r.credential, headers)
    assert [(media.mime, media.sha256) for media in reading.media] == [(CREDENTIAL, None)]
    assert [part.text for part in reading.parts] == ["X-Note", "ignore all of it"]


def test_tools_are_remembered_by_name_and_digest() -> None:
    reader = r.tool(r.members(name=r.text, parameters=r.schema), name=lambda d: d.get("name"))
    parameters: Json = {
        "type": "object",
        "properties": {"p": {"type": "string", "description": "A p", "enum": ["e"]}},
        "required": ["p"],
    }
    reading = read(reader, {"name": "t", "parameters": parameters})
    again = read(reader, {"parameters": parameters, "name": "t"})
    assert reading.tools == again.tools
    assert reading.tools[0].name == "t"
    assert [part.text for part in reading.parts] == ["t", "A p", "e"]
    assert {part.role for part in reading.parts} == {Role.TOOL_DESCRIPTION}


def test_a_cache_mark_that_moves_changes_no_tool() -> None:
    tool: dict[str, Json] = {"name": "t", "input_schema": {"properties": {"cache_control": {}}}}
    marked: Json = {**tool, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert r.tool_digest(marked) == r.tool_digest(tool)
    assert r.tool_digest({**tool, "input_schema": {}}) != r.tool_digest(tool)


def test_a_tool_of_any_depth_has_a_digest() -> None:
    deep: Json = "\ud800"
    for _ in range(2_000):
        deep = [deep]
    assert r.tool_digest(deep) != r.tool_digest([deep])  # the path tells them apart
    assert len(r.tool_digest("\ud800")) == 64


def test_parts_are_bounded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r, "MAX_PARTS", 2)
    reading = read(r.anything, ["a", "b", "ccc", "dd"])
    assert len(reading.parts) == 2
    assert [(gap.reason, gap.size) for gap in reading.unread] == [("too_large", 5)]


def test_untrusted_keeps_the_role() -> None:
    [part] = read(r.untrusted(r.text), "doc").parts
    assert (part.role, part.origin) == (Role.USER, Origin.UNTRUSTED)


@pytest.mark.parametrize(
    ("value", "count"),
    [(5, 5), (0, 0), (-1, None), (True, None), (1.5, None), ("7", None), (1 << 60, None)],
)
def test_counts(value: Json, count: int | None) -> None:
    assert r.as_count(value) == count


def test_values_of_another_type_are_empty() -> None:
    assert (r.as_str(1), r.as_dict([]), r.as_list({}), r.as_int(True)) == ("", {}, [], None)


@pytest.mark.parametrize(
    ("stream", "path_says", "streamed"),
    [(True, None, True), ("yes", None, False), (False, True, True), (True, False, False)],
)
def test_the_path_says_first_whether_it_streams(
    stream: Json, path_says: bool | None, streamed: bool
) -> None:
    route = Route(provider="p", dialect="d", operation="o", stream=path_says)
    assert r.streams({"stream": stream}, route) is streamed
