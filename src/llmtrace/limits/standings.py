"""Budgets as people read them: how each stands in its period, from what the ledger keeps."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from llmtrace.config.limits import BudgetCap, CostCapsConfig
from llmtrace.limits.refusals import dollars, instant
from llmtrace.limits.windows import period
from llmtrace.providers.money import nano_usd
from llmtrace.storage.ledger import Standing

EACH: Final = "(each)"
"""The tenant, or the name, of a cap that each one has for itself."""

_KIND: Final = "cost"
_PARTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRow:
    """A budget in the period that goes on. Sums are in nano-USD.

    ``limit`` None has no hard limit. ``resets_at`` None never begins anew.
    """

    tenant: str
    scope: str
    name: str
    window: str
    spent: int
    reserved: int
    limit: int | None
    resets_at: datetime | None

    @property
    def remaining(self) -> int | None:
        """What may still be spent; never below 0."""
        return None if self.limit is None else max(0, self.limit - self.spent - self.reserved)

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "tenant": self.tenant,
            "scope": self.scope,
            "name": self.name,
            "window": self.window,
            "spent_usd": dollars(self.spent),
            "reserved_usd": dollars(self.reserved),
            "limit_usd": None if self.limit is None else dollars(self.limit),
            "remaining_usd": None if self.remaining is None else dollars(self.remaining),
            "resets_at": instant(self.resets_at),
        }


def budget_rows(
    standings: Iterable[Standing], *, tenant: str | None = None, agent: str | None = None
) -> Sequence[BudgetRow]:
    """Return the budgets among standings, by tenant, scope, name and end; others are left out.

    Args:
        standings: What the ledger keeps, as ``Ledger.current`` returns it.
        tenant: Only those of this tenant.
        agent: Only those of this agent, and those that are of no agent.
    """
    rows = [row for standing in standings if (row := _row(standing)) is not None]
    found = [
        row
        for row in rows
        if tenant in (None, row.tenant) and (row.scope != "agent" or agent in (None, row.name))
    ]
    return sorted(found, key=_order)


def configured_rows(config: CostCapsConfig, *, at: datetime) -> Sequence[BudgetRow]:
    """Return the caps that are configured as budgets of which nothing is spent.

    Those of an agent, a key or a model are of each tenant, and default ones of ``EACH``.

    Args:
        config: ``cost_caps``.
        at: When (aware): it says when they begin anew.
    """
    return list(_configured(config, at)) if config.enabled else []


def unspent_rows(
    configured: Iterable[BudgetRow],
    rows: Iterable[BudgetRow],
    *,
    tenant: str | None = None,
    agent: str | None = None,
) -> Sequence[BudgetRow]:
    """Return the configured caps that no budget of the ledger is of; see ``budget_rows``."""
    begun = {
        known
        for row in rows
        for known in ((row.scope, row.name, row.window), (row.scope, EACH, row.window, row.limit))
    }
    return [
        row
        for row in configured
        if (row.scope, row.name, row.window) not in begun
        and (row.scope, row.name, row.window, row.limit) not in begun
        and (row.tenant == EACH or tenant in (None, row.tenant))
        and (row.scope != "agent" or row.name == EACH or agent in (None, row.name))
    ]


def _configured(config: CostCapsConfig, at: datetime) -> Iterator[BudgetRow]:
    zone = ZoneInfo(config.time_zone)

    def rows(
        scope: str, name: str, caps: Sequence[BudgetCap] | None, *, zone: ZoneInfo = zone
    ) -> Iterator[BudgetRow]:
        for cap in caps or ():
            yield BudgetRow(
                tenant=name if scope == "tenant" else EACH,
                scope=scope,
                name=name,
                window=cap.window,
                spent=0,
                reserved=0,
                limit=None if cap.hard_limit_usd is None else nano_usd(cap.hard_limit_usd),
                resets_at=period(cap.window, zone, at).end,
            )

    yield from rows(config.default_scope, EACH, config.default_budget_caps)
    for agent in config.agents:
        yield from rows("agent", agent.agent_id, agent.budget_caps)
    for key in config.keys:
        yield from rows("key", key.key_id, key.budget_caps)
    for model in config.models:
        yield from rows("model", model.model, model.budget_caps)
    for tenant in config.tenants:
        own = ZoneInfo(tenant.time_zone) if tenant.time_zone else zone
        yield from rows("tenant", tenant.tenant_id, tenant.budget_caps, zone=own)


def _order(row: BudgetRow) -> tuple[str, str, str, bool, float]:
    ends = row.resets_at.timestamp() if row.resets_at else 0.0
    return row.tenant, row.scope, row.name, row.resets_at is None, ends


def _row(standing: Standing) -> BudgetRow | None:
    """Read ``cost|SCOPE|NAME|WINDOW|START``; see ``budgets.node_key``."""
    parts = standing.key.split("|")
    if len(parts) != _PARTS or parts[0] != _KIND or standing.unit != "usd":
        return None
    return BudgetRow(
        tenant=standing.tenant,
        scope=parts[1],
        name=unquote(parts[2]),
        window=parts[3],
        spent=standing.spent,
        reserved=standing.reserved,
        limit=standing.limit,
        resets_at=standing.ends,
    )
