import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from llmtrace.analyzers.model.hubcache import Fetched, HubCache, NotFetched
from llmtrace.analyzers.model.hubrepository import HubSpec
from llmtrace.analyzers.model.manifest import BadModel
from llmtrace.testing.tinymodels import text_classifier, write

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = COMMIT[::-1]
SPEC = HubSpec(id="owner/name")


@pytest.fixture
def cache(tmp_path: Path) -> HubCache:
    return HubCache(tmp_path / "models")


def kept(cache: HubCache, commit: str = COMMIT, revision: str = "main") -> Fetched:
    files = text_classifier()
    folder = write(files, cache.home(SPEC.id) / commit)
    seals = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    made = Fetched(id=SPEC.id, commit=commit, folder=folder, files=seals)
    cache.keep(made, revision, endpoint="https://hub.example", at="2026-01-01T00:00:00+00:00")
    return made


def test_what_was_kept_is_found_and_whole(cache: HubCache) -> None:
    made = kept(cache)
    assert cache.find(SPEC) == made
    cache.check(made, SPEC)
    assert list(cache.all()) == [made]


def test_a_branch_stays_the_commit_that_it_was(cache: HubCache) -> None:
    kept(cache, OTHER, "v1")
    kept(cache)
    assert cache.find(SPEC).commit == COMMIT
    assert cache.find(replace(SPEC, revision="v1")).commit == OTHER
    assert cache.find(replace(SPEC, revision=OTHER)).commit == OTHER


@pytest.mark.parametrize("revision", ["main", "v9", OTHER])
def test_what_was_not_fetched_says_how_to_get_it(cache: HubCache, revision: str) -> None:
    if revision != "main":
        kept(cache)
    with pytest.raises(NotFetched, match="run 'llmtrace models fetch owner/name"):
        cache.find(replace(SPEC, revision=revision))


def test_a_file_that_was_not_fetched_is_named(cache: HubCache) -> None:
    kept(cache)
    with pytest.raises(NotFetched, match=r"model_int8\.onnx: was not fetched; .* --file onnx/mod"):
        cache.find(replace(SPEC, file="onnx/model_int8.onnx"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "onnx/model.onnx"])
@pytest.mark.parametrize("harm", ["changed", "cut", "missing"])
def test_a_file_that_is_not_what_was_fetched_is_named(
    cache: HubCache, name: str, harm: str
) -> None:
    path = kept(cache).folder / name
    content = path.read_bytes()
    path.unlink()
    if harm != "missing":
        path.write_bytes(content[:-1] if harm == "cut" else b"X" + content[1:])
    with pytest.raises(BadModel, match=path.name):
        cache.check(cache.find(SPEC), SPEC)


@pytest.mark.parametrize("content", ["", "[]", '{"commit": "x", "files": {}}', '{"files": 1}'])
def test_a_record_that_says_nothing_is_named(cache: HubCache, content: str) -> None:
    (kept(cache).folder / "fetched.json").write_text(content)
    with pytest.raises(BadModel, match=r"fetched\.json: "):
        cache.find(SPEC)
    assert list(cache.all()) == []


def test_a_folder_that_is_no_commit_is_left_out(cache: HubCache) -> None:
    made = kept(cache)
    other = made.folder.with_name("notes")
    other.mkdir()
    (other / "fetched.json").write_text('{"commit": "notes", "files": {}}')
    assert list(cache.all()) == [made]


def test_a_record_without_a_network_is_named(cache: HubCache) -> None:
    made = kept(cache)
    bare = replace(made, files={"config.json": "", "tokenizer.json": ""})
    with pytest.raises(BadModel, match=r"fetched\.json: has no ONNX file"):
        cache.check(bare, SPEC)


@pytest.mark.parametrize("content", ["", "[1]", '{"main": "../../elsewhere"}'])
def test_pins_that_say_nothing_pin_nothing(cache: HubCache, content: str) -> None:
    (kept(cache).folder.parent / "pins.json").write_text(content)
    with pytest.raises(NotFetched):
        cache.find(SPEC)


def test_files_that_were_fetched_before_stay_known(cache: HubCache) -> None:
    made = kept(cache)
    cache.keep(replace(made, files={"onnx/other.onnx": "a"}), "main", endpoint="", at="")
    record = json.loads((made.folder / "fetched.json").read_text())
    assert set(record["files"]) == {*made.files, "onnx/other.onnx"}
