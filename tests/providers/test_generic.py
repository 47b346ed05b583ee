"""What nobody knows is read all the same."""

import pytest

from llmtrace.domain.answers import ChannelKind, Ended, Failed, TextDelta
from llmtrace.domain.parts import MediaKind, Origin, Role
from llmtrace.providers.base import Frame, Route
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.generic import GenericDialect

ROUTE = Route(provider="p", dialect="generic", operation="", model="path-model", generic=True)


def test_every_string_is_a_part_of_somebody() -> None:
    view = GenericDialect().request({"id": "a", "x": [{"type": "b"}]}, ROUTE)
    assert [(part.location, part.text) for part in view.parts] == [("id", "a"), ("x[0].type", "b")]
    assert {(part.role, part.origin) for part in view.parts} == {(Role.USER, Origin.UNTRUSTED)}


def test_data_uris_are_media() -> None:
    view = GenericDialect().request(["data:image/png;base64,iVBORwA="], ROUTE)
    assert [media.kind for media in view.media] == [MediaKind.IMAGE]


@pytest.mark.parametrize(
    ("body", "model"), [({"model": "m"}, "m"), ({}, "path-model"), (1, "path-model")]
)
def test_the_model_is_found_where_it_usually_is(body: dict[str, str] | int, model: str) -> None:
    assert GenericDialect().request(body, ROUTE).model == model  # type: ignore[arg-type]  # invariance of dict


def test_texts_that_come_in_pieces_are_put_together() -> None:
    reader, collector = GenericDialect().reader(), AnswerCollector()
    for data in (b'{"t": {"x": "num"}}', b'{"t": {"x": "ber"}, "y": "other"}', b"[DONE]"):
        collector.add(reader.receive(Frame(event="", data=data)))
    collector.add(reader.close())
    answer = collector.answer()
    assert sorted(answer.texts.values()) == ["number", "other"]
    assert answer.complete


def test_without_a_last_word_a_stream_is_not_complete() -> None:
    reader = GenericDialect().reader()
    events = reader.receive(Frame(event="", data=b'"a"')) + reader.close()
    assert Ended() not in events
    assert [e.channel.kind for e in events if isinstance(e, TextDelta)] == [ChannelKind.OTHER]


def test_errors_are_seen() -> None:
    events = GenericDialect().answer({"error": {"message": "No", "code": "c"}})
    assert Failed(code="c", message="No") in events
