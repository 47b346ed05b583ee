"""Wires the cache in which workers share what they found in texts."""

import hashlib
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from typing import Final

from llmtrace import __version__
from llmtrace.app.detection import BadDetection
from llmtrace.app.settings import Settings
from llmtrace.config import Config
from llmtrace.pipeline.verdicts import MAX_VALUE, SharedVerdicts
from llmtrace.storage.base import CacheLayer

HOUR: Final = 3600.0
SECOND: Final = 1000.0
PACKAGE: Final = "llmtrace.analyzers"
LIBRARIES: Final = (
    "confusable-homoglyphs",
    "google-re2",
    "numpy",
    "onnxruntime",
    "phonenumbers",
    "python-stdnum",
    "regex",
    "tokenizers",
    "tree-sitter",
    "tree-sitter-bash",
)
"""What detectors rest on: other versions of it may find something else."""


def verdicts_of(settings: Settings) -> SharedVerdicts | None:
    """Return what other workers found in texts, None where each remembers by itself.

    Raises:
        BadDetection: The URL is none.
    """
    config = settings.config
    analysis = config.security_analysis
    if not (analysis.enabled and analysis.cache_entries):
        return None
    store = _cache_of(config)
    if store is None:
        return None
    deadline = analysis.cache_timeout_ms / SECOND
    return SharedVerdicts(
        store,
        secret=settings.secret(),
        seal=code_seal(),
        ttl_seconds=analysis.cache_ttl_hours * HOUR,
        deadline=deadline,
    )


def check_cache(config: Config) -> None:
    """Check what the configuration says of the cache, without asking it. Raises: BadDetection."""
    if (store := _cache_of(config)) is not None:
        store.close()


def _cache_of(config: Config) -> CacheLayer | None:
    url, milliseconds = config.storage.cache_url, config.security_analysis.cache_timeout_ms
    if url is None:
        return None
    from llmtrace.storage.redis_cache import RedisCache  # takes a moment: not for others

    try:
        return RedisCache(
            url.get_secret_value(), timeout=milliseconds / SECOND, max_value=MAX_VALUE
        )
    except ValueError as error:
        raise BadDetection(f"storage.cache_url: {error}") from None


@cache
def code_seal() -> str:
    """Return a hash over the code that finds, and over what it rests on.

    An analyzer's own version tells of its rules and models. Processes that share a cache may run
    other code, or lack an extra: neither may take the other's word.
    """
    seal = hashlib.blake2b(digest_size=16)
    seal.update(f"{__version__} {sys.version_info} {unicodedata.unidata_version}".encode())
    for name in LIBRARIES:
        seal.update(f"\n{name} {_version(name)}".encode())
    for path, content in sorted(_sources(resources.files(PACKAGE), "")):
        seal.update(f"\n{path} {len(content)}\n".encode() + content)
    return seal.hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _sources(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for one in folder.iterdir():
        name = f"{path}/{one.name}"
        if one.is_dir():
            yield from _sources(one, name)
        elif one.name.endswith((".py", ".yaml", ".json")):
            yield name, one.read_bytes()
