"""Reading a request: small readers that put together say what stands where, and miss nothing.

A ``Reader`` reads one JSON value into a ``Reading``. Dialects build theirs from the ones here:
``members`` reads an object by a table of its keys, ``each`` a list, ``by_type`` picks by the
member ``type``. Completeness is built in: a key or type that no table names is read generically,
so its strings become parts too, with the role of what holds it and untrusted. Only strings under
the keys of ``Reading.known`` that look like a token (``leaves.is_token``) are left out.

Nothing here raises on any JSON value, and nothing changes the value that is read.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import orjson

from llmtrace.domain.answers import Unread
from llmtrace.domain.parts import ORIGIN_OF, Media, MediaKind, Origin, Part, Path, Role
from llmtrace.providers import media as med
from llmtrace.providers.base import Json, Route, ToolDefinition
from llmtrace.providers.leaves import is_token, strings

MAX_PARTS: Final = 200_000
"""Strings of one request that are read. What is beyond is counted in ``Reading.unread``."""

_MAX_STRUCTURE: Final = 48
"""Path length from which structure is not followed any more: everything below is read flat."""

SCHEMA_KEYS: Final = frozenset(
    {"type", "format", "required", "$ref", "$schema", "$id", "$defs", "additionalProperties"}
)
"""Members of a JSON schema whose values are keywords and names."""


class Voice(NamedTuple):
    """Who speaks, and whether the agent's owner wrote it."""

    role: Role
    origin: Origin

    @property
    def untrusted(self) -> "Voice":
        """The same role, from elsewhere."""
        return Voice(self.role, Origin.UNTRUSTED)


SYSTEM, USER, ASSISTANT, TOOL_CALL, TOOL_RESULT, TOOL_DESCRIPTION = (
    Voice(role, ORIGIN_OF[role]) for role in Role
)
UNKNOWN: Final = USER.untrusted
"""The voice of what nobody knows: somebody's, not trusted."""


