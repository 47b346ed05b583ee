"""The ledger in Redis, for gateways on many hosts.

What is admitted and settled is known to Redis alone: give it an append-only file, and reconcile
with ``raise_spent`` after a restart.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import batched
from typing import Any, Final, Literal

import orjson
from redis import Redis

from llmtrace.storage import redis_scripts as scripts
from llmtrace.storage.ledger import (
    GRACE,
    KEEP_EXPIRED,
    KEEP_SETTLED,
    MAX_HOLDS,
    MAX_LISTED,
    Admission,
    Admitted,
    Denied,
    Hold,
    LedgerFull,
    LedgerUnavailable,
    Node,
    Open,
    Settled,
    Settlement,
    Standing,
    State,
)
from llmtrace.storage.ledger_checks import (
    check_amount,
    check_key,
    check_moment,
    check_seconds,
    kept_reason,
)
from llmtrace.storage.ledger_clock import Clock
from llmtrace.storage.ledger_sums import denial, pace_states, standings_of
from llmtrace.storage.redis_ledger_rows import (
    Keys,
    admission_out,
    forget_out,
    holds_in,
    limit_out,
    moment_out,
    open_in,
    pairs,
    settled_in,
    standing_in,
)
from llmtrace.storage.redis_link import TIMEOUT_SECONDS, Job, RedisLink
from llmtrace.storage.sqlite_values import time_in, time_out

PREFIX: Final = "llmtrace"

BATCH: Final = 100
"""Most settlements of one script: longer ones would keep the calls of others waiting."""

_REGISTER_SECONDS: Final = 60
_MOST_TENANTS: Final = 100_000
_GRACE: Final = GRACE // GRACE.resolution
_KEPT: Final = tuple(kept // kept.resolution for kept in (KEEP_SETTLED, KEEP_EXPIRED))


class RedisLedger:
    """Keeps budgets in Redis; see ``Ledger`` for what each method promises.

    The keys of a tenant are on one node of a cluster; lists go through the tenants one by one.
    ``link`` is closed with the ledger.
    """

    def __init__(self, link: RedisLink, *, prefix: str = PREFIX) -> None:
        self._link = link
        self._keys = Keys(prefix)
        self._registered: dict[str, int] = {}

    @classmethod
    def at(
        cls,
        url: str,
        *,
        prefix: str = PREFIX,
        timeout: float = TIMEOUT_SECONDS,
        clock: Clock | None = None,
    ) -> "RedisLedger":
        """Open the ledger at a URL; Redis may be down, it is asked again with each call.

        Raises:
            ValueError: The URL is none.
            Unsuitable: Redis answers, and evicts keys when its memory is full.
        """
        return cls(RedisLink(url, timeout=timeout, clock=clock), prefix=prefix)

    def now(self) -> datetime:
        """Return the time of the server, UTC, without a trip."""
        return time_out(self._link.now())

    def admit(self, admission: Admission) -> Admitted | Denied:
        """Reserve in all nodes and take from all paces, or nothing."""
        return self.exchange([], [admission])[0]

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        """End reservations; those of one tenant together, up to ``BATCH``, and all in one trip."""
        groups = _groups(settlements)
        answers = self._link.run_all([self._ends(settlements, group) for group in groups])
        settled = {
            index: settled_in(settlements[index].id, answer)
            for group, (_, ended) in zip(groups, answers, strict=True)
            for index, answer in zip(group, ended, strict=True)
        }
        return [settled[index] for index in range(len(settlements))]

    def exchange(
        self, settlements: Sequence[Settlement], admissions: Sequence[Admission]
    ) -> Sequence[Admitted | Denied]:
        """Settle, then admit, in one trip."""
        for tenant in {admission.tenant for admission in admissions}:
            self._register(tenant)
        ends = [self._ends(settlements, group) for group in _groups(settlements)]
        begins = [self._begins(admission) for admission in admissions]
        answers = self._link.run_all([*ends, *begins])[len(ends) :]
        return [
            self._verdict(admission, time_out(now), answer)
            for admission, (now, answer) in zip(admissions, answers, strict=True)
        ]

    def exchange_now(
        self, settlements: Sequence[Settlement], admissions: Sequence[Admission]
    ) -> None:
        """Do nothing: it lies beyond a network."""

    def extend(self, ids: Sequence[tuple[str, str]], *, lease_seconds: float) -> None:
        """Let leases of open calls end no sooner than in so long."""
        check_seconds(lease_seconds)
        by_tenant: dict[str, list[str]] = {}
        for tenant, call in ids:
            by_tenant.setdefault(tenant, []).append(call)
        lease = int(lease_seconds * 1_000_000)
        for tenant, calls in by_tenant.items():
            for part in batched(calls, BATCH):
                self._link.run(scripts.EXTEND, [self._keys.open(tenant)], lease, *part)

    def open(self, *, owner: str | None = None) -> Sequence[Open]:
        """Return what is open, soonest lease first."""
        found = self._open("all")
        return [entry for entry in found if owner is None or entry.owner == owner]

    def expired(self) -> Sequence[Open]:
        """Return the open reservations whose lease has ended."""
        return self._open("expired")

    def standings(self, tenant: str, keys: Sequence[str]) -> Mapping[str, Standing]:
        """Return how nodes stand, by key."""
        if not keys:
            return {}
        packed = self._link.ask(lambda redis: redis.hmget(self._keys.nodes(tenant), list(keys)))
        return {
            key: standing_in(tenant, key, text) if text else Standing(key=key, tenant=tenant)
            for key, text in zip(keys, packed, strict=True)
        }

    def current(self) -> Sequence[Standing]:
        """Return the nodes whose period has not ended."""
        found: list[Standing] = []
        for tenant in sorted(self._tenants()):
            keys = (self._keys.nodes(tenant), self._keys.forget(tenant))
            left = MAX_LISTED - len(found)
            _, rows = self._link.run(scripts.CURRENT, keys, _GRACE, left, slow=True)
            nodes = [standing_in(tenant, key, packed) for key, packed in batched(rows, 2)]
            found += sorted(nodes, key=lambda node: node.key)
            if len(found) >= MAX_LISTED:
                break
        return found

    def raise_spent(self, tenant: str, node: Node, spent: int) -> None:
        """Let at least so much be spent of the node."""
        check_amount("spent", spent)
        self._register(tenant)
        keys = (self._keys.nodes(tenant), self._keys.forget(tenant))
        row = (spent, node.unit, limit_out(node), moment_out(node.ends), forget_out(node))
        self._link.run(scripts.RAISE, keys, node.key, *row)

    def once(self, key: str, *, ends: datetime | None) -> bool:
        """Whether this is the first time for the key, until ``ends``."""
        check_key(key)
        check_moment(ends)
        _, (first,) = self._link.run(scripts.ONCE, [self._keys.mark(key)], moment_out(ends))
        return bool(first == "1")

    def bump(self, key: str, *, by: int = 1, window_seconds: int) -> int:
        """Count, and return the count of the window."""
        check_key(key)
        check_amount("by", by)
        check_seconds(window_seconds)
        window = window_seconds * 1_000_000
        _, (count,) = self._link.run(scripts.BUMP, [self._keys.count(key)], by, window)
        return int(count)

    def hold(self, key: str, reason: str, *, until: datetime | None = None) -> None:
        """Stop something. Raises: LedgerFull."""
        check_key(key)
        check_moment(until)
        row = (key, moment_out(until), kept_reason(reason), MAX_HOLDS)
        _, (kept,) = self._link.run(scripts.HOLD, [self._keys.holds], *row)
        if kept != "1":
            raise LedgerFull(f"{MAX_HOLDS} are on hold; release some, and look why so many are")

    def release(self, key: str) -> bool:
        """Let it go on; return whether it was held."""
        _, (held,) = self._link.run(scripts.RELEASE, [self._keys.holds], key)
        return bool(held == "1")

    def held(self, keys: Sequence[str]) -> Mapping[str, Hold]:
        """Return which of the keys are held now."""
        if not keys:
            return {}
        _, rows = self._link.run(scripts.HELD, [self._keys.holds], *keys)
        return {hold.key: hold for hold in holds_in(rows)}

    def holds(self) -> Sequence[Hold]:
        """Return all that is held now, by key."""
        _, rows = self._link.run(scripts.HELD, [self._keys.holds], slow=True)
        return sorted(holds_in(rows), key=lambda hold: hold.key)

    def healthy(self) -> bool:
        """Whether Redis can be written now."""
        try:
            self._link.run(scripts.BUMP, [self._keys.health], 1, 60_000_000)
        except LedgerUnavailable:
            return False
        return True

    def close(self) -> None:
        """Close the connections."""
        self._link.close()

    def _begins(self, asked: Admission) -> Job:
        keys, tenant = self._keys, asked.tenant
        names = (
            keys.call(tenant, asked.id),
            keys.nodes(tenant),
            keys.paces(tenant),
            keys.open(tenant),
            keys.forget(tenant),
        )
        return scripts.ADMIT, names, [admission_out(asked)]

    def _verdict(self, asked: Admission, now: datetime, answer: Sequence[str]) -> Admitted | Denied:
        verdict, state, *numbers = answer
        split = 2 * len(asked.nodes)
        sums, held = pairs(numbers[:split]), [int(level) for level in numbers[split:]]
        if verdict == "denied":
            denied = denial(asked, sums, held, time_in(now))
            if denied is None:
                raise LedgerUnavailable(
                    f"{self._link.name}: it denies what fits; its script is off"
                )
            return denied
        return Admitted(
            id=asked.id,
            duplicate=verdict == "known",
            state=State(state or State.OPEN),
            standings=standings_of(asked, sums),
            paces=pace_states(asked.paces, held),
        )

    def _ends(self, settlements: Sequence[Settlement], group: Sequence[int]) -> Job:
        keys, tenant = self._keys, settlements[group[0]].tenant
        ending = [settlements[index] for index in group]
        names = (
            keys.nodes(tenant),
            keys.paces(tenant),
            keys.open(tenant),
            keys.forget(tenant),
            *(keys.call(tenant, each.id) for each in ending),
        )
        told = [{"id": each.id, "kind": each.kind, "amounts": each.amounts} for each in ending]
        return scripts.SETTLE, names, (orjson.dumps(told), 2 * len(told) + 2, *_KEPT)

    def _open(self, which: Literal["all", "expired"]) -> list[Open]:
        found: list[Open] = []
        for tenant in self._tenants():
            left = MAX_LISTED - len(found)
            key = self._keys.open(tenant)
            _, scores = self._link.run(scripts.OPEN, [key], which, left, slow=True)
            found += self._rows(tenant, list(batched(scores, 2)))
            if len(found) >= MAX_LISTED:
                break
        return sorted(found, key=lambda entry: (entry.lease_ends, entry.id))

    def _rows(self, tenant: str, scores: Sequence[tuple[str, str]]) -> Iterator[Open]:
        for part in batched(scores, BATCH):
            calls = [call for call, _ in part]
            rows = self._link.ask(partial(self._read, tenant=tenant, calls=calls), slow=True)
            for (call, ends), row in zip(part, rows, strict=True):
                if row.get("state") == State.OPEN:  # else it was settled meanwhile
                    yield open_in(tenant, call, ends, row)

    def _read(self, redis: "Redis", tenant: str, calls: Sequence[str]) -> list[Any]:
        with redis.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.hgetall(self._keys.call(tenant, call))
            return pipeline.execute()

    def _tenants(self) -> list[str]:
        """Return the tenants that were active last."""
        name = self._keys.tenants
        last = MAX_LISTED - 1
        return list(self._link.ask(lambda redis: redis.zrevrange(name, 0, last), slow=True))

    def _register(self, tenant: str) -> None:
        """Let the lists know of a tenant, once a minute; after a flush they know it again soon."""
        now = self._link.now()
        if abs(now - self._registered.get(tenant, 0)) < _REGISTER_SECONDS * 1_000_000:
            return
        if len(self._registered) >= _MOST_TENANTS:
            self._registered.clear()
        self._link.ask(lambda redis: self._note(redis, tenant, now))
        self._registered[tenant] = now

    def _note(self, redis: "Redis", tenant: str, now: int) -> None:
        with redis.pipeline(transaction=False) as pipeline:
            pipeline.zadd(self._keys.tenants, {tenant: now})
            pipeline.zremrangebyrank(self._keys.tenants, 0, -_MOST_TENANTS - 1)
            pipeline.execute()


def _groups(settlements: Sequence[Settlement]) -> list[Sequence[int]]:
    """Return the places of settlements of one tenant, in their order, up to ``BATCH`` each."""
    by_tenant: dict[str, list[int]] = {}
    for index, settlement in enumerate(settlements):
        by_tenant.setdefault(settlement.tenant, []).append(index)
    return [part for indexes in by_tenant.values() for part in batched(indexes, BATCH)]
