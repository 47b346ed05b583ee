"""Tells calls under a subscription, and what providers say is left of it.

A subscription charges no price by the token; what such a call would have cost is known all the
same. What tells one is where the call goes and of which kind its credential is; of a credential
no more than its beginning is looked at, and nothing of it is kept.

Sources: Anthropic's OAuth tokens and headers as Claude Code sends and reads them, ``x-codex-*``
as Codex reads them (``codex-rs``, ``rate_limits.rs``), ``x-quota-snapshot-*`` and
``x-usage-ratelimit-*`` as Copilot in VS Code does (``chatQuotaServiceImpl.ts``).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

import orjson

from llmtrace.domain.traces import PlanWindow
from llmtrace.providers.reading import as_dict

CLAUDE: Final = "claude-subscription"
CHATGPT: Final = "chatgpt-subscription"
COPILOT: Final = "github-copilot"
GEMINI: Final = "gemini-code-assist"
GLM: Final = "glm-coding-plan"
KIMI: Final = "kimi-code"

CODEX_EVENT: Final = b"codex.rate_limits"

MAX_WINDOWS: Final = 8
MAX_VALUE: Final = 512
"""Characters of a header that are read; longer ones say nothing."""
_YEARS: Final = timedelta(days=3660)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sign:
    """What tells a plan: all that is named must fit. Headers begin with the text, in any case."""

    plan: str
    hosts: tuple[str, ...] = ()
    """Names, or ``.suffix``."""
    path: str = ""
    header: str = ""
    begins: str = ""
    holds: str = ""


_SIGNS: Final = (
    _Sign(plan=CHATGPT, hosts=("chatgpt.com",), path="/backend-api/"),
    _Sign(plan=COPILOT, hosts=(".githubcopilot.com",)),
    _Sign(plan=GEMINI, hosts=("cloudcode-pa.googleapis.com", "daily-cloudcode-pa.googleapis.com")),
    _Sign(plan=GLM, hosts=("api.z.ai", "open.bigmodel.cn"), path="/api/coding/"),
    _Sign(plan=KIMI, hosts=("api.kimi.com",), path="/coding/"),
    _Sign(plan=CLAUDE, header="authorization", begins="bearer sk-ant-oat"),
    _Sign(plan=CLAUDE, header="x-api-key", begins="sk-ant-oat"),
    _Sign(plan=CLAUDE, hosts=("api.anthropic.com",), header="anthropic-beta", holds="oauth-"),
)
"""The first that fits counts."""


def plan_of(host: str, path: str, headers: Mapping[str, str]) -> str:
    """Return the subscription that a call is under, empty where it is paid by the token.

    Args:
        host: The canonical name of the host that the call goes to.
        path: The canonical path.
        headers: As the client sent them, lower-case names.
    """
    return next((sign.plan for sign in _signs_at(host, path) if _fits(sign, headers)), "")


@lru_cache(maxsize=1024)
def _signs_at(host: str, path: str) -> tuple[_Sign, ...]:
    """Return the signs that a call to this place may have. One place is called again and again."""
    return tuple(
        sign
        for sign in _SIGNS
        if path.startswith(sign.path)
        and (not sign.hosts or any(_is_host(host, name) for name in sign.hosts))
    )


def _fits(sign: _Sign, headers: Mapping[str, str]) -> bool:
    if not sign.header:
        return True
    value = headers.get(sign.header, "")[:MAX_VALUE].lower()
    return bool(value) and value.startswith(sign.begins) and sign.holds in value


def _is_host(host: str, name: str) -> bool:
    return host.endswith(name) if name.startswith(".") else host == name


def plan_windows(headers: Mapping[str, str], *, now: datetime) -> tuple[PlanWindow, ...]:
    """Read what the head of an answer says of a plan's windows, in the order of their names.

    Args:
        headers: Lower-case names.
        now: When the answer came (aware), for what is told as seconds from now.
    """
    windows: dict[str, PlanWindow] = {}
    for name, text in headers.items():
        found = _NAMES.fullmatch(name)
        if found is None or len(text) > MAX_VALUE:
            continue
        group = found.lastgroup or ""
        window = found[group]
        if window in windows or len(windows) < MAX_WINDOWS:
            windows[window] = _FORMS[group](
                windows.get(window, PlanWindow(name=window)), name, text, now
            )
    return tuple(sorted(_named(windows, headers), key=lambda window: window.name))


def told_windows(message: bytes, *, now: datetime) -> tuple[PlanWindow, ...]:
    """Read what a message of a WebSocket says of a plan's windows: Codex's ``codex.rate_limits``.

    Source: ``codex-rs``, ``parse_rate_limit_event``.
    """
    if CODEX_EVENT not in message:
        return ()
    try:
        body = as_dict(orjson.loads(message))
    except orjson.JSONDecodeError:
        return ()
    if body.get("type") != CODEX_EVENT.decode():
        return ()
    limits = as_dict(body.get("rate_limits"))
    headers = {
        f"x-codex-{which}-{name.replace('_', '-')}": f"{value}"
        for which in ("primary", "secondary")
        for name, value in as_dict(limits.get(which)).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return plan_windows(headers, now=now)


def _unified(window: PlanWindow, name: str, text: str, now: datetime) -> PlanWindow:
    if name.endswith("-status"):
        return replace(window, status=_word(text))
    if name.endswith("-reset"):
        return replace(window, resets_at=_epoch(text, now))
    return replace(window, used=_share(text, whole=1))


def _codex(window: PlanWindow, name: str, text: str, now: datetime) -> PlanWindow:
    if name.endswith("-used-percent"):
        return replace(window, used=_share(text, whole=100))
    if name.endswith("-reset-after-seconds"):
        seconds = _number(text)
        at = _moment(now, seconds) if seconds is not None else None
        return replace(window, resets_at=window.resets_at or at)
    if name.endswith("-reset-at"):
        return replace(window, resets_at=_epoch(text, now) or window.resets_at)
    return window


def _copilot(window: PlanWindow, _name: str, text: str, now: datetime) -> PlanWindow:
    said = dict(parse_qsl(text, max_num_fields=16)) if text.count("&") < 16 else {}
    left = _share(said.get("rem", ""), whole=100)
    used = None if left is None else max(0.0, round(1 - left, 6))
    return replace(window, used=used, resets_at=_written(said.get("rst", ""), now))


_NAMES: Final = re.compile(
    r"anthropic-ratelimit-unified-(?P<unified>[0-9]{1,3}[hd](?:_[a-z0-9]{1,16})?)"
    r"-(?:utilization|reset|status)"
    r"|x-codex-(?P<codex>primary|secondary)"
    r"-(?:used-percent|window-minutes|reset-at|reset-after-seconds)"
    r"|x-quota-snapshot-(?P<quota>[a-z_]{1,32})"
    r"|x-usage-ratelimit-(?P<usage>[a-z_]{1,32})"
)
_FORMS: Final = {"unified": _unified, "codex": _codex, "quota": _copilot, "usage": _copilot}


def _named(windows: Mapping[str, PlanWindow], headers: Mapping[str, str]) -> Iterator[PlanWindow]:
    """Name the windows of Codex by their length, and leave out those that say nothing."""
    for window in windows.values():
        length = _number(headers.get(f"x-codex-{window.name}-window-minutes", ""))
        if length is not None and 1 <= length < 527_040:
            window = replace(window, name=_length(int(length)))
        if window != PlanWindow(name=window.name):
            yield window


def _length(minutes: int) -> str:
    """Write a time as the other providers name their windows: ``5h``, ``7d``."""
    if minutes % 1440 == 0:
        return f"{minutes // 1440}d"
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"


def _number(text: str) -> float | None:
    """Read a number that is not negative; anything else is none."""
    text = text.strip()
    return float(text) if re.fullmatch(r"[0-9]{1,15}(?:\.[0-9]{0,18})?", text) else None


def _share(text: str, *, whole: float) -> float | None:
    number = _number(text)
    return None if number is None or number > 100 * whole else round(number / whole, 6)


def _epoch(text: str, now: datetime) -> datetime | None:
    seconds = _number(text)
    if seconds is None:
        return _written(text, now)
    return _moment(now, seconds - now.timestamp())


def _moment(now: datetime, seconds: float) -> datetime | None:
    """Return a time so far from now; one that is years away is none."""
    if abs(seconds) > _YEARS.total_seconds():
        return None
    at = now.astimezone(UTC) + timedelta(seconds=seconds)
    return at.replace(microsecond=0)


def _written(text: str, now: datetime) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    return at.replace(microsecond=0) if abs(at - now) < _YEARS else None


def _word(text: str) -> str:
    return text if re.fullmatch(r"[a-z_]{1,32}", text) else ""
