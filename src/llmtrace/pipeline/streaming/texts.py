"""One channel of text: what of it is decided, and what its frames are to say instead."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llmtrace.domain.answers import Channel
from llmtrace.domain.parts import Path
from llmtrace.pipeline.streaming.addresses import LEFT_OF_URL, STAND_IN, open_address, stand_in
from llmtrace.pipeline.streaming.entries import Change, Entry, Piece
from llmtrace.pipeline.streaming.judging import LEFT, ChannelJudge, Ruling

_EAGER: Final = 4096
"""A window that is longer is judged again only when it has grown by a sixteenth."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A span of a channel, and what stands there instead. Offsets are the channel's."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Stop:
    """An answer must stop. The frame where it must is not decided, and holds what follows."""

    reason: str


class TextChannel:
    """Takes the pieces of one channel, and decides them as far as the judge allows.

    Offsets count code points of the channel's text. At most ``max_hold`` are undecided: what is
    over that is decided as it stands.
    """

    def __init__(self, channel: Channel, judge: ChannelJudge, *, max_hold: int) -> None:
        self.channel = channel
        self.closed = False
        self.idle = 0
        """Frames that went by since this channel spoke."""
        self.edits: list[Edit] = []
        self._judge = judge
        self._max_hold = max_hold
        self._pieces: deque[Piece] = deque()
        self._repeats: list[Piece] = []
        self._window = ""
        self._base = 0
        self._decided = 0
        self._total = 0
        self._fresh = 0
        self._forced = 0  # where it was decided last that a text ends which could have gone on
        self._first_edit = 0  # of those that reach into what is undecided

    @property
    def waiting(self) -> Piece | None:
        """The first piece that is not decided."""
        return self._pieces[0] if self._pieces else None

    def append(self, entry: Entry, path: Path, text: str) -> None:
        """Take the next piece."""
        end = self._total + len(text)
        self._pieces.append(Piece(entry, path, text, self._total, end))
        self._window += text
        self._fresh += len(text)
        self._total = end
        self.idle = 0
        entry.pending += 1

    def repeat(self, entry: Entry, path: Path, text: str) -> None:
        """Take the whole text, said again. It waits until all of it is decided."""
        entry.pending += 1
        self._repeats.append(Piece(entry, path, text, 0, len(text)))
        self._resolve()

    def advance(self, *, until: int | None = None) -> Stop | None:
        """Decide what can be decided. ``until``: at least all before that offset.

        Returns where the answer must stop, if it must.
        """
        window = self._window
        size = len(window)
        if until is None and size > _EAGER and self._fresh < size >> 4 and not self.closed:
            return None
        self._fresh = 0
        least = size if self.closed else max((until or 0) - self._base, size - self._max_hold)
        free = size if self.closed else self._judge.undecided(window, self.channel)
        cut = max(free, least)
        if self._base + cut <= self._decided:
            return None
        rulings = self._judge.rulings(window, self.channel)
        stop = self._settle(rulings, cut, least) if rulings else None
        if stop is not None:
            return stop
        if not rulings:
            self._decided = self._base + cut
        if cut > free or self.closed:
            self._forced = self._decided
        self._resolve()
        self._trim()
        return None

    def flush(self) -> Stop | None:
        """Decide all that came, as if nothing were to follow."""
        return self.advance(until=self._total) if self._pieces else None

    def _settle(self, rulings: Sequence[Ruling], cut: int, least: int) -> Stop | None:
        """Note the rulings before ``cut``, which moves back from the middle of one.

        It does not move behind ``least``: what reaches over that is decided whole.
        """
        spans = sorted(self._relevant(rulings, cut), key=lambda r: (r.start, -r.end))
        for ruling in reversed(spans):
            if ruling.start < cut < ruling.end:
                cut = max(ruling.start, least)
        for ruling in spans:
            if ruling.start >= cut:
                break
            cut = max(cut, ruling.end)
            start = max(self._base + ruling.start, self._decided)
            end = self._base + ruling.end
            if ruling.block:
                return self._stop(self._base + ruling.start, ruling.block)
            if ruling.replacement is not None and end > start:
                self.edits.append(Edit(start, end, ruling.replacement))
                self._decided = end
        self._decided = max(self._decided, self._base + cut)
        return None

    def _relevant(self, rulings: Sequence[Ruling], cut: int) -> list[Ruling]:
        """Return those that do something, and not about what was decided before.

        One that begins there and ends here counts only where the end of that was forced.
        """
        decided = self._decided - self._base
        forced = self._forced - self._base
        return [
            ruling
            for ruling in rulings
            if (ruling.block or ruling.replacement is not None)
            and ruling.start < min(cut, ruling.end)
            and (ruling.start >= decided or ruling.start < forced)
            and ruling.end > decided
        ]

    def _stop(self, offset: int, reason: str) -> Stop:
        """Decide what stands before ``offset``, and stop in the piece where that is."""
        self._decided = max(self._decided, offset)
        self._resolve()
        return Stop(reason)

    def _resolve(self) -> None:
        pieces, decided = self._pieces, self._decided
        while pieces and pieces[0].end <= decided:
            self._change(pieces.popleft())
        if self._repeats and decided >= self._total:
            for repeat in self._repeats:
                self._first_edit = 0
                self._change(repeat)
            self._repeats.clear()
            self._first_edit = len(self.edits)

    def _change(self, piece: Piece) -> None:
        """Note what a decided piece is to say instead, if anything."""
        piece.entry.pending -= 1
        edits = self.edits
        at = self._first_edit
        if at < len(edits) and edits[at].start < piece.end:
            said: list[str] = []
            position = piece.start
            while at < len(edits) and edits[at].start < piece.end:
                edit = edits[at]
                said.append(piece.text[position - piece.start : max(edit.start - piece.start, 0)])
                if edit.start >= piece.start:
                    said.append(edit.text)
                position = min(edit.end, piece.end)
                if edit.end > piece.end:
                    break
                at += 1
            said.append(piece.text[position - piece.start :])
            piece.entry.changes.append(Change(piece.path, piece.text, "".join(said)))
            self._first_edit = at

    def _trim(self) -> None:
        """Forget what was decided, but for what a judge is shown of it.

        That is ``LEFT`` code points and, where an address is open, all of it up to ``LEFT_OF_URL``
        with as many before it. One that is longer is given a beginning where the rest begins.
        """
        decided = self._decided - self._base
        if decided <= LEFT:
            return
        begun = open_address(self._window, decided)
        spare = (decided if begun is None else max(begun, decided - LEFT_OF_URL)) - LEFT
        if spare <= 0:
            return
        kept = self._window[spare:]
        if begun is not None and begun < spare:
            kept = stand_in(self._window, decided, spare + STAND_IN) + kept[STAND_IN:]
        self._window = kept
        self._base += spare
