"""What a store promises. ``registry`` has the table; one suite runs over all of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final, Literal, Protocol

from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.traces import AuditEvent, Body, Record, Tenant, Trace

MAX_MET: Final = 10_000
"""Most tenants that come to be by themselves. Anybody can make up a provider key."""


class TraceNotFound(LookupError):
    """There is no trace with this id."""


class TenantNotFound(LookupError):
    """There is no tenant with this id."""


class StorageError(RuntimeError):
    """The store cannot do it, whoever asks. The message names the store and the way out."""


class StorageUnavailable(StorageError):
    """Not now: locked, full, or out of reach. The same call may succeed later; nothing was kept."""


class StorageUnfit(StorageError):
    """As it is set up it must not be used: something could be lost. A person has to change it."""


class StorageCorrupt(StorageError):
    """What the store holds is damaged; repeating the call does not help."""


class SchemaMismatch(StorageError):
    """The store was laid out by another version of LLMTrace than this one can use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceQuery:
    """Which traces, newest first. Times are aware and half-open: ``since <= t < until``."""

    since: datetime | None = None
    until: datetime | None = None
    tenant: str | None = None
    agent: str | None = None
    run: str | None = None
    provider: str | None = None
    dialect: str | None = None
    model: str | None = None
    outcome: str | None = None
    conversation: str | None = None
    text: str | None = None
    """Words that must all be found in prompt or answer, whatever their case; no operators.

    A text without a letter or digit finds nothing.
    """
    limit: int = 50
    before_id: str | None = None
    """Only traces with a smaller id: the next page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingQuery:
    """Which findings, of the newest call first. Times are of the call: ``since <= t < until``."""

    since: datetime | None = None
    until: datetime | None = None
    tenant: str | None = None
    agent: str | None = None
    trace_id: str | None = None
    kind: str | None = None
    """A kind, or a pattern in which ``*`` stands for anything: ``pii.*``."""
    severity: Severity | None = None
    """The mildest that is meant."""
    verdict: Verdict | None = None
    limit: int = 50

    @property
    def severities(self) -> tuple[Severity, ...]:
        """The severities that are meant, worst first."""
        ranked = tuple(Severity)
        return ranked if self.severity is None else ranked[: ranked.index(self.severity) + 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A finding, and the call in which it was seen.

    ``call_verdict`` is what became of the call as a whole. A finding's own verdict may be sterner:
    then it was only watched (``mode: observe``), and its verdict is what would become of it.
    """

    trace_id: str
    started_at: datetime
    tenant: str
    agent: str
    call_verdict: Verdict
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceTotals:
    """Sums over the traces of a query (its limit does not count)."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cost_nano_usd: int = 0
    unpriced_calls: int = 0
    """Calls that used tokens for which no price is known."""
    findings: int = 0


type CostsBy = Literal["tenant", "agent", "model", "day", "provider", "plan"]
"""What calls are summed up by. The model is the one that answered, else the one asked."""

MAX_COSTS: Final = 1_000
"""Rows of sums at most; what is beyond is one row more, ``OTHERS``."""
OTHERS: Final = "(others)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Sums over the traces that have a name in common. Money is in nano-USD.

    ``plan_nano_usd`` is what the ``plan_calls`` under a subscription would have cost; it is not
    in ``cost_nano_usd``.
    """

    name: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cost_nano_usd: int = 0
    plan_calls: int = 0
    plan_nano_usd: int = 0
    unpriced_calls: int = 0
    """Calls that used tokens for which no price is known."""


