import pytest
from mitmproxy import http

from llmtrace.addons.uploads import Passing, is_large_blob, is_large_upload, is_upload_path

MOST = 100
BLOB = "/api/blobs/sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("path", "upload"),
    [
        ("/v1/files", True),
        ("/v1/audio/transcriptions?x=1", True),
        ("/upload/v1beta/files", True),
        ("/v1/chat/completions", False),
        ("/v1/filesystem", False),
    ],
)
def test_only_paths_of_files_take_large_bodies(path: str, upload: bool) -> None:
    assert is_upload_path(path) is upload


def request(path: str, *, method: str = "POST", **headers: str) -> http.Request:
    made = http.Request.make(method, f"http://127.0.0.1:11434{path}")
    del made.headers["content-length"]
    for name, value in headers.items():
        made.headers[name.replace("_", "-")] = value
    return made


@pytest.mark.parametrize(
    ("size", "kind", "large"),
    [
        pytest.param("101", "multipart/form-data", True, id="large"),
        pytest.param("100", "multipart/form-data", False, id="small"),
        pytest.param("101", "application/json", False, id="json"),
        pytest.param("101", "", False, id="of-no-type"),
        pytest.param("", "multipart/form-data", False, id="of-no-size"),
    ],
)
def test_a_large_file_is_told_by_its_head(size: str, kind: str, large: bool) -> None:
    said = {"content_length": size, "content_type": kind}
    found = request("/v1/files", **{name: value for name, value in said.items() if value})
    assert is_large_upload(found, MOST) is large


@pytest.mark.parametrize(
    ("path", "large"),
    [
        pytest.param(BLOB, True, id="digest"),
        pytest.param(BLOB.replace(":", "-"), True, id="digest-with-hyphen"),
        pytest.param(BLOB.replace(":", "%3A"), True, id="digest-with-escaped-colon"),
        pytest.param("/ollama" + BLOB, True, id="under-a-prefix"),
        pytest.param(BLOB[:-1], False, id="short-digest"),
        pytest.param(BLOB + "/api/chat", False, id="more-behind"),
        pytest.param(BLOB + ";/api/chat", False, id="parameters"),
        pytest.param("/api/chat/" + BLOB, False, id="empty-segment"),
        pytest.param("/api/chat?" + BLOB, False, id="in-the-query"),
        pytest.param("/api/chat%3f" + BLOB, False, id="escaped-before"),
        pytest.param("/api/chat#" + BLOB, False, id="in-the-fragment"),
        pytest.param("/api/blobs/../chat", False, id="climbing"),
        pytest.param("/api/blobs/anything", False, id="no-digest"),
        pytest.param("/api/chat", False, id="chat"),
    ],
)
@pytest.mark.parametrize("sized", [True, False], ids=["sized", "chunked"])
def test_only_a_path_that_names_a_digest_takes_a_models_file(
    path: str, large: bool, sized: bool
) -> None:
    size = {"content_length": "101"} if sized else {"transfer_encoding": "chunked"}
    found = request(path, content_type="application/json", **size)
    assert is_large_blob(found, "ollama", MOST) is large


def test_a_small_file_of_a_model_is_read_if_it_says_that_it_is_small() -> None:
    assert not is_large_blob(request(BLOB, content_length="100"), "ollama", MOST)


@pytest.mark.parametrize(("provider", "method"), [("openai", "POST"), ("ollama", "PUT")])
def test_only_ollama_is_sent_a_models_file(provider: str, method: str) -> None:
    assert not is_large_blob(request(BLOB, method=method), provider, MOST)


def test_what_passes_is_counted_and_stays_as_it_is() -> None:
    sizes: list[int] = []
    passing = Passing(limit=5, passed=sizes.append)
    assert [passing(chunk) for chunk in (b"abc", b"", b"d")] == [b"abc", b"", b"d"]
    assert (passing.limit, sizes) == (5, [3, 0, 1])
