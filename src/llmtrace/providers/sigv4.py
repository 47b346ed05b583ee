"""AWS Signature Version 4 in the ``Authorization`` header: read it, check it, write it anew.

Source: "Create a signed AWS API request" in AWS's IAM user guide; the vectors of the test suite
that AWS published with it are tests. Paths are encoded once more than they are sent, as every
service but S3 expects.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote, unquote_to_bytes

ALGORITHM: Final = "AWS4-HMAC-SHA256"
AUTHORIZATION: Final = "authorization"
DATE: Final = "x-amz-date"
DIGEST: Final = "x-amz-content-sha256"
TOKEN: Final = "x-amz-security-token"  # noqa: S105  the name of a header
HOST: Final = "host"
_BYTES: Final = ("utf-8", "surrogateescape")
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_MOMENT: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_HEADER: Final = re.compile(
    rf"{ALGORITHM} +Credential=(?P<key>[^/,\s]{{1,128}})/(?P<day>[0-9]{{8}})"
    r"/(?P<region>[a-z0-9-]{1,64})/(?P<service>[a-z0-9-]{1,64})/aws4_request *, *"
    r"SignedHeaders=(?P<names>[!#$%&'*+.0-9^_`a-z|~;-]{1,4096}) *, *"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)


class NotSignable(ValueError):
    """A request is not signed in a way in which it could be signed anew. Quotes nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsKeys:
    """Credentials of an AWS account. ``repr`` shows nothing of them."""

    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    """The session token of credentials that do not last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """A request as it is sent.

    ``target`` is path and query, ``host`` the value of Host or ``:authority``, ``body_sha256`` the
    hash of the body in hexadecimal digits.
    """

    method: str
    host: str
    target: str
    headers: Sequence[tuple[str, str]]
    body_sha256: str

    def values(self, name: str) -> list[str]:
        """Return all values of a header, by lower-case name."""
        if name == HOST:
            return [self.host] if self.host else []
        return [value for key, value in self.headers if key.lower() == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What an ``Authorization`` header says: by which key, for what, over which headers."""

    key_id: str
    day: str
    region: str
    service: str
    names: tuple[str, ...]
    """The headers that are signed, in lower case and in order."""
    digits: str

    @property
    def scope(self) -> str:
        """For what the signature is good."""
        return f"{self.day}/{self.region}/{self.service}/aws4_request"

    def __str__(self) -> str:
        names = ";".join(self.names)
        credential = f"{self.key_id}/{self.scope}"
        return (
            f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={self.digits}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """By which keys a request may be signed anew, and what it was signed for before."""

    signature: Signature
    keys: AwsKeys

    @property
    def is_own(self) -> bool:
        """Whether the keys are those that it was signed with before."""
        return self.signature.key_id == self.keys.key_id


def read_signature(request: SignedRequest) -> Signature:
    """Return the signature of a request.

    Raises:
        NotSignable: There is none, or none of the whole body: one in the query, one of chunks,
            one by another algorithm, or one that leaves host or date open.
    """
    said = request.values(AUTHORIZATION)
    found = _HEADER.fullmatch(said[0]) if len(said) == 1 else None
    if found is None:
        raise NotSignable(f"it has no {ALGORITHM} signature in one Authorization header")
    names = tuple(found["names"].split(";"))
    if names != tuple(sorted({*names})):
        raise NotSignable("its SignedHeaders are not in order")
    dates, digests = request.values(DATE), request.values(DIGEST)
    if len(dates) != 1 or not _MOMENT.fullmatch(dates[0]) or dates[0][:8] != found["day"]:
        raise NotSignable(f"its {DATE} is missing, or of another day than its scope")
    if {HOST, DATE} - {*names}:
        raise NotSignable("its signature is not about host and date")
    if digests and not (len(digests) == 1 and _HEX.fullmatch(digests[0])):
        raise NotSignable(f"its {DIGEST} is no hash of the whole body")
    return Signature(
        key_id=found["key"],
        day=found["day"],
        region=found["region"],
        service=found["service"],
        names=names,
        digits=found["signature"],
    )


def is_valid(request: SignedRequest, signature: Signature, keys: AwsKeys) -> bool:
    """Whether a request was signed, as it is, by who has these keys."""
    if signature.key_id != keys.key_id:
        return False
    if any(digest != request.body_sha256 for digest in request.values(DIGEST)):
        return False
    return hmac.compare_digest(signature.digits, _digits(request, signature, keys))


def sign(request: SignedRequest, signing: Signing) -> Mapping[str, str]:
    """Sign a request for what it was signed for before, and for the time that it was.

    Headers that were signed and are gone are left out.

    Returns:
        The headers to set, by lower-case name; an empty value takes one out.
    """
    signature, keys = signing.signature, signing.keys
    made = {TOKEN: keys.token}
    if request.values(DIGEST):
        made[DIGEST] = request.body_sha256
    kept = [(name, value) for name, value in request.headers if name.lower() not in made]
    headers = [*kept, *((name, value) for name, value in made.items() if value)]
    as_sent = replace(request, headers=headers)
    names = {*signature.names, TOKEN} if keys.token else {*signature.names} - {TOKEN}
    present = tuple(sorted(names & _by_name(as_sent).keys()))
    signed = replace(signature, key_id=keys.key_id, names=present)
    signed = replace(signed, digits=_digits(as_sent, signed, keys))
    return {**made, AUTHORIZATION: str(signed)}


def _digits(request: SignedRequest, signature: Signature, keys: AwsKeys) -> str:
    (moment,) = request.values(DATE)
    hashed = _sha256(canonical(request, signature.names))
    text = f"{ALGORITHM}\n{moment}\n{signature.scope}\n{hashed}"
    key = f"AWS4{keys.secret}".encode()
    for part in (signature.day, signature.region, signature.service, "aws4_request"):
        key = _hmac(key, part)
    return _hmac(key, text).hex()


def canonical(request: SignedRequest, names: Iterable[str]) -> str:
    """Return the canonical request: what both sides make of it, and sign."""
    path, _, query = request.target.partition("?")
    names, values = list(names), _by_name(request)
    headers = [f"{name}:{','.join(map(_plain, values.get(name, ())))}\n" for name in names]
    lines = [request.method, _path(path), _query(query), "".join(headers), ";".join(names)]
    return "\n".join([*lines, request.body_sha256])


def _by_name(request: SignedRequest) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {HOST: [request.host]} if request.host else {}
    for name, value in request.headers:
        if (lower := name.lower()) != HOST:
            found.setdefault(lower, []).append(value)
    return found


def _path(path: str) -> str:
    """Encode a path once more; empty and dot segments are taken out."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    last = "/" if kept and path.endswith("/") else ""
    return quote(f"/{'/'.join(kept)}{last}".encode(*_BYTES), safe="/~")


def _query(query: str) -> str:
    pairs = (part.partition("=") for part in query.split("&") if part)
    encoded = sorted((_again(name), _again(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _again(text: str) -> str:
    return quote(unquote_to_bytes(text.encode(*_BYTES)), safe="~")


def _plain(value: str) -> str:
    return " ".join(value.split())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(*_BYTES)).hexdigest()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(*_BYTES), "sha256")
