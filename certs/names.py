"""Which hosts a CA may speak for: permitted subtrees (RFC 5280 §4.2.1.10) and their guard."""

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

MAX_SUBTREES: Final = 1024
MAX_NAME: Final = 253
PUBLIC_SUFFIXES: Final = frozenset(
    [
        "ai",
        "app",
        "biz",
        "cloud",
        "com",
        "dev",
        "edu",
        "gov",
        "info",
        "int",
        "io",
        "mil",
        "net",
        "org",
        "localdomain",
    ]
)
"""Top-level names that are never one host. Two letters and ``xn--`` names are never, too."""
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


class MintRefused(PermissionError):
    """A certificate was asked for a name that the gateway does not govern."""


def canonical(host: str) -> str:
    """Return a DNS name in lower case, as A-labels, without the final dot; or an IP address.

    Raises:
        ValueError: It is neither.
    """
    name = host.strip().rstrip(".").lower()
    if address := _address(name):
        return str(address)
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise ValueError(f"{host!r} is no DNS name: it cannot be written in ASCII") from error
    if len(name) > MAX_NAME or not all(map(_LABEL.fullmatch, name.split("."))):
        raise ValueError(f"{host!r} is no DNS name: expected labels of a-z, 0-9 and '-'")
    return name


def subtrees(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names as permitted subtrees: sorted, none beneath another.

    A subtree permits its own name and every name beneath it, so ``*.example.com`` and
    ``.example.com`` are written ``example.com``. An IP address permits itself.

    Raises:
        ValueError: There is no name at all, too many, or one that would permit a whole
            top-level domain.
    """
    wanted = {_subtree(name) for name in names}
    if not 0 < len(wanted) <= MAX_SUBTREES:
        raise ValueError(f"{len(wanted)} permitted host names; expected 1 to {MAX_SUBTREES}")
    return tuple(sorted(n for n in wanted if not permits(wanted - {n}, n)))


def _subtree(name: str) -> str:
    found = canonical(name.strip().removeprefix("*").removeprefix("."))
    if "." not in found and not _address(found) and _is_top_level(found):
        raise ValueError(
            f"{name!r} would permit a whole top-level domain; "
            "name the host in full, such as 'api.example.com'"
        )
    return found


def _is_top_level(label: str) -> bool:
    return label in PUBLIC_SUFFIXES or len(label) <= 2 or label.startswith("xn--")


def permits(permitted: Iterable[str], host: str) -> bool:
    """Whether ``host`` is one of the subtrees or beneath one. Never raises."""
    try:
        name = canonical(host)
    except ValueError:
        return False
    steps = [name] if _address(name) else name.split(".")
    parents = {".".join(steps[i:]) for i in range(len(steps))}
    return not parents.isdisjoint(permitted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What the CA's constraint and the configuration disagree about.

    ``missing`` hosts are governed, but clients would refuse them; ``extra`` subtrees are no
    longer governed, and the CA may still speak for them.
    """

    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra)


def difference(permitted: Iterable[str], wanted: Iterable[str]) -> Difference:
    """Compare the subtrees that a CA has with those that it should have."""
    have, want = frozenset(permitted), subtrees(wanted)
    return Difference(
        missing=tuple(n for n in want if not permits(have, n)),
        extra=tuple(sorted(n for n in have if not permits(want, n))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MintGuard:
    """Says for which names a leaf may be made: governed, and within the CA's constraint.

    Attributes:
        permitted: The CA's subtrees.
        governs: Whether the gateway intercepts this host (canonical name).
    """

    permitted: frozenset[str]
    governs: Callable[[str], bool]

    def allows(self, name: str) -> bool:
        """Whether a leaf may carry this name. Never raises unless ``governs`` does."""
        return permits(self.permitted, name) and self.governs(canonical(name))

    def check(self, names: Iterable[str]) -> None:
        """Let a leaf with all these names pass.

        Raises:
            MintRefused: It would have no name, or one that is not allowed.
        """
        asked = tuple(dict.fromkeys(names))
        refused = [name for name in asked if not self.allows(name)]
        if refused or not asked:
            raise MintRefused(
                f"no certificate for {', '.join(map(repr, refused)) or 'an empty name'}: "
                "expected governed hosts only. Add the host under 'intercept' if it should be one."
            )


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name[1:-1] if name[:1] + name[-1:] == "[]" else name)
    except ValueError:
        return None
