"""Detection by itself: new and hostile texts, others meanwhile, a conversation, a stream."""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random

import regex
import report
from corpus import KINDS, english, hostile
from report import Goal, Section
from sampling import quantile

from llmtrace.analyzers.base import Context, Direction
from llmtrace.analyzers.cache import CachedAnalyzer
from llmtrace.analyzers.patterns import PatternAnalyzer, Rule, load_packs, shipped_packs
from llmtrace.domain.parts import Role
from llmtrace.pipeline.streaming.judging import LEFT
from llmtrace.pipeline.threads import share_the_interpreter

TITLE = "Detection"
SIZES = (1_024, 10_240, 102_400)
BLOCK = 20
"""New texts that are searched one after the other before it is the turn of `regex`."""
HERE = Context(Role.TOOL_RESULT)
TURNS = 200
TURN_BYTES = 2_048
HISTORY_BYTES = 300_000
MAX_US_PER_KB = 40.0
MIN_RATIO = 10.0
MAX_HOSTILE_MS = 250.0
MAX_GROWTH = 1.5
MAX_LATE_MS = 5.0
TICK = 0.001


def milliseconds(call: Callable[[], object]) -> float:
    """Return the processor time that a call takes: what else runs on the machine counts less."""
    began = time.thread_time()
    call()
    return (time.thread_time() - began) * 1e3


