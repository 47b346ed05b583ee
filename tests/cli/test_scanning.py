import json
import re
from collections.abc import Sequence

import pytest

from llmtrace.analyzers.actions import ActionAnalyzer
from llmtrace.analyzers.base import Context, Direction, Hit, Inspection, Skipped
from llmtrace.cli.scanning import Result, Scanner, Spot, Spots
from llmtrace.cli.scantexts import Document, Piece
from llmtrace.domain.findings import Severity, Verdict
from llmtrace.domain.parts import ORIGIN_OF, Origin, Role
from llmtrace.policy.masking import one_way
from llmtrace.policy.table import Decision, Place
from llmtrace.providers.called import Called


class Words:
    """Sees ATTACK and values like N42; remembers who was said to have written them."""

    name = "words"
    version = "1"

    def __init__(self) -> None:
        self.contexts: list[Context] = []

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        self.contexts.append(context)
        kinds = {"ATTACK": "prompt_injection", "PUSH": "persuasion"}
        return [
            Hit(
                kind=kinds.get(match[0], "pii.ssn"),
                severity=Severity.HIGH,
                confidence=0.9 if match[0] == "ATTACK" else 0.6,
                start=match.start(),
                end=match.end(),
                detector="words",
                value=match[0] not in kinds,
            )
            for match in re.finditer(r"ATTACK|PUSH|N\d+", text)
        ]


def decide(hit: Hit, place: Place) -> Decision:
    if hit.kind == "prompt_injection" and place.origin is Origin.UNTRUSTED:
        return Decision(verdict=Verdict.BLOCK, rule="r.block")
    return Decision(verdict=Verdict.REDACT if hit.value else Verdict.FLAG, rule="r.rest")


def text(text: str, role: Role = Role.USER) -> Document:
    return Document(source="f", pieces=(Piece(text=text, role=role, origin=ORIGIN_OF[role]),))


def scan(document: Document, *, redact: bool = False) -> Result:
    return Scanner(Words(), decide).scan(document, redact=redact)


def test_a_text_without_findings_is_allowed() -> None:
    result = scan(text("hello"), redact=True)
    assert (result.injection, result.verdict) == (0.0, Verdict.ALLOW)
    assert (list(result.findings), result.redacted) == ([], "hello")


def test_the_worst_verdict_counts_and_its_rule_is_told() -> None:
    result = scan(text("N1 ATTACK", Role.TOOL_RESULT))
    assert result.verdict is Verdict.BLOCK
    assert [(one.kind, one.start, one.end, one.rule) for one in result.findings] == [
        ("pii.ssn", 0, 2, "r.rest"),
        ("prompt_injection", 3, 9, "r.block"),
    ]


@pytest.mark.parametrize(("words", "injection"), [("ATTACK PUSH", 0.9), ("PUSH", 0.0), ("N1", 0.0)])
def test_an_injection_is_as_sure_as_the_surest_attack(words: str, injection: float) -> None:
    assert scan(text(words)).injection == injection


@pytest.mark.parametrize(
    ("role", "direction"),
    [(Role.USER, Direction.REQUEST), (Role.ASSISTANT, Direction.ANSWER)],
)
def test_a_role_says_which_way_a_text_goes(role: Role, direction: Direction) -> None:
    words = Words()
    Scanner(words, decide).scan(text("x", role))
    assert words.contexts == [Context(role, Origin.TRUSTED, direction)]


def test_values_are_masked_and_nothing_else() -> None:
    masked = one_way("pii.ssn")
    assert scan(text("é N1, N22 ATTACK"), redact=True).redacted == f"é {masked}, {masked} ATTACK"
    assert scan(text("N1")).redacted is None


def test_a_transcript_is_masked_in_place_and_stays_as_it_is_elsewhere() -> None:
    body = b'{"a": 1.50,\n "messages": [{"content": "my N1"}, {"content": "N2 \\u00e9"}]}'
    pieces = [
        Piece(
            text=message,
            role=Role.USER,
            origin=Origin.TRUSTED,
            location=f"messages[{index}].content",
            path=("messages", index, "content"),
        )
        for index, message in enumerate(["my N1", "N2 é"])
    ]
    result = scan(Document(source="f", pieces=pieces, body=body), redact=True)
    assert result.redacted is not None
    assert result.redacted.startswith('{"a": 1.50,\n "messages"')
    contents = [message["content"] for message in json.loads(result.redacted)["messages"]]
    masked = one_way("pii.ssn")
    assert contents == [f"my {masked}", f"{masked} é"]
    assert [one.location for one in result.findings] == [piece.location for piece in pieces]


def test_a_rule_that_ran_out_of_time_is_told() -> None:
    class Hurried(Words):
        def inspect(self, text: str, context: Context) -> Inspection:
            return Inspection(self.analyze(text, context), (Skipped("words.long", "timeout"),))

    result = Scanner(Hurried(), decide).scan(text("N1"))
    assert list(result.skipped) == ["words.long (timeout)"]
    assert len(result.findings) == 1
    redacted = Scanner(Hurried(), decide).scan(text("N1"), redact=True)
    assert redacted.redacted is None
    assert "words.long (timeout)" in redacted.unmasked


def test_two_values_at_one_place_are_not_masked_by_halves() -> None:
    pieces = [
        Piece(text=said, role=Role.USER, origin=Origin.TRUSTED, path=("a", "N1"))
        for said in ("N1", "N2")
    ]
    document = Document(source="f", pieces=pieces, body=b'{"a": {"N1": "N2"}}')
    result = scan(document, redact=True)
    assert result.redacted is None
    assert "one place" in result.unmasked


@pytest.mark.parametrize(
    ("content", "spot"),
    [
        ("N1", Spot(line=1, column=1, end_line=1, end_column=3)),
        ("\n\né N1", Spot(line=3, column=3, end_line=3, end_column=5)),
        ("a\nN1\n", Spot(line=2, column=1, end_line=2, end_column=3)),
    ],
)
def test_a_finding_of_a_file_has_line_and_column(content: str, spot: Spot) -> None:
    result = scan(text(content))
    assert Spots(result.document).of(result.findings[0]) == spot


def test_a_finding_of_a_row_has_the_line_of_the_row() -> None:
    row = Document(source="f", line=7, pieces=text("a\nN1").pieces, row={"text": "a\nN1"})
    assert Spots(row).of(scan(row).findings[0]) == Spot(line=7)


def test_what_tool_calls_do_is_judged_where_that_is_asked() -> None:
    call = Called(name="Bash", arguments='{"command": "rm -rf /"}', path=("messages", 1))
    document = Document(source="f", pieces=(), calls=(call,), body=b"{}")
    assert not Scanner(Words(), decide).scan(document).findings
    (found, *_) = Scanner(Words(), decide, ActionAnalyzer()).scan(document).findings
    assert (found.kind, found.location) == ("dangerous_command", "messages[1]")
