import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.domain.answers import (
    Answer,
    AnswerEvent,
    Channel,
    ChannelClosed,
    ChannelKind,
    Ended,
    Failed,
    Identified,
    Stopped,
    TextDelta,
    TextRepeat,
    ToolCallOpened,
    Unread,
    UsageSeen,
)
from llmtrace.providers.collector import AnswerCollector

TEXT = Channel(0, ChannelKind.TEXT)
SECOND = Channel(1, ChannelKind.TEXT)
CALL = Channel(0, ChannelKind.TOOL_CALL)


def delta(text: str, channel: Channel = TEXT) -> TextDelta:
    return TextDelta(channel=channel, text=text, path=("x",))


def repeat(text: str, channel: Channel = TEXT) -> TextRepeat:
    return TextRepeat(channel=channel, text=text, path=("x",))


def collected(*events: AnswerEvent) -> Answer:
    collector = AnswerCollector()
    for event in events:
        collector.add([event])
    return collector.answer()


def test_nothing_came() -> None:
    assert collected() == Answer()


def test_texts_are_joined_by_channel() -> None:
    answer = collected(
        delta("Hel"), delta("A", SECOND), delta("lo"), ChannelClosed(channel=TEXT), delta("")
    )
    assert answer.texts == {TEXT: "Hello", SECOND: "A"}


@pytest.mark.parametrize(
    ("events", "text"),
    [
        pytest.param([delta("a"), delta("b"), repeat("ab")], "ab", id="after-its-pieces"),
        pytest.param([repeat("ab"), repeat("ab")], "ab", id="no-pieces"),
        pytest.param([repeat("a"), repeat("ab")], "ab", id="last-repeat-counts"),
        pytest.param([repeat("ab"), delta("a"), delta("b")], "ab", id="before-its-pieces"),
        pytest.param([repeat("ab"), repeat("")], "ab", id="empty-repeat"),
    ],
)
def test_a_repeated_text_counts_once(events: list[AnswerEvent], text: str) -> None:
    assert collected(*events).texts == {TEXT: text}


def test_tool_calls_keep_the_order_in_which_they_opened() -> None:
    other = Channel(0, ChannelKind.TOOL_CALL, 1)
    answer = collected(
        ToolCallOpened(channel=other, call_id="c1", name="read"),
        ToolCallOpened(channel=CALL, call_id="c0", name=""),
        delta('{"a"', CALL),
        delta("{}", other),
        delta(":1}", CALL),
        ToolCallOpened(channel=CALL, call_id="", name="write"),
    )
    calls = [(call.call_id, call.name, call.arguments) for call in answer.tool_calls]
    assert calls == [("c1", "read", "{}"), ("c0", "write", '{"a":1}')]
    assert answer.texts == {}


def test_arguments_without_an_opening_are_not_lost() -> None:
    (call,) = collected(delta("{}", CALL)).tool_calls
    assert (call.name, call.arguments) == ("", "{}")


def test_a_call_without_arguments_is_a_call() -> None:
    (call,) = collected(ToolCallOpened(channel=CALL, call_id="c", name="now")).tool_calls
    assert (call.name, call.arguments) == ("now", "")


def test_what_is_said_last_counts_and_silence_says_nothing() -> None:
    answer = collected(
        Identified(response_id="r", model="m-latest"),
        Identified(model="m-2026", service_tier="default"),
        Identified(),
        Stopped(choice=1, reason="length"),
        Stopped(choice=0, reason="tool_calls"),
        Stopped(choice=0, reason="stop"),
        Ended(),
    )
    assert (answer.response_id, answer.model, answer.service_tier) == ("r", "m-2026", "default")
    assert answer.stop_reasons == ("stop", "length")
    assert answer.complete


def test_usage_is_merged_by_its_last_values_that_are_not_null() -> None:
    answer = collected(
        UsageSeen(raw={"input_tokens": 9, "output_tokens": 1, "details": {"a": 1, "b": 2}}),
        UsageSeen(raw={"input_tokens": None, "output_tokens": 7, "details": {"b": 0, "a": None}}),
        UsageSeen(raw={"tiers": [{"ttl": "5m", "inputTokens": 3}]}),
    )
    assert answer.usage == {
        "input_tokens": 9,
        "output_tokens": 7,
        "details": {"a": 1, "b": 0},
        "tiers": [{"ttl": "5m", "inputTokens": 3}],
    }
    assert not answer.complete


def test_an_error_is_kept() -> None:
    answer = collected(delta("a"), Failed(code="overloaded", message="m" * 10_000))
    assert answer.error == Failed(code="overloaded", message="m" * 8_192)
    assert answer.texts == {TEXT: "a"}


def test_unread_is_summed_by_reason() -> None:
    answer = collected(
        Unread(reason="bad_json", size=5),
        Unread(reason="media", size=1),
        Unread(reason="bad_json", size=7),
    )
    assert answer.unread == (Unread(reason="bad_json", size=12), Unread(reason="media", size=1))


def test_text_over_its_bound_is_reported_and_not_kept() -> None:
    collector = AnswerCollector(max_text=5)
    collector.add([delta("abc"), delta("ééé"), delta("de"), repeat("x", SECOND)])
    answer = collector.answer()
    assert answer.texts == {TEXT: "abcde"}
    assert answer.unread == (Unread(reason="too_large", size=7),)


def test_a_repeat_takes_no_room_twice() -> None:
    collector = AnswerCollector(max_text=5)
    collector.add([repeat("abcde"), repeat("abcde"), delta("abcde"), repeat("abcde")])
    assert collector.answer().texts == {TEXT: "abcde"}
    assert collector.answer().unread == ()


def test_channels_without_end_are_bounded() -> None:
    collector = AnswerCollector(max_channels=3)
    for index in range(10):
        channel = Channel(index, ChannelKind.TOOL_CALL)
        collector.add([ToolCallOpened(channel=channel, call_id="c", name="n")])
        collector.add([delta("a", channel), repeat("a", Channel(index, ChannelKind.TEXT))])
        collector.add([Stopped(choice=index, reason="stop")])
    answer = collector.answer()
    assert len(answer.tool_calls) == 3
    assert len(answer.texts) <= 3
    assert len(answer.stop_reasons) == 3
    assert [unread.reason for unread in answer.unread] == ["too_large"]


def test_usage_without_end_is_bounded() -> None:
    deep: dict[str, object] = {}
    for _ in range(900):
        deep = {"a": deep}
    keys = {str(n): "x" * 10_000 for n in range(1_000)}
    usage = collected(UsageSeen(raw=deep | keys), UsageSeen(raw={"l": [[1]] * 10_000})).usage
    assert usage is not None
    assert len(repr(usage)) < 300_000


@given(st.lists(st.tuples(st.sampled_from([TEXT, SECOND, CALL]), st.text(max_size=5))))
def test_any_pieces_come_out_whole(pieces: list[tuple[Channel, str]]) -> None:
    answer = collected(*(delta(text, channel) for channel, text in pieces))
    whole = dict(answer.texts) | {call.channel: call.arguments for call in answer.tool_calls}
    for channel in (TEXT, SECOND, CALL):
        assert whole.get(channel, "") == "".join(t for c, t in pieces if c == channel)
