from collections.abc import Callable

import pytest

from llmtrace.providers.base import Frame, FrameTooLarge, Framing
from llmtrace.providers.framing.ndjson import NdjsonFraming

STREAM = '{"t":"é"}\n\n \r\n{"t":"a\u2028b\\n"}\r\n{"done":\rtrue}\n{"last":1}'.encode()
FRAMES = ['{"t":"é"}', '{"t":"a\u2028b\\n"}', '{"done":\rtrue}', '{"last":1}']


def texts(frames: list[Frame]) -> list[str]:
    return [frame.data.decode() for frame in frames]


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
def test_chunking_changes_nothing(size: int, cut: Callable[..., list[Frame]]) -> None:
    framing = NdjsonFraming()
    assert texts(cut(framing, STREAM, size)) == FRAMES
    assert framing.pending == 0


def test_a_line_is_there_with_its_lf() -> None:
    framing = NdjsonFraming()
    assert texts(framing.receive(b'{"a":1}\n{"b"')) == ['{"a":1}']
    assert framing.pending == 4


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["open", "ended"])
@pytest.mark.parametrize("size", [1, 1000], ids=["bytewise", "whole"])
def test_bound(end: bytes, size: int) -> None:
    framing = NdjsonFraming(max_line=50)
    frames: list[Frame] = []
    stream = b"{}\n" + b"x" * 51 + end

    def feed() -> None:
        for at in range(0, len(stream), size):
            frames.extend(framing.receive(stream[at : at + size]))
        framing.receive(b"")

    with pytest.raises(FrameTooLarge):
        feed()
    assert texts(frames) == ["{}"]
    assert framing.close() == []
    assert framing.pending == 51


def test_a_long_line_in_single_bytes_is_read_once(
    reads_per_byte: Callable[[Framing, str, bytes], float],
) -> None:
    assert reads_per_byte(NdjsonFraming(), "_tail", b"x" * 20_000 + b"\n") < 4
