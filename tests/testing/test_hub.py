import hashlib
from collections.abc import Iterator

import httpx2
import pytest

from llmtrace.testing.hub import LARGE, Faults, StandInHub

FILES = {"config.json": b"{}", "model.onnx": b"x" * LARGE}


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with StandInHub() as running:
        running.add("owner/name", FILES)
        yield running


def get(hub: StandInHub, path: str, **more: str) -> httpx2.Response:
    url = f"{hub.url}{path}"
    return httpx2.get(url, headers=more, trust_env=False, timeout=5, follow_redirects=True)


def test_a_repository_says_its_commit_and_its_files(hub: StandInHub) -> None:
    said = get(hub, "/api/models/owner/name/revision/main?blobs=true").json()
    assert said["sha"] == hub.repos["owner/name"].commit
    small, large = said["siblings"]
    assert small["blobId"] == hashlib.sha1(b"blob 2\0{}", usedforsecurity=False).hexdigest()
    assert large["lfs"]["sha256"] == hashlib.sha256(FILES["model.onnx"]).hexdigest()


def test_a_file_comes_by_its_commit_alone(hub: StandInHub) -> None:
    commit = hub.repos["owner/name"].commit
    assert get(hub, f"/owner/name/resolve/{commit}/config.json").content == b"{}"
    assert get(hub, "/owner/name/resolve/main/config.json").status_code == 404


def test_a_large_file_comes_from_a_store(hub: StandInHub) -> None:
    commit = hub.repos["owner/name"].commit
    answer = get(hub, f"/owner/name/resolve/{commit}/model.onnx")
    assert [one.status_code for one in answer.history] == [302]
    assert answer.history[0].headers["x-linked-size"] == str(LARGE)
    assert answer.content == FILES["model.onnx"]


def test_new_content_is_another_commit(hub: StandInHub) -> None:
    before = hub.repos["owner/name"].commit
    assert hub.add("owner/name", {"config.json": b"{ }"}) != before


def test_faults_are_what_they_say(hub: StandInHub) -> None:
    commit = hub.repos["owner/name"].commit
    path = f"/owner/name/resolve/{commit}/model.onnx"
    hub.faults = Faults(cut="model.onnx")
    assert len(get(hub, path).content) == LARGE // 2
    hub.faults = Faults(changed="model.onnx")
    assert get(hub, path).content != FILES["model.onnx"]
    hub.faults = Faults(status=403, code="GatedRepo")
    answer = get(hub, "/api/models/owner/name")
    assert (answer.status_code, answer.headers["x-error-code"]) == (403, "GatedRepo")
    hub.faults = Faults(endless="model.onnx")
    with pytest.raises(httpx2.RemoteProtocolError):
        get(hub, path)


def test_a_token_can_be_asked_for(hub: StandInHub) -> None:
    hub.token = "hf_x"
    assert get(hub, "/api/models/owner/name").status_code == 401
    assert get(hub, "/api/models/owner/name", authorization="Bearer hf_x").status_code == 200
