"""What becomes of a request: what is signed, what is JSON, what is history."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from llmtrace.analyzers.base import Hit, Inspection
from llmtrace.domain.findings import Severity, Verdict
from llmtrace.domain.parts import ORIGIN_OF, Part, Path, Role
from llmtrace.pipeline.judgements import Caller
from llmtrace.pipeline.judging_requests import RequestJudging, is_sealed
from llmtrace.policy.table import Decision
from llmtrace.providers.base import Json

SIGNED = {"signature": "c2ln", "encrypted_content": "ZW5j", "thoughtSignature": "c2ln"}


class One:
    """A policy that says the same of everything."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    def decide(self, *_asked: object) -> Decision:
        return Decision(verdict=self.verdict, rule="r")


class Stars:
    def mask(self, tenant: str, kind: str, value: str) -> str:
        del tenant, kind
        return "*" * len(value)

    def unmask(self, tenant: str, masked: str) -> str | None:
        del tenant, masked
        return None


def part(role: Role, path: Path, text: str = "SECRET1") -> Part:
    return Part(role=role, origin=ORIGIN_OF[role], path=path, text=text)


def seen(text: str, value: str = "SECRET1") -> Inspection:
    return Inspection(
        [
            Hit(
                kind="secret.token",
                severity=Severity.HIGH,
                confidence=0.9,
                start=at,
                end=at + len(value),
                detector="d",
                value=True,
            )
            for at in range(len(text))
            if text.startswith(value, at)
        ]
    )


def edited(role: Role, text: str, verdict: Verdict, *, is_new: bool = True) -> Mapping[Path, str]:
    policy: Any = One(verdict)
    judging = RequestJudging(policy, Stars(), Caller(), {})
    judging.part(part(role, ("a",), text), seen(text), is_new=is_new)
    made = judging.done()
    assert made.blocked is None
    return made.edits


@pytest.mark.parametrize(
    ("role", "body", "path", "sealed"),
    [
        pytest.param(
            Role.ASSISTANT,
            {"messages": [{"content": [{"thinking": "SECRET1", **SIGNED}]}]},
            ("messages", 0, "content", 0, "thinking"),
            True,
            id="thinking",
        ),
        pytest.param(
            Role.TOOL_RESULT,
            {"contents": [{"response": {"output": "SECRET1", **SIGNED}}]},
            ("contents", 0, "response", "output"),
            False,
            id="members-of-a-tools-result",
        ),
        pytest.param(
            Role.TOOL_CALL,
            {"messages": [{"content": [{"input": {"code": "SECRET1", **SIGNED}}]}]},
            ("messages", 0, "content", 0, "input", "code"),
            False,
            id="members-of-arguments",
        ),
        pytest.param(
            Role.USER,
            {"messages": [{"content": [{"text": "SECRET1", **SIGNED}]}]},
            ("messages", 0, "content", 0, "text"),
            False,
            id="a-person",
        ),
        pytest.param(Role.ASSISTANT, {"a": [1]}, ("a", 3, "b"), False, id="nowhere"),
        pytest.param(Role.ASSISTANT, None, ("a", "b"), False, id="nothing"),
    ],
)
def test_only_what_a_provider_signs_is_sealed(
    role: Role, body: Json, path: Path, sealed: bool
) -> None:
    assert is_sealed(body, part(role, path)) is sealed


@pytest.mark.parametrize(
    ("block", "root", "sealed"),
    [
        ("web_search_tool_result", "messages", True),
        ("tool_result", "messages", False),
        ("web_search_tool_result", "contents", False),
    ],
)
def test_results_of_a_providers_own_search_are_sealed(block: str, root: str, sealed: bool) -> None:
    found: dict[str, Json] = {"type": "web_search_result", "title": "SECRET1", **SIGNED}
    body: Json = {root: [{"content": [{"type": block, "content": [found]}]}]}
    path = (root, 0, "content", 0, "content", 0, "title")
    assert is_sealed(body, part(Role.TOOL_RESULT, path)) is sealed


def test_what_was_signed_is_told_and_left_as_it_is() -> None:
    body: Json = {"messages": [{"content": [{"thinking": "SECRET1", "signature": "c2ln"}]}]}
    policy: Any = One(Verdict.REDACT)
    judging = RequestJudging(policy, Stars(), Caller(), body)
    signed = part(Role.ASSISTANT, ("messages", 0, "content", 0, "thinking"))
    judging.part(signed, seen(signed.text), is_new=False)
    made = judging.done()
    assert not made.edits
    assert made.findings[0].verdict is Verdict.FLAG


@pytest.mark.parametrize(
    ("arguments", "becomes"),
    [
        ('{"card": 4111111111111111}', {"card": "*" * 16}),
        ('{"card": "4111111111111111"}', {"card": "*" * 16}),
        (json.dumps({"a": ["4111111111111111"] * 80}), {"a": ["*" * 16] * 80}),
    ],
    ids=["number", "text", "many"],
)
def test_arguments_of_a_tool_stay_json(arguments: str, becomes: Json) -> None:
    policy: Any = One(Verdict.REDACT)
    judging = RequestJudging(policy, Stars(), Caller(), {})
    call = part(Role.TOOL_CALL, ("a",), arguments)
    judging.part(call, seen(arguments, "4111111111111111"), is_new=False)
    assert json.loads(judging.done().edits["a",]) == becomes


def test_arguments_that_are_set_aside_stay_json() -> None:
    edits = edited(Role.TOOL_CALL, '{"code": "SECRET1"}', Verdict.QUARANTINE)
    assert list(json.loads(edits["a",])) == ["llmtrace"]
    assert edited(Role.TOOL_CALL, "SECRET1", Verdict.QUARANTINE)["a",][:1] != "{"
    assert edited(Role.TOOL_RESULT, '{"a": "SECRET1"}', Verdict.QUARANTINE)["a",][:1] != "{"


@pytest.mark.parametrize("role", [Role.USER, Role.ASSISTANT, Role.TOOL_CALL, Role.TOOL_RESULT])
def test_what_would_be_blocked_in_the_history_is_set_aside(role: Role) -> None:
    assert "SECRET1" not in edited(role, "a SECRET1", Verdict.BLOCK, is_new=False)["a",]
