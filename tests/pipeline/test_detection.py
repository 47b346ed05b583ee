"""Judging requests and answers with a detector and a policy as simple as can be."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from llmtrace.analyzers.actions import ActionAnalyzer, ToolWatch
from llmtrace.analyzers.base import Context, Direction, Hit, Inspection, Skipped
from llmtrace.domain.answers import Answer, Channel, ChannelKind, ToolCall
from llmtrace.domain.findings import Severity, Verdict
from llmtrace.domain.parts import ORIGIN_OF, Media, MediaKind, Part, Role
from llmtrace.pipeline.detection import Detection, DetectionTimeout
from llmtrace.pipeline.judgements import MAX_FINDINGS, Caller, kept
from llmtrace.policy.table import Decision, Place
from llmtrace.providers.base import RequestView, ToolDefinition

CALLER = Caller(tenant="acme", agent="bot", provider="openai", dialect="openai.chat")
TEXT = Channel(0, ChannelKind.TEXT)


class Words:
    """Finds ``SECRET`` (a value, told at once) and ``attack`` (told when all is there)."""

    name = "words"
    version = "1"

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        del context
        return [
            Hit(
                kind="secret.token" if match.group() == "SECRET" else "prompt_injection",
                severity=Severity.HIGH,
                confidence=0.9,
                start=match.start(),
                end=match.end(),
                detector="words",
                value=match.group() == "SECRET",
                stable=match.group() == "SECRET",
            )
            for match in re.finditer("SECRET|attack", text)
        ]

    def inspect(self, text: str, context: Context) -> Inspection:
        return Inspection(self.analyze(text, context))

    def undecided(self, text: str) -> int:
        return len(text)


@dataclass
class Table:
    """A policy that says one thing of each kind, and notes what it was asked."""

    verdicts: dict[str, Verdict]
    asked: list[Place] = field(default_factory=list)
    version = "1"

    def decide(self, hit: Hit, place: Place) -> Decision:
        self.asked.append(place)
        return Decision(verdict=self.verdicts.get(hit.kind, Verdict.FLAG), rule="r1")


class Stars:
    """Masks that are as long as what they hide."""

    def mask(self, tenant: str, kind: str, value: str) -> str:
        del tenant, kind
        return "*" * len(value)

    def unmask(self, tenant: str, masked: str) -> str | None:
        del tenant, masked
        return None


def detection(*, seconds: float = 5.0, **verdicts: Verdict) -> Detection:
    kinds = {kind.replace("__", "."): verdict for kind, verdict in verdicts.items()}
    return Detection(
        analyzer=Words(),
        growing=Words(),
        actions=ActionAnalyzer(),
        policy=Table(kinds),  # type: ignore[arg-type]  # all that is asked of a table
        masks=Stars(),
        watch=ToolWatch(),
        enforce=True,
        seconds=seconds,
    )


def part(role: Role, text: str, index: int = 0) -> Part:
    path = ("messages", index, "content")
    return Part(role=role, origin=ORIGIN_OF[role], path=path, text=text)


def view(*parts: Part, **more: object) -> RequestView:
    return RequestView(parts=parts, **more)  # type: ignore[arg-type]


def test_a_value_is_masked_where_it_stands_and_told_without_it() -> None:
    judged = detection(secret__token=Verdict.REDACT).request(
        CALLER, view(part(Role.USER, "my SECRET and SECRET")), {}
    )
    assert judged.edits == {("messages", 0, "content"): "my ****** and ******"}
    assert judged.verdict is Verdict.REDACT
    assert judged.blocked is None
    (first, second) = judged.findings
    assert (first.start, first.end, second.start) == (3, 9, 14)
    assert (first.location, first.rule) == ("messages[0].content", "r1")
    assert "SECRET" not in repr(judged.findings)


def test_a_block_names_its_finding_and_hides_the_value_from_what_is_kept() -> None:
    judged = detection(secret__token=Verdict.BLOCK).request(
        CALLER, view(part(Role.USER, "my SECRET")), {}
    )
    assert judged.blocked is not None
    assert judged.blocked.kind == "secret.token"
    assert not judged.edits
    (hidden,) = judged.hidden.values()
    assert hidden == "my [SECRET:TOKEN]"


def test_an_old_part_that_would_block_is_set_aside_instead() -> None:
    parts = (
        part(Role.USER, "attack", 0),
        part(Role.ASSISTANT, "No.", 1),
        part(Role.USER, "And now?", 2),
    )
    judged = detection(prompt_injection=Verdict.BLOCK).request(CALLER, view(*parts), {})
    assert judged.blocked is None
    (notice,) = judged.edits.values()
    assert "attack" not in notice
    assert judged.verdict is Verdict.QUARANTINE


@pytest.mark.parametrize("role", [Role.SYSTEM, Role.TOOL_DESCRIPTION])
def test_what_stands_in_every_turn_is_blocked_in_every_turn(role: Role) -> None:
    parts = (part(role, "attack", 0), part(Role.ASSISTANT, "No.", 1), part(Role.USER, "So?", 2))
    judged = detection(prompt_injection=Verdict.BLOCK).request(CALLER, view(*parts), {})
    assert judged.blocked is not None


def test_a_quarantined_part_is_the_same_on_every_turn() -> None:
    judge = detection(prompt_injection=Verdict.QUARANTINE)
    asked = view(part(Role.TOOL_RESULT, "fine. attack!"))
    assert judge.request(CALLER, asked, {}).edits == judge.request(CALLER, asked, {}).edits


def test_a_tool_that_changed_between_calls_is_told() -> None:
    judge = detection(tool_changed=Verdict.BLOCK)
    before, after = (ToolDefinition(name="look", digest=digest) for digest in ("d1", "d2"))
    assert not judge.request(CALLER, view(tools=[before]), {}).findings
    assert not judge.request(CALLER, view(tools=[before]), {}).findings
    for _ in range(2):  # what was refused has not become what is known
        judged = judge.request(CALLER, view(tools=[after]), {})
        assert judged.blocked is not None
        assert judged.blocked.location == "tools.look"
    assert not judge.request(CALLER, view(tools=[before]), {}).findings


@pytest.mark.parametrize(
    ("verdict", "enforce"),
    [(Verdict.FLAG, True), (Verdict.BLOCK, False)],
    ids=["flagged", "observed"],
)
def test_a_changed_tool_that_was_let_through_is_told_once(verdict: Verdict, enforce: bool) -> None:
    judge = detection(tool_changed=verdict)
    judge.enforce = enforce
    told = [
        len(judge.request(CALLER, view(tools=[ToolDefinition(name="a", digest=it)]), {}).findings)
        for it in ("d1", "d2", "d2")
    ]
    assert told == [0, 1, 0]


def test_a_tool_of_a_call_that_was_refused_is_not_what_others_are_compared_with() -> None:
    judge = detection(secret__token=Verdict.BLOCK, tool_changed=Verdict.BLOCK)
    refused, mended = (ToolDefinition(name="look", digest=digest) for digest in ("d1", "d2"))
    said = part(Role.USER, "SECRET")
    assert judge.request(CALLER, view(said, tools=[refused]), {}).blocked is not None
    assert judge.request(CALLER, view(tools=[mended]), {}).blocked is None


def test_two_sessions_may_have_two_tools_of_one_name() -> None:
    judge = detection(tool_changed=Verdict.BLOCK)
    for session in ("s1", "s2"):
        offered = [ToolDefinition(name="look", digest=session)]
        caller = replace(CALLER, session=session)
        assert judge.request(caller, view(tools=offered), {}).blocked is None


def test_time_is_up_between_parts() -> None:
    judge = detection(seconds=-1.0)
    with pytest.raises(DetectionTimeout):
        judge.request(CALLER, view(part(Role.USER, "hello")), {})
    with pytest.raises(DetectionTimeout):
        judge.answer(CALLER, Answer(texts={TEXT: "hello"}))


def test_an_answer_is_told_by_channel_and_only_what_a_stream_could_act_on_acts() -> None:
    judge = detection(secret__token=Verdict.REDACT, prompt_injection=Verdict.BLOCK)
    secret, attack = judge.answer(CALLER, Answer(texts={TEXT: "SECRET attack"})).findings
    assert (secret.location, secret.verdict) == ("answer[0].text[0]", Verdict.REDACT)
    assert attack.verdict is Verdict.FLAG


def test_signed_reasoning_is_never_changed() -> None:
    judge = detection(secret__token=Verdict.REDACT)
    reasoning = Answer(texts={Channel(0, ChannelKind.REASONING): "SECRET"})
    signed = Caller(dialect="anthropic.messages")
    assert judge.answer(signed, reasoning).findings[0].verdict is Verdict.FLAG
    assert judge.answer(CALLER, reasoning).findings[0].verdict is Verdict.REDACT


def test_a_tool_call_is_judged_as_words_and_as_an_action() -> None:
    judge = detection(secret__token=Verdict.REDACT, dangerous_command=Verdict.BLOCK)
    call = ToolCall(
        channel=Channel(0, ChannelKind.TOOL_CALL),
        call_id="c1",
        name="Bash",
        arguments='{"command": "rm -rf / # SECRET"}',
    )
    found = judge.answer(CALLER, Answer(tool_calls=(call,))).findings
    assert {f.kind for f in found} >= {"secret.token", "dangerous_command"}
    assert all(f.location == "answer[0].tool_call[0].arguments" for f in found)


def test_the_policy_is_asked_about_the_place() -> None:
    judge = detection()
    judge.request(CALLER, view(part(Role.TOOL_RESULT, "attack")), {})
    (place,) = judge.policy.asked  # type: ignore[attr-defined]
    assert (place.role, place.direction) == (Role.TOOL_RESULT, Direction.REQUEST)
    assert (place.tenant, place.agent, place.provider) == ("acme", "bot", "openai")


def test_of_too_many_findings_the_worst_are_kept() -> None:
    judge = detection(secret__token=Verdict.BLOCK)
    many = judge.request(CALLER, view(part(Role.USER, "attack " * 400 + "SECRET")), {})
    assert len(many.findings) == MAX_FINDINGS
    assert many.findings[-1].kind == "secret.token"
    assert kept(many.findings) == many.findings


def test_media_is_told_only_where_the_policy_stops_it() -> None:
    image = Media(
        role=Role.USER,
        origin=ORIGIN_OF[Role.USER],
        path=("messages", 0, "content", 1),
        kind=MediaKind.IMAGE,
    )
    assert not detection().request(CALLER, view(media=[image]), {}).findings
    judged = detection(unscannable_media=Verdict.BLOCK).request(CALLER, view(media=[image]), {})
    assert judged.blocked is not None
    assert judged.blocked.location == "messages[0].content[1]"


@pytest.mark.parametrize(
    ("sha256", "mime", "blocked"),
    [("0" * 64, "text/plain", False), ("0" * 64, "application/pdf", True), (None, "", True)],
    ids=["a-text", "a-document-in-letters", "an-address"],
)
def test_media_beside_a_text_is_refused_unless_the_text_is_all_of_it(
    sha256: str | None, mime: str, blocked: bool
) -> None:
    text = part(Role.USER, "hello")
    kind = MediaKind.FILE
    media = Media(
        role=text.role, origin=text.origin, path=text.path, kind=kind, mime=mime, sha256=sha256
    )
    judge = detection(unscannable_media=Verdict.BLOCK)
    assert (judge.request(CALLER, view(text, media=[media]), {}).blocked is not None) is blocked


class Hasty(Words):
    """Leaves out a part of every text with ``long`` in it."""

    def __init__(self, reason: str = "timeout") -> None:
        super().__init__()
        self.reason = reason

    def inspect(self, text: str, context: Context) -> Inspection:
        del context
        skipped = (Skipped("words", self.reason),) if "long" in text else ()
        return Inspection((), skipped)


def test_what_a_detector_left_out_is_told_with_its_place() -> None:
    judge = detection()
    judge.analyzer = Hasty()
    judged = judge.request(CALLER, view(part(Role.USER, "long"), part(Role.USER, "x", 1)), {})
    assert judged.skipped == (("words", "timeout"),)
    assert judged.partly == {("messages", 0, "content")}
    answered = judge.answer(CALLER, Answer(texts={TEXT: "long"}))
    assert answered.skipped == (("words", "timeout"),)
    assert answered.partly == {TEXT}


def test_letters_that_a_model_does_not_read_are_told_and_stop_nothing() -> None:
    judge = detection()
    judge.analyzer = Hasty("script")
    judged = judge.request(CALLER, view(part(Role.USER, "long")), {})
    assert judged.skipped == (("words", "script"),)
    assert not judged.partly
    assert not judged.incomplete


def test_what_was_left_out_of_a_tool_call_is_told_with_its_place() -> None:
    judge = detection()
    judge.analyzer = Hasty()
    tool = Channel(0, ChannelKind.TOOL_CALL)
    call = ToolCall(channel=tool, call_id="1", name="say", arguments="long")
    assert judge.tool_call(CALLER, call).incomplete
    answered = judge.answer(CALLER, Answer(tool_calls=(call,)))
    assert answered.skipped == (("words", "timeout"),)
    assert answered.partly == {tool}


def test_a_tool_in_another_dialect_is_no_changed_tool() -> None:
    judge = detection(tool_changed=Verdict.BLOCK)
    wrapped, plain = (ToolDefinition(name="look", digest=digest) for digest in ("d1", "d2"))
    other = replace(CALLER, dialect="anthropic.messages")
    assert judge.request(CALLER, view(tools=(wrapped,)), {}).blocked is None
    assert judge.request(other, view(tools=(plain,)), {}).blocked is None
    assert judge.request(CALLER, view(tools=(wrapped,)), {}).blocked is None
    assert judge.request(other, view(tools=(wrapped,)), {}).blocked is not None


@pytest.mark.parametrize(
    ("verdict", "incomplete"),
    [(Verdict.BLOCK, True), (Verdict.FLAG, False)],
    ids=["commands-are-blocked", "commands-are-told"],
)
def test_a_command_that_was_not_read_whole_is_unfinished_where_it_matters(
    verdict: Verdict, incomplete: bool
) -> None:
    padding = "".join(f"echo {n};true {n};" for n in range(3_000))
    command = json.dumps({"command": f"{padding}rm -rf /;{padding}"})
    call = ToolCall(
        channel=Channel(0, ChannelKind.TOOL_CALL), call_id="", name="Bash", arguments=command
    )
    judged = detection(dangerous_command=verdict).tool_call(CALLER, call)
    assert [(one.detector, one.reason) for one in judged.skipped] == [("actions", "too_many")]
    assert judged.incomplete is incomplete
