"""Reads a path as a system would, and tells which paths are sensitive (``paths.yaml``)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate
from functools import cache, lru_cache
from typing import Final, TypedDict
from urllib.parse import unquote

from llmtrace.analyzers.actions.script import HOLE
from llmtrace.analyzers.actions.tables import table
from llmtrace.analyzers.actions.values import Access
from llmtrace.analyzers.automata import Together, together
from llmtrace.domain.findings import Severity

MAX_PATH: Final = 4096
MAX_REMEMBERED: Final = 1024


HOME_NAMES: Final = re.compile(
    r"(?i)^(?:%userprofile%|%homedrive%%homepath%|%homepath%|\$env:userprofile|\$env:home|"
    r"\$\{env:userprofile\}|\$\{?home\}?|~[a-z_][\w.-]*(?=/|$))"
)
OTHER_NAMES: Final[Sequence[tuple[re.Pattern[str], str]]] = (
    (re.compile(r"(?i)^(?:%(?:local)?appdata%|\$env:(?:local)?appdata)"), "~/appdata/roaming"),
    (re.compile(r"(?i)^(?:%(?:systemroot|windir)%|\$env:(?:systemroot|windir))"), "c:/windows"),
    (re.compile(r"(?i)^(?:%systemdrive%|\$env:systemdrive)"), "c:"),
    (re.compile(r"(?i)^(?:%te?mp%|\$env:te?mp|\$\{?tmpdir\}?)"), "/tmp"),  # noqa: S108  a name
    (re.compile(r"(?i)^(?://[?.]/)(?=[a-z]:/)"), ""),
    (
        re.compile(r"(?i)^/(?:proc/(?:self|\d+)/(?:root|cwd)|host|mnt/host|rootfs|hostfs)(?=/|$)"),
        "",
    ),
    (re.compile(r"(?i)^/(?:mnt|cygdrive)/c(?=/|$)"), "c:"),
    (re.compile(r"(?i)^/private(?=/(?:etc|var|tmp)(?:/|$))"), ""),
)
HOMES: Final = re.compile(
    r"(?i)^(?:/home/[^/]+|/users/(?!shared)[^/]+|/(?:var/)?root|c:/users/[^/]+)(?=/|$)"
)


CLIMBS: Final = re.compile(r"(?:\.\./){3,}(?=(?:etc|root|proc|dev|boot)/)")
"""What goes up so far that it may well end at the root."""
GRAVE: Final = frozenset({Severity.CRITICAL, Severity.HIGH})


class Row(TypedDict, total=False):
    """A row of ``paths.yaml``."""

    id: str
    about: str
    read: str
    write: str
    patterns: list[str]
    samples: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitive:
    """One kind of sensitive file, and how bad it is to read or write it."""

    id: str
    about: str
    read: Severity | None
    write: Severity | None
    patterns: tuple[str, ...]
    unless: re.Pattern[str] | None
    samples: tuple[str, ...]

    def severity(self, access: Access) -> Severity | None:
        """Return how bad an access is, None if it is nothing."""
        if access is Access.LIST:
            return None
        return self.write if access is Access.WRITE else self.read


@dataclass(frozen=True, slots=True)
class Shelf:
    """``paths.yaml`` as it is looked up."""

    rows: tuple[Sensitive, ...]
    matching: Together
    scratch: tuple[str, ...]
    system: frozenset[str]
    personal: frozenset[str]
    samples: Mapping[str, Sensitive]


@cache
def shelf() -> Shelf:
    """Return the shipped table."""
    data = table("paths.yaml")
    rows = tuple(_row(row) for row in data["files"])
    samples = {resolve(sample): row for row in rows for sample in row.samples}
    return Shelf(
        rows,
        together(["(?s)^(?:" + "|".join(map(_regex, row.patterns)) + r")\z" for row in rows]),
        tuple(data["scratch"]),
        frozenset(data["system"]),
        frozenset(data["personal"]),
        samples,
    )


def _row(row: dict[str, object]) -> Sensitive:
    def listed(key: str) -> list[str]:
        values = row.get(key, [])
        return [str(value) for value in values] if isinstance(values, list) else []

    def severity(key: str) -> Severity | None:
        return Severity(str(row[key])) if key in row else None

    unless = listed("except")
    return Sensitive(
        id=str(row["id"]),
        about=str(row["about"]),
        read=severity("read"),
        write=severity("write"),
        patterns=tuple(listed("patterns")),
        unless=re.compile("|".join(map(translate, unless))) if unless else None,
        samples=tuple(listed("samples")),
    )


def _regex(pattern: str) -> str:
    """Return the regular expression of a pattern: ``**/`` any folders, ``*`` within a name."""
    front, body = ("(?:.*/)?", pattern[3:]) if pattern.startswith("**/") else ("", pattern)
    deep = body.endswith("/**")
    body = body.removesuffix("/**")
    told = "".join(
        "(?:[^/]+/)*" if piece == "**/" else "[^/]*" if piece == "*" else
        piece if piece.startswith("[") else re.escape(piece)
        for piece in re.findall(r"\*\*/|\*|\[[^\]]*\]|[^*\[]+", body)
    )  # fmt: skip
    return f"{front}{told}{'(?:/.*)?' if deep else ''}"


def resolve(path: str, cwd: str = "") -> str:
    """Return a path as it is compared: lower-case, ``/`` between names, ``~`` for any home.

    What is relative is so to ``cwd``, a path that was resolved, or stays relative.
    """
    return HOMES.sub("~", place(path, cwd), count=1)


@lru_cache(maxsize=MAX_REMEMBERED)
def place(path: str, cwd: str = "") -> str:
    """Return a path like ``resolve``, but with the homes that it names themselves."""
    text = path[:MAX_PATH].strip().lower()
    if text.startswith("file:"):
        text = re.sub(r"^file:(?://(?:localhost)?(?=/))?", "", unquote(text))
        text = re.sub(r"^/(?=[a-z]:)", "", text)
    text = text.replace("\\", "/")
    text = HOME_NAMES.sub("~", text, count=1)
    for name, meant in OTHER_NAMES:
        text = (name.sub(meant, text, count=1) or "/") if text else text
    text = re.sub(r":\$(?:data|index_allocation).*$|::.*$", "", text)
    if cwd and not text.startswith(("/", "~")) and text[1:2] != ":":
        text = f"{cwd}/{text}"
    return _lexical(text)


def _lexical(text: str) -> str:
    """Resolve ``.``, ``..`` and doubled slashes, as far as the text tells."""
    root = "/" if text.startswith("/") else ""
    names: list[str] = []
    for name in text.split("/"):
        if name in ("", "."):
            continue
        if name != "..":
            names.append(name)
        elif not names or names[-1] == "..":
            if not root:
                names.append("..")
        elif names[-1] == "~" and len(names) == 1:
            names = ["/home"]
        elif names[-1].endswith(":"):
            continue
        else:
            names.pop()
    return root + "/".join(names) or ("/" if root else ".")


def sensitive(path: str, access: Access, cwd: str = "") -> Iterator[tuple[str, Severity]]:
    """Go through the rules that hold for an access to a path, the worst severity first.

    A path with wildcards is what it could match; only the first rule of equal severity is told.
    """
    told = resolve(path, cwd)
    found = [
        (row.id, severity) for row in _rows(told) if (severity := row.severity(access)) is not None
    ]
    if climbed := CLIMBS.match(told):
        rows = _rows(told[climbed.end() - 1 :])
        found += [
            (row.id, severity)
            for row in rows
            if (severity := row.severity(access)) is not None and severity in GRAVE
        ]
    order = list(Severity)
    yield from sorted(found, key=lambda pair: order.index(pair[1]))[:1]


@lru_cache(maxsize=MAX_REMEMBERED)
def _rows(path: str) -> tuple[Sensitive, ...]:
    if path.startswith(("/dev/null", "/dev/std", "/dev/fd")):
        return ()
    name = path.rpartition("/")[2]
    matched = shelf().matching.Match(path.encode("utf-8", "replace")) or ()
    named = (shelf().rows[index] for index in sorted(matched))
    rows = [row for row in named if not (row.unless and row.unless.match(name))]
    if re.search(r"[*?\[]", path) and "/" in path.strip("*/"):
        rows += [row for sample, row in shelf().samples.items() if fnmatchcase(sample, path)]
    return tuple(rows)


def outside(path: str, workspace: Sequence[str], cwd: str = "") -> bool:
    """Whether a path lies in none of the folders of a workspace, nor in scratch space.

    A relative path is taken to start in a workspace; one that climbs out of it is outside.
    """
    if HOLE in path:
        return False
    spot = place(path, cwd)
    if not spot.startswith(("/", "~")) and spot[1:2] != ":":
        return spot == ".." or spot.startswith("../")
    known = {spot, resolve(path, cwd)}
    roots = {form(root) for root in workspace for form in (place, resolve)}
    return not any(_within(one, root) for one in known for root in (*roots, *shelf().scratch))


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
