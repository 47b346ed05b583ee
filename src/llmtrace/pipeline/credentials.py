"""Keeps credentials out of everything that is recorded."""

import hmac
import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import parse_qsl, unquote

from llmtrace.domain.parts import Path
from llmtrace.providers.clients import CREDENTIAL_HEADERS, CREDENTIAL_QUERY
from llmtrace.storage.keys import PREFIX

MASK: Final = "[credential]"
MIN_LENGTH: Final = 8
"""Shorter values are no secrets worth hiding, and hiding them would garble bodies."""
MOST: Final = 64
"""Credentials of one call: everything that is kept is searched for each of them."""


_PREFIX: Final = PREFIX.encode()
_OWN: Final = re.compile(rf"{PREFIX}[0-9A-Za-z_]{{16,}}")
"""What looks like an LLMTrace key, cut short or mistyped ones too."""
_OWN_BYTES: Final = re.compile(_OWN.pattern.encode())


class TooManyCredentials(ValueError):
    """A call carries more credentials than ``MOST``."""

    def __init__(self) -> None:
        super().__init__(f"the request has over {MOST} credentials, cookies included")


class Credentials:
    """The credentials that one call carries: known so that they can be taken out.

    Raises:
        TooManyCredentials: There are more than ``MOST``.
    """

    def __init__(self, headers: Iterable[tuple[str, str]], query: str = "") -> None:
        values: list[str] = []
        for name, value in headers:
            if name.lower() in CREDENTIAL_HEADERS:
                values += _values(value)
        for name, value in parse_qsl(query, max_num_fields=None) if query else ():
            if name.lower() in CREDENTIAL_QUERY:
                values += [value]
        self.principal = next((v for v in values if not v.startswith(PREFIX)), "")
        """The first credential of the provider's: who pays, as far as it knows."""
        self._values: list[str] = []
        self._raw: list[bytes] = []
        self._take(values)

    def _take(self, values: Iterable[str]) -> None:
        wanted = {*self._values, *(v for v in values if len(v) >= MIN_LENGTH)}
        if len(wanted) > MOST:
            raise TooManyCredentials
        self._values = sorted(wanted, key=len, reverse=True)
        self._raw = [v.encode("utf-8", "surrogatepass") for v in self._values]

    def add(self, value: object) -> None:
        """Learn a credential that stands in a body: a text, or the texts of an object.

        Raises:
            TooManyCredentials: There are more than ``MOST`` now.
        """
        if isinstance(value, str):
            self._take(_values(value))
        elif isinstance(value, dict):
            self._take(text for v in value.values() if isinstance(v, str) for text in _values(v))

    def scrub(self, text: str) -> str:
        """Take the credentials out of a text, and whatever looks like an LLMTrace key."""
        if PREFIX in text:
            text = _OWN.sub(MASK, text)
        for value in self._values:
            if value in text:
                text = text.replace(value, MASK)
        return text

    def scrub_bytes(self, content: bytes) -> bytes:
        """Take them out of a body."""
        if _PREFIX in content:
            content = _OWN_BYTES.sub(MASK.encode(), content)
        for value in self._raw:
            if value in content:
                content = content.replace(value, MASK.encode())
        return content


def value_at(body: object, path: Path) -> object:
    """Return what stands at a path of a JSON document, None if nothing does."""
    for step in path:
        if isinstance(step, int) and isinstance(body, list) and step < len(body):
            body = body[step]
        elif isinstance(step, str) and isinstance(body, dict):
            body = body.get(step)
        else:
            return None
    return body


def fingerprint(secret: bytes, value: str) -> str:
    """Return a keyed hash by which the same credential is known again, 12 hex digits."""
    message = value.encode("utf-8", "surrogateescape")
    return hmac.digest(secret, message, "sha256").hex()[:12]


def _values(header: str) -> Sequence[str]:
    """Return what in a header is secret: the value without its scheme, each cookie's value."""
    scheme, _, rest = header.partition(" ")
    if rest and scheme.isalnum():
        header = rest.strip()
    values = [header]
    if "=" in header:
        for item in header.replace(",", ";").split(";"):
            _, _, value = item.strip().partition("=")
            values.append(unquote(value.strip('"')))
    return values
