"""Loads models of either make: our own, with ``model.json``, and those that hubs publish."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from llmtrace.analyzers.model.analyzer import ModelAnalyzer, Point
from llmtrace.analyzers.model.hubcache import HubCache
from llmtrace.analyzers.model.hubnetwork import HubNetwork
from llmtrace.analyzers.model.hubrepository import CONFIG, HubSpec, Repository, read_repository
from llmtrace.analyzers.model.manifest import Manifest, read_manifest

OWN: Final = "model.json"


def load_folder(folder: Path, *, point: Point, name: str = "model") -> ModelAnalyzer:
    """Load the model in a folder, and let it read once.

    Args:
        folder: Has ``model.json``, or ``config.json`` and what a hub's repository has beside it.
        point: From which confidence on an attack is told.
        name: What findings and numbers call it.

    Raises:
        BadModel: A file cannot be used.
    """
    began = time.perf_counter()
    if _is_own(folder):
        return _warm(ModelAnalyzer(read_manifest(folder), point=point, name=name), began)
    return _published(read_repository(folder, HubSpec(id=name)), point, began)


def load_hub(spec: HubSpec, cache: HubCache, *, point: Point) -> ModelAnalyzer:
    """Load a model that was fetched, and let it read once. Nothing is fetched.

    Raises:
        BadModel: It is not in the cache, has changed there, or cannot be used.
    """
    began = time.perf_counter()
    return _published(_fetched(spec, cache), point, began)


def read_folder(folder: Path, *, name: str = "model") -> Manifest:
    """Return what is known of the model in a folder, without loading it. Raises: BadModel."""
    if _is_own(folder):
        return read_manifest(folder)
    return read_repository(folder, HubSpec(id=name)).manifest


def read_hub(spec: HubSpec, cache: HubCache) -> Manifest:
    """Return what is known of a model that was fetched, without loading it. Raises: BadModel."""
    return _fetched(spec, cache).manifest


def _is_own(folder: Path) -> bool:
    return (folder / OWN).exists() or not (folder / CONFIG).exists()


def _fetched(spec: HubSpec, cache: HubCache) -> Repository:
    fetched = cache.find(spec)
    cache.check(fetched, spec)
    return read_repository(
        fetched.folder, replace(spec, revision=fetched.commit), seals=fetched.files
    )


def _published(repository: Repository, point: Point, began: float) -> ModelAnalyzer:
    network = HubNetwork(repository)
    manifest = replace(repository.manifest, specials=network.specials)
    made = ModelAnalyzer(manifest, point=point, name=manifest.name, network=network)
    return _warm(made, began)


def _warm(made: ModelAnalyzer, began: float) -> ModelAnalyzer:
    made.warm()
    made.meter.load_ms = (time.perf_counter() - began) * 1000
    return made
