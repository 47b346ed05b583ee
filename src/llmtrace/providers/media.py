"""Media inside JSON: base64 and ``data:`` URIs, what they hold, and the text among them.

``data:`` URIs: RFC 2397. Base64: RFC 4648 §4 and §5; line breaks and missing padding are
accepted, since providers accept them.
"""

import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from llmtrace.domain.parts import Media, MediaKind, Part

ENCRYPTED: Final = "application/x-encrypted"
"""Media type given to what only the provider can read, such as encrypted reasoning."""
NUMBERS: Final = "application/x-token-ids"
"""Media type given to a prompt that is a list of token ids."""
CREDENTIAL: Final = "application/x-credential"
"""Media type given to a key that a request hands on to somebody else: it is read by nobody."""

_OURS: Final = frozenset({ENCRYPTED, NUMBERS, CREDENTIAL})

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*")
_BLOB: Final = re.compile(r"[A-Za-z0-9+/=_.-]*")
_CREDENTIAL: Final = re.compile(r"(?:[A-Za-z]{1,20} )?[!-~]{1,4096}")
_SPACE: Final = re.compile(r"[ \t\r\n]+")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_SNIFFED: Final = 512
_TEXTUAL: Final = frozenset(
    {"application/json", "application/xml", "application/javascript", "application/x-ndjson"}
)
_PAGES: Final = frozenset({"application/pdf", "application/x-pdf"})
"""Types of documents that are looked at as pages, whatever letters stand in their files."""
_CHARSETS: Final = frozenset(
    {"utf-8", "utf-16", "utf-16le", "utf-16be", "utf-32", "us-ascii", "iso-8859-1", "windows-1252"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Decoded media. ``mime`` is lower case and without parameters."""

    mime: str
    data: bytes
    charset: str = "utf-8"

    @property
    def text(self) -> str | None:
        """What it says, where it is text, by its type or by its look; else None."""
        if _is_text(self.mime):
            return self.data.decode(self.charset, errors="replace")
        return _sniffed_text(self.data)


def _is_text(mime: str) -> bool:
    return mime.startswith("text/") or mime in _TEXTUAL or mime.endswith("+xml")


def claimed(mime: str) -> str:
    """Return a type that a client claims: none of those that are given here."""
    ours = mime.partition(";")[0].strip().lower() in _OURS
    return "application/octet-stream" if ours else mime


def unseen(parts: Iterable[Part], media: Iterable[Media]) -> list[Media]:
    """Return the media of a request that may say more than the texts read of it.

    A text at the place of media may be its address alone, or the letters that happen to stand in
    the file of an image: neither is what the model will see. What the provider encrypted, such as
    what its model thought, is none of them: it reads back only what it wrote itself.
    """
    read = {part.path for part in parts}
    others = (one for one in media if one.mime != ENCRYPTED)
    return [one for one in others if one.path not in read or not _is_read_whole(one)]


def _is_read_whole(media: Media) -> bool:
    """Whether all that media says is in the text that was read at its place."""
    mime = media.mime.partition(";")[0].strip()
    if media.sha256 is None or mime in _PAGES:
        return False
    return _is_text(mime) or kind_of(mime, media.kind) is MediaKind.FILE


def _sniffed_text(data: bytes) -> str | None:
    """Text behind a type that says otherwise: UTF-8 without control characters."""
    if not data or _CONTROL.search(data, 0, _SNIFFED):
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def decode_base64(text: str) -> bytes | None:
    """Decode base64 of either alphabet, or return None where this is none."""
    packed = _SPACE.sub("", text).rstrip("=").replace("-", "+").replace("_", "/")
    if len(packed) % 4 == 1 or not _BASE64.fullmatch(packed):
        return None
    return binascii.a2b_base64(packed + "=" * (-len(packed) % 4))


def is_blob(text: str) -> bool:
    """Whether this can be base64 or a token of one's own making: no space, no other sign."""
    return _BLOB.fullmatch(text) is not None


def is_credential(text: str) -> bool:
    """Whether this can be a key: one token, with or without its scheme (``Bearer …``)."""
    return _CREDENTIAL.fullmatch(text) is not None


def decode_uri(uri: str) -> Content | None:
    """Decode a ``data:`` URI, or return None where this is none or its data is broken."""
    if uri[:5].lower() != "data:":
        return None
    head, comma, payload = uri[5:].partition(",")
    if not comma:
        return None
    mime, *parameters = (piece.strip().lower() for piece in head.split(";"))
    if "base64" in parameters:
        data = decode_base64(unquote_to_bytes(payload).decode("latin-1"))
    else:
        data = unquote_to_bytes(payload)
    if data is None:
        return None
    return Content(mime=mime or "text/plain", data=data, charset=_charset(parameters))


def _charset(parameters: list[str]) -> str:
    named = (p.removeprefix("charset=").strip('"') for p in parameters if p.startswith("charset="))
    charset = next(named, "utf-8")
    return charset if charset in _CHARSETS else "utf-8"


def host_of(url: str) -> str | None:
    """Return the host that a URL names, lower case, or None."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def kind_of(mime: str, default: MediaKind = MediaKind.FILE) -> MediaKind:
    """Return what a media type is; ``default`` where its first word does not say."""
    try:
        return MediaKind(mime.partition("/")[0])
    except ValueError:
        return default
