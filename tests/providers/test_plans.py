from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.traces import PlanWindow
from llmtrace.providers.plans import MAX_WINDOWS, plan_of, plan_windows, told_windows

NOW = datetime(2026, 7, 27, 12, 0, tzinfo=UTC)
FIVE = datetime(2026, 7, 27, 20, 0, tzinfo=UTC)
EPOCH = str(int(FIVE.timestamp()))
OAT = "Bearer sk-ant-oat01-" + "x" * 80


@pytest.mark.parametrize(
    ("host", "path", "headers", "plan"),
    [
        pytest.param(
            "api.anthropic.com",
            "/v1/messages",
            {"authorization": OAT},
            "claude-subscription",
            id="claude-login",
        ),
        pytest.param(
            "gateway.test",
            "/anthropic/v1/messages",
            {"authorization": OAT.lower()},
            "claude-subscription",
            id="claude-login-at-another-host",
        ),
        pytest.param(
            "api.anthropic.com",
            "/v1/messages",
            {"authorization": "Bearer opaque", "anthropic-beta": "a-1,oauth-2025-04-20"},
            "claude-subscription",
            id="claude-by-its-beta",
        ),
        pytest.param(
            "api.anthropic.com",
            "/v1/messages",
            {"x-api-key": "sk-ant-api03-x", "anthropic-beta": "context-1m-2025-08-07"},
            "",
            id="claude-by-key",
        ),
        pytest.param(
            "gateway.test", "/v1/messages", {"anthropic-beta": "oauth-1"}, "", id="beta-elsewhere"
        ),
        pytest.param(
            "chatgpt.com", "/backend-api/codex/responses", {}, "chatgpt-subscription", id="codex"
        ),
        pytest.param("api.openai.com", "/v1/responses", {}, "", id="codex-by-key"),
        pytest.param("chatgpt.com", "/other", {}, "", id="another-path"),
        pytest.param("evilchatgpt.com", "/backend-api/x", {}, "", id="another-host"),
        pytest.param(
            "api.individual.githubcopilot.com",
            "/chat/completions",
            {},
            "github-copilot",
            id="pilot",
        ),
        pytest.param("githubcopilot.com.evil.test", "/", {}, "", id="no-suffix"),
        pytest.param(
            "cloudcode-pa.googleapis.com",
            "/v1internal:streamGenerateContent",
            {},
            "gemini-code-assist",
            id="gemini-login",
        ),
        pytest.param(
            "generativelanguage.googleapis.com", "/v1beta/models/m", {}, "", id="gemini-by-key"
        ),
        pytest.param(
            "api.z.ai", "/api/coding/paas/v4/chat/completions", {}, "glm-coding-plan", id="glm"
        ),
        pytest.param("api.z.ai", "/api/paas/v4/chat/completions", {}, "", id="glm-by-key"),
        pytest.param("api.kimi.com", "/coding/v1/messages", {}, "kimi-code", id="kimi"),
    ],
)
def test_a_plan_is_told_by_host_path_and_kind_of_credential(
    host: str, path: str, headers: Mapping[str, str], plan: str
) -> None:
    assert plan_of(host, path, headers) == plan


def test_anthropic_tells_each_window() -> None:
    headers = {
        "anthropic-ratelimit-unified-5h-reset": EPOCH,
        "anthropic-ratelimit-unified-5h-status": "allowed",
        "anthropic-ratelimit-unified-5h-utilization": "0.36",
        "anthropic-ratelimit-unified-7d-status": "allowed_warning",
        "anthropic-ratelimit-unified-7d-utilization": "0.94",
        "anthropic-ratelimit-unified-7d_opus-utilization": "1.0",
        "anthropic-ratelimit-unified-overage-status": "rejected",
        "anthropic-ratelimit-unified-representative-claim": "five_hour",
        "anthropic-ratelimit-unified-reset": EPOCH,
        "anthropic-ratelimit-unified-status": "allowed",
        "anthropic-organization-id": "0000",
    }
    assert plan_windows(headers, now=NOW) == (
        PlanWindow(name="5h", used=0.36, resets_at=FIVE, status="allowed"),
        PlanWindow(name="7d", used=0.94, status="allowed_warning"),
        PlanWindow(name="7d_opus", used=1.0),
    )


