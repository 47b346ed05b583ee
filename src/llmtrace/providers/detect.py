"""What a request is: which provider, in which dialect, doing what.

Asked in this order: the header ``X-LLMTrace-Provider``, the host, the path, other headers, the
shape of the body. The provider is a name and may be anybody's word; how a call is read follows
from its path alone wherever the path is known, so that nothing which a client says of itself
makes the gateway read it as what it is not.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final
from urllib.parse import unquote_to_bytes

import yaml

from llmtrace.providers.base import Json, Route, Target
from llmtrace.providers.hosts import BadHost, HostTable, split_host

MAX_PATH: Final = 8192
"""Characters of a path, before it is decoded."""
MAX_SEGMENTS: Final = 64
"""Segments of a path, empty ones included: the table's cost grows with them."""

GENERIC: Final = "generic"
UNKNOWN_PROVIDER: Final = "unknown"
"""The provider where nothing says who it is."""

_ESCAPE: Final = re.compile(r"%[0-9a-fA-F]{2}")
_BAD: Final = re.compile(r"[\x00-\x1f\x7f\\]")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9a-fA-F]{2})")


class BadPath(ValueError):
    """A path that servers read in different ways: it is refused, not guessed at."""


def canonical_path(raw: str) -> str:
    """Return the one path that every spelling of a route is compared by.

    Query and fragment go, escapes are decoded once, ``;parameters`` go, empty and ``.``
    segments go, as does a trailing slash. Case stays, since models stand in paths; routes are
    compared without it. ``*`` (of OPTIONS) stays.

    Raises:
        BadPath: It does not begin with a slash, is too long or too deep, climbs by ``..``,
            holds control characters or a backslash, is not UTF-8, or is escaped twice or wrongly.
    """
    if len(raw) > MAX_PATH:
        raise BadPath(f"path has {len(raw)} characters, expected at most {MAX_PATH}")
    path = re.split(r"[?#]", raw, maxsplit=1)[0]
    if path in {"", "*"}:
        return path or "/"
    if path[0] != "/":
        raise BadPath("path does not begin with '/'")
    return _canonical(path)


@lru_cache(maxsize=64)  # up to MAX_PATH characters each
def _canonical(path: str) -> str:
    segments = [segment.partition(";")[0] for segment in _decoded(path).split("/")]
    if len(segments) > MAX_SEGMENTS + 1:
        raise BadPath(f"path has {len(segments) - 1} segments, expected at most {MAX_SEGMENTS}")
    if ".." in segments:
        raise BadPath("path has a segment '..'")
    return "/" + "/".join(segment for segment in segments if segment not in {"", "."})


def _decoded(path: str) -> str:
    if _BROKEN_ESCAPE.search(path):
        raise BadPath("path has a '%' that begins no escape")
    try:
        decoded = unquote_to_bytes(path).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise BadPath("path is not UTF-8") from error
    if _BAD.search(decoded):
        raise BadPath("path has a control character or a backslash")
    if _ESCAPE.search(decoded):
        raise BadPath("path is escaped twice")
    return decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRow:
    """One row of ``routes.yaml``."""

    path: re.Pattern[str]
    operation: str
    methods: frozenset[str]
    families: frozenset[str]
    provider: str
    dialect: str
    stream: bool | None
    billable: bool

    def fits(self, method: str, family: str) -> bool:
        """Tell whether the row is for this method and family; an unknown family fits all."""
        return (not self.methods or method in self.methods) and (
            not self.families or not family or family in self.families
        )


@cache
def route_table() -> tuple[RouteRow, ...]:
    """Read the table that comes with the package."""
    text = (files("llmtrace.providers") / "routes.yaml").read_text(encoding="utf-8")
    return tuple(_row(row) for row in yaml.safe_load(text))


def _row(row: Mapping[str, object]) -> RouteRow:
    def names(key: str) -> frozenset[str]:
        values = row.get(key, [])
        return frozenset(map(str, values)) if isinstance(values, list) else frozenset()

    stream = row.get("stream")
    return RouteRow(
        path=re.compile(str(row["path"]), re.IGNORECASE | re.DOTALL),
        operation=str(row["operation"]),
        methods=names("methods"),
        families=names("families"),
        provider=str(row.get("provider", "")),
        dialect=str(row.get("dialect", GENERIC)),
        stream=stream if isinstance(stream, bool) else None,
        billable=row.get("billable") is not False,
    )


