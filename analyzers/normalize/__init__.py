"""What a text says once nothing is hidden: its canonical view, and what is encoded in it."""

from llmtrace.analyzers.normalize.folding import Folded, fold, fold_pattern

__all__ = ["Folded", "fold", "fold_pattern"]
