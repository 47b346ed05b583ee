"""What every dialect promises, over the whole table. Examples: ``examples/NAME.json``."""

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path as FilePath
from typing import Any, Final

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.answers import (
    AnswerEvent,
    Failed,
    Identified,
    Stopped,
    TextDelta,
    TextRepeat,
    ToolCallOpened,
    Unread,
    UsageSeen,
)
from llmtrace.domain.parts import Path
from llmtrace.providers.base import Dialect, Frame, Json, RequestView, Route
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.leaves import words
from llmtrace.providers.media import CREDENTIAL
from llmtrace.providers.registry import DIALECTS

EXAMPLES: Final = FilePath(__file__).parent / "examples"
CANARY: Final = "my number is 123-45-6789"
NEW_KEY: Final = "zz_nobody_knows"

NAMES: Final = sorted(DIALECTS)
ECHOED: Final = frozenset(
    {"usage", "error", "logprobs", "instructions", "tools", "metadata", "text", "reasoning"}
)
"""Members of an answer that say again what the request said, or are read as values of their own."""

KEYS: Final = st.sampled_from(
    sorted(
        words(
            """
            messages role content text type input instructions tools name function arguments id
            parameters system image_url url source data media_type choices delta index message
            tool_calls usage error model stream item part output response candidates parts
            functionCall inlineData contents prompt images thinking output_index content_block
            bytes Messages
            """
        )
    )
)
WORDS: Final = st.sampled_from(
    sorted(
        words(
            """
            text user assistant tool system image_url base64 tool_use tool_result message
            function_call content_block_delta response.output_item.done response.completed
            text_delta data:text/plain,hi data:image/png;base64,AAAA [DONE] output_text error
            message_start content_block_start
            """
        )
    )
)
LEAVES: Final = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(max_size=8)
)
JUNK: Final = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@cache
def example(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text())
    return loaded


def frames(values: list[dict[str, Any]]) -> list[Frame]:
    return [
        Frame(
            event=value["event"],
            data=value["data"].encode()
            if isinstance(value["data"], str)
            else json.dumps(value["data"]).encode(),
            headers=value.get("headers", {}),
        )
        for value in values
    ]


