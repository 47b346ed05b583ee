"""Models: one forward pass says how much a text is like an attack, and whom it names."""

from llmtrace.analyzers.model.analyzer import ModelAnalyzer
from llmtrace.analyzers.model.hubcache import Fetched, HubCache, NotFetched
from llmtrace.analyzers.model.hubfetch import Hub, fetch
from llmtrace.analyzers.model.hubrepository import HubSpec
from llmtrace.analyzers.model.loading import load_folder, load_hub, read_folder, read_hub
from llmtrace.analyzers.model.manifest import SHIPPED, BadModel, Manifest, read_manifest

__all__ = [
    "SHIPPED",
    "BadModel",
    "Fetched",
    "Hub",
    "HubCache",
    "HubSpec",
    "Manifest",
    "ModelAnalyzer",
    "NotFetched",
    "fetch",
    "load_folder",
    "load_hub",
    "read_folder",
    "read_hub",
    "read_manifest",
]
