"""Rules as data, matched all at once."""

from llmtrace.analyzers.base import Inspection, Skipped
from llmtrace.analyzers.patterns.engine import HIDDEN, PatternAnalyzer
from llmtrace.analyzers.patterns.finding import HURRIED, PATIENT, Bounds
from llmtrace.analyzers.patterns.packs import BadPack, load_packs, shipped_packs
from llmtrace.analyzers.patterns.rules import Rule

__all__ = [
    "HIDDEN",
    "HURRIED",
    "PATIENT",
    "BadPack",
    "Bounds",
    "Inspection",
    "PatternAnalyzer",
    "Rule",
    "Skipped",
    "load_packs",
    "shipped_packs",
]
