from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.providers.base import Frame, FrameTooLarge, Framing
from llmtrace.providers.framing.json_array import JsonArrayFraming

ELEMENTS = [
    '{"text": "é ]}\\" \\\\", "n": [[1], {"x": {}}]}',
    "{}",
    '{\n"a" : "\\u007d"\n}',
]
STREAM = (" [" + "\n,\r\n".join(ELEMENTS) + "\n]\n").encode()


def texts(frames: list[Frame]) -> list[str]:
    return [frame.data.decode() for frame in frames]


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
def test_chunking_changes_nothing(size: int, cut: Callable[..., list[Frame]]) -> None:
    framing = JsonArrayFraming()
    assert texts(cut(framing, STREAM, size)) == ELEMENTS
    assert framing.pending == 0


@given(st.lists(st.sampled_from(list(b'[]{}",\\ x')), max_size=30), st.data())
@settings(max_examples=200)
def test_any_cutting_of_any_bytes_gives_the_same_frames(
    tokens: list[int], data: st.DataObject
) -> None:
    stream = b"[" + bytes(tokens)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    whole, pieces = JsonArrayFraming(), JsonArrayFraming()
    expected = whole.receive(stream)
    edges = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    assert [f for a, b in edges for f in pieces.receive(stream[a:b])] == expected
    assert pieces.pending == whole.pending


def test_an_element_is_there_with_its_last_brace() -> None:
    framing = JsonArrayFraming()
    assert texts(framing.receive(b'[{"a":1}')) == ['{"a":1}']
    assert texts(framing.receive(b',{"b":2}')) == ['{"b":2}']


@pytest.mark.parametrize(
    ("stream", "frames", "pending"),
    [
        pytest.param(b"[]", [], 0, id="empty-array"),
        pytest.param(b'{"error":{}}\n', ['{"error":{}}'], 0, id="lone-object"),
        pytest.param(b'[{}, {"cut', ["{}"], 5, id="cut-short"),
        pytest.param(b'[{}] {"x":1}', ["{}"], 7, id="after-the-array"),
        pytest.param(b'{} {"x":1}', ["{}"], 7, id="after-the-lone-object"),
        pytest.param(b'[{},7,{"x":1}]', ["{}"], 10, id="a-number-between"),
        pytest.param(b"<html>", [], 6, id="no-json"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000], ids=["bytewise", "whole"])
def test_what_is_no_element_is_pending(
    stream: bytes, frames: list[str], pending: int, size: int, cut: Callable[..., list[Frame]]
) -> None:
    framing = JsonArrayFraming()
    assert texts(cut(framing, stream, size)) == frames
    assert framing.pending == pending


@pytest.mark.parametrize("end", [b"", b'"}]'], ids=["open", "ended"])
@pytest.mark.parametrize("size", [1, 1000], ids=["bytewise", "whole"])
def test_bound(end: bytes, size: int) -> None:
    framing = JsonArrayFraming(max_element=50)
    frames: list[Frame] = []
    stream = b'[{},{"a":"' + b"x" * 50 + end

    def feed() -> None:
        for at in range(0, len(stream), size):
            frames.extend(framing.receive(stream[at : at + size]))
        framing.receive(b"")

    with pytest.raises(FrameTooLarge):
        feed()
    assert texts(frames) == ["{}"]
    assert framing.close() == []


def test_a_long_element_in_single_bytes_is_read_once(
    reads_per_byte: Callable[[Framing, str, bytes], float],
) -> None:
    stream = b'[{"a":"' + b"x" * 20_000 + b'"}]'
    assert reads_per_byte(JsonArrayFraming(), "_element", stream) < 4
