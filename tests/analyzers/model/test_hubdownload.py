import errno
import json
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn

import pytest

from llmtrace.analyzers.model import hubdownload
from llmtrace.analyzers.model.hubdownload import Asked, CannotFetch, download
from llmtrace.testing.hub import Faults, StandInHub
from llmtrace.testing.tinymodels import text_classifier

NETWORK = "onnx/model.onnx"
SIZE = len(text_classifier()[NETWORK])


class Room(NamedTuple):
    free: int


@pytest.fixture
def asked(hub: StandInHub, tmp_path: Path) -> Asked:
    hub.add("owner/name", text_classifier())
    return Asked(
        id="owner/name",
        revision="main",
        file=None,
        endpoint=hub.url,
        folder=str(tmp_path),
        seconds=5,
        known={},
    )


def test_a_model_is_fetched_with_what_it_needs_and_no_more(
    hub: StandInHub, asked: Asked, tmp_path: Path
) -> None:
    more = {"README.md": b"Read me.", "pytorch_model.bin": b"x" * 200}
    commit = hub.add("owner/name", {**text_classifier(), **more})
    said = download(asked)
    assert said["commit"] == commit
    assert set(said["files"]) == {"config.json", "tokenizer.json", NETWORK}
    assert not (tmp_path / "pytorch_model.bin").exists()


def test_weights_beside_a_network_come_with_it(hub: StandInHub, asked: Asked) -> None:
    hub.add("owner/name", {**text_classifier(), f"{NETWORK}_data": b"weights"})
    assert f"{NETWORK}_data" in download(asked)["files"]


def test_what_is_known_is_not_fetched_again(hub: StandInHub, asked: Asked) -> None:
    commit = hub.repos["owner/name"].commit
    known = replace(asked, known={commit: ["config.json", "tokenizer.json", NETWORK]})
    assert download(known) == {"commit": commit, "files": {}}
    assert [method for method, _ in hub.calls] == ["GET"]


def test_a_token_is_sent_from_the_environment_alone(
    hub: StandInHub, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_secret"
    with pytest.raises(CannotFetch, match="HF_TOKEN"):
        download(asked)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert download(asked)["files"]


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (Faults(status=401), r"refuses it \(401\); check the name, and set HF_TOKEN"),
        (Faults(status=403), r"refuses it \(403\); check the name, and set HF_TOKEN"),
        (Faults(status=403, code="GatedRepo"), r"is gated: accept its terms at .*/owner/name, and"),
        (Faults(status=404), r"is not at .* \(404\)"),
        (Faults(status=500), "answers 500; try again later, or use a mirror as ml.endpoint"),
        (Faults(status=429), "answers 429"),
        (
            Faults(cut=NETWORK),
            rf"{NETWORK}: came cut short: {SIZE // 2} bytes, the hub says {SIZE}; nothing of it is "
            "kept: try again",
        ),
        (
            Faults(long=NETWORK),
            rf"{NETWORK}: came too long: {2 * SIZE} bytes, the hub says {SIZE}; nothing of it",
        ),
        (
            Faults(status=404, code="EntryNotFound", at=NETWORK),
            rf"{NETWORK}: is listed, and is not",
        ),
        (
            Faults(status=403, at="config.json"),
            r"config\.json: http://.* refuses it \(403\); check",
        ),
        (
            Faults(bare=NETWORK),
            rf"{NETWORK}: http://.* answers without the checksum and commit .*; check ml\.endpoint",
        ),
        (Faults(changed=NETWORK), rf"{NETWORK} came with checksum .* the hub says"),
        (Faults(changed="config.json"), r"config\.json came with checksum"),
    ],
    ids=[
        "401",
        "403",
        "gated",
        "404",
        "500",
        "429",
        "cut-short",
        "too-long",
        "file-gone",
        "file-403",
        "no-hub-s-headers",
        "changed",
        "changed-config",
    ],
)
def test_a_hub_that_does_not_deliver_is_told_of_with_what_to_do(
    hub: StandInHub, asked: Asked, faults: Faults, said: str
) -> None:
    hub.faults = faults
    with pytest.raises(CannotFetch, match=rf"owner/name: .*{said}"):
        download(asked)


@pytest.mark.parametrize(
    ("faults", "answer"),
    [
        (Faults(status=200, says=b"<html>Log in"), r"200 \(text/html\)"),
        (Faults(status=200), r"200 \(application/json\)"),
        (Faults(status=200, says=b"[]"), r"200 \(application/json\)"),
        (Faults(status=200, says=b""), r"200 \(application/json\)"),
        (Faults(status=200, says=b"[" * 100_000), r"200 \(application/json\)"),
        (Faults(status=200, says=b'{"id":"a","sha":7}'), r"200 \(application/json\)"),
        (
            Faults(status=200, says=b'{"id":"a","siblings":[{"rfilename":"x","size":"y"}]}'),
            r"200 \(application/json\)",
        ),
        (Faults(status=301, says=b"<html>Moved"), r"301 \(text/html\)"),
    ],
    ids=["page", "other", "list", "empty", "deep", "odd-commit", "odd-size", "moved"],
)
def test_what_is_no_hub_is_told_with_what_it_answered(
    hub: StandInHub, asked: Asked, faults: Faults, answer: str
) -> None:
    hub.faults = faults
    said = rf"owner/name: {hub.url} is no hub: it answered {answer} where the hub's JSON was exp"
    with pytest.raises(CannotFetch, match=said + r"ected; check ml\.endpoint"):
        download(asked)


