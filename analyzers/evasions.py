"""The ways in which texts are written so that a reader of plain text overlooks what they say.

For measuring alone. After the tables of arXiv 2504.11168 and the OWASP cheat sheet on prompt
injection.
"""

import base64
import codecs
from collections.abc import Callable, Mapping
from typing import Final

LOOK_ALIKES: Final = str.maketrans(
    "aeopcxyIi", "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0406\u0456"
)
LEET: Final = str.maketrans("aeiostAEIOST", "431057431057")
FLIPPED: Final = str.maketrans(
    "abcdefghijklmnopqrstuvwxyz",
    "\u0250q\u0254p\u01dd\u025f\u0183\u0265\u0131\u027e\u029el\u026fuodb\u0279s\u0287n\u028c\u028dx\u028ez",
)
FULL_WIDTH: Final = {code: code + 0xFEE0 for code in range(ord("!"), ord("~") + 1)}
TAGS: Final = {code: code + 0xE0000 for code in range(ord(" "), ord("~") + 1)}


def _selectors(text: str) -> str:
    """Hide each byte behind a face, as a variation selector."""
    return "\U0001f600" + "".join(
        chr(0xFE00 + byte if byte < 16 else 0xE0100 + byte - 16) for byte in text.encode()
    )


def _accents(text: str) -> str:
    return "".join(f"{char}\u0301" if char.isalpha() else char for char in text)


def _spaced(text: str) -> str:
    return "  ".join(" ".join(word) for word in text.split())


EVASIONS: Final[Mapping[str, Callable[[str], str]]] = {
    "zero-width": "\u200b".join,
    "look-alikes": lambda text: text.translate(LOOK_ALIKES),
    "full-width": lambda text: text.translate(FULL_WIDTH),
    "diacritics": _accents,
    "leetspeak": lambda text: text.translate(LEET),
    "letter-spacing": _spaced,
    "upside-down": lambda text: text.lower().translate(FLIPPED)[::-1],
    "right-to-left": lambda text: f"\u202e{text[::-1]}\u202c",
    "tag characters": lambda text: f"Hello.{text.translate(TAGS)}",
    "variation selectors": _selectors,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "ROT13": lambda text: codecs.encode(text, "rot13"),
    "URL escapes": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "HTML escapes": lambda text: "".join(f"&#{ord(char)};" for char in text),
}
"""The ways by name; each takes a text and returns it, written so."""
