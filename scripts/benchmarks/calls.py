"""Calls per second and latencies, new connections, streams and large bodies."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from machine import ALL_CORES, PROXY_CORE, pin, rss_mb
from report import Goal, Section, table
from sampling import Sample, alternate, median, quantile, ratio, sample
from targets import Ours, Target, settle

PROMPT, AGENT_BODY = 2_048, 300_000
STREAMS = 16
STOCK, BARE, WHOLE = "mitmdump -q", "LLMTrace, detection off", "LLMTrace, all on"
OURS = (BARE, WHOLE)
NAMES = {"reverse": "base-URL mode, plain HTTP", "tls": "CONNECT, intercepted TLS, kept alive"}
HEAD = ["connections", "target", "calls/s", "p50 ms", "p99 ms", "CPU ms/call", "beside", "x stock"]
HEAD += ["foreign CPU", "errors"]


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    seconds: float
    connections: Sequence[int]
    calls: int
    kills: int


@dataclass(frozen=True)
class Field:
    """All targets, by mode, and what is running beside them."""

    direct: Mapping[str, Target]
    stock: Mapping[str, Target]
    one: Ours
    bare: Ours
    """The same without detection: the data plane, and what it records."""
    two: Ours
    others: Sequence[int]
    effort: Effort

    def pinned(self, mode: str) -> list[Target]:
        """Return the four targets of a mode, the proxies with all they need on one core."""
        mine, bare = self.one.targets(WHOLE)[mode], self.bare.targets(BARE)[mode]
        pin([*self.stock[mode].pids, *mine.pids, *bare.pids], PROXY_CORE)
        return [self.direct[mode], self.stock[mode], bare, mine]

    def taker(self, *, pinned: bool = True, **plan: object) -> Callable[[Target], Sample]:
        """Return what takes one sample, and waits until the recorder has caught up."""

        def take(target: Target) -> Sample:
            for gateway in (self.one, self.bare, self.two):
                if gateway.gateway:
                    gateway.settle()
            full: dict[str, Any] = {"seconds": self.effort.seconds, "body": PROMPT, **plan}
            taken = sample(target, others=self.others, pinned=pinned, **full)
            taken.cpu_beside += settle(target.beside) * 1000 / taken.all_calls
            return taken

        return take


def rate_rows(taken: Mapping[str, Sequence[Sample]], lead: str, base: str) -> list[list[str]]:
    """Return a row for each target, with the medians of its samples."""
    return [
        [
            lead,
            name,
            f"{median(samples, lambda s: s.per_second):,.0f}",
            f"{median(samples, lambda s: s.quantile(0.5)):.2f}",
            f"{median(samples, lambda s: s.quantile(0.99)):.2f}",
            f"{median(samples, lambda s: s.cpu):.2f}" if median(samples, lambda s: s.cpu) else "-",
            f"{median(samples, lambda s: s.cpu_beside):.2f}" if "LLMTrace" in name else "-",
            f"{ratio(samples, taken[base]):.2f}" if name != "direct" else "-",
            " ".join(f"{s.foreign:.0%}" for s in samples),
            str(sum(s.errors for s in samples)),
        ]
        for name, samples in taken.items()
    ]


def throughput(at: Field) -> Section:
    """Calls per second at several numbers of connections, everything pinned."""
    section = Section("Calls per second, 2 KB prompts", PINNED)
    for mode, name in NAMES.items():
        rows: list[list[str]] = []
        ratios: dict[str, list[float]] = {which: [] for which in OURS}
        for connections in at.effort.connections:
            taken = alternate(at.pinned(mode), at.taker(connections=connections), at.effort.rounds)
            rows += rate_rows(taken, str(connections), STOCK)
            if connections > 1:
                for which in OURS:
                    ratios[which].append(ratio(taken[which], taken[STOCK]))
        section.text += f"\n{name[0].upper()}{name[1:]}:\n\n{table(HEAD, rows)}"
        section.goals += [
            _times(f"{which}, {name}: ≥ 1.2 x mitmdump's calls/s", min(ratios[which]), 1.2)
            for which in OURS
        ]
    return section


def _times(name: str, got: float, wanted: float) -> Goal:
    return Goal(name, f"{got:.2f} x", got >= wanted)


def handshakes(at: Field) -> Section:
    """A new tunnel and TLS connection for each call."""
    taken = alternate(at.pinned("tls"), at.taker(connections=16, fresh=True), at.effort.rounds)
    text = "\n" + table(HEAD, rate_rows(taken, "16", STOCK))
    goals = [
        _times(
            f"{which}, new CONNECT + TLS for each call: ≥ 1.5 x mitmdump's",
            ratio(taken[which], taken[STOCK]),
            1.5,
        )
        for which in OURS
    ]
    return Section("A new CONNECT and TLS handshake for each call", PINNED, text, goals)


def scaling(at: Field) -> Section:
    """One worker, two workers and mitmdump, nothing pinned."""
    rows, ratios = [], []
    for mode, name in NAMES.items():
        one, two = at.one.targets("LLMTrace, 1 worker"), at.two.targets("LLMTrace, 2 workers")
        targets = [at.stock[mode], one[mode], two[mode]]
        for target in targets:
            pin(target.pids, ALL_CORES)
        pin(at.others, ALL_CORES)
        take = at.taker(pinned=False, connections=32)
        taken = alternate(targets, take, at.effort.rounds)
        rows += rate_rows(taken, f"32, {name}", STOCK)
        ratios.append(ratio(taken["LLMTrace, 2 workers"], taken["LLMTrace, 1 worker"]))
    got = min(ratios)
    goal = Goal("two workers ≥ 1.25 x one, cores shared with the load", f"{got:.2f} x", got >= 1.25)
    text = "\n" + table(HEAD, rows)
    return Section(
        "Two workers, nothing pinned", "Load and provider share the cores.", text, [goal]
    )


def streams(at: Field) -> Section:
    """Sixteen streams of a hundred events, 5 ms apart."""
    section = Section(
        f"Streams: {STREAMS} at once, 100 events at 5 ms",
        "*Delay* is from the provider's sending to the client's reading, for each event; *reads* "
        "are reads that brought an event, so that fewer reads than events are events merged on "
        "their way. The streams begin at different moments, as they would. " + PINNED,
    )
    rows = []
    for mode, name in NAMES.items():
        take = at.taker(
            connections=STREAMS, stream=True, seconds=2 * at.effort.seconds, stagger=0.5
        )
        taken = alternate(at.pinned(mode), take, at.effort.rounds)
        first = {
            n: [t for s in samples for t in s.raw["first_bytes"]] for n, samples in taken.items()
        }
        rows += [[name, *_stream_row(n, samples, first[n])] for n, samples in taken.items()]
        for which in OURS:
            section.goals += [
                _added(f"{which}, {name}: first byte +≤ 3 ms at p50", first, which, 0.5, 3),
                _added(f"{which}, {name}: first byte +≤ 15 ms at p99", first, which, 0.99, 15),
                _whole(f"{which}, {name}", taken["direct"], taken[which]),
            ]
    head = ["mode", "target", "streams", "first byte p50 ms", "p99", "delay p50 ms", "p99", "max"]
    section.text = "\n" + table([*head, "events", "reads", "foreign CPU"], rows)
    return section


def _added(
    name: str, first: Mapping[str, Sequence[float]], which: str, share: float, most: float
) -> Goal:
    """At most so many ms more than without a proxy, at this quantile."""
    got = quantile(first[which], share) - quantile(first["direct"], share)
    return Goal(name, f"{got:+.2f} ms", got <= most)


def _stream_row(name: str, samples: Sequence[Sample], first: Sequence[float]) -> list[str]:
    delays = [d for s in samples for d in s.raw["delays"]]
    return [
        name,
        str(sum(s.calls for s in samples)),
        *(f"{quantile(first, q):.2f}" for q in (0.5, 0.99)),
        *(f"{quantile(delays, q):.2f}" for q in (0.5, 0.99, 1.0)),
        f"{_each(samples, 'chunks'):.1f}",
        f"{_each(samples, 'reads'):.1f}",
        " ".join(f"{s.foreign:.0%}" for s in samples),
    ]


def _each(samples: Sequence[Sample], what: str) -> float:
    return statistics.mean([n for s in samples for n in s.raw[what]] or [0])


def _whole(name: str, direct: Sequence[Sample], mine: Sequence[Sample]) -> Goal:
    """All events came, and no more of them in one read than without a gateway (within 2 %)."""
    events, reads = _each(mine, "chunks"), _each(mine, "reads")
    merged = _each(direct, "reads") - reads
    said = f"{events:.1f} events in {reads:.1f} reads"
    return Goal(f"{name}: no event held back or merged", said, events == 100 and merged <= 2)


def bodies(at: Field) -> Section:
    """Agents' request bodies of 300 KB, one connection."""
    rows, goals = [], []
    for mode, name in NAMES.items():
        take = at.taker(connections=1, body=AGENT_BODY)
        taken = alternate(at.pinned(mode), take, at.effort.rounds)
        rows += rate_rows(taken, f"1, {name}", STOCK)
        middle = {n: median(samples, lambda s: s.quantile(0.5)) for n, samples in taken.items()}
        for which in OURS:
            more = middle[which] - middle["direct"]
            title = f"{which}, {name}: 300 KB bodies +≤ 15 ms at the median"
            goals.append(Goal(title, f"{more:+.1f} ms", more <= 15))
    most = max(map(rss_mb, at.one.targets("")["tls"].proxy))
    note = (
        "An agent's history: many messages, tool calls and results, 20 tools. The worker has "
        f"{most:.0f} MB resident after them. {PINNED}"
    )
    return Section("Request bodies of 300 KB", note, "\n" + table(HEAD, rows), goals)


PINNED = (
    "The proxy with all it needs (for LLMTrace the worker, the recorder and the supervisor) is "
    "pinned to one core, the load and the provider to the other. *Detection off* is the data plane "
    "and what it records, *all on* is the default configuration: the rules look into each call "
    "(the model has a benchmark of its own). The recorder steps back while calls pass, and has "
    "caught up before the next sample: *beside* is what it takes for a call until then, so that a "
    "core that is busy for longer than some seconds does 1000 / (CPU + beside) calls a second."
)
