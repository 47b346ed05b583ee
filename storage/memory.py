"""Stores that forget: for tests, for ``llmtrace demo``, and for who wants nothing on disk."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import Final

from llmtrace.domain.traces import AuditEvent, Body, Record, Tenant, Trace
from llmtrace.domain.usage import UsageSource
from llmtrace.storage.base import (
    MAX_MET,
    Costs,
    CostsBy,
    FindingQuery,
    Sighting,
    TenantNotFound,
    TraceNotFound,
    TraceQuery,
    TraceTotals,
)
from llmtrace.storage.costs import summed
from llmtrace.storage.merge import by_id, merged, require_aware
from llmtrace.storage.search import Phrase, found_in, phrases, wildcard

MAX_TRACES: Final = 10_000
MAX_BYTES: Final = 256 * 1024 * 1024
MAX_AUDIT_EVENTS: Final = 10_000

_EQUAL: Final = (
    "tenant",
    "agent",
    "run",
    "provider",
    "dialect",
    "model",
    "outcome",
    "conversation",
)


class MemoryTraceRepository:
    """Keeps traces until there are too many or their bodies are too large; the oldest go first.

    ``dropped`` counts what went that way.
    """

    def __init__(self, *, max_traces: int = MAX_TRACES, max_bytes: int = MAX_BYTES) -> None:
        self._max_traces = max_traces
        self._max_bytes = max_bytes
        self._bytes = 0
        self._records: dict[str, Record] = {}
        self._lock = threading.Lock()
        self.dropped = 0

    def put(self, records: Sequence[Record]) -> None:
        """Keep the records; see ``TraceRepository.put``."""
        batch = by_id(records)
        for record in batch.values():
            require_aware(record.trace)
        with self._lock:
            for key, record in batch.items():
                self._keep(key, record)
            while len(self._records) > self._max_traces or self._bytes > self._max_bytes:
                self._forget(next(iter(self._records)))
                self.dropped += 1

    def get(self, trace_id: str) -> Trace:
        """Return one trace. Raises: TraceNotFound."""
        return self._record(trace_id).trace

    def body(self, trace_id: str, which: str) -> Body | None:
        """Return a body, None if there is none. Raises: TraceNotFound."""
        record = self._record(trace_id)
        return record.request if which == "request" else record.answer

    def query(self, query: TraceQuery) -> Sequence[Trace]:
        """Return the traces that match, newest first."""
        found = [record.trace for record in self._matching(query)]
        return found[::-1][: max(0, query.limit)]

    def totals(self, query: TraceQuery) -> TraceTotals:
        """Return the sums over all traces that match."""
        traces = [record.trace for record in self._matching(query)]
        return TraceTotals(
            calls=len(traces),
            input_tokens=sum(trace.usage.input_tokens for trace in traces),
            output_tokens=sum(trace.usage.output_tokens for trace in traces),
            cache_read_tokens=sum(trace.usage.cache_read_tokens for trace in traces),
            cost_nano_usd=sum(trace.cost_nano_usd or 0 for trace in traces),
            unpriced_calls=sum(map(_unpriced, traces)),
            findings=sum(len(trace.findings) for trace in traces),
        )

    def costs(
        self, query: TraceQuery, by: CostsBy, *, zone: tzinfo | None = UTC
    ) -> Sequence[Costs]:
        """Return the sums over all traces that match, by name."""
        rows = (_costs(record.trace, by, zone) for record in self._matching(query))
        return summed(sorted(rows, key=lambda row: -row.cost_nano_usd - row.plan_nano_usd), by)

    def findings(self, query: FindingQuery) -> Sequence[Sighting]:
        """Return the findings that match, newest call first."""
        calls = TraceQuery(
            since=query.since, until=query.until, tenant=query.tenant, agent=query.agent
        )
        found = (
            sighting
            for record in reversed(self._matching(calls))
            if query.trace_id in (None, record.trace.trace_id)
            for sighting in _sightings(record.trace, query)
        )
        return list(islice(found, max(0, query.limit)))

    def export(self, query: TraceQuery) -> Iterator[Record]:
        """Go through all that match, oldest first."""
        yield from self._matching(query)

    def purge(self, *, before: datetime) -> int:
        """Delete what started before ``before``, and return how many."""
        with self._lock:
            old = [key for key, record in self._records.items() if record.trace.started_at < before]
            for key in old:
                self._forget(key)
            return len(old)

    def vacuum(self) -> None:
        """Do nothing: the memory is free already."""

    def healthy(self) -> bool:
        """Return True: there is nothing that could be away."""
        return True

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._records.clear()
            self._bytes = 0

    def _record(self, trace_id: str) -> Record:
        with self._lock:
            record = self._records.get(trace_id)
        if record is None:
            raise TraceNotFound(f"there is no trace {trace_id!r}")
        return record

    def _keep(self, key: str, record: Record) -> None:
        kept = self._records.get(key)
        if kept is not None:
            self._bytes -= _size(kept)
            record = merged(kept, record)
        self._records[key] = record
        self._bytes += _size(record)

    def _forget(self, key: str) -> None:
        self._bytes -= _size(self._records.pop(key))

    def _matching(self, query: TraceQuery) -> Sequence[Record]:
        search = None if query.text is None else phrases(query.text)
        with self._lock:
            records = list(self._records.values())
        found = [record for record in records if _matches(query, search, record)]
        return sorted(found, key=lambda record: record.trace.trace_id)


class MemoryMetadataRepository:
    """Keeps tenants, and the newest audit events."""

    def __init__(self, *, max_audit_events: int = MAX_AUDIT_EVENTS) -> None:
        self._max_audit_events = max_audit_events
        self._tenants: dict[str, Tenant] = {}
        self._events: dict[str, AuditEvent] = {}
        self._lock = threading.Lock()

    def put_tenant(self, tenant: Tenant) -> None:
        """Create the tenant or replace it."""
        with self._lock:
            self._tenants[tenant.id] = tenant

    def meet_tenant(self, tenant: Tenant) -> bool:
        """Create a tenant unless it is there, or ``MAX_MET`` are; return whether it was."""
        with self._lock:
            if tenant.id in self._tenants or len(self._tenants) >= MAX_MET:
                return False
            self._tenants[tenant.id] = tenant
            return True

    def tenant(self, tenant_id: str) -> Tenant:
        """Return one tenant. Raises: TenantNotFound."""
        with self._lock:
            tenant = self._tenants.get(tenant_id)
        if tenant is None:
            raise TenantNotFound(f"there is no tenant {tenant_id!r}")
        return tenant

    def tenants(self) -> Sequence[Tenant]:
        """Return all tenants by name."""
        with self._lock:
            return sorted(self._tenants.values(), key=lambda tenant: (tenant.name, tenant.id))

    def delete_tenant(self, tenant_id: str) -> None:
        """Delete one tenant. Raises: TenantNotFound."""
        with self._lock:
            if self._tenants.pop(tenant_id, None) is None:
                raise TenantNotFound(f"there is no tenant {tenant_id!r}")

    def audit(self, event: AuditEvent) -> None:
        """Append to the audit log; an event that is there is not added again."""
        with self._lock:
            self._events.setdefault(event.id, event)
            if len(self._events) > self._max_audit_events:
                self._events.pop(next(iter(self._events)))

    def audit_events(
        self,
        *,
        tenant: str | None = None,
        event_type: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> Sequence[AuditEvent]:
        """Return audit events, newest first; of the same time, the last one first."""
        with self._lock:
            events = list(self._events.values())[::-1]
        found = [
            event
            for event in events
            if (tenant is None or event.tenant == tenant)
            and (event_type is None or event.event_type == event_type)
            and (since is None or event.timestamp >= since)
        ]
        found.sort(key=lambda event: event.timestamp, reverse=True)
        return found[: max(0, limit)]

    def healthy(self) -> bool:
        """Return True: there is nothing that could be away."""
        return True

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._tenants.clear()
            self._events.clear()


@dataclass(frozen=True, slots=True)
class _Entry:
    value: bytes
    expires: float


class MemoryCache:
    """Keeps bytes in this process. ``clock`` counts seconds and never goes back."""

    def __init__(
        self,
        *,
        max_entries: int = 10_000,
        max_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._bytes = 0
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """Return the value, None if there is none or its time is over."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry.expires <= self._clock():
                self._forget(key)
                return None
            self._entries.move_to_end(key)
            return entry.value

    def set(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Keep the value; what is larger than the whole cache is not kept."""
        with self._lock:
            self._forget(key)
            if len(value) > self._max_bytes or ttl_seconds <= 0:
                return
            self._entries[key] = _Entry(value, self._clock() + ttl_seconds)
            self._bytes += len(value)
            while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
                self._forget(next(iter(self._entries)))

    def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return the values in the order of the keys."""
        return [self.get(key) for key in keys]

    def set_many(self, values: Mapping[str, bytes], *, ttl_seconds: float) -> None:
        """Keep all of them."""
        for key, value in values.items():
            self.set(key, value, ttl_seconds=ttl_seconds)

    def invalidate(self, keys: Iterable[str]) -> None:
        """Forget the keys; unknown ones are no error."""
        with self._lock:
            for key in keys:
                self._forget(key)

    def healthy(self) -> bool:
        """Return True: there is nothing that could be away."""
        return True

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry.value)


