"""Several analyzers as one."""

import hashlib
from collections.abc import Sequence

from llmtrace.analyzers.base import Analyzer, Context, Hit, Inspection, Skipped, StreamAnalyzer


class CombinedAnalyzer:
    """Asks each of its analyzers. As safe to share between threads as they are."""

    def __init__(self, analyzers: Sequence[StreamAnalyzer], *, name: str = "rules") -> None:
        self._analyzers = tuple(analyzers)
        self._name = name
        parts = "\n".join(f"{one.name} {one.version}" for one in self._analyzers)
        self._version = hashlib.blake2b(parts.encode(), digest_size=12).hexdigest()

    @property
    def name(self) -> str:
        """Its key in the configuration, on metrics and in health."""
        return self._name

    @property
    def version(self) -> str:
        """A seal over the versions of all."""
        return self._version

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        """Return the hits of all, ordered by start. An empty text has none."""
        return self.inspect(text, context).hits

    def inspect(self, text: str, context: Context) -> Inspection:
        """Return the hits of all, and what any of them left out."""
        hits: list[Hit] = []
        skipped: list[Skipped] = []
        for analyzer in self._analyzers:
            made = inspection(analyzer, text, context)
            hits += made.hits
            skipped += made.skipped
        if len(self._analyzers) > 1:
            hits.sort(key=lambda hit: (hit.start, -hit.end))
        return Inspection(hits, tuple(skipped))

    def prepare(self) -> None:
        """Compile all that would else be compiled when it is first needed."""
        for analyzer in self._analyzers:
            if prepare := getattr(analyzer, "prepare", None):
                prepare()

    def undecided(self, text: str) -> int:
        """Return where the undecided tail of the one that is least sure begins."""
        return min((one.undecided(text) for one in self._analyzers), default=len(text))


def inspection(analyzer: Analyzer, text: str, context: Context) -> Inspection:
    """Return what an analyzer says of a text, with what it left out where it can tell."""
    inspect = getattr(analyzer, "inspect", None)
    if inspect is None:
        return Inspection(analyzer.analyze(text, context))
    made: Inspection = inspect(text, context)
    return made
