"""Tells whether an address carries a text in code: in its host, its path or its query."""

import binascii
import re
from base64 import b32decode, urlsafe_b64decode
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import unquote

MAX_READ: Final = 4096
"""Code points of an address that are read."""
LEAST_CODE: Final = 16
"""Characters that a coded text has at least."""
LEAST_TEXT: Final = 10
"""Bytes that it has at least when it is decoded: by chance, one in 20,000 of that length reads."""

_SCHEME: Final = re.compile(r"^(?:[a-z]+(?::|&#?\w+;))?[/\\]*", re.IGNORECASE)
_HOST: Final = re.compile(r"[/\\?#]")
_CODE: Final = re.compile(rf"[A-Za-z0-9+_-]{{{LEAST_CODE},}}")
_SLASHED: Final = re.compile(rf"[A-Za-z0-9+/]{{{LEAST_CODE},}}")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_BASE32: Final = re.compile(r"[A-Za-z2-7]+")
_MIXED: Final = re.compile(rf"(?=.*[A-Z])(?=.*[a-z])(?=.*\d)[\w-]{{{LEAST_CODE},63}}", re.ASCII)
_SAFE: Final = str.maketrans("+/", "-_")
_IMAGE: Final = re.compile(r"https?://[^\s?#]+\.(?:png|jpe?g|gif|webp|avif|svg)", re.IGNORECASE)


def carries_text(address: str) -> bool:
    """Whether base64, base32 or hexadecimal digits in an address say something.

    So does a label of its host in mixed case, which no name server needs. Names of files, hashes
    and keys decode to no text; the address of another image, as proxies have it, is none either.
    """
    told = unquote(address[:MAX_READ])
    rest = _SCHEME.sub("", told, count=1)
    host = _HOST.split(rest, maxsplit=1)[0]
    labels = host.rpartition("@")[2].split(":")[0].split(".")
    return any(map(_MIXED.fullmatch, labels)) or any(map(_says, _codes(host, labels, rest)))


def _codes(host: str, labels: list[str], rest: str) -> Iterator[str]:
    """Go through what may be a code: also one that was cut into labels or segments."""
    behind = rest[len(host) :]
    yield from _CODE.findall(host)
    yield "".join(labels[:-2])
    yield from _CODE.findall(behind)
    yield from _SLASHED.findall(behind)
    yield "".join(re.split(r"[/\\]", behind.partition("?")[0]))


def _says(code: str) -> bool:
    sized = len(code) >= LEAST_CODE and code.isascii()
    return sized and any(map(_is_text, _decoded(code)))


def _decoded(code: str) -> Iterator[bytes]:
    if _HEX.fullmatch(code):
        yield bytes.fromhex(code)
    with suppress(binascii.Error):
        if _BASE32.fullmatch(code):
            yield b32decode(code.upper() + "=" * (-len(code) % 8))
    with suppress(binascii.Error):
        whole = code[:-1] if len(code) % 4 == 1 else code
        yield urlsafe_b64decode(whole.translate(_SAFE) + "=" * (-len(whole) % 4))


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    readable = len(data) >= LEAST_TEXT and all(c.isprintable() or c in "\n\r\t" for c in text)
    letters = sum(map(str.isalpha, text))
    return readable and letters * 2 >= len(text) and _IMAGE.fullmatch(text) is None
