"""What a file's bytes are: a text in some encoding, or something that is no text."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal


class NoText(ValueError):
    """What came is no text; the message says what it is, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How a text stands in a file: whatever decodes comes back byte for byte."""

    name: str
    codec: str
    errors: Literal["surrogateescape", "surrogatepass"] = "surrogatepass"
    mark: bytes = b""
    """The byte order mark that it begins with, which is no part of the text."""

    def decode(self, data: bytes) -> str:
        """Return the text of a file.

        Raises:
            UnicodeDecodeError: It is none of this encoding.
        """
        return data[len(self.mark) :].decode(self.codec, self.errors)

    def encode(self, text: str) -> bytes:
        """Return a text as it stood in its file."""
        return self.mark + text.encode(self.codec, self.errors)


UTF_8: Final = Encoding(name="UTF-8", codec="utf-8", errors="surrogateescape")
"""A byte that is no UTF-8 counts as one code point, so that Latin-1 is a text too."""

_MARKED: Final = tuple(
    Encoding(name=codec.upper()[:6], codec=codec, mark=mark)
    for codec, mark in (
        ("utf-32-le", codecs.BOM_UTF32_LE),  # before UTF-16's, which it begins with
        ("utf-32-be", codecs.BOM_UTF32_BE),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
    )
)
_UNMARKED_LE: Final = Encoding(name="UTF-16LE", codec="utf-16-le")
_UNMARKED_BE: Final = Encoding(name="UTF-16BE", codec="utf-16-be")

_PACKED: Final = "unpack it, and scan what is in it"
_LEAVE: Final = "leave it out, or scan its text"
_LISTED: Final = f"{_LEAVE}; of a list: tr '\\0' '\\n' < FILE | llmtrace scan -"

_SIGNS: Final[Sequence[tuple[int, bytes, str, str]]] = (
    (0, b"\x1f\x8b", "gzip", "unpack it first: gunzip -c FILE | llmtrace scan -"),
    (0, b"PK\x03\x04", "a zip archive", _PACKED),
    (0, b"PK\x05\x06", "a zip archive", _PACKED),
    (0, b"\x28\xb5\x2f\xfd", "zstd", _PACKED),
    (0, b"\xfd7zXZ\x00", "xz", _PACKED),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _PACKED),
    (0, b"Rar!\x1a\x07", "a RAR archive", _PACKED),
    (4, b"1AY&SY", "bzip2", _PACKED),
    (257, b"ustar\x00", "a tar archive", _PACKED),
    (257, b"ustar  \x00", "a tar archive", _PACKED),
    (0, b"%PDF-", "a PDF", _LEAVE),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a Microsoft Office file", _LEAVE),
    (0, b"SQLite format 3\x00", "an SQLite database", _LEAVE),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", _LEAVE),
    (0, b"\xff\xd8\xff", "a JPEG image", _LEAVE),
    (0, b"GIF87a", "a GIF image", _LEAVE),
    (0, b"GIF89a", "a GIF image", _LEAVE),
    (0, b"\x7fELF", "a program", _LEAVE),
    (0, b"\x00asm", "a program", _LEAVE),
)
"""Where a file's kind is written, how, what it is, and what to do with it."""

_MOSTLY: Final = 0.8
"""Share of a UTF-16 text's high bytes that are NUL: it is written in Latin letters for the most
part."""
_HARDLY: Final = 0.05
"""Share of its low bytes that may be NUL."""
_SINGLE: Final = re.compile(rb"[\t\n\r -~]{6}")
"""Letters of one byte each, where every other byte is said to be NUL: ``>>`` of PowerShell writes
UTF-16 behind what was there."""
_SINGLE_IN_MARKED: Final = re.compile(rb"[\t\n\r -~]{20}")
"""The same where letters of East Asia may stand, one in five of which has two such bytes."""
_CONTROLS: Final = bytes({*range(32), 127} - {*b"\b\t\n\v\f\r\x1b"})
_CONTROL_LETTERS: Final = _CONTROLS.decode()
_FEW: Final = 0.02
"""Share of control characters that a text may have; bytes at random have a tenth."""
_FOREIGN: Final = 0.2
"""Share of bytes that may be no UTF-8. Latin-1 has some in a hundred; Shift-JIS, GBK or KOI8, which
no rule would read, have most."""


def read(data: bytes) -> tuple[str, Encoding]:
    """Return the text of a file, and how it is written there.

    Raises:
        NoText: It is none.
    """
    encoding = encoding_of(data)
    try:
        text = encoding.decode(data)
    except UnicodeDecodeError as error:
        raise NoText(f"begins as {encoding.name} and does not go on so; {_convert()}") from error
    single = _SINGLE_IN_MARKED if encoding.mark else _SINGLE
    if encoding is UTF_8:
        _check_bytes(data)
    elif encoding.codec.startswith("utf-16") and single.search(data):
        raise NoText(f"{encoding.name} and another encoding in one file; {_convert()}")
    elif "\x00" in text or sum(map(text.count, _CONTROL_LETTERS)) > len(text) * _FEW:
        raise NoText(_binary(f"control characters, if it is {encoding.name}"))
    return text, encoding


def encoding_of(data: bytes) -> Encoding:
    """Return how a file is written, from all of it or from its beginning.

    Raises:
        NoText: It begins as what is no text.
    """
    for encoding in _MARKED:
        if data.startswith(encoding.mark):
            return encoding
    for start, sign, what, how in _SIGNS:
        if data.startswith(sign, start):
            raise NoText(f"{what}, no text; {how}")
    return _by_nuls(data) or UTF_8


def in_utf_8(data: bytes) -> None:
    """Refuse what JSON cannot be in; the source is RFC 8259, section 8.1.

    Raises:
        NoText: It is no text, or one in another encoding.
    """
    encoding = encoding_of(data)
    if encoding is not UTF_8:
        raise NoText(f"JSON in {encoding.name}; {_convert(encoding)}")


def _by_nuls(data: bytes) -> Encoding | None:
    """Know UTF-16 without a mark by its NULs, where every other byte is one for the most part."""
    units = len(data) // 2
    if units < 2:  # one says nothing
        return None
    even, odd = data[::2].count(0), data[1::2].count(0)
    if odd >= units * _MOSTLY and even <= units * _HARDLY and odd:
        return _UNMARKED_LE
    if even >= units * _MOSTLY and odd <= units * _HARDLY and even:
        return _UNMARKED_BE
    return None


def _check_bytes(data: bytes) -> None:
    if 0 in data:
        raise NoText(_binary("NUL bytes", _LISTED))
    other = len(data) - len(data.decode(errors="ignore").encode())
    odd = len(data) - len(data.translate(None, _CONTROLS))
    if odd > len(data) * _FEW and other:
        raise NoText(_binary("control bytes, and no UTF-8"))
    if other > len(data) * _FOREIGN:
        raise NoText(f"hardly any UTF-8, perhaps a text in an older encoding; {_convert()}")


def _binary(why: str, what_to_do: str = _LEAVE) -> str:
    return f"binary data ({why}), no text; {what_to_do}"


def _convert(encoding: Encoding = UTF_8) -> str:
    source = f" (iconv -f {encoding.name} -t UTF-8)" if encoding is not UTF_8 else ""
    return f"write it in UTF-8{source}"
