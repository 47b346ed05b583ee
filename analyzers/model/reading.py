"""Texts as the network reads them: windows of token ids, each with its place in the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from llmtrace.analyzers.model.manifest import TOKENIZER, BadModel, Manifest


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
        self._room = manifest.window - 2
        self._overlap = manifest.overlap
        self._step = self._room - manifest.overlap

    def windows(self, text: str, *, most: int) -> tuple[list[Window], int]:
        """Return at most ``most`` windows, and how many tokens the whole text has."""
        # a lone surrogate is no character: as large, and as unknown to the tokenizer
        clean = text if text.isascii() else text.encode("utf-8", "replace").decode()
        encoding = self._tokenizer.encode(clean, add_special_tokens=False)
        ids, spans = encoding.ids, encoding.offsets
        made = [
            Window(ids[start : start + self._room], spans[start : start + self._room])
            for start in self._starts(len(ids))[:most]
        ]
        return made, len(ids)

    def needed(self, tokens: int) -> int:
        """Return how many windows a text of so many tokens has."""
        return len(self._starts(tokens))

    def _starts(self, tokens: int) -> Sequence[int]:
        if not tokens:
            return ()
        if tokens <= self._room:
            return (0,)
        return range(0, tokens - self._overlap, self._step)