class Reading:
    """What has been read of one request so far.

    ``known`` are the keys whose values are ids, names and keywords in this dialect.
    """

    def __init__(self, known: frozenset[str] = frozenset()) -> None:
        self.known = known
        self.parts: list[Part] = []
        self.media: list[Media] = []
        self.tools: list[ToolDefinition] = []
        self._beyond = 0

    @property
    def unread(self) -> tuple[Unread, ...]:
        """What was over ``MAX_PARTS``."""
        return (Unread(reason="too_large", size=self._beyond),) if self._beyond else ()

    def part(self, text: str, path: Path, voice: Voice) -> None:
        """Add a text. An empty one is none."""
        if not text:
            return
        if len(self.parts) >= MAX_PARTS:
            self._beyond += len(text)
            return
        self.parts.append(Part(role=voice[0], origin=voice[1], path=path, text=text))

    def strings(self, value: Json, path: Path, voice: Voice, *, numbers: bool = False) -> None:
        """Add every string below ``value``, whatever its key, and with ``numbers`` long ones."""
        for where, text in strings(value, path, numbers=numbers):
            self.leaf(text, where, voice)

    def leaf(self, text: str, path: Path, voice: Voice) -> None:
        """Add one string: a ``data:`` URI as media, anything else as a text."""
        content = med.decode_uri(text) if text[:1] in "dD" else None
        if content is None:
            self.part(text, path, voice)
        else:
            self.content(content, path, voice, med.kind_of(content.mime))

    def rest(self, key: str, value: Json, path: Path, voice: Voice) -> None:
        """Add what stands under a key that no table names."""
        known = self.known if key in self.known else frozenset[str]()
        if isinstance(value, str) and known and is_token(value):
            return
        for where, text in strings({key: value}, path, known=known):
            self.leaf(text, where, voice.untrusted)

    def content(self, content: med.Content, path: Path, voice: Voice, kind: MediaKind) -> None:
        """Add decoded media and, where it is text, what it says: both have the same path."""
        self._media(content.data, path, voice, kind, med.claimed(content.mime))
        if (text := content.text) is not None:
            self.part(text, path, voice)

    def base64(self, text: str, path: Path, voice: Voice, kind: MediaKind, mime: str = "") -> None:
        """Add media that stands as base64. What is no base64 is read as the text it is."""
        if text[:5].lower() == "data:":
            self.leaf(text, path, voice)
        elif (data := med.decode_base64(text)) is None:
            self.part(text, path, voice)
        else:
            self.content(med.Content(mime=mime.lower(), data=data), path, voice, kind)

    def url(self, text: str, path: Path, voice: Voice, kind: MediaKind) -> None:
        """Add media that stands as a URL. The URL itself is read: it can carry a message."""
        if (content := med.decode_uri(text)) is not None:
            self.content(content, path, voice, kind)
            return
        self.reference(path, voice, kind, host=med.host_of(text))
        self.part(text, path, voice)

    def reference(
        self, path: Path, voice: Voice, kind: MediaKind, *, mime: str = "", host: str | None = None
    ) -> None:
        """Add media that the request only refers to."""
        mime = med.claimed(mime)
        self.media.append(
            Media(role=voice[0], origin=voice[1], path=path, kind=kind, mime=mime, host=host)
        )

    def withheld(self, path: Path, voice: Voice) -> None:
        """Add a key that the request hands on: it is read by nobody."""
        kind, mime = MediaKind.FILE, med.CREDENTIAL
        self.media.append(Media(role=voice[0], origin=voice[1], path=path, kind=kind, mime=mime))

    def opaque(self, data: bytes, path: Path, voice: Voice, mime: str = med.ENCRYPTED) -> None:
        """Add what cannot be read by anybody but the provider."""
        self._media(data, path, voice, MediaKind.FILE, mime)

    def _media(self, data: bytes, path: Path, voice: Voice, kind: MediaKind, mime: str) -> None:
        digest = hashlib.sha256(data).hexdigest()
        self.media.append(
            Media(
                role=voice[0],
                origin=voice[1],
                path=path,
                kind=kind,
                mime=mime,
                size=len(data),
                sha256=digest,
            )
        )


type Reader = Callable[[Reading, Json, Path, Voice], None]