@lru_cache(maxsize=1024)
def _match(method: str, path: str, family: str) -> tuple[RouteRow, str] | None:
    """Return the first row that fits, and the model that the path names."""
    for row in route_table():
        if row.fits(method, family) and (found := row.path.fullmatch(path)):
            return row, found.groupdict().get("model") or ""
    return None


PROVIDER_HEADERS: Final = (
    ("anthropic-version", "anthropic"),
    ("anthropic-beta", "anthropic"),
    ("x-goog-api-key", "gemini"),
    ("x-goog-api-client", "gemini"),
    ("x-amzn-bedrock-accept", "bedrock"),
    ("api-key", "azure"),
)
"""Headers whose name alone says who is asked; no value is looked at."""


def route(
    target: Target, *, provider_hint: str = "", body: Json | None = None, hosts: HostTable
) -> Route:
    """Tell what a request is. Never fails: what nobody knows is read generically.

    Args:
        target: Where it goes; its ``path`` is canonical (``canonical_path``), a port in its
            ``host`` comes before its ``port``.
        provider_hint: The value of ``X-LLMTrace-Provider``, or an empty string.
        body: The request's JSON, where it is known already.
        hosts: Who answers where.
    """
    hinted = hosts.resolve_provider(provider_hint) if provider_hint else None
    host, by_host = _by_host(target, hosts)
    provider = hinted or by_host or ""
    family = hosts.family(by_host) or hosts.family(hinted)
    method = target.method.upper()
    matched = _match(method, target.path, family)
    if matched:
        return _route(*matched, provider or _by_row(matched[0], target))
    provider = provider or _by_headers(target)
    shaped = None if hosts.is_shipped(host) else _by_shape(target.headers, body)
    if shaped:
        return Route(provider=provider or shaped[1], dialect=shaped[0], operation="chat")
    return Route(
        provider=provider or UNKNOWN_PROVIDER, dialect=GENERIC, operation="other", generic=True
    )


def _by_row(row: RouteRow, target: Target) -> str:
    """Return who a path suggests: where it tells no dialect, a header knows better."""
    told = row.provider if row.dialect != GENERIC else ""
    return told or _by_headers(target) or row.provider or UNKNOWN_PROVIDER


def _route(row: RouteRow, model: str, provider: str) -> Route:
    return Route(
        provider=provider,
        dialect=row.dialect,
        operation=row.operation,
        model=model,
        stream=row.stream,
        billable=row.billable,
        generic=row.dialect == GENERIC,
    )


def _by_host(target: Target, hosts: HostTable) -> tuple[str, str | None]:
    try:
        host, port = split_host(target.host)
    except BadHost:
        return "", None
    return host, hosts.provider_of(host, port or target.port)


def _by_headers(target: Target) -> str:
    return next((name for header, name in PROVIDER_HEADERS if header in target.headers), "")


def _by_shape(headers: Mapping[str, str], body: Json | None) -> tuple[str, str] | None:
    """Tell a dialect, and its usual provider, from a body that came by an unknown path."""
    if not isinstance(body, dict):
        return None
    if isinstance(body.get("contents"), list):
        return "gemini.generate", "gemini"
    if isinstance(body.get("messages"), list):
        if "anthropic-version" in headers or "anthropic_version" in body:
            return "anthropic.messages", "anthropic"
        if isinstance(body.get("model"), str):
            return "openai.chat", "openai"
    return None


UNPREFIXED: Final = ("/openai/deployments/",)
"""Paths that begin like a provider's name and are none: Azure's own."""


def split_reverse(
    path: str, *, hosts: HostTable, method: str = "POST", headers: Mapping[str, str] | None = None
) -> tuple[str | None, str]:
    """Split a path of reverse mode into who is meant and the path to ask there.

    ``/anthropic/v1/messages`` is Anthropic's ``/v1/messages``. Without a provider's name in
    front the path itself says who is meant by default, or nobody (None). The rest is as it
    came, with its query.

    Raises:
        BadPath: As ``canonical_path``.
    """
    canonical = canonical_path(path)
    first, slash, rest = path.removeprefix("/").partition("/")
    name, mark, query = first.partition("?")
    prefixed = None if canonical.lower().startswith(UNPREFIXED) else hosts.named(name)
    if prefixed:
        return prefixed, f"/{rest}" if slash and not mark else f"/{mark}{query}{slash}{rest}"
    asked = Target(method=method, host="", path=canonical, headers=headers or {})
    provider = route(asked, hosts=hosts).provider
    return (None if provider == UNKNOWN_PROVIDER else provider), path
