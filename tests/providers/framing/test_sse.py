from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.providers.base import Frame, FrameTooLarge, Framing
from llmtrace.providers.framing.sse import SseFraming, looks_like_events

STREAM = (
    "\ufeffdata: first\n\n"
    ": hello\r\n"
    "event: ping\r\ndata: {}\r\n\r\n"
    'data: {"t":"zwei é"}\ndata:  two\n\n'
    "id: 7\nretry: 10\nevent: empty\n\n"
    "data\rdata:\r\r"
    "event:last\ndata:[DONE]\n\n"
    "data: cut"
).encode()
FRAMES = [
    ("", "first"),
    ("ping", "{}"),
    ("", '{"t":"zwei é"}\n two'),
    ("", "\n"),
    ("last", "[DONE]"),
]


def pairs(frames: list[Frame]) -> list[tuple[str, str]]:
    return [(frame.event, frame.data.decode()) for frame in frames]


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
def test_chunking_changes_nothing(size: int, cut: Callable[..., list[Frame]]) -> None:
    assert pairs(cut(SseFraming(), STREAM, size)) == FRAMES


ALPHABET = [b"\r", b"\n", b"\r\n", b"data", b":", b" ", b"event", b"x", b"\xef\xbb\xbf", b"\xc3"]


@given(st.lists(st.sampled_from(ALPHABET), max_size=40), st.data())
@settings(max_examples=200)
def test_any_cutting_of_any_stream_gives_the_same_frames(
    tokens: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(tokens)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    whole, pieces = SseFraming(), SseFraming()
    expected = whole.receive(stream)
    edges = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    assert [f for a, b in edges for f in pieces.receive(stream[a:b])] == expected
    assert pieces.pending == whole.pending


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        pytest.param(b"data: a\n\n", [("", "a")], id="lf"),
        pytest.param(b"data: a\r\r", [("", "a")], id="cr"),
        pytest.param(b"data: a\r\n\r\n", [("", "a")], id="crlf"),
        pytest.param(b"data: a\r\n\n", [("", "a")], id="crlf-then-lf"),
        pytest.param(b"data: a\n\r\n", [("", "a")], id="lf-then-crlf"),
        pytest.param(b"data:a\n\n", [("", "a")], id="no-space"),
        pytest.param(b"data:  a\n\n", [("", " a")], id="only-one-space-is-dropped"),
        pytest.param(b"data:\ta\n\n", [("", "\ta")], id="a-tab-is-no-space"),
        pytest.param(b"data: a: b\n\n", [("", "a: b")], id="later-colons-are-data"),
        pytest.param(b"data:\n\n", [("", "")], id="empty-data-is-data"),
        pytest.param(b"event: x\n\ndata: a\n\n", [("", "a")], id="name-without-data-is-dropped"),
        pytest.param(b"event: x\nevent: y\ndata: a\n\n", [("y", "a")], id="last-name-counts"),
        pytest.param(b"event: x\nevent\ndata: a\n\n", [("", "a")], id="bare-name-clears"),
        pytest.param(b"event: \xff\ndata: a\n\n", [("\ufffd", "a")], id="name-of-bad-utf8"),
        pytest.param(b"Data: a\n data: b\ndatax: c\n\n", [], id="unknown-fields"),
        pytest.param(b":data: a\n:\n\n", [], id="comments"),
        pytest.param(b"data: a\x0b\x0c\x85b\n\n".replace(b"\x85", b"\xc2\x85"),
                     [("", "a\x0b\x0c\x85b")], id="vt-ff-nel-end-no-line"),
        pytest.param("data: a\u2028b\n\n".encode(), [("", "a\u2028b")], id="ls-ends-no-line"),
        pytest.param(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", [], id="only-one-bom-is-dropped"),
        pytest.param(b"data: a\n", [], id="no-blank-line-no-event"),
        pytest.param(b"", [], id="nothing"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 1000], ids=["bytewise", "whole"])
def test_rules(
    stream: bytes, frames: list[tuple[str, str]], size: int, cut: Callable[..., list[Frame]]
) -> None:
    assert pairs(cut(SseFraming(), stream, size)) == frames


def test_an_event_is_there_with_the_cr_that_ends_it() -> None:
    framing = SseFraming()
    assert pairs(framing.receive(b"data: a\r\r")) == [("", "a")]
    assert pairs(framing.receive(b"\ndata: b\n\n")) == [("", "b")]


@pytest.mark.parametrize(
    ("stream", "pending"),
    [
        pytest.param(b"data: a\n\n", 0, id="nothing-left"),
        pytest.param(b"data: a\n\ndata: b\n", 8, id="event-without-blank-line"),
        pytest.param(b"data: a\n\ndata: b", 7, id="line-without-end"),
        pytest.param(b"data: a\n\n: comment\n", 0, id="comment"),
        pytest.param(b"\xef\xbb", 2, id="half-a-bom"),
    ],
)
def test_pending_is_what_was_not_dispatched(stream: bytes, pending: int) -> None:
    framing = SseFraming()
    framing.receive(stream)
    framing.close()
    assert framing.pending == pending


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"data: " + b"x" * 60, id="line-without-end"),
        pytest.param(b"data: " + b"x" * 60 + b"\n", id="line"),
        pytest.param(b"data: 12345678\n" * 8, id="event-of-many-lines"),
        pytest.param(b"data\n" * 30, id="event-of-empty-lines"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000], ids=["bytewise", "whole"])
