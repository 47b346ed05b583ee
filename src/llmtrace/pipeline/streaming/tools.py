"""One tool call of an answer: held to its end, and judged whole."""

from llmtrace.domain.answers import Channel
from llmtrace.domain.parts import Path
from llmtrace.pipeline.streaming.entries import Change, Entry, Piece


class ToolChannel:
    """Takes the pieces of a tool call's arguments; none of its frames goes on before its end."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.name = ""
        self.closed = False
        self.size = 0
        """Code points of the arguments so far."""
        self.first: Entry | None = None
        """The first of its frames."""
        self.last = 0
        """The number of the last of its frames."""
        self._entries: list[Entry] = []
        self._pieces: list[Piece] = []
        self._repeats: list[Piece] = []
        self._instead: str | None = None

    @property
    def arguments(self) -> str:
        """The arguments so far."""
        return "".join([piece.text for piece in self._pieces])

    def open(self, entry: Entry, name: str) -> None:
        """Hold the frame that opens the call."""
        self.name = name or self.name
        self._hold(entry)

    def append(self, entry: Entry, path: Path, text: str) -> None:
        """Take the next piece of the arguments."""
        self._pieces.append(Piece(entry, path, text, self.size, self.size + len(text)))
        self.size += len(text)
        self._hold(entry)

    def repeat(self, entry: Entry, path: Path, text: str) -> None:
        """Take the whole arguments, said again; after the call's end they are decided already."""
        piece = Piece(entry, path, text, 0, len(text))
        if not self.closed:
            self._repeats.append(piece)
            self._hold(entry)
        elif self._instead is not None:
            entry.changes.append(Change(path, text, self._instead))

    def decide(self, arguments: str | None) -> bool:
        """Note that the call may go on, with other arguments if there are any.

        They go into the first piece, the other pieces become empty. Returns False where there is
        no piece to put them in.
        """
        self.closed = True
        self._instead = arguments
        if arguments is None:
            return True
        for number, piece in enumerate(self._pieces):
            said = "" if number else arguments
            piece.entry.changes.append(Change(piece.path, piece.text, said))
        for repeat in self._repeats:
            repeat.entry.changes.append(Change(repeat.path, repeat.text, arguments))
        return bool(self._pieces)

    def release(self) -> None:
        """Let its frames go."""
        for entry in self._entries:
            entry.pending -= 1
        self._entries.clear()
        self._pieces.clear()
        self._repeats.clear()

    def _hold(self, entry: Entry) -> None:
        if self.first is None:
            self.first = entry
        entry.pending += 1
        self.last = entry.number
        self._entries.append(entry)
