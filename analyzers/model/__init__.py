"""Models: one forward pass says how much a text is like an attack, and whom it names.

What loads a network (``ModelAnalyzer``, ``load_folder``, ``load_hub``) is imported when it is first
asked for: ONNX Runtime takes 0.1 s and 30 MB, and who only looks at files needs none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from llmtrace.analyzers.model.files import is_own, read_folder, read_hub
from llmtrace.analyzers.model.hubcache import Fetched, HubCache, NotFetched
from llmtrace.analyzers.model.hubfetch import Hub, fetch
from llmtrace.analyzers.model.hublabels import kind_of
from llmtrace.analyzers.model.hubrepository import HubSpec
from llmtrace.analyzers.model.manifest import SHIPPED, BadModel, Manifest, read_manifest

if TYPE_CHECKING:
    from llmtrace.analyzers.model.analyzer import ModelAnalyzer
    from llmtrace.analyzers.model.loading import load_folder, load_hub

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
    "is_own",
    "kind_of",
    "load_folder",
    "load_hub",
    "read_folder",
    "read_hub",
    "read_manifest",
]

_LATER: Final = {"ModelAnalyzer": "analyzer", "load_folder": "loading", "load_hub": "loading"}


def __getattr__(name: str) -> Any:
    """Give what loads a network."""
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
