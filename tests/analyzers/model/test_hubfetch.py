import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from llmtrace.analyzers.model.hubcache import HubCache, NotFetched
from llmtrace.analyzers.model.hubfetch import FetchFailed, Hub, fetch
from llmtrace.analyzers.model.hubrepository import HubSpec
from llmtrace.testing.hub import Faults, StandInHub
from llmtrace.testing.tinymodels import text_classifier

SPEC = HubSpec(id="owner/name")


@pytest.fixture
def cache(tmp_path: Path) -> HubCache:
    return HubCache(tmp_path / "models")


def left(cache: HubCache) -> list[str]:
    """What lies in the cache but for the models."""
    return [path.name for path in cache.root.rglob("*") if path.name.startswith(".")]


def test_a_model_is_fetched_pinned_and_mended(hub: StandInHub, cache: HubCache) -> None:
    first = hub.add(SPEC.id, text_classifier())
    made = fetch(SPEC, cache, Hub(endpoint=hub.url, seconds=30))
    assert (made.commit, cache.find(SPEC)) == (first, made)
    hub.add(SPEC.id, text_classifier(max_position_embeddings=64))
    assert cache.find(SPEC).commit == first
    (made.folder / "config.json").write_text("{}")
    hub.add(SPEC.id, text_classifier())
    mended = fetch(SPEC, cache, Hub(endpoint=hub.url, seconds=30))
    cache.check(mended, SPEC)
    assert left(cache) == []


@pytest.mark.parametrize(
    ("faults", "seconds", "said"),
    [
        (Faults(hangs=True), 1.0, r"did not deliver within 1 s; nothing of it is kept: raise ml"),
        (Faults(endless="onnx/model.onnx"), 2.0, r"did not deliver within 2 s"),
        (Faults(status=500), 20.0, "answers 500"),
    ],
    ids=["hangs", "breaks-off-without-end", "refuses"],
)
def test_a_fetch_that_fails_leaves_nothing_behind(
    hub: StandInHub, cache: HubCache, faults: Faults, seconds: float, said: str
) -> None:
    hub.add(SPEC.id, text_classifier())
    hub.faults = faults
    with pytest.raises(FetchFailed, match=f"owner/name: .*{said}"):
        fetch(SPEC, cache, Hub(endpoint=hub.url, seconds=seconds))
    with pytest.raises(NotFetched):
        cache.find(SPEC)
    assert left(cache) == []


def test_what_a_killed_fetch_left_is_removed_a_day_later(
    cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = cache.home(SPEC.id)
    old, new = home / ".fetching-old", home / ".fetching-new"
    for path in (old, new):
        path.mkdir(parents=True)
    os.utime(old, (0, 0))

    def refused(*_args: object) -> NoReturn:
        raise FetchFailed("not today")

    monkeypatch.setattr("llmtrace.analyzers.model.hubfetch._ask", refused)
    with pytest.raises(FetchFailed):
        fetch(SPEC, cache, Hub())
    assert left(cache) == [new.name]


def test_a_cache_that_cannot_be_written_is_named(cache: HubCache) -> None:
    cache.root.write_text("no folder")
    with pytest.raises(FetchFailed, match=r"owner--name: Not a directory; choose another ml\.cac"):
        fetch(SPEC, cache, Hub(endpoint="http://127.0.0.1:1"))


def test_a_disk_that_is_full_at_last_leaves_the_cache_as_it_was(
    cache: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    said = {"commit": "a" * 40, "files": {"config.json": "0"}}
    monkeypatch.setattr("llmtrace.analyzers.model.hubfetch._ask", lambda *_args: said)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FetchFailed, match=r"config\.json: No space left on device; make room"):
        fetch(SPEC, cache, Hub())
    with pytest.raises(NotFetched):
        cache.find(SPEC)
    assert left(cache) == []
