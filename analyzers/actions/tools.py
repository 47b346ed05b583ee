"""Tells what a tool use does, from the tool's name and the shape of its arguments."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, islice
from typing import Final, TypedDict

import orjson

from llmtrace.analyzers.actions.arguments import Leaf, looks_like_json, read_leaves
from llmtrace.analyzers.actions.budget import Budget
from llmtrace.analyzers.actions.literals import tool_calls
from llmtrace.analyzers.actions.tables import table
from llmtrace.analyzers.actions.values import Access, Deed, DeedKind, ToolUse

MAX_DEEDS: Final = 512
MAX_CODE: Final = 1024 * 1024
"""Longest program text in which calls of tools are looked for."""

MAX_CHARS: Final = 1024 * 1024
"""Longest text of arguments that is read; what comes after it is not."""

SURROGATE: Final = re.compile("[\ud800-\udfff]")
PATCHED: Final = re.compile(
    r"^(?:\*\*\* (?:Add File|Update File|Delete File|Move to): |\+\+\+ (?:b/)?)([^\t\r\n]+)", re.M
)
FILE_URL: Final = re.compile(r"(?i)^file:/")
COMMANDS: Final = frozenset({"command", "words"})
DEEDS: Final[Mapping[str, tuple[DeedKind, Access | None]]] = {
    "file": (DeedKind.FILE, None),
    "write": (DeedKind.FILE, Access.WRITE),
    "read": (DeedKind.FILE, Access.READ),
    "url": (DeedKind.URL, None),
    "code": (DeedKind.CODE, None),
    "skill": (DeedKind.SKILL, None),
    "text": (DeedKind.TEXT, None),
    "command": (DeedKind.COMMAND, None),
    "commands": (DeedKind.COMMAND, None),
}


class Row(TypedDict, total=False):
    """A row of ``tools`` in ``tools.yaml``."""

    names: list[str]
    free: str
    access: str
    windows: bool
    keys: dict[str, str]
    reads: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """What is known of a tool. ``free`` is what arguments are that are no JSON.

    ``reads`` are the values of its ``action`` that write nothing.
    """

    free: str = "text"
    access: Access = Access.READ
    windows: bool = False
    keys: Mapping[str, str]
    reads: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Tables:
    """``tools.yaml`` as it is looked up."""

    keys: Mapping[str, str]
    tools: Mapping[str, Tool]
    writes: re.Pattern[str]


@cache
def tables() -> Tables:
    """Return the shipped tables."""
    data = table("tools.yaml")
    keys = {key: meaning for meaning, names in data["keys"].items() for key in names}
    return Tables(
        keys=keys,
        tools={name: _tool(row, keys) for row in data["tools"] for name in row["names"]},
        writes=re.compile("|".join(data["writes"])),
    )


def _tool(row: Row, keys: Mapping[str, str]) -> Tool:
    return Tool(
        free=row.get("free", "text"),
        access=Access(row.get("access", "read")),
        windows=row.get("windows", False),
        keys={**keys, **row.get("keys", {})},
        reads=frozenset(row.get("reads", ())),
    )


def short_name(name: str) -> str:
    """Return the part of a tool's name that says what it does, as ``tools.yaml`` writes it."""
    last = re.split(r"__|[./:]", name[:256])[-1] or name[:256]
    return plain(last)


def plain(word: str) -> str:
    """Return a name or key without case, ``_`` and ``-``."""
    return re.sub(r"[^a-z0-9]", "", word[:64].lower())


def tool_of(name: str) -> Tool:
    """Return what is known of a tool, or guessed from its name."""
    shelf, short = tables(), short_name(name)
    if short in shelf.tools:
        return shelf.tools[short]
    writes = shelf.writes.search(short)
    return Tool(access=Access.WRITE if writes else Access.READ, keys=shelf.keys)


def clean(use: ToolUse) -> ToolUse:
    """Return the use with its arguments within bounds and free of lone surrogates.

    Offsets stay what they are.
    """
    return ToolUse(use.name[:256], SURROGATE.sub("\ufffd", use.arguments[:MAX_CHARS]))


def deeds(use: ToolUse, budget: Budget | None = None) -> list[Deed]:
    """Return what a cleaned use does, in the order of its arguments, at most ``MAX_DEEDS``.

    ``budget`` is told where that was not all.
    """
    budget = budget or Budget()
    found = list(islice(_deeds(use, budget), MAX_DEEDS + 1))
    budget.cut = budget.cut or len(found) > MAX_DEEDS
    return found[:MAX_DEEDS]


def _deeds(use: ToolUse, budget: Budget) -> Iterator[Deed]:
    tool, text = tool_of(use.name), use.arguments
    free = Leaf((), text, 0, len(text), True)
    if not looks_like_json(text):
        yield from _of_value(tool, tool.free, [free], tool.access)
        return
    leaves = list(read_leaves(text, budget))
    yield from _of_leaves(tool, leaves)
    if tool.free != "text" and not _is_json(text):
        yield from _of_value(tool, tool.free, [free], tool.access)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


