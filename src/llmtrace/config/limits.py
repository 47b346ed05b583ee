"""Sections about how much may be spent, and how fast."""

import difflib
import re
from decimal import Decimal
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from llmtrace.config.names import AgentGlob, AgentName, KeyId, RatedTenant, TenantName
from llmtrace.config.section import Section

MAX_NANO_USD: Final = 2**53
"""Sums stay below this: ledgers count in numbers that are exact up to here."""

type Usd = Annotated[
    Decimal, Field(ge=0, lt=Decimal(MAX_NANO_USD).scaleb(-9), decimal_places=9, max_digits=16)
]


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, found {str(value).lower()}")
    return value


type Whole = Annotated[int, BeforeValidator(_no_bool)]
type Real = Annotated[float, BeforeValidator(_no_bool)]
type Tokens = Annotated[Whole, Field(ge=1, lt=2**53)]
type Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
type Window = Literal["hourly", "daily", "weekly", "monthly", "total"]
type Scope = Literal["agent", "tenant", "key", "model"]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        near = difflib.get_close_matches(name, available_timezones(), n=1)
        hint = f"did you mean {near[0]}?" if near else "expected one such as Europe/Berlin"
        raise ValueError(f"{name[:60]!r} is no IANA time zone; {hint}") from None
    return name


type Zone = Annotated[str, Field(max_length=100), AfterValidator(_zone)]


class BudgetCap(Section):
    """What may be spent in each period of a window."""

    window: Window
    """Calendar hours, days, weeks (from Monday) or months in ``time_zone``; ``total`` never
    begins anew."""

    hard_limit_usd: Usd | None = None
    """Most that may be spent; calls that could exceed it are refused with 429. 0 refuses all."""

    soft_limit_usd: Usd | None = None
    """Above this a warning is given, once in each period; calls go on."""

    on_store_unavailable: Literal["deny", "allow"] | None = None
    """What becomes of calls while spending cannot be looked up. Default: ``deny`` where there is
    a hard limit, else ``allow``."""

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if self.hard_limit_usd is None and self.soft_limit_usd is None:
            raise ValueError("has no limit; set hard_limit_usd, soft_limit_usd or both")
        if None not in (self.hard_limit_usd, self.soft_limit_usd) and (
            (self.soft_limit_usd or 0) > (self.hard_limit_usd or 0)
        ):
            raise ValueError(
                f"soft_limit_usd is {self.soft_limit_usd} and hard_limit_usd is "
                f"{self.hard_limit_usd}; a warning that comes after the end is of no use"
            )
        return self


class TokenCap(Section):
    """How many tokens one call may have; calls that could have more are refused with 400."""

    max_prompt_tokens: Tokens | None = None
    """Most that a call may send."""

    max_completion_tokens: Tokens | None = None
    """Most that a call may ask for, over all its choices. A call that asks for no number is
    given this one."""

    max_total_tokens: Tokens | None = None
    """Most of both together."""


def _windows_once(caps: list[BudgetCap] | None) -> list[BudgetCap] | None:
    windows = [cap.window for cap in caps or []]
    for window in windows:
        if windows.count(window) > 1:
            raise ValueError(f"window {window} stands twice; put its limits into one entry")
    return caps


class OwnCaps(Section):
    """Caps of somebody's own."""

    budget_caps: Annotated[list[BudgetCap] | None, AfterValidator(_windows_once)] = None
    """As ``default_budget_caps``; they stand in the place of the defaults, where those are for
    the same scope, else beside them. An empty list sets no limit."""

    token_cap: TokenCap | None = None
    """As ``default_token_cap``, and in its place."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.budget_caps is None and self.token_cap is None:
            raise ValueError("sets nothing; add budget_caps, token_cap or both")
        return self


class AgentCaps(OwnCaps):
    """Caps of an agent."""

    agent_id: AgentName
    """The agent, as traces name it; no wildcards."""


class TenantCaps(OwnCaps):
    """Caps of a tenant, over all its agents."""

    tenant_id: TenantName
    """The tenant, as traces name it; no wildcards."""

    time_zone: Zone | None = None
    """IANA time zone of this tenant's periods. Default: ``cost_caps.time_zone``."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.budget_caps is None and self.token_cap is None and self.time_zone is None:
            raise ValueError("sets nothing; add budget_caps, token_cap or time_zone")
        return self


class KeyCaps(OwnCaps):
    """Caps of an LLMTrace key."""

    key_id: KeyId
    """The key's id, as ``llmtrace keys list`` shows it."""


