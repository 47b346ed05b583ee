"""The tap that lets answers through; what the gate decides is tested with the gate."""

import gzip
import json
from typing import Any

import pytest

from llmtrace.domain.answers import TextDelta
from llmtrace.pipeline.gated import GatedTap, MessageGate, message_error
from llmtrace.pipeline.streaming import GateBounds
from llmtrace.providers.base import Frame
from llmtrace.providers.registry import dialect
from llmtrace.providers.responses_answers import ResponsesReader
from llmtrace.testing.judges import KEY, PatternJudge

CHAT = dialect("openai.chat")


class Judge(PatternJudge):
    """The test kit's judge, with what a judge of answers has beside."""

    def as_sent(self, content: bytes) -> bytes:
        return content.replace(b"[KEY]", b"<key>")


def tap(**more: Any) -> GatedTap:
    judge: Any = Judge()
    settings: dict[str, Any] = {
        "bounds": GateBounds(),
        "media_type": "text/event-stream",
        "content_encoding": "",
        "max_bytes": 1 << 20,
        "max_frame": 1 << 16,
    }
    return GatedTap(CHAT, judge, **(settings | more))


def chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c1", "choices": [choice]}).encode() + b"\n\n"


STREAM = chunk("the key ") + chunk(f"{KEY} is") + chunk(" here", "stop") + b"data: [DONE]\n\n"


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_a_stream_goes_on_judged_and_uncoded(coding: str) -> None:
    gated = tap(content_encoding=coding)
    sent = gzip.compress(STREAM) if coding else STREAM
    out = b"".join(gated.receive(sent[i : i + 7]) for i in range(0, len(sent), 7)) + gated.end()
    assert KEY.encode() not in out
    assert b"[KEY]" in out
    assert out.endswith(b"data: [DONE]\n\n")
    assert next(iter(gated.close().texts.values())) == f"the key {KEY} is here"
    assert gated.content == out.replace(b"[KEY]", b"<key>")
    assert gated.blocked is None


def test_an_unknown_coding_lets_nothing_through() -> None:
    gated = tap(content_encoding="rot13")
    out = gated.receive(STREAM)
    assert b"llmtrace_blocked_unreadable" in out
    assert gated.blocked is not None
    assert gated.receive(STREAM) == gated.end() == b""


def test_a_broken_coding_ends_the_answer() -> None:
    gated = tap(content_encoding="gzip")
    out = gated.receive(b"\x1f\x8bnot gzip at all")
    assert b"llmtrace_blocked_unreadable" in out


def test_a_fault_of_ours_can_let_the_rest_go_unread() -> None:
    gated = tap()
    gated.receive(chunk("AKIA"))
    assert gated.let_go() == chunk("AKIA")
    assert gated.receive(chunk(KEY)) == chunk(KEY)


def test_a_fault_in_the_middle_of_a_chunk_loses_and_doubles_nothing() -> None:
    gated = tap()
    judge: Any = gated._judge
    data = chunk("one, ") + chunk("two, ") + chunk("three, ") + chunk("four")
    gated.receive(data[:20])
    judge.undecided = lambda text, channel: 1 // (0 if "two" in text else 1)
    with pytest.raises(ZeroDivisionError):
        gated.receive(data[20:-5])
    assert gated.let_go() == chunk("one, ") + chunk("two, ") + chunk("three, ")
    assert gated.receive(data[-5:]) == chunk("four")


def test_a_fault_of_ours_can_end_the_answer() -> None:
    gated = tap()
    out = gated.give_up("internal_error", "a fault")
    assert b"a fault" in out
    assert gated.blocked is not None
    assert gated.receive(STREAM) == b""


def whole(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    return json.dumps({"id": "c1", "choices": [{"index": 0, "message": message}]}).encode()


def test_a_whole_answer_that_nothing_touches_is_the_same_bytes() -> None:
    gated = tap(media_type="application/json")
    coded = gzip.compress(whole("all is well"))
    assert not gated.streams
    assert tap(media_type="application/json", content_encoding="gzip").whole(coded).body == coded
    assert gated.whole(whole("all is well")).body == whole("all is well")


def test_a_whole_answer_is_changed_or_refused() -> None:
    changed = tap(media_type="application/json").whole(whole(f"it is {KEY}."))
    assert changed.body == whole("it is [KEY].")
    assert changed.blocked is None
    refused = tap(media_type="application/json").whole(whole("FORBIDDEN"))
    assert refused.blocked is not None
    assert json.loads(refused.body)["error"]["code"] == refused.blocked.code


def test_an_empty_answer_is_empty() -> None:
    assert tap(media_type="application/json").whole(b"").body == b""


def test_json_that_was_asked_for_whole_is_no_stream() -> None:
    ollama = dialect("ollama.chat")
    judge: Any = Judge()
    settings: dict[str, Any] = {
        "bounds": GateBounds(),
        "media_type": "application/json",
        "content_encoding": "",
        "max_bytes": 1 << 20,
        "max_frame": 1 << 16,
    }
    assert not GatedTap(ollama, judge, whole=True, **settings).streams
    assert GatedTap(ollama, judge, whole=False, **settings).streams


def test_messages_are_held_and_changed_alike() -> None:
    judge: Any = Judge()
    gate = MessageGate(dialect("openai.responses"), judge, GateBounds())
    reader = ResponsesReader()
    out: list[bytes] = []
    for text in ("it is AKIA", KEY[4:], " now"):
        event = {"type": "response.output_text.delta", "item_id": "i", "delta": text}
        data = json.dumps(event).encode()
        events = reader.receive(Frame(event="", data=data))
        assert any(isinstance(one, TextDelta) for one in events)
        out += gate.take(data, events, last=False)
    out += gate.take(b'{"type": "response.completed", "response": {}}', (), last=True)
    said = b"".join(out)
    assert KEY[4:].encode() not in said
    assert b"[KEY]" in said
    assert gate.as_sent(b"[KEY]") == b"<key>"


def test_a_messages_error_is_one_that_clients_read() -> None:
    event = json.loads(message_error("code", "why", status=429))
    assert (event["type"], event["status"], event["error"]["message"]) == ("error", 429, "why")