def _of_leaves(tool: Tool, leaves: Sequence[Leaf]) -> Iterator[Deed]:
    access = _access(tool, leaves)
    for (parent, meaning), group in groupby(_flat(leaves), key=lambda leaf: _place(tool, leaf)):
        run = list(group)
        if meaning == "command":
            yield from _argv(tool, run, parent, leaves)
        else:
            yield from _of_value(tool, meaning, run, access)


def _flat(leaves: Iterable[Leaf], depth: int = 0) -> Iterator[Leaf]:
    """Go through the leaves, and through those of JSON that is written as a string."""
    for leaf in leaves:
        yield leaf
        if depth < 2 and leaf.text[:1] == "{" and '":' in leaf.text:
            for inner in _flat(read_leaves(leaf.text), depth + 1):
                path = (*leaf.path, *inner.path)
                yield Leaf(path, inner.text, leaf.start, leaf.end, False)


def _place(tool: Tool, leaf: Leaf) -> tuple[tuple[str | int, ...], str]:
    """Return where the value stands whose part the leaf is, and what it means."""
    path = leaf.path
    while path and isinstance(path[-1], int):
        path = path[:-1]
    if not path:
        return path, tool.free
    return path, tool.keys.get(plain(str(path[-1])), "nothing")


def _access(tool: Tool, leaves: Sequence[Leaf]) -> Access:
    """Return what a tool does with its files; one with an operation, by that operation."""
    for leaf in leaves:
        if tool.reads and _place(tool, leaf)[1] == "action":
            return Access.READ if plain(leaf.text) in tool.reads else Access.WRITE
    return tool.access


def _argv(
    tool: Tool, run: Sequence[Leaf], parent: tuple[str | int, ...], leaves: Sequence[Leaf]
) -> Iterator[Deed]:
    """A command: a line, its words as an array, or a program with its words beside it."""
    listed = run[0].path != parent
    beside = [leaf for leaf in leaves if _sibling(tool, parent, leaf)]
    if not listed and not beside:
        yield from _of_value(tool, "command", run, tool.access)
    elif listed and len(run) > 1 and " " in run[0].text.strip():
        yield from _of_value(tool, "commands", run, tool.access)
    elif listed and len(run) == 1:
        yield from _of_value(tool, "command", run, tool.access)
    else:
        head = [] if listed else [run[0].text]
        words = [leaf.text for leaf in (*run, *beside)][len(head) :]
        line = " ".join([*head, *map(_quote, words)])
        start = min(leaf.start for leaf in (*run, *beside))
        end = max(leaf.end for leaf in (*run, *beside))
        yield Deed(kind=DeedKind.COMMAND, text=line, start=start, end=end, windows=tool.windows)


def _sibling(tool: Tool, parent: tuple[str | int, ...], leaf: Leaf) -> bool:
    place, meaning = _place(tool, leaf)
    return meaning == "words" and place[:-1] == parent[:-1] and leaf.path != place


def _quote(word: str) -> str:
    return word if word in ("&&", "||", "|", ";", ">", ">>") else shlex.quote(word)


def _of_value(tool: Tool, meaning: str, run: Sequence[Leaf], access: Access) -> Iterator[Deed]:
    for leaf in run:
        if meaning == "patch":
            yield from _patched(leaf)
        elif meaning == "code":
            yield _deed(leaf, DeedKind.CODE)
            yield from _called(leaf)
        elif meaning == "url" and FILE_URL.match(leaf.text):
            yield _deed(leaf, DeedKind.FILE, access)
        elif meaning in DEEDS and leaf.text.strip():
            kind, own = DEEDS[meaning]
            yield replace(_deed(leaf, kind, own or access), windows=tool.windows)


def _deed(leaf: Leaf, kind: DeedKind, access: Access = Access.READ) -> Deed:
    return Deed(
        kind=kind,
        text=leaf.text,
        start=leaf.start,
        end=max(leaf.end, leaf.start + 1),
        exact=leaf.exact,
        access=access,
    )


def _patched(leaf: Leaf) -> Iterator[Deed]:
    """The files that a patch writes."""
    for found in PATCHED.finditer(leaf.text):
        deed = _deed(leaf, DeedKind.FILE, Access.WRITE)
        path = found[1].strip()
        if path == "/dev/null" or not path:
            continue
        if leaf.exact:
            start = leaf.start + found.start(1)
            deed = replace(deed, start=start, end=start + len(path))
        yield replace(deed, text=path)


def _called(leaf: Leaf) -> Iterator[Deed]:
    """What the tools do that a program calls (``await tools.exec_command({cmd: "…"})``)."""
    for name, inner in tool_calls(leaf.text[:MAX_CODE]):
        tool = tool_of(name)
        for deed in _of_leaves(tool, inner):
            start = leaf.start + deed.start if leaf.exact else leaf.start
            end = leaf.start + deed.end if leaf.exact else leaf.end
            yield replace(deed, start=start, end=end, exact=deed.exact and leaf.exact)