def test_a_file_that_breaks_off_again_and_again_is_named(
    hub: StandInHub, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(sleep=lambda _seconds: None, time=lambda: 0.0)
    monkeypatch.setattr("huggingface_hub.file_download.time", clock)
    hub.faults = Faults(endless=NETWORK)
    said = rf"owner/name: {NETWORK}: broke off again and again before its {SIZE} bytes were there; "
    with pytest.raises(CannotFetch, match=rf"{said}the last answer ended after 10 of {SIZE} bytes"):
        download(asked)


def test_a_hub_that_says_nothing_is_not_waited_for(hub: StandInHub, asked: Asked) -> None:
    hub.faults = Faults(hangs=True)
    with pytest.raises(CannotFetch, match="cannot be reached"):
        download(replace(asked, seconds=0.1))


def test_a_hub_that_is_not_there_is_named(asked: Asked) -> None:
    with pytest.raises(CannotFetch, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        download(replace(asked, endpoint="http://127.0.0.1:1"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "nobody/nothing"}, "is not at http"),
        ({"revision": "v9"}, "has no revision 'v9'"),
        ({"revision": "0" * 40}, f"has no revision '{'0' * 40}'"),
        ({"file": "onnx/other.onnx"}, r"has no onnx/other\.onnx; it has onnx/model\.onnx: name"),
    ],
    ids=["repository", "branch", "commit", "file"],
)
def test_what_the_hub_does_not_have_is_named(
    asked: Asked, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(CannotFetch, match=said):
        download(replace(asked, **change))


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("config.json", r"has no config\.json; choose a repository"),
        ("tokenizer.json", r"has no tokenizer\.json"),
        (NETWORK, r"has no model\.onnx, onnx/model\.onnx, .*optimum-cli export onnx"),
    ],
)
def test_a_repository_without_what_is_needed_is_told(
    hub: StandInHub, asked: Asked, without: str, said: str
) -> None:
    files = text_classifier()
    del files[without]
    hub.add("owner/name", files)
    with pytest.raises(CannotFetch, match=said):
        download(asked)


def test_a_model_for_which_there_is_no_room_is_not_begun(
    hub: StandInHub, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Room(free=100))
    with pytest.raises(CannotFetch, match=r"needs .* MB, 0 MB are free .*another ml\.cache_dir"):
        download(asked)
    assert all("resolve" not in path for _, path in hub.calls)


def test_a_model_that_is_too_large_is_not_begun(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubdownload, "MAX_BYTES", 100)
    with pytest.raises(CannotFetch, match="name a smaller file"):
        download(asked)


def test_a_disk_that_is_full_is_told(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_more: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hubdownload, "hf_hub_download", full)
    with pytest.raises(CannotFetch, match=r"no space is left in .*; make room, or choose another"):
        download(asked)


def test_a_file_that_grows_beyond_what_may_be_written_is_told(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*_args: object, **_more: object) -> NoReturn:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(hubdownload, "hf_hub_download", endless)
    monkeypatch.setattr("resource.getrlimit", lambda _what: (9_999, 9_999))
    said = (
        r"config\.json: grew beyond the 9999 bytes that a file may have here \(ulimit -f\), the hub"
    )
    size = len(text_classifier()["config.json"])
    with pytest.raises(
        CannotFetch, match=rf"owner/name: {said} says {size}; nothing of it is kept"
    ):
        download(asked)


def test_a_file_that_is_longer_than_one_may_be_is_not_begun(
    hub: StandInHub, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/name", {**text_classifier(), NETWORK: b"x" * 5_001})
    monkeypatch.setattr("resource.getrlimit", lambda _what: (-1, 5_000))
    said = rf"{NETWORK}: has 5001 bytes, a file may have 5000 here \(ulimit -f\); raise that limit"
    with pytest.raises(CannotFetch, match=f"owner/name: {said}"):
        download(asked)
    assert all("resolve" not in path for _, path in hub.calls)


def test_nothing_that_the_client_says_is_repeated(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages have addresses with signatures in them."""

    def odd(*_args: object, **_more: object) -> NoReturn:
        raise RuntimeError("https://cdn.example/x?Signature=abc")

    monkeypatch.setattr(hubdownload, "hf_hub_download", odd)
    with pytest.raises(CannotFetch) as caught:
        download(asked)
    assert "Signature" not in str(caught.value)


@pytest.mark.parametrize(
    ("hard", "most"),
    [
        (resource.RLIM_INFINITY, hubdownload.MAX_BYTES),
        (hubdownload.MAX_BYTES * 2, hubdownload.MAX_BYTES),
        (5_000, 5_000),
    ],
    ids=["no-limit", "above", "below"],
)
def test_the_program_says_what_came_of_it(
    asked: Asked,
    hard: int,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked_line = json.dumps({name: getattr(asked, name) for name in Asked.__slots__})
    monkeypatch.setattr("sys.stdin.readline", lambda: asked_line, raising=False)
    bounds: list[object] = []
    monkeypatch.setattr("signal.alarm", bounds.append)
    monkeypatch.setattr("resource.getrlimit", lambda _what: (0, hard))
    monkeypatch.setattr("resource.setrlimit", lambda _what, most: bounds.append(most))
    hubdownload.main()
    assert set(json.loads(capsys.readouterr().out)) == {"commit", "files"}
    assert bounds == [(most, most), 6]


def test_the_program_runs_under_a_limit_of_the_system(hub: StandInHub, asked: Asked) -> None:
    hub.add("owner/name", {**text_classifier(), NETWORK: b"x" * 200_000})
    asked_line = json.dumps({name: getattr(asked, name) for name in Asked.__slots__})
    own = [sys.executable, "-m", hubdownload.__name__]
    done = subprocess.run(  # noqa: S603  our own program
        ["/bin/sh", "-c", 'ulimit -f 64; exec "$@"', "sh", *own],
        input=asked_line + "\n",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    said = json.loads(done.stdout)["error"]
    assert said.startswith(f"owner/name: {NETWORK}: has 200000 bytes, a file may have ")
