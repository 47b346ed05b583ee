"""base64 and data URIs: what they hold, and the text among them."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.domain.parts import Media, MediaKind, Origin, Role
from llmtrace.providers.base import Route
from llmtrace.providers.media import (
    CREDENTIAL,
    ENCRYPTED,
    NUMBERS,
    Content,
    decode_base64,
    decode_uri,
    host_of,
    is_blob,
    kind_of,
    unseen,
)
from llmtrace.providers.registry import dialect


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


ADDRESS = "https://files.example/a"
TEXT = base64.b64encode(b"hello there").decode()
CHAT, RESPONSES, ANTHROPIC = "openai.chat", "openai.responses", "anthropic.messages"
GEMINI, BEDROCK = "gemini.generate", "bedrock.converse"


def said(name: str, block: dict[str, Any]) -> dict[str, Any]:
    """Return a request of a dialect whose user says one block."""
    if name == GEMINI:
        return {"contents": [{"role": "user", "parts": [block]}]}
    holder = "input" if name == RESPONSES else "messages"
    return {holder: [{"role": "user", "content": [block]}]}


def hidden(name: str, body: dict[str, Any]) -> list[bool]:
    """Return of each media of a request whether nobody has seen it."""
    route = Route(provider="", dialect=name, operation="chat")
    view = dialect(name).request(body, route)
    return [one in unseen(view.parts, view.media) for one in view.media]


@pytest.mark.parametrize(
    ("name", "block"),
    [
        (CHAT, {"type": "image_url", "image_url": {"url": ADDRESS}}),
        (CHAT, {"type": "video_url", "video_url": {"url": ADDRESS}}),
        (CHAT, {"type": "document_url", "document_url": ADDRESS}),
        (RESPONSES, {"type": "input_image", "image_url": ADDRESS}),
        (RESPONSES, {"type": "input_file", "file_url": ADDRESS}),
        (ANTHROPIC, {"type": "image", "source": {"type": "url", "url": ADDRESS}}),
        (ANTHROPIC, {"type": "document", "source": {"type": "url", "url": ADDRESS}}),
        (GEMINI, {"fileData": {"mimeType": "text/plain", "fileUri": ADDRESS}}),
        (BEDROCK, {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a/b"}}}}),
        ("cohere.chat", {"type": "image_url", "image_url": {"url": ADDRESS}}),
    ],
)
def test_nobody_has_seen_what_is_sent_by_its_address(name: str, block: dict[str, Any]) -> None:
    assert hidden(name, said(name, block)) == [True]


def test_nobody_has_heard_what_is_sent_by_its_id() -> None:
    spoken = {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}
    assert hidden(CHAT, {"messages": [spoken]}) == [True]
    assert hidden(CHAT, {"messages": [{**spoken, "audio": None}]}) == []


@pytest.mark.parametrize(
    ("mime", "is_hidden"),
    [
        ("text/plain", False),
        ("text/csv; charset=utf-8", False),
        ("application/json", False),
        ("image/svg+xml", False),
        ("application/octet-stream", False),
        ("application/pdf", True),
        (" Application/PDF ; version=1", True),
        ("image/png", True),
        ("audio/wav", True),
        ("video/mp4", True),
    ],
)
def test_letters_in_a_file_are_what_it_says_only_where_its_type_is_text(
    mime: str, is_hidden: bool
) -> None:
    source = {"type": "base64", "media_type": mime, "data": TEXT}
    body = said(ANTHROPIC, {"type": "document", "source": source})
    assert hidden(ANTHROPIC, body) == [is_hidden]


def test_an_image_without_a_type_is_an_image_whatever_letters_stand_in_it() -> None:
    body = {"messages": [{"role": "user", "content": "hi", "images": [TEXT]}]}
    assert hidden("ollama.chat", body) == [True]


@pytest.mark.parametrize(
    ("name", "block"),
    [
        (ANTHROPIC, {"type": "redacted_thinking", "data": "EmwKAhgB" * 8}),
        (GEMINI, {"text": "so", "thoughtSignature": "EmwKAhgB" * 8}),
    ],
)
def test_what_the_provider_encrypted_is_nothing_to_be_looked_into(
    name: str, block: dict[str, Any]
) -> None:
    assert hidden(name, said(name, block)) == [False]


@pytest.mark.parametrize("mime", [ENCRYPTED, NUMBERS, CREDENTIAL, f"{ENCRYPTED.upper()} ;a=b"])
def test_no_client_says_that_its_media_is_encrypted(mime: str) -> None:
    image = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"
    inline = {"inlineData": {"mimeType": mime, "data": image}}
    source = {"type": "base64", "media_type": mime, "data": image}
    uri = {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{image}"}}
    file = {"fileData": {"mimeType": mime, "fileUri": ADDRESS}}
    assert hidden(GEMINI, said(GEMINI, inline)) == [True]
    assert hidden(GEMINI, said(GEMINI, file)) == [True]
    assert hidden(ANTHROPIC, said(ANTHROPIC, {"type": "image", "source": source})) == [True]
    assert hidden(CHAT, said(CHAT, uri)) == [True]


def test_what_was_not_read_is_not_seen_whatever_its_type() -> None:
    media = Media(
        role=Role.USER,
        origin=Origin.TRUSTED,
        path=("a",),
        kind=MediaKind.FILE,
        mime="text/plain",
        sha256="0" * 64,
    )
    assert unseen([], [media]) == [media]
