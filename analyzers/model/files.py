"""What the files of a model say of it, without loading it: no network is opened here."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from llmtrace.analyzers.model.hubcache import HubCache
from llmtrace.analyzers.model.hubrepository import CONFIG, HubSpec, Repository, read_repository
from llmtrace.analyzers.model.manifest import Manifest, read_manifest

OWN: Final = "model.json"


def is_own(folder: Path) -> bool:
    """Whether a folder has a model of our own make, or nothing that would be another's."""
    return (folder / OWN).exists() or not (folder / CONFIG).exists()


def read_folder(folder: Path, *, name: str = "model") -> Manifest:
    """Check the files of the model in a folder and say what is known of it. Raises: BadModel."""
    if is_own(folder):
        return read_manifest(folder)
    return read_repository(folder, HubSpec(id=name)).manifest


def read_hub(spec: HubSpec, cache: HubCache) -> Manifest:
    """Check the files of a model that was fetched, and return what is known. Raises: BadModel."""
    return read_fetched(spec, cache).manifest


def read_fetched(spec: HubSpec, cache: HubCache) -> Repository:
    """Return what the files of a model that was fetched say. Raises: BadModel."""
    fetched = cache.find(spec)
    cache.check(fetched, spec)
    return read_repository(
        fetched.folder, replace(spec, revision=fetched.commit), seals=fetched.files
    )
