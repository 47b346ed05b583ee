"""What is looked for, and what becomes of it, as configurations say it."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmtrace.config import Config, load

FULL = """
mode: enforce
policy:
  preset: strict
  block_status: 403
  block_style: graceful
  rules:
    - name: our-tests
      kinds: ["secret.*", "pii.email"]
      severity: medium
      confidence: 0.8
      roles: [user, tool_result]
      origins: [untrusted]
      directions: [request]
      providers: [openai]
      tenants: ["team-*"]
      agents: [claude-code]
      verdict: allow
    - kinds: ["*"]
      verdict: flag
security_analysis:
  packs: [rules/own.yaml]
  disabled_rules: ["pii.phone*"]
  canaries: [zanzibar-0815]
  allowed_tools: [Read, "mcp__*"]
  denied_tools: [Bash]
  workspace: [/srv/work]
  timeout_ms: 500
pii:
  action: alert_and_redact
  reversible: false
  kinds: [pii.ssn]
  ignore: [pii.email]
  ttl_hours: 1
streaming_analysis:
  max_hold_chars: 512
  tool_call_bytes: 4096
"""


def test_all_that_can_be_said_is_read(tmp_path: Path) -> None:
    path = tmp_path / "llmtrace.yaml"
    path.write_text(FULL)
    config = load(path, environ={})
    first, second = config.policy.rules
    assert (first.name, first.verdict, first.tenants) == ("our-tests", "allow", ["team-*"])
    assert (second.name, second.roles, second.severity, second.confidence) == ("", [], "info", 0)
    assert config.security_analysis.allowed_tools == ["Read", "mcp__*"]
    assert config.pii.action == "alert_and_redact"
    assert config.streaming_analysis.max_hold_chars == 512


def test_nothing_said_records_and_changes_nothing() -> None:
    config = Config()
    assert config.mode == "observe"
    assert config.policy.preset == "balanced"  # what `enforce` would do is on record
    assert config.policy.block_status == 400
    assert config.security_analysis.enabled
    assert config.security_analysis.allowed_tools is None
    assert config.pii.action is None
    assert config.pii.reversible


def rule(**values: Any) -> dict[str, Any]:
    return {"policy": {"rules": [{"kinds": ["*"], "verdict": "flag", **values}]}}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(rule(verdict="drop"), id="unknown-verdict"),
        pytest.param(rule(kinds=[]), id="no-kinds"),
        pytest.param(rule(kinds=[""]), id="empty-kind"),
        pytest.param(rule(severity="worst"), id="unknown-severity"),
        pytest.param(rule(confidence=1.1), id="too-sure"),
        pytest.param(rule(roles=["tool"]), id="unknown-role"),
        pytest.param(rule(origins=["web"]), id="unknown-origin"),
        pytest.param(rule(directions=["both"]), id="unknown-direction"),
        pytest.param(rule(name="a b"), id="name-of-two-words"),
        pytest.param(rule(kind=["*"]), id="unknown-key"),
        pytest.param({"policy": {"rules": [{"kinds": ["*"]}]}}, id="no-verdict"),
        pytest.param({"policy": {"preset": "lenient"}}, id="unknown-preset"),
        pytest.param({"policy": {"block_status": 200}}, id="blocked-with-success"),
        pytest.param({"policy": {"block_status": 503}}, id="blocked-with-what-is-retried"),
        pytest.param({"pii": {"action": "redact"}}, id="unknown-action"),
        pytest.param({"pii": {"kinds": []}}, id="action-for-nothing"),
        pytest.param({"pii": {"ttl_hours": 0}}, id="no-life"),
        pytest.param({"security_analysis": {"timeout_ms": 0}}, id="no-time"),
        pytest.param({"security_analysis": {"on_error": "allow"}}, id="on-error-is-at-the-top"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(values)


def test_canaries_are_not_shown() -> None:
    config = Config.model_validate({"security_analysis": {"canaries": ["zanzibar-0815"]}})
    assert "zanzibar" not in repr(config) + config.model_dump_json()
