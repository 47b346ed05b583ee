"""Fetches a model from a hub into the cache, within a time."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from llmtrace.analyzers.model.hubcache import Fetched, HubCache, NotFetched
from llmtrace.analyzers.model.hubrepository import HubSpec
from llmtrace.analyzers.model.manifest import BadModel

PROGRAM: Final = "llmtrace.analyzers.model.hubdownload"
STAGING: Final = ".fetching-"
DAY: Final = 86_400.0


class FetchFailed(BadModel):
    """A model could not be fetched; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Where models come from, through which proxy, and how long one may take, in seconds."""

    endpoint: str = "https://huggingface.co"
    seconds: float = 300.0
    proxy: str | None = None
    progress: bool = False
    """Whether bars are drawn on standard error."""


def fetch(spec: HubSpec, cache: HubCache, hub: Hub) -> Fetched:
    """Fetch a model and return it. What the cache has already, and is whole, is not fetched again.

    Waits: not for the event loop.

    Raises:
        FetchFailed: It cannot be had; the cache is as it was.
    """
    home = cache.home(spec.id)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget(home)
        staging = Path(mkdtemp(prefix=STAGING, dir=home))
    except OSError as error:
        raise FetchFailed(f"{home}: {error.strerror}; choose another ml.cache_dir") from error
    try:
        said = _ask(spec, hub, staging, _whole(cache, spec))
        return _kept(spec, cache, hub, staging, said)
    except OSError as error:
        raise FetchFailed(
            f"{error.filename or home}: {error.strerror}; make room, or choose another ml.cache_dir"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _forget(home: Path) -> None:
    """Remove what was left of fetches that were killed, a day ago or more."""
    for path in home.glob(f"{STAGING}*"):
        if time.time() - path.stat().st_mtime > DAY:
            shutil.rmtree(path, ignore_errors=True)


def _ask(
    spec: HubSpec, hub: Hub, staging: Path, known: Mapping[str, list[str]]
) -> Mapping[str, Any]:
    asked = {
        "id": spec.id,
        "revision": spec.revision,
        "file": spec.file,
        "endpoint": hub.endpoint,
        "folder": str(staging),
        "seconds": hub.seconds,
        "known": known,
    }
    try:
        done = subprocess.run(  # noqa: S603  our own program
            [sys.executable, "-m", PROGRAM],
            input=json.dumps(asked).encode() + b"\n",
            stdout=subprocess.PIPE,
            stderr=None if hub.progress else subprocess.DEVNULL,
            env=_environment(hub, staging),
            timeout=hub.seconds,
            check=False,
        )
        said = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise FetchFailed(
            f"{spec.id}: {hub.endpoint} did not deliver within {hub.seconds:g} s; nothing of it is "
            "kept: raise ml.download_timeout_seconds, or check the network"
        ) from error
    except ValueError as error:
        raise FetchFailed(
            f"{spec.id}: the program that fetches ended with {done.returncode}; "
            f"'{Path(sys.executable).name} -m {PROGRAM}' must run"
        ) from error
    if "error" in said:
        raise FetchFailed(str(said["error"]))
    return dict(said)


def _environment(hub: Hub, staging: Path) -> dict[str, str]:
    """Return the environment of the program: nothing is told of us, nothing kept outside."""
    environ = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(staging / ".home"),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "0" if hub.progress else "1",
    }
    if hub.proxy:
        environ |= {"HTTPS_PROXY": hub.proxy, "HTTP_PROXY": hub.proxy}
    return environ


def _whole(cache: HubCache, spec: HubSpec) -> dict[str, list[str]]:
    """Return the files that are in the cache and as they were fetched, by commit."""
    try:
        found = cache.find(spec)
        cache.check(found, spec)
    except (NotFetched, BadModel):
        return {}
    return {found.commit: list(found.files)}


def _kept(
    spec: HubSpec, cache: HubCache, hub: Hub, staging: Path, said: Mapping[str, Any]
) -> Fetched:
    folder = cache.home(spec.id) / said["commit"]
    made = Fetched(id=spec.id, commit=said["commit"], folder=folder, files=said["files"])
    for name in made.files:
        (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.replace(staging / name, folder / name)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    cache.keep(made, spec.revision, endpoint=hub.endpoint, at=at)
    return cache.find(spec)