def nodes(value: Json, path: Path = ()) -> Iterator[tuple[Path, Json]]:
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from nodes(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from nodes(item, (*path, index))


def follow(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def put(value: Any, path: Path, new: Any) -> Any:
    """Return a copy with ``new`` at ``path``; what is beside the path is shared."""
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


def route(dialect: Dialect) -> Route:
    return Route(provider="p", dialect=dialect.name, operation="chat", model="m")


def read(dialect: Dialect, body: Json) -> RequestView:
    return dialect.request(body, route(dialect))


def said(events: list[AnswerEvent]) -> str:
    """All that the events say, in one text."""
    texts: list[str] = []
    for event in events:
        match event:
            case TextDelta() | TextRepeat():
                texts.append(event.text)
            case ToolCallOpened():
                texts += [event.call_id, event.name]
            case Identified():
                texts += [event.response_id, event.model, event.service_tier]
            case Stopped():
                texts.append(event.reason)
            case Failed():
                texts += [event.code, event.message]
            case UsageSeen():
                texts.append(str(event.raw))
            case _:
                pass
    return "\n".join(texts)


@pytest.fixture(params=NAMES)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    name: str = request.param
    return DIALECTS[name]


def test_table_is_keyed_by_name() -> None:
    assert {name: dialect.name for name, dialect in DIALECTS.items()} == {n: n for n in NAMES}


# --- requests


def test_no_string_of_a_request_passes_unread(dialect: Dialect) -> None:
    body = example(dialect.name)["request"]
    for path, value in nodes(body):
        if isinstance(value, str):
            view = read(dialect, put(body, path, CANARY))
            assert any(CANARY in part.text for part in view.parts), path


def test_an_unknown_member_is_read_wherever_it_stands(dialect: Dialect) -> None:
    body = example(dialect.name)["request"]
    for path, value in nodes(body):
        if isinstance(value, dict):
            new: Json = {**value, NEW_KEY: {"deep": ["token", {"type": CANARY}]}}
            view = read(dialect, put(body, path, new))
            texts = [part.text for part in view.parts]
            keys = {item.path for item in view.media if item.mime == CREDENTIAL}
            assert "token" in texts or (*path, NEW_KEY, "deep", 0) in keys, path
            assert CANARY in texts, path


def test_keys_in_another_case_are_read(dialect: Dialect) -> None:
    body = example(dialect.name)["request"]
    shouted = {key.capitalize(): value for key, value in body.items()}
    plain = {part.text for part in read(dialect, body).parts}
    assert plain <= {part.text for part in read(dialect, shouted).parts} | _hidden(dialect, body)


def _hidden(dialect: Dialect, body: Json) -> set[str]:
    """Texts that only the dialect can find: they stand encoded in what it knows as media."""
    view = read(dialect, body)
    media = {item.path for item in view.media}
    return {part.text for part in view.parts if part.path in media}


def test_a_key_that_is_a_sentence_is_read(dialect: Dialect) -> None:
    body = example(dialect.name)["request"]
    for path, value in nodes(body):
        if isinstance(value, dict):
            view = read(dialect, put(body, path, {**value, CANARY: 1}))
            assert any(part.text == CANARY for part in view.parts), path


def test_every_location_leads_to_its_text(dialect: Dialect) -> None:
    body = example(dialect.name)["request"]
    view = read(dialect, body)
    media = {item.path for item in view.media}
    for part in view.parts:
        found = follow(body, part.path)
        assert part.path in media or part.text in found or part.text == part.path[-1], part.location


@settings(max_examples=150, deadline=None)
@given(junk=JUNK, data=st.data())
def test_a_request_may_be_anything(junk: Json, data: st.DataObject) -> None:
    dialect = DIALECTS[data.draw(st.sampled_from(NAMES))]
    body = example(dialect.name)["request"]
    place = data.draw(st.sampled_from([path for path, _ in nodes(body)]))
    hostile = put(body, place, junk)
    before = copy.deepcopy(hostile)
    view = read(dialect, hostile)
    assert hostile == before
    assert all(isinstance(part.text, str) and part.text for part in view.parts)
    assert view.choices >= 1
    assert view.max_output_tokens is None or view.max_output_tokens >= 0
    read_paths = {part.path for part in view.parts} | {item.path for item in view.media}
    for path, value in nodes(hostile):
        if isinstance(value, str) and " " in value:
            assert path in read_paths, path


def test_a_request_of_any_depth_is_read(dialect: Dialect) -> None:
    deep: Json = CANARY
    for _ in range(1_100):
        deep = [deep]
    for key in ("messages", "input", "contents", "system", "tools"):
        assert read(dialect, {key: deep}).parts[-1].text == CANARY
    for _ in range(300):
        deep = {"content": [{"type": "tool_result", "content": deep}]}
    for key in ("messages", "input", "contents", "system", "tools"):
        assert CANARY in {part.text for part in read(dialect, {key: [deep]}).parts}


# --- answers


def test_whole_example_is_complete(dialect: Dialect) -> None:
    collector = AnswerCollector()
    collector.add(dialect.answer(example(dialect.name)["answer"]))
    assert collector.answer().complete
    assert collector.answer().error is None


def test_streamed_example_is_complete(dialect: Dialect) -> None:
    collector = AnswerCollector()
    reader = dialect.reader()
    for frame in frames(example(dialect.name)["frames"]):
        collector.add(reader.receive(frame))
    collector.add(reader.close())
    assert collector.answer().complete
    assert collector.answer().error is None


def _echo(path: Path) -> bool:
    return bool(ECHOED & {step for step in path[:-1] if isinstance(step, str)})


def test_an_unknown_member_of_an_answer_is_read(dialect: Dialect) -> None:
    body = example(dialect.name)["answer"]
    for path, value in nodes(body):
        if isinstance(value, dict) and not _echo((*path, "")):
            events = dialect.answer(put(body, path, {**value, NEW_KEY: [CANARY]}))
            assert CANARY in said(events), path


def test_an_unknown_member_of_an_event_is_read(dialect: Dialect) -> None:
    for position, frame in enumerate(example(dialect.name)["frames"]):
        for path, value in nodes(frame["data"]):
            if isinstance(value, dict) and not _echo((*path, "")):
                new = {**frame, "data": put(frame["data"], path, {**value, NEW_KEY: CANARY})}
                assert CANARY in said(_stream(dialect, position, new)), (position, path)


def test_no_string_of_an_answer_passes_unread(dialect: Dialect) -> None:
    body = example(dialect.name)["answer"]
    for path, value in nodes(body):
        if isinstance(value, str) and not _echo(path) and path[-1] not in _SILENT:
            assert CANARY in _known(dialect.answer(put(body, path, CANARY))), path


_SILENT: Final = words(
    "obfuscation logprobs data result embedding instructions tool_choice truncation"
)
"""Padding, repeats, sound and pictures, vectors, and the echo of the request."""


def _known(events: list[AnswerEvent]) -> str:
    return json.dumps(said(events)) + said(events)


def _stream(dialect: Dialect, position: int, new: dict[str, Any]) -> list[AnswerEvent]:
    """Read an example's stream with another frame at ``position``."""
    values = [*example(dialect.name)["frames"]]
    values[position] = new
    reader = dialect.reader()
    return [event for frame in frames(values) for event in reader.receive(frame)]


@settings(max_examples=150, deadline=None)
@given(junk=JUNK, data=st.data())
def test_an_answer_may_be_anything(junk: Json, data: st.DataObject) -> None:
    dialect = DIALECTS[data.draw(st.sampled_from(NAMES))]
    body = example(dialect.name)["answer"]
    place = data.draw(st.sampled_from([path for path, _ in nodes(body)]))
    collector = AnswerCollector()
    collector.add(dialect.answer(put(body, place, junk)))
    collector.add(dialect.answer(junk))


@settings(max_examples=150, deadline=None)
@given(junk=st.lists(JUNK, max_size=4), raw=st.binary(max_size=20), data=st.data())
def test_a_stream_may_be_anything(junk: list[Json], raw: bytes, data: st.DataObject) -> None:
    dialect = DIALECTS[data.draw(st.sampled_from(NAMES))]
    values = example(dialect.name)["frames"]
    position = data.draw(st.integers(0, len(values) - 1))
    place = data.draw(st.sampled_from([path for path, _ in nodes(values[position]["data"])]))
    changed = put(values[position]["data"], place, junk[0] if junk else None)
    values = put(values, (position, "data"), changed)
    received = frames(
        [
            value if isinstance(value["data"], (str, dict)) else {**value, "data": {}}
            for value in values
        ]
    )
    received += [Frame(event=values[0]["event"], data=json.dumps(item).encode()) for item in junk]
    received.append(Frame(event="", data=raw))
    reader = dialect.reader()
    collector = AnswerCollector()
    for frame in received:
        collector.add(reader.receive(frame))
    collector.add(reader.close())
    collector.answer()


def test_what_is_no_json_is_reported(dialect: Dialect) -> None:
    events = dialect.reader().receive(Frame(event="", data=b'{"cut of'))
    assert events == [Unread(reason="bad_json", size=8)]


# --- errors


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 529])
def test_a_refusal_shows_its_message(dialect: Dialect, status: int) -> None:
    message = 'Blocked: "x"\n\ndata: [DONE] \ud800 é'
    body = dialect.refusal(status=status, code="llmtrace_policy_violation", message=message)
    assert json.loads(body)
    assert message in [value for _, value in nodes(json.loads(body))]
    assert orjson.loads(dialect.refusal(status=status, code="c", message="plain"))


def test_a_refusal_is_read_as_an_error(dialect: Dialect) -> None:
    body = json.loads(dialect.refusal(status=400, code="some_code", message="Not today."))
    collector = AnswerCollector()
    collector.add(dialect.answer(body))
    error = collector.answer().error
    assert error is not None
    assert error.message == "Not today."


def test_a_stream_error_shows_its_message(dialect: Dialect) -> None:
    written = dialect.stream_error(code="llmtrace_blocked", message="Not\n\ntoday")
    assert b"Not\\n\\ntoday" in written