def median(values: Iterable[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def start(rounds: int) -> tuple[PatternAnalyzer, Section]:
    """Load and compile all packs as a worker does, and say how long that takes."""
    loads, compiles = [], []
    for _ in range(rounds):
        began = time.thread_time()
        rules = load_packs(shipped_packs())
        loaded = time.thread_time()
        analyzer = PatternAnalyzer(rules)
        analyzer.warm()
        compiles.append((time.thread_time() - loaded) * 1e3)
        loads.append((loaded - began) * 1e3)
    both = median(loads) + median(compiles)
    rows = [["read the packs", f"{median(loads):.0f}"], ["compile", f"{median(compiles):.0f}"]]
    goal = Goal(f"all {len(rules)} rules ready in < 150 ms", f"{both:.0f} ms", both < 150)
    note = f"{len(rules)} rules, medians of {rounds}. All times of this part are processor time."
    return analyzer, Section("Start", note, "\n" + report.table(["", "ms"], rows), [goal])


class OneByOne:
    """The same patterns without an automaton: ``regex``, one after the other."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._patterns = []
        for rule in rules:
            with suppress(regex.error):  # a few are written as only RE2 takes them
                self._patterns.append(regex.compile(rule.pattern))

    def __len__(self) -> int:
        return len(self._patterns)

    def search(self, text: str) -> int:
        """Return how often all patterns match."""
        return sum(1 for pattern in self._patterns for _ in pattern.finditer(text))


@dataclass(frozen=True)
class Speed:
    """How fast one kind of text of one size was searched, in µs per KB."""

    kind: str
    kb: float
    new: Sequence[float]
    again: Sequence[float]
    one_by_one: Sequence[float]

    @property
    def ratio(self) -> float:
        """How many times longer the patterns take one by one."""
        return median(self.one_by_one) / median(self.new)

    @property
    def row(self) -> list[str]:
        """The figures as a row of the report."""
        worst = quantile(self.new, 0.9)
        figures = (median(self.new), worst, median(self.again), median(self.one_by_one))
        return [self.kind, f"{self.kb:.0f}", *(f"{f:,.0f}" for f in figures), f"{self.ratio:.0f} x"]


def speeds(
    analyzer: PatternAnalyzer, slow: OneByOne, random: Random, kind: str, counts: Sequence[int]
) -> Iterator[Speed]:
    """Search new texts of a kind, in turns with ``regex``: it gets every tenth of a block.

    It comes behind a block, for it leaves nothing of ours in the caches of the processor.
    """
    for size, count in zip(SIZES, counts, strict=True):
        kb = size / 1024
        taken: list[list[float]] = [[], [], []]
        for begin in range(0, count, BLOCK):
            texts = [KINDS[kind](random, size) for _ in range(min(BLOCK, count - begin))]
            calls: list[tuple[int, Callable[[], object]]] = []
            for text in texts:
                calls += [(again, partial(analyzer.inspect, text, HERE)) for again in (0, 1)]
            calls += [(2, partial(slow.search, text)) for text in texts[::10]]
            for column, call in calls:
                taken[column].append(milliseconds(call) * 1e3 / kb)
        yield Speed(kind, kb, *taken)


def new_texts(analyzer: PatternAnalyzer, seed: int, counts: Sequence[int], warm_up: int) -> Section:
    """Search texts that were never seen before."""
    slow = OneByOne(analyzer.rules)
    measured: list[Speed] = []
    firsts = []
    for kind, make in KINDS.items():
        random = Random(seed)  # noqa: S311 - texts, not secrets
        texts = (make(random, 10_240) for _ in range(warm_up))
        first = [milliseconds(partial(analyzer.inspect, text, HERE)) * 100 for text in texts]
        firsts.append([kind, f"{median(first[:10]):.0f}", f"{median(first[-10:]):.0f}"])
        measured += speeds(analyzer, slow, random, kind, counts)
    per_kb = [median(speed.new) for speed in measured]
    least = min(speed.ratio for speed in measured)
    head = ["text", "KB", "µs per KB", "90th percentile", "seen before", "one by one", "ratio"]
    note = (
        f"Medians over {', '.join(map(str, counts))} new texts of the sizes, after {warm_up} of "
        "10 KB of the same kind; all views included. One by one are the same patterns with "
        f"`regex`, on every tenth text, in turns of {BLOCK}, without views and checks."
    )
    tables = report.table(head, [speed.row for speed in measured])
    tables += "\nThe automata are built as text comes, µs per KB:\n\n"
    tables += report.table(["text", "first ten texts", f"last ten of {warm_up}"], firsts)
    goals = [
        Goal(
            f"≤ {MAX_US_PER_KB:.0f} µs per KB of plain ASCII, median of all rows",
            f"{median(per_kb):.0f} µs, worst row {max(per_kb):.0f}",
            median(per_kb) <= MAX_US_PER_KB,
        ),
        Goal(
            f"≥ {MIN_RATIO:.0f} x faster than one by one, each row",
            f"{least:.0f} x",
            least >= MIN_RATIO,
        ),
    ]
    return Section("New texts", note, "\n" + tables, goals)


def hostile_texts(rules: Sequence[Rule]) -> Section:
    """Search texts made to be slow, each with automata that never saw the like."""
    rows, worst = [], 0.0
    for name, text in hostile(102_400).items():
        fresh = PatternAnalyzer(rules)
        fresh.warm()
        took = milliseconds(partial(fresh.inspect, text, HERE))
        made = fresh.inspect(text, HERE)
        skipped = ", ".join(sorted({skip.reason for skip in made.skipped})) or "-"
        worst = max(worst, took)
        rows.append([name, f"{took:.0f}", f"{len(made.hits):,}", skipped])
    head = ["100 KB of", "ms", "hits", "skipped, as reported"]
    goal = Goal(
        f"100 KB of any of these ≤ {MAX_HOSTILE_MS:.0f} ms",
        f"{worst:.0f} ms",
        worst <= MAX_HOSTILE_MS,
    )
    note = "Automata are compiled anew for each text, so that its states are all new."
    return Section("Hostile texts", note, "\n" + report.table(head, rows), [goal])


async def delays(analyzer: PatternAnalyzer, text: str, seconds: float) -> list[float]:
    """Return by how many ms a loop is late for what is due each ms, while a thread searches."""
    late: list[float] = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        searching = asyncio.ensure_future(asyncio.to_thread(analyzer.inspect, text, HERE))
        if not text:
            searching = asyncio.ensure_future(asyncio.sleep(seconds))
        while not searching.done():
            began = time.perf_counter()
            await asyncio.sleep(TICK)
            late.append((time.perf_counter() - began - TICK) * 1e3)
    return late


def meanwhile(analyzer: PatternAnalyzer, seconds: float) -> Section:
    """Search hostile texts in a thread, and see how long others wait for the interpreter."""
    prose = english(Random(1), 102_400)  # noqa: S311
    texts = {"nothing": "", "English": prose, **hostile(102_400)}
    late = {name: asyncio.run(delays(analyzer, text, seconds)) for name, text in texts.items()}
    rows = [[n, f"{median(each):.1f}", f"{quantile(each, 0.99):.1f}"] for n, each in late.items()]
    worst = max(map(median, late.values())) - median(late["nothing"])
    goal = Goal(
        f"others wait ≤ {MAX_LATE_MS:.0f} ms longer, median, beside any of these",
        f"{worst:.1f} ms",
        worst <= MAX_LATE_MS,
    )
    note = "A loop that wakes each ms, while a thread searches 100 KB again and again. Wall time."
    table = "\n" + report.table(["100 KB of", "ms late, median", "p99"], rows)
    return Section("Other calls meanwhile", note, table, [goal])


def large_text(analyzer: PatternAnalyzer, seed: int, size: int) -> Section:
    """Search one very large text."""
    text = english(Random(seed), 1 << 20) * (size >> 20)  # noqa: S311
    took = milliseconds(partial(analyzer.inspect, text, HERE))
    rows = [[f"{size >> 20}", f"{took / 1e3:.2f}", f"{took * 1e3 / (size / 1024):.0f}"]]
    table = "\n" + report.table(["MiB", "seconds", "µs per KB"], rows)
    return Section("A very large text", "English, cut into windows that overlap.", table)


def inspect_all(analyzer: CachedAnalyzer, texts: Sequence[str]) -> None:
    """Search all parts of a history."""
    for text in texts:
        analyzer.inspect(text, HERE)


def conversation(analyzer: PatternAnalyzer, seed: int) -> Section:
    """Send a growing history again on every turn, as agents do, with the cache before it."""
    random = Random(seed)  # noqa: S311
    cached = CachedAnalyzer(analyzer)
    parts = [english(random, TURN_BYTES) for _ in range(HISTORY_BYTES // TURN_BYTES)]
    per_turn = []
    for _ in range(TURNS):
        parts.append(english(random, TURN_BYTES))
        history = parts[-HISTORY_BYTES // TURN_BYTES :]
        per_turn.append(milliseconds(partial(inspect_all, cached, history)))
    early, late = median(per_turn[1:10]), median(per_turn[-9:])
    counts = cached.counts
    rows = [
        ["turn 1 (the whole history is new)", f"{per_turn[0]:.2f}"],
        ["turns 2 to 10", f"{early:.2f}"],
        [f"the last nine of {TURNS}", f"{late:.2f}"],
    ]
    share = counts.hits / (counts.hits + counts.misses)
    note = (
        f"{HISTORY_BYTES // 1000} KB of history, 2 KB new on each turn; {share:.0%} from the cache."
    )
    goal = Goal(
        f"turn {TURNS} ≤ {MAX_GROWTH} x turn 2", f"{late / early:.2f} x", late <= MAX_GROWTH * early
    )
    table = "\n" + report.table(["", "ms, median"], rows)
    return Section("A conversation that is sent again", note, table, [goal])


def stream(analyzer: PatternAnalyzer, seed: int) -> Section:
    """Judge an answer that comes in pieces of four characters, as its gate asks."""
    text = english(Random(seed), 8_192)  # noqa: S311
    said = Context(Role.ASSISTANT, direction=Direction.ANSWER)
    taken, window = [], ""
    for at in range(0, len(text), 4):
        window += text[at : at + 4]
        began = time.thread_time()
        decided = analyzer.undecided(window)
        analyzer.inspect(window, said)
        taken.append((time.thread_time() - began) * 1e6)
        window = window[max(0, decided - LEFT) :]
    rows = [[f"{quantile(taken, share):.0f}" for share in (0.5, 0.99)]]
    table = "\n" + report.table(["µs per delta, median", "p99"], rows)
    return Section("An answer in deltas", "English, four characters at a time.", table)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="scripts/bench detection", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds; writes nothing")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    share_the_interpreter()
    began = time.monotonic()
    analyzer, started = start(3 if asked.quick else 9)
    counts = (20, 10, 2) if asked.quick else (200, 100, 30)
    sections = [
        started,
        new_texts(analyzer, asked.seed, counts, 40 if asked.quick else 400),
        hostile_texts(analyzer.rules),
        meanwhile(analyzer, 0.2 if asked.quick else 1.0),
        large_text(analyzer, asked.seed, (4 if asked.quick else 64) << 20),
        conversation(analyzer, asked.seed),
        stream(analyzer, asked.seed),
    ]
    report.publish(TITLE, sections, began, keep=not asked.quick)


if __name__ == "__main__":
    main()
