"""Detection on calls: what is done, what is kept, and what happens when it fails."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from llmtrace.domain.answers import Answer, Channel, ChannelKind
from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.parts import Origin, Part, Path, Role
from llmtrace.domain.traces import Body
from llmtrace.pipeline.call import Call, RequestHead
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.credentials import Credentials
from llmtrace.pipeline.enforcement import Enforcement
from llmtrace.pipeline.judgements import Judgement
from llmtrace.pipeline.streaming import GateBounds
from llmtrace.pipeline.threads import JUDGED_HERE, LARGE
from llmtrace.providers.base import RequestView, Route
from llmtrace.providers.registry import dialect

CONTENT = b'{"messages": [{"content": "my SECRET"}]}'
PLACE: Path = ("messages", 0, "content")
TEXTS: Mapping[Path, str] = {PLACE: "my SECRET"}


class Scripted:
    """A detection that says what it is told to, or raises it."""

    def __init__(self, said: Judgement | Exception, *, enforce: bool = True) -> None:
        self.said = said
        self.enforce = enforce
        self.seconds = 1.0
        self.analyzer = object()
        self.thread = 0

    def request(self, *_: object) -> Judgement:
        self.thread = threading.get_ident()
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    answer = request


def finding(verdict: Verdict) -> Finding:
    return Finding(
        kind="secret.token",
        severity=Severity.HIGH,
        confidence=0.9,
        location="messages[0].content",
        start=3,
        end=9,
        detector="secrets.x",
        verdict=verdict,
        rule="r1",
    )


def call(*headers: tuple[str, str]) -> Call:
    head = RequestHead(
        method="POST",
        host="api.openai.com",
        port=443,
        path="/v1/chat/completions",
        headers=headers,
        peer="127.0.0.1",
        mode="forward",
        started_at=datetime(2026, 11, 21, tzinfo=UTC),
        started=0.0,
    )
    known: dict[str, Any] = {
        "trace_id": "t1",
        "started_at": head.started_at,
        "tenant": "acme",
        "agent": "bot",
        "provider": "openai",
        "dialect": "openai.chat",
        "session": "",
    }
    made = Call(
        head=head,
        known=known,
        credentials=Credentials(headers),
        dialect=dialect("openai.chat"),
        route=Route(provider="openai", dialect="openai.chat", operation="chat"),
    )
    made.request_body = Body(content=CONTENT, media_type="application/json")
    return made


def enforcement(said: Judgement | Exception, **more: Any) -> tuple[Enforcement, Counters]:
    counters = Counters()
    enforce = more.pop("enforce", True)
    detection: Any = Scripted(said, enforce=enforce)
    return Enforcement(detection, counters, bounds=GateBounds(), **more), counters


async def test_an_edit_is_forwarded_and_kept() -> None:
    one = finding(Verdict.REDACT)
    judge, counters = enforcement(
        Judgement(findings=(one,), edits={PLACE: "my LLMT_X"}, texts=TEXTS)
    )
    about = call()
    assert await judge.request(about, CONTENT, {}) is None
    assert about.forward == CONTENT.replace(b"SECRET", b"LLMT_X")
    assert about.request_body is not None
    assert about.request_body.content == about.forward
    assert about.known["verdict"] is Verdict.REDACT
    assert counters.get("findings", "secret.token") == 1


@pytest.mark.parametrize(("size", "here"), [(JUDGED_HERE - 1, True), (JUDGED_HERE, False)])
async def test_what_may_take_long_is_judged_in_a_thread(size: int, here: bool) -> None:
    judge, _ = enforcement(Judgement())
    detection: Any = judge.detection
    assert await judge.request(call(), CONTENT.ljust(size), {}) is None
    assert (detection.thread == threading.get_ident()) is here


@pytest.mark.parametrize(("size", "here"), [(LARGE - 1, True), (LARGE, False)])
async def test_what_takes_long_to_change_is_changed_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, size: int, here: bool
) -> None:
    threads = []

    def edit(document: bytes, *_: object, **__: object) -> bytes:
        threads.append(threading.get_ident())
        return document

    monkeypatch.setattr("llmtrace.pipeline.enforcement.edit", edit)
    judge, _ = enforcement(Judgement(edits={PLACE: "x"}, texts=TEXTS))
    assert await judge.request(call(), CONTENT.ljust(size), {}) is None
    assert [one == threading.get_ident() for one in threads] == [here, here]


@pytest.mark.parametrize("fail_open", [False, True])
@pytest.mark.parametrize(
    ("skipped", "code"),
    [
        pytest.param((), "detection_timeout", id="unknown"),
        pytest.param((("model", "timeout"),), "detection_timeout", id="slow"),
        pytest.param((("model", "failed"),), "detection_failed", id="failed"),
    ],
)
async def test_what_was_not_searched_to_its_end_has_the_configured_verdict(
    fail_open: bool, skipped: tuple[tuple[str, str], ...], code: str
) -> None:
    judge, counters = enforcement(Judgement(incomplete=True, skipped=skipped), fail_open=fail_open)
    about = call()
    stop = await judge.request(about, CONTENT, {})
    assert (stop is None) is fail_open
    if stop is not None:
        assert (stop.status, stop.code) == (503, code)
    assert ("detection_failed" in {gap.reason for gap in about.gaps}) is fail_open
    assert counters.get("detection_failed", "detect_request") == 1


async def test_in_observe_mode_nothing_is_done_and_all_is_told() -> None:
    one = finding(Verdict.BLOCK)
    judge, _ = enforcement(Judgement(findings=(one,), blocked=one), enforce=False)
    about = call()
    assert await judge.request(about, CONTENT, {}) is None
    assert about.forward is None
    assert about.known["verdict"] is Verdict.FLAG
    assert about.known["findings"] == (one,)
    assert judge.gate(about) is None


async def test_a_block_names_kind_rule_and_trace_and_keeps_no_value() -> None:
    one = finding(Verdict.BLOCK)
    judge, _ = enforcement(
        Judgement(findings=(one,), blocked=one, hidden={PLACE: "my [SECRET:TOKEN]"}, texts=TEXTS),
        block_status=403,
    )
    about = call()
    stop = await judge.request(about, CONTENT, {})
    assert stop is not None
    assert (stop.status, stop.code) == (403, "llmtrace_blocked")
    assert "secret.token" in stop.message
    assert "r1" in stop.message
    assert "t1" in stop.message
    assert about.request_body is not None
    assert b"my SECRET" not in about.request_body.content


async def test_a_signed_body_is_not_changed_but_refused() -> None:
    judged = Judgement(findings=(finding(Verdict.REDACT),), edits={PLACE: "my X"}, texts=TEXTS)
    judge, _ = enforcement(judged)
    about = call(("Authorization", "AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=00"))
    stop = await judge.request(about, CONTENT, {})
    assert stop is not None
    assert stop.code == "llmtrace_blocked_signed"
    assert about.forward is None


async def test_what_cannot_be_put_in_its_place_is_refused() -> None:
    judged = Judgement(
        findings=(finding(Verdict.REDACT),), edits={("nowhere",): "X"}, texts={("nowhere",): "x"}
    )
    judge, _ = enforcement(judged)
    stop = await judge.request(call(), CONTENT, {})
    assert stop is not None
    assert stop.code == "llmtrace_blocked_uneditable"


async def test_what_is_not_what_was_read_is_refused() -> None:
    judged = Judgement(
        findings=(finding(Verdict.REDACT),), edits={PLACE: "X"}, texts={PLACE: "decoded"}
    )
    judge, _ = enforcement(judged)
    stop = await judge.request(call(), CONTENT, {})
    assert stop is not None
    assert stop.code == "llmtrace_blocked_uneditable"
    assert all(told in stop.message for told in ("secret.token", "r1", "findings show t1"))


async def test_two_texts_in_one_place_cannot_both_be_changed() -> None:
    judged = Judgement(
        findings=(finding(Verdict.REDACT),), edits={PLACE: "X"}, texts=TEXTS, entangled=True
    )
    judge, _ = enforcement(judged)
    stop = await judge.request(call(), CONTENT, {})
    assert stop is not None
    assert stop.code == "llmtrace_blocked_uneditable"


async def test_a_request_within_a_message_is_edited_there() -> None:
    message = b'{"type": "response.create", "response": {"input": "my SECRET"}}'
    judged = Judgement(
        findings=(finding(Verdict.REDACT),),
        edits={("input",): "my X"},
        texts={("input",): "my SECRET"},
    )
    judge, _ = enforcement(judged)
    about = call()
    await judge.request(about, message, {}, within=("response",))
    assert about.forward == message.replace(b"SECRET", b"X")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(RuntimeError("my SECRET"), "detection_failed", id="exception"),
        pytest.param(MemoryError(), "detection_failed", id="memory"),
        pytest.param(TimeoutError(), "detection_timeout", id="timeout"),
    ],
)
@pytest.mark.parametrize("fail_open", [False, True], ids=["block", "allow"])
async def test_a_fault_has_the_configured_verdict(
    error: Exception, code: str, fail_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    judge, counters = enforcement(error, fail_open=fail_open)
    about = call()
    stop = await judge.request(about, CONTENT, {})
    assert counters.get("detection_failed", "detect_request") == 1
    assert "SECRET" not in caplog.text
    if fail_open:
        assert stop is None
        assert [gap.reason for gap in about.gaps] == ["detection_failed"]
    else:
        assert stop is not None
        assert (stop.status, stop.code) == (503, code)


def test_a_fault_at_an_answers_end_is_a_gap() -> None:
    judge, counters = enforcement(RuntimeError())
    about = call()
    judge.answer(about, Answer())
    assert counters.get("detection_failed", "detect_answer") == 1
    assert [gap.reason for gap in about.gaps] == ["detection_failed"]


def test_findings_of_request_and_answer_add_up() -> None:
    judge, _ = enforcement(Judgement(findings=(finding(Verdict.FLAG),)))
    about = call()
    judge.answer(about, Answer())
    judge.answer(about, Answer())
    assert len(about.known["findings"]) == 2


async def test_what_was_scanned_is_accounted_for_by_channel() -> None:
    path: Path = ("a",)
    judge, _ = enforcement(Judgement(partly=frozenset({path})), enforce=False)
    about = call()
    about.view = RequestView(
        parts=[
            Part(role=Role.USER, origin=Origin.TRUSTED, path=("b",), text="é!"),
            Part(role=Role.TOOL_RESULT, origin=Origin.UNTRUSTED, path=path, text="abc"),
        ]
    )
    await judge.request(about, CONTENT, {})
    text = Channel(0, ChannelKind.TEXT)
    judge.answer(about, Answer(texts={text: "four"}))
    assert [(s.channel, s.seen, s.scanned) for s in about.scanned.values()] == [
        ("request.user", 3, 3),
        ("request.tool_result", 3, 0),
        ("answer.text", 4, 4),
    ]


async def test_what_failed_is_seen_and_not_scanned() -> None:
    judge, _ = enforcement(RuntimeError(), fail_open=True)
    about = call()
    part = Part(role=Role.USER, origin=Origin.TRUSTED, path=("b",), text="abc")
    about.view = RequestView(parts=[part])
    await judge.request(about, CONTENT, {})
    judge.answer(about, Answer(texts={Channel(0, ChannelKind.TEXT): "four"}))
    assert [(s.seen, s.scanned) for s in about.scanned.values()] == [(3, 0), (4, 0)]


class Echo(Scripted):
    """Hides all of the one text that it is given."""

    def request(self, *about: object) -> Judgement:
        view = about[1]
        assert isinstance(view, RequestView)
        (part,) = view.parts
        one = finding(Verdict.REDACT)
        return Judgement(findings=(one,), edits={part.path: "hidden"}, texts={part.path: part.text})


async def test_a_body_that_is_no_json_is_judged_as_one_text() -> None:
    detection: Any = Echo(Judgement())
    judge = Enforcement(detection, Counters(), bounds=GateBounds())
    about = call()
    assert await judge.request(about, b"my SECRET", None) is None
    assert about.forward == b"hidden"
    assert about.scanned["request.user"].scanned == 9


async def test_bytes_that_are_no_text_are_not_judged() -> None:
    judge, _ = enforcement(Judgement())
    about = call()
    assert await judge.request(about, b"\xff\xfe", None) is None
    assert not about.scanned
