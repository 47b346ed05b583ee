import json
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmtrace.storage import bodies
from llmtrace.storage.bodies import (
    MAX_PIECE,
    MIN_PIECE,
    cut_answer,
    cut_request,
    read_recipe,
    write_recipe,
)

MIB = 1024 * 1024
SOUP = st.lists(st.sampled_from([b'"', b"\\", b"[", b"]", b"{", b"}", b",", b" ", b"a" * 300]))


def conversation(turns: int, **more: object) -> dict[str, object]:
    messages = [
        {"role": ("user", "assistant")[n % 2], "content": f"This is message number {n}. " * 8}
        for n in range(turns)
    ]
    return {"model": "gpt-5", "messages": messages, "stream": True, **more}


def raw(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def repeated(before: bytes, after: bytes) -> int:
    """Bytes of ``after`` in pieces that ``before`` has too."""
    known = set(cut_request(before))
    return sum(len(piece) for piece in cut_request(after) if piece in known)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=4_000), SOUP.map(b"".join)))
@example(b'{"a":"' + b"x" * 3_000)
@example(b'["' + b'\\"' * 2_000)
@example(b"[[1,[2]],{}]" * 200)
def test_pieces_of_any_bytes_make_the_same_bytes(body: bytes) -> None:
    for cut in (cut_request, cut_answer):
        pieces = cut(body)
        assert b"".join(pieces) == body
        assert all(0 < len(piece) <= MAX_PIECE for piece in pieces)


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.text(min_size=1_100, max_size=1_200),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)
def test_pieces_of_any_json_make_the_same_bytes(value: object) -> None:
    body = raw(value)
    assert b"".join(cut_request(body)) == body


def test_a_turn_adds_only_what_is_new() -> None:
    before, after = raw(conversation(40)), raw(conversation(42))
    assert len(after) - repeated(before, after) < 2 * 280


@pytest.mark.parametrize("key", ["messages", "input", "contents", "tools", "anything"])
def test_elements_of_any_top_level_array_are_apart(key: str) -> None:
    items = [{"text": f"{n}" * 100} for n in range(20)]
    before, after = raw({key: items, "x": 1}), raw({"id": "new", key: items, "x": 2})
    assert repeated(before, after) > 0.9 * len(after)


def test_a_mark_that_moves_costs_little_where_the_text_is_long() -> None:
    def turn(last: int) -> bytes:
        blocks: list[dict[str, object]] = [
            {"type": "text", "text": f"{n} long text " * 200} for n in range(last)
        ]
        blocks[-1]["cache_control"] = {"type": "ephemeral"}
        return raw({"messages": [{"role": "user", "content": [block]} for block in blocks]})

    assert len(turn(11)) - repeated(turn(10), turn(11)) < 2_000 + 11 * 2 * 200


def test_the_same_media_is_apart_wherever_it_stands() -> None:
    media = "QUJD" * 60_000
    before = raw({"messages": [{"content": [{"image": media}]}]})
    after = raw({"n": 1, "messages": [{"content": "hello"}, {"content": [{"image": media}]}]})
    assert len(after) - repeated(before, after) < 200


def test_an_event_stream_is_not_cut_at_its_events() -> None:
    events = b"".join(b'data: {"choices":[{"text":"%064d"}]}\n\n' % n for n in range(99))
    assert len(cut_request(events)) == 1


def test_numbers_are_not_pieces() -> None:
    body = raw({"input": list(range(5_000)), "model": "embed"})
    assert len(cut_request(body)) <= 3


def test_pieces_are_worth_their_keep() -> None:
    body = raw({"messages": [{"role": "user", "content": "hi"}] * 500})
    pieces = cut_request(body)
    assert all(len(piece) >= MIN_PIECE for piece in pieces[:-1])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * MIB, id="nesting"),
        pytest.param(b'["' + b'\\"' * (MIB // 2), id="escapes-without-end"),
        pytest.param(b'["' + b"\\" * MIB, id="backslashes"),
        pytest.param(b'{"a":[' + b'"",' * (MIB // 3), id="many-elements"),
        pytest.param(b"[" + b"," + b" " * MIB, id="spaces"),
        pytest.param((b"," + b" " * 50) * (MIB // 51), id="commas-and-spaces"),
        pytest.param(b"]" * MIB, id="closing"),
        pytest.param(bytes(MIB), id="zeros"),
    ],
)
@pytest.mark.parametrize("cut", [cut_request, cut_answer])
def test_a_hostile_body_is_cut_in_bounded_time(
    cut: Callable[[bytes], Sequence[bytes]], body: bytes
) -> None:
    begin = time.process_time()
    pieces = cut(body)
    assert time.process_time() - begin < 1.5  # quadratic behaviour takes minutes
    assert b"".join(pieces) == body


def test_what_is_looked_at_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    body = raw({"messages": ["x" * 100] * 50})
    assert len(cut_request(body)) > 50
    monkeypatch.setattr(bodies, "MAX_TOKENS", 20)
    assert len(cut_request(body)) < 20


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2**62)))
def test_a_recipe_is_read_as_written(ids: list[int]) -> None:
    assert read_recipe(write_recipe(ids)) == ids


def test_a_recipe_of_neighbours_costs_a_byte_each() -> None:
    assert len(write_recipe(range(70_000, 70_100))) == 102


def test_a_recipe_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="within a number"):
        read_recipe(write_recipe([300])[:-1])
