"""Rules as data, matched all at once."""

from llmtrace.analyzers.patterns.engine import Inspection, PatternAnalyzer, Skipped
from llmtrace.analyzers.patterns.packs import BadPack, load_packs, shipped_packs
from llmtrace.analyzers.patterns.rules import Rule

__all__ = [
    "BadPack",
    "Inspection",
    "PatternAnalyzer",
    "Rule",
    "Skipped",
    "load_packs",
    "shipped_packs",
]