def test_bounds(stream: bytes, size: int) -> None:
    framing = SseFraming(max_event=100, max_line=50)
    frames: list[Frame] = []
    stream = b"data: a\n\n" + stream

    def feed() -> None:
        for at in range(0, len(stream), size):
            frames.extend(framing.receive(stream[at : at + size]))
        framing.receive(b"")

    with pytest.raises(FrameTooLarge):
        feed()
    assert pairs(frames) == [("", "a")]
    assert framing.pending <= len(stream)
    with pytest.raises(FrameTooLarge):
        framing.receive(b"data: b\n\n")


def test_comments_fill_nothing() -> None:
    framing = SseFraming(max_event=100)
    for _ in range(100):
        assert framing.receive(b": keep alive\n") == []
    assert pairs(framing.receive(b"data: a\n\n")) == [("", "a")]


def test_a_long_line_in_single_bytes_is_read_once(
    reads_per_byte: Callable[[Framing, str, bytes], float],
) -> None:
    stream = b"data: " + b"x" * 20_000 + b"\n\n"
    assert reads_per_byte(SseFraming(), "_tail", stream) < 4


@pytest.mark.parametrize(
    ("lines", "identity"),
    [
        pytest.param(b"id: 7\n", "7", id="plain"),
        pytest.param(b"id\n", "", id="empty"),
        pytest.param(b"id: a\0b\n", None, id="with-a-nul"),
        pytest.param(b"id: " + b"x" * 300 + b"\n", None, id="too-long"),
        pytest.param(b"", None, id="none"),
    ],
)
def test_an_event_keeps_its_own_id(lines: bytes, identity: str | None) -> None:
    framing = SseFraming()
    first, second = framing.receive(lines + b"data: a\n\ndata: b\n\n")
    assert (first.id, second.id) == (identity, None)


def test_comments_are_frames_where_that_is_asked_for() -> None:
    stream = b": one\n\ndata: a\n: two\n\n"
    comment = Frame(event="", data=b"", is_comment=True)
    assert SseFraming(comments=True).receive(stream) == [
        comment,
        comment,
        Frame(event="", data=b"a"),
    ]
    assert SseFraming().receive(stream) == [Frame(event="", data=b"a")]


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b'data: {"a": 1}\n\n', True),
        (b": hello\nevent: x\ndata: {}\n\n", True),
        (b'{"data: ": 1}', False),
        (b" " * 5_000 + b"\ndata: {}\n\n", False),
    ],
    ids=["event", "comment-first", "json", "too-late"],
)
def test_a_stream_is_told_by_its_first_lines(content: bytes, looks: bool) -> None:
    assert looks_like_events(content) is looks
