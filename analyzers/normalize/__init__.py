"""What a text says once nothing is hidden: its canonical view, and what is encoded in it."""

from llmtrace.analyzers.normalize.decoding import MAX_DECODED, MAX_RUNS, Allowance
from llmtrace.analyzers.normalize.folding import Folded, fold, fold_pattern
from llmtrace.analyzers.normalize.hidden import Concealment, concealed
from llmtrace.analyzers.normalize.view import Aligned, Excerpt, Further, Seen, View
from llmtrace.analyzers.normalize.views import Views, views

__all__ = [
    "MAX_DECODED",
    "MAX_RUNS",
    "Aligned",
    "Allowance",
    "Concealment",
    "Excerpt",
    "Folded",
    "Further",
    "Seen",
    "View",
    "Views",
    "concealed",
    "fold",
    "fold_pattern",
    "views",
]