class ModelCaps(OwnCaps):
    """Caps of a model, or of several together, for each tenant."""

    model: Name
    """The model, with ``*`` for any part; all that fit share these caps. Any of its names will
    do: dated, with a provider before it, or as the price list has it."""


class DefaultPrice(Section):
    """What a model without a price is held to cost, in USD per million tokens."""

    input_per_million: Annotated[Real, Field(gt=0, le=1e6, allow_inf_nan=False)]
    """Input tokens."""

    output_per_million: Annotated[Real, Field(gt=0, le=1e6, allow_inf_nan=False)]
    """Output tokens."""


class CostCapsConfig(Section):
    """What may be spent (``cost_caps``). All caps that a call falls under must admit it."""

    enabled: bool = False
    """Whether calls are held to budgets and token caps."""

    mode: Literal["strict", "estimate"] = "strict"
    """How much is set aside for a call. ``strict``: what it cannot exceed; where a call asks for
    no most of tokens it is given one, and models without a price are refused. ``estimate``: what
    it will likely cost; a budget may be exceeded by what the estimates were short of."""

    default_scope: Scope = "agent"
    """What has each a budget of its own under ``default_budget_caps``, within a tenant."""

    default_budget_caps: Annotated[list[BudgetCap], AfterValidator(_windows_once)] = []
    """Budgets of all that ``default_scope`` says and that have none of their own."""

    default_token_cap: TokenCap = TokenCap()

    agents: list[AgentCaps] = []
    """Caps of single agents."""

    tenants: list[TenantCaps] = []
    """Caps of single tenants, over all their agents."""

    keys: list[KeyCaps] = []
    """Caps of single LLMTrace keys."""

    models: list[ModelCaps] = []
    """Caps of models, for each tenant. The first entry that fits counts."""

    time_zone: Zone = "UTC"
    """IANA time zone in which days, weeks and months begin, such as ``Europe/Berlin``."""

    plan_traffic: Literal["count", "ignore"] = "count"
    """Whether calls under a subscription login, which are not charged by the token, count with
    what they would cost at the provider's prices."""

    provider_tools: Literal["hold", "refuse"] = "hold"
    """What becomes, with ``mode: strict``, of a call that offers tools which run at the provider's,
    such as web searches: what they read is bounded by nothing that a call says. ``hold``: each use
    is held to add 32,768 tokens, and 8 uses are reckoned with where the call sets no most;
    ``refuse``: it is refused."""

    default_price: DefaultPrice | None = None
    """What a model without a price is held to cost with ``mode: estimate``. Default: as the
    dearest known one. With ``mode: strict`` it is refused."""

    max_output_tokens: Tokens = 16_384
    """Tokens that an answer is held to have, where neither the call, a token cap nor what is known
    of the model says it. With ``mode: strict`` the call is given this limit."""

    include_usage: bool = True
    """Whether chat streams are asked for their usage where the client did not ask; the chunk that
    tells it goes no further. Else what they used is estimated."""

    retry_after_seconds: Annotated[Whole, Field(ge=1, le=86_400)] = 3_600
    """Longest ``Retry-After`` of a refusal; a budget may begin anew later than that."""

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        for section, names in {
            "agents": [entry.agent_id for entry in self.agents],
            "tenants": [entry.tenant_id for entry in self.tenants],
            "keys": [entry.key_id for entry in self.keys],
            "models": [entry.model.lower() for entry in self.models],
        }.items():
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{section} has {twice!r} twice; put its caps into one entry")
        return self


type PerSecond = Annotated[Real, Field(ge=0.001, le=1e6, allow_inf_nan=False)]
type PerMinute = Annotated[Whole, Field(ge=1, le=10**9)]


_CREDENTIAL: Final = re.compile(r"auth|cookie|key|token|secret|protocol")
"""In the names of headers that carry credentials, and in few others."""
MAX_BURST_SECONDS: Final = 100 * 86_400


def _burst(calls: float | None, burst: int | None) -> None:
    if calls is not None and burst is not None and burst / calls > MAX_BURST_SECONDS:
        raise ValueError(
            f"burst_size {burst} takes {burst / calls:.0f} s to come back at {calls:g} "
            f"requests_per_second, more than {MAX_BURST_SECONDS} s"
        )


