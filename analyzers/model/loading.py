"""Loads models of either make: our own, with ``model.json``, and those that hubs publish."""

import math
import time
from dataclasses import replace
from pathlib import Path

from llmtrace.analyzers.model.analyzer import ModelAnalyzer, Point
from llmtrace.analyzers.model.files import is_own, read_fetched
from llmtrace.analyzers.model.hubcache import HubCache
from llmtrace.analyzers.model.hubnetwork import HubNetwork
from llmtrace.analyzers.model.hubrepository import HubSpec, Repository, read_repository
from llmtrace.analyzers.model.manifest import read_manifest


def load_folder(
    folder: Path, *, point: Point, name: str = "model", seconds: float = math.inf
) -> ModelAnalyzer:
    """Load the model in a folder, and let it read once.

    Args:
        folder: Has ``model.json``, or ``config.json`` and what a hub's repository has beside it.
        point: From which confidence on an attack is told.
        name: What findings and numbers call it.
        seconds: How long one text may take.

    Raises:
        BadModel: A file cannot be used.
    """
    began = time.perf_counter()
    if is_own(folder):
        manifest = read_manifest(folder)
        return _warm(ModelAnalyzer(manifest, point=point, name=name, seconds=seconds), began)
    return _published(read_repository(folder, HubSpec(id=name)), point, seconds, began)


def load_hub(
    spec: HubSpec, cache: HubCache, *, point: Point, seconds: float = math.inf
) -> ModelAnalyzer:
    """Load a model that was fetched, and let it read once. Nothing is fetched.

    Raises:
        BadModel: It is not in the cache, has changed there, or cannot be used.
    """
    began = time.perf_counter()
    return _published(read_fetched(spec, cache), point, seconds, began)


def _published(repository: Repository, point: Point, seconds: float, began: float) -> ModelAnalyzer:
    network = HubNetwork(repository)
    manifest = replace(repository.manifest, specials=network.specials)
    made = ModelAnalyzer(
        manifest, point=point, name=manifest.name, network=network, seconds=seconds
    )
    return _warm(made, began)


def _warm(made: ModelAnalyzer, began: float) -> ModelAnalyzer:
    made.warm()
    made.meter.load_ms = (time.perf_counter() - began) * 1000
    return made