class TraceRepository(Protocol):
    """Keeps traces. Safe to share between threads; each call is one transaction.

    Putting the same trace again replaces it unless what is kept is further along (PENDING,
    then INTERRUPTED, then any other outcome). What the trace that stays has no body or text
    for is taken from the other. So records of one call may come in any order, and again.
    """

    def put(self, records: Sequence[Record]) -> None:
        """Keep the records, all or none.

        Raises:
            StorageUnavailable: Try the same records again later.
            StorageCorrupt: The store must be repaired first.
            ValueError: A record can never be kept (a start without a time zone).
        """
        ...

    def get(self, trace_id: str) -> Trace:
        """Return one trace. Raises: TraceNotFound."""
        ...

    def body(self, trace_id: str, which: str) -> Body | None:
        """Return the ``"request"`` or ``"answer"`` body, None if there is none.

        Raises: TraceNotFound.
        """
        ...

    def query(self, query: TraceQuery) -> Sequence[Trace]:
        """Return the traces that match, newest first by id. Never reads a body or a text."""
        ...

    def totals(self, query: TraceQuery) -> TraceTotals:
        """Return the sums over all traces that match."""
        ...

    def costs(
        self, query: TraceQuery, by: CostsBy, *, zone: tzinfo | None = UTC
    ) -> Sequence[Costs]:
        """Return the sums over all traces that match, by name; they add up to ``totals``.

        Days are those of ``zone`` (None: the machine's), ``2026-11-21``, in their order. Else the
        dearest comes first.
        """
        ...

    def findings(self, query: FindingQuery) -> Sequence[Sighting]:
        """Return the findings that match, newest call first, those of a call in its order."""
        ...

    def export(self, query: TraceQuery) -> Iterator[Record]:
        """Go through all that match, oldest first, with their bodies; the limit is ignored."""
        ...

    def purge(self, *, before: datetime) -> int:
        """Delete what started before ``before`` and bodies nobody needs; return how many.

        A large purge may be several transactions; one that is cut short is finished by the next.
        """
        ...

    def vacuum(self) -> None:
        """Give the space of deleted traces back to the file system."""
        ...

    def healthy(self) -> bool:
        """Whether the store answers now."""
        ...

    def close(self) -> None:
        """Release what the store holds. It is of no more use then."""
        ...


class MetadataRepository(Protocol):
    """Keeps tenants and the audit log. Safe to share between threads."""

    def put_tenant(self, tenant: Tenant) -> None:
        """Create the tenant or replace it."""
        ...

    def meet_tenant(self, tenant: Tenant) -> bool:
        """Create a tenant unless it is there, or ``MAX_MET`` are; return whether it was."""
        ...

    def tenant(self, tenant_id: str) -> Tenant:
        """Return one tenant. Raises: TenantNotFound."""
        ...

    def tenants(self) -> Sequence[Tenant]:
        """Return all tenants by name."""
        ...

    def delete_tenant(self, tenant_id: str) -> None:
        """Delete one tenant. Raises: TenantNotFound."""
        ...

    def audit(self, event: AuditEvent) -> None:
        """Append to the audit log; an event whose id is there changes nothing."""
        ...

    def audit_events(
        self,
        *,
        tenant: str | None = None,
        event_type: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> Sequence[AuditEvent]:
        """Return audit events, newest first."""
        ...

    def healthy(self) -> bool:
        """Whether the store answers now."""
        ...

    def close(self) -> None:
        """Release what the store holds."""
        ...


class CacheLayer(Protocol):
    """Keeps bytes under a key for a while. Bounded; the least recently used goes first.

    One that lies beyond a network raises StorageUnavailable from all but ``healthy`` and
    ``close``; nobody knows then what of a change was made.
    """

    def get(self, key: str) -> bytes | None:
        """Return the value, None if there is none or its time is over."""
        ...

    def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return the same for each key, in one trip."""
        ...

    def set(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Keep the value for ``ttl_seconds``; what is too large is not kept."""
        ...

    def set_many(self, values: Mapping[str, bytes], *, ttl_seconds: float) -> None:
        """Do the same for each value, in one trip."""
        ...

    def invalidate(self, keys: Iterable[str]) -> None:
        """Forget the keys; unknown ones are no error."""
        ...

    def healthy(self) -> bool:
        """Whether the cache answers now."""
        ...

    def close(self) -> None:
        """Release what the cache holds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The three stores of one profile."""

    traces: TraceRepository
    metadata: MetadataRepository
    cache: CacheLayer
