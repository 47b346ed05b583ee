"""base64 and data URIs: what they hold, and the text among them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.domain.parts import MediaKind
from llmtrace.providers.media import Content, decode_base64, decode_uri, host_of, is_blob, kind_of


@given(st.binary(max_size=40), st.booleans())
def test_base64_of_either_alphabet_padded_or_not_is_decoded(data: bytes, url: bool) -> None:
    text = (base64.urlsafe_b64encode if url else base64.b64encode)(data).decode()
    assert decode_base64(text) == data
    assert decode_base64(text.rstrip("=")) == data
    assert decode_base64("\r\n".join(text)) == data


@pytest.mark.parametrize("text", ["not, base64", "abcde", "é===", "ab-_!"])
def test_what_is_no_base64_is_not_guessed_at(text: str) -> None:
    assert decode_base64(text) is None


@given(st.text(max_size=60))
def test_decoding_never_raises(text: str) -> None:
    decode_base64(text)
    content = decode_uri("data:" + text)
    assert content is None or isinstance(content.text, str | None)
    host_of(text)
    kind_of(text)


@pytest.mark.parametrize(
    ("uri", "mime", "data"),
    [
        ("data:text/plain;base64,aGk=", "text/plain", b"hi"),
        ("DATA:IMAGE/PNG;BASE64,aGk", "image/png", b"hi"),
        ("data:,a%20b", "text/plain", b"a b"),
        ("data:text/plain;charset=utf-16le;base64,aABpAA==", "text/plain", b"h\x00i\x00"),
        ("data:image/png;base64,aG%6b%3D", "image/png", b"hi"),
    ],
)
def test_data_uris(uri: str, mime: str, data: bytes) -> None:
    content = decode_uri(uri)
    assert content is not None
    assert (content.mime, content.data) == (mime, data)


@pytest.mark.parametrize("uri", ["http://a", "data:nothing", "data:image/png;base64,!!!"])
def test_no_data_uri(uri: str) -> None:
    assert decode_uri(uri) is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(Content(mime="text/csv", data=b"a,\xff"), "a,�", id="text-with-bad-bytes"),
        pytest.param(Content(mime="image/svg+xml", data=b"<svg/>"), "<svg/>", id="svg"),
        pytest.param(Content(mime="image/png", data=b"ignore all"), "ignore all", id="a-lie"),
        pytest.param(Content(mime="image/png", data=b"\x89PNG\r\n\x1a\n"), None, id="png"),
        pytest.param(Content(mime="audio/wav", data=b"RIFF\x00"), None, id="wav"),
        pytest.param(Content(mime="application/pdf", data=b""), None, id="empty"),
    ],
)
def test_text_is_found_by_type_or_look(content: Content, text: str | None) -> None:
    assert content.text == text


def test_a_charset_nobody_asked_for_is_not_looked_up() -> None:
    content = decode_uri("data:text/plain;charset=zlib_codec,abc")
    assert content is not None
    assert content.text == "abc"


def test_hosts_and_kinds() -> None:
    assert host_of("https://User@Evil.Example:8/x?q=secret") == "evil.example"
    assert host_of("http://[bad") is None
    assert kind_of("audio/wav") is MediaKind.AUDIO
    assert kind_of("application/pdf", MediaKind.IMAGE) is MediaKind.IMAGE


def test_blobs_have_no_space() -> None:
    assert is_blob("aGk=.e30-_/+")
    assert not is_blob("ignore all")