def _matches(query: TraceQuery, search: Sequence[Phrase] | None, record: Record) -> bool:
    trace = record.trace
    return (
        all(getattr(query, name) in (None, getattr(trace, name)) for name in _EQUAL)
        and (query.since is None or query.since <= trace.started_at)
        and (query.until is None or trace.started_at < query.until)
        and (query.before_id is None or trace.trace_id < query.before_id)
        and (search is None or found_in(search, record.texts.prompt, record.texts.answer))
    )


def _sightings(trace: Trace, query: FindingQuery) -> Iterator[Sighting]:
    is_kind = wildcard("*" if query.kind is None else query.kind)
    for finding in trace.findings:
        if (
            is_kind(finding.kind)
            and finding.severity in query.severities
            and query.verdict in (None, finding.verdict)
        ):
            yield Sighting(
                trace_id=trace.trace_id,
                started_at=trace.started_at,
                tenant=trace.tenant,
                agent=trace.agent,
                call_verdict=trace.verdict,
                finding=finding,
            )


def _costs(trace: Trace, by: CostsBy, zone: tzinfo | None) -> Costs:
    names = {
        "model": trace.model_answered or trace.model,
        "day": f"{trace.started_at.astimezone(zone):%Y-%m-%d}",
    }
    cost, planned = trace.cost_nano_usd or 0, bool(trace.plan)
    return Costs(
        name=names[by] if by in names else getattr(trace, by),
        calls=1,
        input_tokens=trace.usage.input_tokens,
        output_tokens=trace.usage.output_tokens,
        cache_read_tokens=trace.usage.cache_read_tokens,
        cost_nano_usd=0 if planned else cost,
        plan_calls=int(planned),
        plan_nano_usd=cost if planned else 0,
        unpriced_calls=int(_unpriced(trace)),
    )


def _unpriced(trace: Trace) -> bool:
    return trace.cost_nano_usd is None and trace.usage_source is not UsageSource.NONE


def _size(record: Record) -> int:
    bodies = (record.request, record.answer)
    texts = len(record.texts.prompt) + len(record.texts.answer)
    return texts + sum(len(body.content) for body in bodies if body is not None)
