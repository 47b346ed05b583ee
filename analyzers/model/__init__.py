"""The small model: one forward pass says how much a text is like an attack, and whom it names."""

from llmtrace.analyzers.model.analyzer import ModelAnalyzer
from llmtrace.analyzers.model.manifest import SHIPPED, BadModel, Manifest, read_manifest

__all__ = ["SHIPPED", "BadModel", "Manifest", "ModelAnalyzer", "read_manifest"]
