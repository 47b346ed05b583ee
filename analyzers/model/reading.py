"""Texts as the network reads them: windows of token ids, each with its place in the text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from llmtrace.analyzers.model.manifest import TOKENIZER, BadModel, Manifest

PIECE: Final = 8 * 1024
"""Characters that are cut into tokens at a time, fewer by what stands behind the last space."""


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens that are looked at together. ``spans`` are their characters, half-open."""

    ids: Sequence[int]
    spans: Sequence[tuple[int, int]]

    @property
    def start(self) -> int:
        """Where its first character stands."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """Where its last character ends."""
        return self.spans[-1][1]


class Reader:
    """Cuts texts into windows that overlap: what is short stands whole in one of them.

    Raises:
        BadModel: The tokenizer's file is none, or of another kind of model.
    """

    def __init__(self, manifest: Manifest) -> None:
        path: Path = manifest.folder / TOKENIZER
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise BadModel(f"{path}: is no tokenizer ({error}); get the file again") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._room = manifest.room
        self._overlap = manifest.overlap
        self._step = self._room - manifest.overlap

    @property
    def largest(self) -> int:
        """The largest id that a token can have. Takes 10 ms."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0)

    def windows(self, text: str, *, most: int) -> tuple[list[Window], int]:
        """Return at most ``most`` windows, and how many tokens the whole text has."""
        ids, spans = self._tokens(text)
        made = [
            Window(ids[start : start + self._room], spans[start : start + self._room])
            for start in self._starts(len(ids))[:most]
        ]
        return made, len(ids)

    def _tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of all tokens and their characters.

        A piece at a time, and each as a batch of one: that is when the tokenizer lets go of the
        interpreter, and its answer is put into lists in a millisecond.
        """
        # a lone surrogate is no character: as large, and as unknown to the tokenizer
        clean = text if text.isascii() else text.encode("utf-8", "replace").decode()
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for at, to in _pieces(clean):
            (encoding,) = self._tokenizer.encode_batch([clean[at:to]], add_special_tokens=False)
            ids += encoding.ids
            spans += [(at + start, at + end) for start, end in encoding.offsets]
        return ids, spans

    def needed(self, tokens: int) -> int:
        """Return how many windows a text of so many tokens has."""
        return len(self._starts(tokens))

    def _starts(self, tokens: int) -> Sequence[int]:
        if not tokens:
            return ()
        if tokens <= self._room:
            return (0,)
        return range(0, tokens - self._overlap, self._step)


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Yield where pieces begin and end: behind a space, where no token goes on."""
    at = 0
    while at < len(text):
        to = at + PIECE
        if to < len(text):
            to = max(text.rfind(" ", at, to), text.rfind("\n", at, to)) + 1 or to
        yield at, min(to, len(text))
        at = to
