"""One channel's text, cut anywhere; and that the tests see it when the gate is broken."""

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmtrace.domain.answers import Channel, ChannelKind
from llmtrace.pipeline.streaming import Ruling, texts
from llmtrace.pipeline.streaming.entries import Entry
from llmtrace.pipeline.streaming.texts import TextChannel
from llmtrace.providers.base import Frame
from llmtrace.testing.judges import CODE, EMAIL, FORBIDDEN, KEY, MASKED, SSN, PatternJudge, expected

TEXT: Final = Channel(0, ChannelKind.TEXT)
WORDS: Final = st.sampled_from(
    [
        SSN,
        KEY,
        EMAIL,
        CODE,
        MASKED,
        " ",
        "word",
        "12",
        "AKIA",
        "a@b",
        "[[N-",
        "é",
        "\n",
        "0" * 30,
        "x.",
    ]
)
TEXTS: Final = st.lists(WORDS, max_size=12).map("".join)
CUTS: Final = st.lists(st.integers(0, 300), max_size=40)


def pieces(text: str, cuts: Sequence[int]) -> list[str]:
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(edges)]


def entry(number: int) -> Entry:
    return Entry(Frame(event="", data=b""), (), number)


def after(one: Entry, text: str) -> str:
    return one.changes[0].after if one.changes else text


def run(
    parts: Sequence[str], judge: PatternJudge | None = None, *, max_hold: int = 1_000
) -> tuple[list[str], list[list[str]]]:
    """Return what each piece became, and what had gone after each of them."""
    channel = TextChannel(TEXT, judge or PatternJudge(), max_hold=max_hold)
    entries = [entry(number) for number in range(len(parts))]
    gone: list[list[str]] = []
    for one, part in zip(entries, parts, strict=True):
        channel.append(one, ("t",), part)
        assert channel.advance() is None
        gone.append([after(e, p) for e, p in zip(entries, parts, strict=True) if not e.pending])
        # those that have not come yet are not pending: leave them out
        gone[-1] = gone[-1][: sum(not e.pending for e in entries[: one.number + 1])]
    channel.closed = True
    assert channel.advance() is None
    assert not any(e.pending for e in entries)
    return [after(e, p) for e, p in zip(entries, parts, strict=True)], gone


def holds(judge: PatternJudge, parts: Sequence[str]) -> bool:
    """Whether the whole is right, and what had gone was always a beginning of it."""
    try:
        became, gone = run(parts, judge)
    except (AssertionError, IndexError, StopIteration):
        return False
    want = expected("".join(parts))
    return "".join(became) == want and all(want.startswith("".join(one)) for one in gone)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, cuts=CUTS)
@example(text="0" * 30 + SSN, cuts=list(range(300)))
def test_any_cutting_gives_the_same_text_and_leaks_nothing(text: str, cuts: list[int]) -> None:
    assert holds(PatternJudge(), pieces(text, cuts))


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, cuts=CUTS)
def test_a_repeat_says_what_the_pieces_said(text: str, cuts: list[int]) -> None:
    channel = TextChannel(TEXT, PatternJudge(), max_hold=1_000)
    for number, part in enumerate(pieces(text, cuts)):
        channel.append(entry(number), ("t",), part)
        channel.advance()
    early, late = entry(90), entry(91)
    channel.repeat(early, ("whole",), text)
    channel.closed = True
    channel.advance()
    channel.repeat(late, ("whole",), text)
    for one in (early, late):
        assert not one.pending
        assert after(one, text) == expected(text)


def test_a_repeat_waits_for_what_is_undecided() -> None:
    channel = TextChannel(TEXT, PatternJudge(), max_hold=1_000)
    first, again = entry(0), entry(1)
    channel.append(first, ("t",), "AKIA")
    channel.advance()
    channel.repeat(again, ("t",), "AKIA")
    assert (first.pending, again.pending) == (1, 1)
    channel.flush()
    assert (first.pending, again.pending) == (0, 0)


def test_the_replacement_stands_in_the_first_piece_and_the_rest_is_cut() -> None:
    became, _ = run(["call 123-", "45-", "6789 now"])
    assert became == ["call [SSN]", "", " now"]


def test_a_piece_can_hold_several() -> None:
    became, _ = run([f"{SSN},{KEY} {MASKED[:3]}", f"{MASKED[3:]}!"])
    assert "".join(became) == expected(f"{SSN},{KEY} {MASKED}!")


class Spans(PatternJudge):
    """Says of each text what it was told, from the letters it begins with."""

    def __init__(self, *rulings: Ruling) -> None:
        super().__init__(patterns=())
        self.all = rulings

    def rulings(self, text: str, channel: Channel) -> Sequence[Ruling]:
        return [ruling for ruling in self.all if ruling.end <= len(text)]


