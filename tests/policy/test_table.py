"""The first row that fits decides: one's own, then those about personal data, then the preset's."""

import timeit
from typing import Any

import pytest

from llmtrace.analyzers.base import Direction, Hit
from llmtrace.analyzers.kinds import kinds
from llmtrace.config.detection import PiiConfig, PolicyConfig
from llmtrace.domain.findings import Severity, Verdict
from llmtrace.domain.parts import ORIGIN_OF, Origin, Role
from llmtrace.policy.table import (
    MEMORY,
    BadPolicy,
    Place,
    PolicyTable,
    compile_policy,
    presets,
)

USER = Place(role=Role.USER)
ANSWER = Place(role=Role.ASSISTANT, direction=Direction.ANSWER)
TOOL_CALL = Place(role=Role.TOOL_CALL, direction=Direction.ANSWER)
TOOL_RESULT = Place(role=Role.TOOL_RESULT, origin=Origin.UNTRUSTED)
DESCRIPTION = Place(role=Role.TOOL_DESCRIPTION, origin=Origin.UNTRUSTED)


def table(*rules: dict[str, Any], preset: str = "observe", **pii: Any) -> PolicyTable:
    policy = PolicyConfig.model_validate({"preset": preset, "rules": rules})
    return compile_policy(policy, PiiConfig.model_validate(pii), kinds())


def hit(kind: str, confidence: float = 0.95, severity: Severity | None = None) -> Hit:
    return Hit(
        kind=kind,
        severity=severity or kinds()[kind].severity,
        confidence=confidence,
        start=0,
        end=1,
        detector="d",
    )


def test_the_first_row_that_fits_decides() -> None:
    rows = table(
        {"name": "mail", "kinds": ["pii.email"], "verdict": "allow"},
        {"name": "rest", "kinds": ["pii.*"], "verdict": "block"},
    )
    assert rows.decide(hit("pii.email"), USER).rule == "mail"
    assert rows.decide(hit("pii.ssn"), USER).rule == "rest"
    assert rows.decide(hit("secret.jwt"), USER).rule == "observe.rest"


@pytest.mark.parametrize(
    ("condition", "place", "fits"),
    [
        pytest.param({"severity": "high"}, USER, True, id="as-severe"),
        pytest.param({"severity": "critical"}, USER, False, id="not-so-severe"),
        pytest.param({"confidence": 0.95}, USER, True, id="as-sure"),
        pytest.param({"confidence": 0.96}, USER, False, id="not-so-sure"),
        pytest.param({"roles": ["system", "user"]}, USER, True, id="role"),
        pytest.param({"roles": ["system"]}, USER, False, id="other-role"),
        pytest.param({"origins": ["untrusted"]}, TOOL_RESULT, True, id="origin"),
        pytest.param({"origins": ["untrusted"]}, USER, False, id="other-origin"),
        pytest.param({"directions": ["answer"]}, ANSWER, True, id="direction"),
        pytest.param({"directions": ["answer"]}, USER, False, id="other-direction"),
        pytest.param(
            {"providers": ["open*"]}, Place(role=Role.USER, provider="openai"), True, id="provider"
        ),
        pytest.param({"providers": ["openai"]}, USER, False, id="no-provider"),
        pytest.param({"tenants": ["a", "b"]}, Place(role=Role.USER, tenant="b"), True, id="tenant"),
        pytest.param({"tenants": ["a"]}, Place(role=Role.USER, tenant="aa"), False, id="other"),
        pytest.param(
            {"agents": ["claude-*"]}, Place(role=Role.USER, agent="claude-code"), True, id="agent"
        ),
        pytest.param(
            {"agents": ["*"]}, Place(role=Role.USER, agent="a\nb"), True, id="any-name-at-all"
        ),
    ],
)
def test_a_row_fits_if_all_that_it_says_does(
    condition: dict[str, Any], place: Place, fits: bool
) -> None:
    rows = table({"name": "mine", "kinds": ["secret.*"], "verdict": "block", **condition})
    decided = rows.decide(hit("secret.token"), place)
    assert (decided.rule == "mine") is fits
    assert rows.decide(hit("secret.token"), place) is decided


@pytest.mark.parametrize(
    ("condition", "one", "other"),
    [
        ("providers", Place(role=Role.USER, provider="a"), Place(role=Role.USER, provider="b")),
        ("tenants", Place(role=Role.USER, tenant="a"), Place(role=Role.USER, tenant="b")),
        ("agents", Place(role=Role.USER, agent="a"), Place(role=Role.USER, agent="b")),
    ],
)
def test_a_decision_is_remembered_for_its_own_place_alone(
    condition: str, one: Place, other: Place
) -> None:
    rows = table({"name": "mine", "kinds": ["*"], "verdict": "block", condition: ["a"]})
    decided = [rows.decide(hit("pii.ssn"), place).rule for place in (one, other, one)]
    assert decided == ["mine", "observe.rest", "mine"]


