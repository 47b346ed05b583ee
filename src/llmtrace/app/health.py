"""What the processes of a gateway say of themselves, as one answer of ``GET /health``."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llmtrace.analyzers.meter import FAILING_SECONDS, total

MOST_MODELS: Final = 32
"""Models that are told of, each by name and version."""

MINUTES: Final = round(FAILING_SECONDS / 60)

type Said = Mapping[str, Any]
"""The last status of one process: ``counters``, ``tunnels``, ``models``, ``caches``."""


def summed(said: Sequence[Said]) -> dict[str, object]:
    """Add up what the workers count, and what they let pass unread, by host."""
    counters: Counter[str] = Counter()
    tunnels: dict[str, Counter[str]] = {}
    for status in said:
        counts, hosts = status.get("counters"), status.get("tunnels")
        if isinstance(counts, dict):
            counters.update(counts)
        for host, traffic in hosts.items() if isinstance(hosts, dict) else ():
            tunnels.setdefault(host, Counter()).update(traffic)
    return {
        "counters": dict(counters),
        "tunnels": {host: dict(traffic) for host, traffic in tunnels.items()},
        "models": [_model(rows) for rows in _by_name(said)][:MOST_MODELS],
        "caches": [_cache(rows) for rows in _by_name(said, "caches")],
    }


def degraded(said: Sequence[Said]) -> dict[str, object]:
    """Return why there is less protection than is configured, nothing where there is not."""
    why = dict.fromkeys([*missing(said), *_failing(said)])
    return {"status": "degraded", "degraded": list(why)} if why else {}


def missing(said: Sequence[Said]) -> Iterator[str]:
    """Yield which models some process lacks, and why."""
    for row in _models(said):
        if not row["loaded"]:
            yield f"model {row['name']}: {row['reason']}"


def _failing(said: Sequence[Said]) -> Iterator[str]:
    """Yield which models are there, and could not read what they were to read."""
    for row in _models(said):
        if row["loaded"] and row["failing"]:
            yield (
                f"model {row['name']}: could not read texts within the last {MINUTES} minutes "
                f"({row['failing']}); the log says where"
            )


def _models(said: Sequence[Said]) -> Iterator[Mapping[str, Any]]:
    for rows in _by_name(said):
        yield from rows


def _by_name(said: Sequence[Said], what: str = "models") -> Iterator[list[Mapping[str, Any]]]:
    """Yield what all processes say of each model, or of each cache."""
    rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for status in said:
        for row in status.get(what, ()):
            rows[row["name"]].append(row)
    yield from rows.values()


def _cache(rows: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Return how many processes use a cache that they share, and why others do not."""
    away = [row["reason"] for row in rows if not row["reachable"]]
    made: dict[str, object] = {"name": rows[0]["name"], "reachable": len(rows) - len(away)}
    return {**made, "unreachable": len(away), "reason": away[-1] if away else ""}


def _model(rows: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Return how a model is in all processes that are to have it."""
    loaded = [row for row in rows if row["loaded"]]
    made: dict[str, object] = {
        "name": rows[0]["name"],
        "version": loaded[-1]["version"] if loaded else "",
        "loaded": len(loaded),
        "missing": len(rows) - len(loaded),
    }
    return made | total(loaded) if loaded else made