def test_what_overlaps_is_masked_to_its_end() -> None:
    judge = Spans(
        Ruling(start=2, end=6, replacement="<A>"), Ruling(start=4, end=9, replacement="<B>")
    )
    assert run(["abcdefghijk"], judge)[0] == ["ab<A><B>jk"]


def test_of_two_that_begin_alike_the_longer_counts() -> None:
    judge = Spans(
        Ruling(start=2, end=4, replacement="<A>"), Ruling(start=2, end=6, replacement="<B>")
    )
    assert run(["abcdefgh"], judge)[0] == ["ab<B>gh"]


def test_a_span_over_the_cut_is_decided_as_one() -> None:
    class Half(Spans):
        def undecided(self, text: str, channel: Channel) -> int:
            return len(text) - 4

    judge = Half(Ruling(start=2, end=7, replacement="<A>"))
    channel = TextChannel(TEXT, judge, max_hold=100)
    one, two = entry(0), entry(1)
    channel.append(one, ("t",), "abcdefgh")
    assert channel.advance() is None
    assert one.pending == 1
    channel.append(two, ("t",), "ijkl")
    channel.advance()
    assert after(one, "") == "ab<A>h"


def test_a_text_can_go_on_before_its_repeat_is_decided() -> None:
    channel = TextChannel(TEXT, PatternJudge(), max_hold=100)
    entries = [entry(number) for number in range(4)]
    channel.append(entries[0], ("t",), SSN)
    channel.repeat(entries[1], ("t",), SSN)
    channel.append(entries[2], ("t",), f", and {KEY}, so ")
    channel.advance()
    channel.append(entries[3], ("t",), "plain ")
    channel.advance()
    said = [after(one, "as it was") for one in entries]
    assert said == ["[SSN]", "[SSN]", ", and [KEY], so ", "as it was"]
    assert not any(one.pending for one in entries)


def test_spans_over_the_cut_that_overlap_are_decided_together() -> None:
    class Half(Spans):
        def undecided(self, text: str, channel: Channel) -> int:
            return len(text) - 4

    judge = Half(
        Ruling(start=2, end=7, replacement="<A>"), Ruling(start=5, end=10, replacement="<B>")
    )
    channel = TextChannel(TEXT, judge, max_hold=100)
    one, two = entry(0), entry(1)
    for part, text in ((one, "abcdefgh"), (two, "ijkl"), (entry(2), "mnop")):
        channel.append(part, ("t",), text)
        channel.advance()
    assert (after(one, ""), after(two, "")) == ("ab<A><B>", "kl")


def test_what_begins_before_a_decided_place_is_no_news() -> None:
    class Spurious(Spans):
        def rulings(self, text: str, channel: Channel) -> Sequence[Ruling]:
            return [Ruling(start=0, end=len(text), replacement="<A>")] if "Z" in text else []

    channel = TextChannel(TEXT, Spurious(), max_hold=100)
    one, two = entry(0), entry(1)
    channel.append(one, ("t",), "abcd ")
    channel.advance()
    channel.append(two, ("t",), "Z ")
    channel.advance()
    assert not one.pending
    assert after(two, "Z ") == "Z "


def test_a_text_can_go_on_behind_its_repeat() -> None:
    channel = TextChannel(TEXT, PatternJudge(), max_hold=100)
    entries = [entry(number) for number in range(3)]
    channel.append(entries[0], ("t",), f"{SSN}, so ")
    channel.advance()
    channel.repeat(entries[1], ("t",), f"{SSN}, so ")
    channel.append(entries[2], ("t",), f"and {KEY}, yes ")
    channel.advance()
    assert [after(one, "") for one in entries] == ["[SSN], so ", "[SSN], so ", "and [KEY], yes "]


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        pytest.param("see https://example.com/?q=" + "a" * 500, True, id="long-url"),
        pytest.param("see https://example.com/?q=" + "a" * 5_000, True, id="endless-url"),
        pytest.param("see https://example.com/ and " + "a" * 500, False, id="url-that-ended"),
    ],
)
def test_a_judge_is_shown_the_url_that_a_value_stands_in(before: str, shown: bool) -> None:
    class Looking(Spans):
        seen = ""

        def rulings(self, text: str, channel: Channel) -> Sequence[Ruling]:
            self.seen = text
            return []

    judge = Looking()
    channel = TextChannel(TEXT, judge, max_hold=100)
    for at in range(0, len(before), 7):
        channel.append(entry(at), ("t",), before[at : at + 7])
        channel.advance()
    channel.append(entry(0), ("t",), MASKED)
    channel.advance()
    assert ("https://" in judge.seen) == shown
    assert len(judge.seen) < 2_400