def test_a_row_without_a_name_is_called_by_its_place() -> None:
    rows = table({"kinds": ["*"], "verdict": "flag"}, {"kinds": ["*"], "verdict": "allow"})
    assert [row.name for row in rows.rows[:2]] == ["policy.rules[0]", "policy.rules[1]"]


def test_what_fits_nowhere_is_allowed() -> None:
    decided = table().decide(hit("pii.ip_address"), USER)
    assert (decided.verdict, decided.rule) == (Verdict.ALLOW, "default")


@pytest.mark.parametrize(
    ("action", "verdict", "silent"),
    [
        ("alert_only", Verdict.FLAG, False),
        ("alert_and_redact", Verdict.REDACT, False),
        ("redact_silent", Verdict.REDACT, True),
    ],
)
def test_personal_data_has_an_action_of_its_own(
    action: str, verdict: Verdict, silent: bool
) -> None:
    rows = table(preset="strict", action=action)
    decided = rows.decide(hit("pii.ssn"), USER)
    assert (decided.verdict, decided.rule, decided.silent) == (verdict, "pii.action", silent)
    assert rows.decide(hit("secret.token"), USER).silent is False
    test_value = hit("pii.ssn", severity=Severity.INFO)
    assert rows.decide(test_value, USER).verdict is Verdict.ALLOW


def test_ones_own_rows_come_before_the_action_and_what_is_ignored() -> None:
    rule = {"name": "mine", "kinds": ["pii.ssn", "pii.phone"], "verdict": "block"}
    rows = table(rule, action="redact_silent", ignore=["pii.phone", "pii.email"])
    assert rows.decide(hit("pii.phone"), USER).rule == "mine"
    assert rows.decide(hit("pii.email"), USER).rule == "pii.ignore"
    assert rows.decide(hit("pii.iban"), USER).rule == "pii.action"
    mine = rows.decide(hit("pii.ssn"), USER)
    assert (mine.verdict, mine.silent) == (Verdict.BLOCK, False)


def test_the_action_is_for_the_kinds_that_it_names() -> None:
    rows = table(action="alert_and_redact", kinds=["pii.ssn", "pii.i*"])
    assert rows.decide(hit("pii.iban"), USER).verdict is Verdict.REDACT
    assert rows.decide(hit("pii.email"), USER).rule == "observe.rest"


@pytest.mark.parametrize(
    ("values", "pii", "said"),
    [
        pytest.param(
            [{"kinds": ["pii.*"], "verdict": "flag"}, {"kinds": ["pii.emial"], "verdict": "flag"}],
            {},
            "policy.rules[1].kinds: 'pii.emial' is no kind of finding; did you mean 'pii.email'?",
            id="slip",
        ),
        pytest.param(
            [{"kinds": ["weather.*"], "verdict": "flag"}],
            {},
            "policy.rules[0].kinds: 'weather.*' is no kind of finding; docs/detection.md",
            id="glob-of-nothing",
        ),
        pytest.param([], {"ignore": ["pii.fax"]}, "pii.ignore: 'pii.fax' is no kind", id="ignore"),
        pytest.param([], {"kinds": ["pi.*"]}, "pii.kinds: 'pi.*' is no kind", id="kinds"),
        pytest.param(
            [{"name": "a", "kinds": ["*"], "verdict": "flag"}] * 2,
            {},
            "policy.rules[1].name: 'a' is the name of another row",
            id="two-of-one-name",
        ),
        pytest.param(
            [{"name": "observe.rest", "kinds": ["*"], "verdict": "flag"}],
            {},
            "policy.rules[0].name: 'observe.rest' is the name of another row",
            id="a-name-of-the-preset",
        ),
    ],
)
def test_a_policy_about_what_is_not_there_is_an_error(
    values: list[dict[str, Any]], pii: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadPolicy) as caught:
        table(*values, **pii)
    assert said in str(caught.value)


def test_the_version_changes_with_each_row_their_order_and_their_silence() -> None:
    one = {"name": "one", "kinds": ["*"], "verdict": "flag"}
    two = {"name": "two", "kinds": ["*"], "verdict": "allow"}
    tables = [
        table(),
        table(preset="strict"),
        table(one),
        table(one, two),
        table(two, one),
        table(one | {"confidence": 0.5}, two),
        table(action="alert_and_redact"),
        table(action="redact_silent"),
    ]
    assert len({one.version for one in tables}) == len(tables)
    assert table(one).version == table(one).version


def test_hostile_names_do_not_fill_the_memory() -> None:
    rows = table()
    for number in range(2 * MEMORY + 2):
        rows.decide(hit("pii.email"), Place(role=Role.USER, tenant=str(number)))
    assert len(rows._known) <= MEMORY