def text(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    """Read a text, or whatever stands in its place."""
    if isinstance(value, str):
        reading.part(value, path, voice)
    elif value is not None:
        reading.strings(value, path, voice)


def anything(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    """Read every string and long number, whatever its key: data that the caller's tools define."""
    reading.strings(value, path, voice, numbers=True)


def opaque(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    """Read a blob that only the provider understands. What cannot be base64 is a text."""
    if isinstance(value, str) and med.is_blob(value):
        if value:
            reading.opaque(value.encode(), path, voice)
    else:
        reading.strings(value, path, voice)


def credential(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    """Pass over keys, noting where they stand. What is no key is a text."""
    for where, found in strings(value, path):
        if med.is_credential(found) and found != where[-1]:
            reading.withheld(where, voice)
        else:
            reading.part(found, where, voice.untrusted)


def schema(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
    """Read a JSON schema: descriptions, titles, enumerations, examples; not its keywords."""
    for where, found in strings(value, path, known=SCHEMA_KEYS, sticky=True):
        reading.part(found, where, voice)


def speaking(voice: Voice, reader: Reader) -> Reader:
    """Read with another voice than what holds it."""

    def read(reading: Reading, value: Json, path: Path, _: Voice) -> None:
        reader(reading, value, path, voice)

    return read


def untrusted(reader: Reader) -> Reader:
    """Read as something that came from elsewhere: a document, a search result."""

    def read(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
        reader(reading, value, path, voice.untrusted)

    return read


def members(table: Mapping[str, Reader] | None = None, /, **more: Reader) -> Reader:
    """Read an object: the members that have a reader by it, all others generically."""
    readers = {**(table or {}), **more}

    def read(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
        if not isinstance(value, dict) or len(path) > _MAX_STRUCTURE:
            reading.strings(value, path, voice)
            return
        for key, item in value.items():
            reader = readers.get(key)
            if reader is not None:
                reader(reading, item, (*path, key), voice)
            elif isinstance(item, (str, list, dict)) or key not in reading.known:
                reading.rest(key, item, path, voice)

    return read


def each(reader: Reader) -> Reader:
    """Read a list, element by element, or the one value that stands in its place."""

    def read(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
        if isinstance(value, list):
            for index, item in enumerate(value):
                reader(reading, item, (*path, index), voice)
        elif value is not None:
            reader(reading, value, path, voice)

    return read


def by_type(
    table: Mapping[str, Reader], *, key: str = "type", other: Reader | None = None
) -> Reader:
    """Read an object by what its member ``key`` says it is, and a string as a text."""
    fallback = other or members()

    def read(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
        if isinstance(value, str):
            reading.part(value, path, voice)
        elif isinstance(value, dict):
            name = value.get(key)
            reader = table.get(name, fallback) if isinstance(name, str) else fallback
            reader(reading, value, path, voice)
        else:
            reading.strings(value, path, voice)

    return read


def media_url(kind: MediaKind) -> Reader:
    """Read media given by its URL, a ``data:`` URI included."""

    def read(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
        if isinstance(value, str):
            if value:
                reading.url(value, path, voice, kind)
        else:
            reading.strings(value, path, voice)

    return read


def media_base64(kind: MediaKind, mime: str = "") -> Reader:
    """Read media given as base64."""

    def read(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
        if isinstance(value, str):
            if value:
                reading.base64(value, path, voice, kind, mime)
        else:
            reading.strings(value, path, voice)

    return read


def media_id(kind: MediaKind) -> Reader:
    """Read media given by the provider's own id of it."""

    def read(reading: Reading, value: Json, path: Path, voice: Voice) -> None:
        if isinstance(value, str) and is_token(value):
            if value:
                reading.reference(path, voice, kind)
        else:
            reading.strings(value, path, voice)

    return read


def tool(definition: Reader, *, name: Callable[[dict[str, Json]], Json]) -> Reader:
    """Read a tool's definition, remember the tool, and speak as its description."""

    def read(reading: Reading, value: Json, path: Path, _: Voice) -> None:
        if isinstance(value, dict):
            named = as_str(name(value))
            reading.tools.append(ToolDefinition(name=named, digest=tool_digest(value)))
        definition(reading, value, path, TOOL_DESCRIPTION)

    return read


_CACHE_MARKS: Final = frozenset({"cache_control", "cachePoint"})


def tool_digest(definition: Json) -> str:
    """SHA-256 of a tool's definition.

    Neither the order of its keys matters nor whether a cache ends at it: agents move that mark
    from turn to turn, and the tool stays what it was.
    """
    if isinstance(definition, dict):
        definition = {key: value for key, value in definition.items() if key not in _CACHE_MARKS}
    try:
        canonical = orjson.dumps(definition, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # too deep, or a lone surrogate: what it says still tells it apart
        canonical = ascii(list(strings(definition))).encode()
    return hashlib.sha256(canonical).hexdigest()


def streams(body: Json, route: Route) -> bool:
    """Whether an answer in a stream is asked for: by the path, where it says so, or the body."""
    return as_dict(body).get("stream") is True if route.stream is None else route.stream


def as_str(value: Json) -> str:
    """Return the value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def as_dict(value: Json) -> dict[str, Json]:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Json) -> list[Json]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_int(value: Json) -> int | None:
    """Return the value if it is an integer (true and false are none), else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_count(value: Json, default: int | None = None) -> int | None:
    """Return the value if it can be a count: an integer from 0 up to 2⁵³."""
    number = as_int(value)
    return number if number is not None and 0 <= number <= 1 << 53 else default