class Rate(Section):
    """How fast calls may come."""

    requests_per_second: PerSecond | None = None
    """Calls a second, in the long run."""

    burst_size: Annotated[Whole, Field(ge=1, le=10**6)] | None = None
    """Calls that may come at once. Default: twice ``requests_per_second``, at least 1."""

    tokens_per_minute: PerMinute | None = None
    """Tokens a minute, sent and received; as many may be used at once."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.requests_per_second is None and self.tokens_per_minute is None:
            raise ValueError("limits nothing; set requests_per_second, tokens_per_minute or both")
        _burst(self.requests_per_second, self.burst_size)
        return self


class HeaderRate(Rate):
    """How fast calls may come that have a header, for each of its values."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
    """The header. Only those of peers in ``identity.trusted_proxies`` are believed."""

    value: Annotated[str, Field(min_length=1, max_length=200)] = "*"
    """Values that it is about, with ``*`` for any part; each has a rate of its own."""

    @field_validator("name")
    @classmethod
    def _no_credential(cls, value: str) -> str:
        if _CREDENTIAL.search(value.lower()):
            raise ValueError(
                f"the header {value} may carry a credential, and those are kept nowhere; a key's "
                "tenant and agent have rates in rate_limiting.tenant_overrides and .agents"
            )
        return value


class RateLimitingConfig(Section):
    """How fast calls may come (``rate_limiting``). All limits that a call falls under must
    admit it."""

    enabled: bool = False
    """Whether calls are held to rates. Those too fast are refused with 429."""

    requests_per_second: PerSecond | None = 100
    """Calls of a tenant a second, in the long run; ``null`` sets no limit."""

    burst_size: Annotated[Whole, Field(ge=1, le=10**6)] = 200
    """Calls of a tenant that may come at once."""

    tokens_per_minute: PerMinute | None = None
    """Tokens of a tenant a minute, sent and received; ``null`` sets no limit."""

    tenant_overrides: dict[RatedTenant, Rate] = {}
    """Tenant → its rates, in the place of the ones above."""

    agents: dict[AgentGlob, Rate] = {}
    """Agent, with ``*`` for any part → its rates. Each agent that fits has them for itself; of
    several entries its own name counts first, then the first that fits."""

    models: dict[str, Rate] = {}
    """Model, with ``*`` for any part → its rates within a tenant, as with ``agents``."""

    headers: Annotated[list[HeaderRate], Field(max_length=12)] = []
    """Rates by the value of a header."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        for section in ("tenant_overrides", "agents", "models"):
            for name in getattr(self, section):
                if not 1 <= len(name) <= 200:
                    raise ValueError(f"{section}: a name has 1 to 200 characters")
        _burst(self.requests_per_second, self.burst_size)
        return self


class RunawayConfig(Section):
    """Agents that run in circles (``runaway``): a warning first, then a stop that a person
    releases with ``llmtrace agents release``. Only calls that the provider answered count."""

    enabled: bool = True
    """Whether agents are watched."""

    action: Literal["warn", "stop"] = "warn"
    """``warn``: findings (``runaway.*``) and lines in the log, and nothing is held up. ``stop``:
    beyond the hard limits an agent is stopped as well; its calls get 429 ``agent_on_hold``."""

    repeats_soft: Annotated[Whole, Field(ge=2, le=10_000)] = 10
    """The same call as often as this within ``window_minutes``, one after the other, gives a
    warning."""

    repeats_hard: Annotated[Whole, Field(ge=2, le=10_000)] = 30
    """As often as this it stops the agent."""

    tool_loop_hard: Annotated[Whole, Field(ge=2, le=10_000)] = 20
    """The same tool calls with the same results as often as this within ``window_minutes``, one
    after the other or by turns, stop the agent; half as often gives a warning."""

    velocity_factor: Annotated[Real, Field(gt=1, le=1e6, allow_inf_nan=False)] = 10.0
    """Spending this many times what the agent mostly does in ``window_minutes`` stops it; half
    as many times gives a warning. What it mostly does is told from the windows in which it was
    at work, once there are six."""

    velocity_least_usd: Usd = Decimal(5)
    """Spending less than this in ``window_minutes`` is never too fast."""

    window_minutes: Annotated[Whole, Field(ge=1, le=1440)] = 10
    """How long is counted, in minutes; then it begins anew."""

    hold_minutes: Annotated[Whole, Field(ge=0, le=525_600)] = 0
    """How long an agent stays stopped unless somebody releases it; 0 is until then."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.repeats_soft > self.repeats_hard:
            raise ValueError(
                f"repeats_soft is {self.repeats_soft} and repeats_hard is {self.repeats_hard}; "
                "the warning comes first"
            )
        return self