def test_a_decision_takes_no_time() -> None:
    rows, one = table(preset="strict"), hit("pii.email")
    assert min(timeit.repeat(lambda: rows.decide(one, USER), number=1000, repeat=5)) < 0.01


# --- the presets --------------------------------------------------------------------------------


def test_the_presets_speak_of_kinds_that_there_are() -> None:
    for preset in presets():
        rules = [row.model_dump() | {"name": f"x{n}"} for n, row in enumerate(presets()[preset])]
        assert table(*rules).rows


def test_the_names_of_rows_say_their_preset() -> None:
    for preset, rows in presets().items():
        assert all(row.name.startswith(f"{preset}.") for row in rows)
        assert len({row.name for row in rows}) == len(rows)


@pytest.mark.parametrize("preset", ["observe", "balanced", "strict"])
def test_what_is_at_least_low_is_on_record_and_what_is_only_info_is_left_alone(preset: str) -> None:
    rows = table(preset=preset)
    for kind in kinds():
        for severity in Severity:
            for place in (USER, ANSWER, TOOL_CALL, TOOL_RESULT, DESCRIPTION):
                verdict = rows.decide(hit(kind, 1.0, severity), place).verdict
                assert (verdict is Verdict.ALLOW) == (severity is Severity.INFO), (kind, place)


@pytest.mark.parametrize("preset", ["observe", "balanced", "strict"])
def test_nothing_mild_and_no_persuasion_is_ever_stopped(preset: str) -> None:
    rows = table(preset=preset)
    for kind in kinds():
        for role in Role:
            for direction in Direction:
                place = Place(role=role, origin=ORIGIN_OF[role], direction=direction)
                low = rows.decide(hit(kind, 1.0, Severity.LOW), place).verdict
                if not kind.startswith(("pii.", "canary", "tool_", "outside")):
                    assert low is Verdict.FLAG, (kind, place)
    worst = hit("persuasion", 1.0, Severity.CRITICAL)
    assert rows.decide(worst, TOOL_RESULT).verdict is Verdict.FLAG


CASES = [
    # kind, confidence, place, observe, balanced, strict
    ("secret.token", 0.95, USER, "flag", "redact", "redact"),
    ("secret.assignment", 0.8, TOOL_RESULT, "flag", "redact", "redact"),
    ("secret.assignment", 0.6, USER, "flag", "flag", "redact"),
    ("secret.token", 0.95, ANSWER, "flag", "flag", "redact"),
    ("pii.email", 0.95, USER, "flag", "flag", "redact"),
    ("pii.credit_card", 0.95, ANSWER, "flag", "flag", "redact"),
    ("prompt_injection", 0.95, TOOL_RESULT, "flag", "quarantine", "quarantine"),
    ("prompt_injection", 0.6, TOOL_RESULT, "flag", "flag", "quarantine"),
    ("prompt_injection", 0.95, USER, "flag", "flag", "block"),
    ("prompt_injection", 0.95, Place(role=Role.SYSTEM), "flag", "flag", "flag"),
    ("prompt_injection", 0.95, ANSWER, "flag", "flag", "flag"),
    ("tool_poisoning", 0.9, DESCRIPTION, "flag", "quarantine", "block"),
    ("tool_changed", 1.0, DESCRIPTION, "flag", "flag", "block"),
    ("canary_leak", 1.0, ANSWER, "flag", "block", "block"),
    ("dangerous_command", 0.95, TOOL_CALL, "flag", "block", "block"),
    ("dangerous_command", 0.94, Place(role=Role.TOOL_CALL), "flag", "flag", "flag"),
    ("sensitive_file_access", 0.95, TOOL_CALL, "flag", "flag", "block"),
    ("tool_not_allowed", 1.0, TOOL_CALL, "flag", "block", "block"),
    ("tool_not_allowed", 0.9, Place(role=Role.TOOL_CALL), "flag", "flag", "flag"),
    ("outside_workspace", 1.0, TOOL_CALL, "flag", "flag", "block"),
    ("data_exfiltration", 0.9, ANSWER, "flag", "redact", "redact"),
]


@pytest.mark.parametrize(
    ("kind", "confidence", "place", "verdicts"),
    [
        pytest.param(kind, sure, place, verdicts, id=f"{kind}-{sure}-{place.role}")
        for kind, sure, place, *verdicts in CASES
    ],
)  # fmt: skip
def test_what_the_presets_do(
    kind: str, confidence: float, place: Place, verdicts: list[str]
) -> None:
    for preset, verdict in zip(("observe", "balanced", "strict"), verdicts, strict=True):
        decided = table(preset=preset).decide(hit(kind, confidence), place)
        assert decided.verdict == verdict, preset