def test_no_more_is_held_than_may_be() -> None:
    class Never(PatternJudge):
        def undecided(self, text: str, channel: Channel) -> int:
            return 0

    channel = TextChannel(TEXT, Never(), max_hold=10)
    entries = [entry(number) for number in range(8)]
    for one in entries:
        channel.append(one, ("t",), "abcd ")
        channel.advance()
    assert [one.pending for one in entries] == [0] * 6 + [1, 1]


def test_the_rest_of_what_was_let_go_too_early_is_cut() -> None:
    channel = TextChannel(TEXT, PatternJudge(), max_hold=1_000)
    one, two = entry(0), entry(1)
    channel.append(one, ("t",), "123-45")
    assert channel.flush() is None
    assert not one.pending
    channel.append(two, ("t",), "-6789, yes")
    channel.advance(until=16)
    assert after(two, "") == "[SSN], yes"


def test_what_follows_an_end_is_decided_at_once() -> None:
    channel = TextChannel(TEXT, PatternJudge(), max_hold=1_000)
    channel.closed = True
    one = entry(0)
    channel.append(one, ("t",), "AKIA")
    channel.advance()
    assert not one.pending


def test_a_stop_is_in_the_piece_where_the_span_begins() -> None:
    channel = TextChannel(TEXT, PatternJudge(), max_hold=1_000)
    entries = [entry(number) for number in range(4)]
    parts = ("so ", FORBIDDEN[:4], FORBIDDEN[4:], " no")
    stops = []
    for one, part in zip(entries, parts, strict=True):
        channel.append(one, ("t",), part)
        stops.append(channel.advance())
    assert stops[:3] == [None] * 3
    assert stops[3] is not None
    assert [one.pending for one in entries] == [0, 1, 1, 1]


def test_a_long_hold_is_judged_a_few_times_only() -> None:
    class Counting(PatternJudge):
        count = 0

        def undecided(self, text: str, channel: Channel) -> int:
            self.count += 1
            return 0

    judge = Counting()
    channel = TextChannel(TEXT, judge, max_hold=1 << 20)
    for number in range(10_000):
        channel.append(entry(number), ("t",), "abcdef")
        channel.advance()
    assert judge.count < 1_000


# --- the tests see a gate that is broken


class NoHold(PatternJudge):
    """Thinks that all is decided."""

    def undecided(self, text: str, channel: Channel) -> int:
        return len(text)


class WrongAlphabet(PatternJudge):
    """Forgets a character that its values have."""

    def undecided(self, text: str, channel: Channel) -> int:
        return max(super().undecided(text, channel), text.rfind("-") + 1, text.rfind("@") + 1)


def _no_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(texts, "LEFT", 0)


def _released_early(patch: pytest.MonkeyPatch) -> None:
    advance = TextChannel.advance
    patch.setattr(TextChannel, "advance", lambda self: advance(self, until=self._total))


CORPUS: Final = [
    [*("0" * 30 + SSN)],
    [*f"mail {EMAIL}, key {KEY}; {MASKED}"],
    [f"my number is {SSN} and {SSN}"[at : at + 3] for at in range(0, 40, 3)],
    [f"{SSN} ", "word ", "word "],
    ["the code ", "73", "91, ", "yes"],
]
BREAKS: Final[dict[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "no-left-context": _no_left,
    "released-early": _released_early,
}


@pytest.mark.parametrize("broken", BREAKS.values(), ids=list(BREAKS))
def test_a_broken_gate_is_seen(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(holds(PatternJudge(), parts) for parts in CORPUS)
    broken(monkeypatch)
    assert not all(holds(PatternJudge(), parts) for parts in CORPUS)


@pytest.mark.parametrize("judge", [NoHold(), WrongAlphabet()], ids=["no-hold", "wrong-alphabet"])
def test_a_judge_that_breaks_its_promise_is_seen(judge: PatternJudge) -> None:
    assert not all(holds(judge, parts) for parts in CORPUS)


def test_changes_are_told_by_their_place() -> None:
    channel = TextChannel(TEXT, PatternJudge(), max_hold=100)
    one = entry(0)
    channel.append(one, ("a", 0), f"{SSN}, ")
    channel.append(one, ("b",), "plain, ")
    channel.advance()
    assert [(c.path, c.after) for c in one.changes] == [(("a", 0), "[SSN], ")]
    assert json.dumps(one.changes[0].before) == json.dumps(f"{SSN}, ")