@pytest.mark.parametrize(
    "reset",
    [
        {"x-codex-primary-reset-at": EPOCH},
        {"x-codex-primary-reset-after-seconds": "28800"},
        {"x-codex-primary-reset-after-seconds": "1", "x-codex-primary-reset-at": EPOCH},
    ],
    ids=["at", "after", "both"],
)
def test_codex_windows_are_named_by_their_length(reset: Mapping[str, str]) -> None:
    headers = {
        "x-codex-primary-used-percent": "37.5",
        "x-codex-primary-window-minutes": "300",
        **reset,
        "x-codex-secondary-used-percent": "12",
        "x-codex-secondary-window-minutes": "10080",
        "x-codex-plan-type": "pro",
    }
    assert plan_windows(headers, now=NOW) == (
        PlanWindow(name="5h", used=0.375, resets_at=FIVE),
        PlanWindow(name="7d", used=0.12),
    )


def test_codex_is_told_on_a_websocket_by_a_message() -> None:
    def said(**limits: object) -> bytes:
        return orjson.dumps({"type": "codex.rate_limits", "plan_type": "pro", **limits})

    five: dict[str, object] = {
        "used_percent": 37.5,
        "window_minutes": 300,
        "reset_at": int(EPOCH),
    }
    week = {"used_percent": 12, "window_minutes": 10080, "reset_at": None}
    assert told_windows(said(rate_limits={"primary": five, "secondary": week}), now=NOW) == (
        PlanWindow(name="5h", used=0.375, resets_at=FIVE),
        PlanWindow(name="7d", used=0.12),
    )
    bad = {"used_percent": "37", "window_minutes": True, "reset_at": 1e300, "x" * 999: 1}
    for limits in ({"rate_limits": {"primary": bad}}, {"rate_limits": [five]}, {}):
        assert told_windows(said(**limits), now=NOW) == ()
    text = b'{"type":"response.output_text.delta","delta":"codex.rate_limits"}'
    for message in (text, b"codex.rate_limits {", b'["codex.rate_limits"]', b""):
        assert told_windows(message, now=NOW) == ()


def test_copilot_tells_what_remains() -> None:
    headers = {
        "x-quota-snapshot-premium_interactions": "ent=300&ov=0.0&ovPerm=false&rem=92.3"
        "&rst=2026-07-27T20%3A00%3A00Z",
        "x-usage-ratelimit-weekly": "rem=74.9&rst=2026-07-27T20:00:00Z",
    }
    assert plan_windows(headers, now=NOW) == (
        PlanWindow(name="premium_interactions", used=0.077, resets_at=FIVE),
        PlanWindow(name="weekly", used=0.251, resets_at=FIVE),
    )


@pytest.mark.parametrize(
    "value",
    ["", "-1", "nan", "inf", "1e3", "9" * 400, "true", "0.5;rm", "\u0663", "101", "x" * 600],
    ids=range(11),
)
@pytest.mark.parametrize(
    "name", ["anthropic-ratelimit-unified-5h-utilization", "anthropic-ratelimit-unified-5h-reset"]
)
def test_what_is_no_figure_is_left_out(name: str, value: str) -> None:
    assert plan_windows({name: value}, now=NOW) == ()


def test_windows_are_bounded() -> None:
    headers = {f"anthropic-ratelimit-unified-{n}d-utilization": "0.5" for n in range(100)}
    assert len(plan_windows(headers, now=NOW)) == MAX_WINDOWS


NAMES = st.sampled_from(
    [
        "anthropic-ratelimit-unified-5h-reset",
        "anthropic-ratelimit-unified-5h-utilization",
        "anthropic-ratelimit-unified-5h-status",
        "x-codex-primary-reset-at",
        "x-codex-primary-reset-after-seconds",
        "x-codex-primary-window-minutes",
        "x-codex-primary-used-percent",
        "x-quota-snapshot-chat",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        NAMES, st.text(max_size=40) | st.text("0123456789.&=remst-:TZ", max_size=30), max_size=8
    )
)
def test_any_headers_are_read(headers: dict[str, str]) -> None:
    for window in plan_windows(headers, now=NOW):
        assert window.used is None or 0 <= window.used <= 100
