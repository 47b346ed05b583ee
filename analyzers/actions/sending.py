"""Tells whether a tool call would send what stands in it, by its name and by what it runs."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from llmtrace.analyzers.actions.budget import Budget, Exhausted
from llmtrace.analyzers.actions.syntax import read_script
from llmtrace.analyzers.actions.tables import table
from llmtrace.analyzers.actions.tokens import read_tokens
from llmtrace.analyzers.actions.tools import MAX_CHARS, clean, deeds, plain, short_name
from llmtrace.analyzers.actions.unwrap import Call, Nested, programs, unwrap
from llmtrace.analyzers.actions.urls import urls_in
from llmtrace.analyzers.actions.values import Deed, DeedKind, ToolUse

LISTS: Final = ("senders", "downloaders", "connectors", "remotes")
"""Of ``commands.yaml``: programs that speak to other hosts."""
MAX_COMMAND: Final = 128 * 1024
MAX_DEPTH: Final = 4
MAX_WORDS: Final = 4
"""Words of a tool's name that are looked up together: ``add_comment_to_issue``."""
_NAME_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@dataclass(frozen=True, slots=True)
class Sending:
    """``sending.yaml`` as it is looked up."""

    programs: frozenset[str]
    subcommands: Mapping[str, frozenset[str]]
    anywhere: re.Pattern[str]
    tools: frozenset[str]
    stays: frozenset[str]


@cache
def tables() -> Sending:
    """Return the shipped table."""
    data = table("sending.yaml")
    named = frozenset(data["programs"]).union(*(programs().sets[name] for name in LISTS))
    plainly = sorted(named - set(data["words"]) - set(data["subcommands"]))
    anywhere = [rf"(?<![\w-])(?:{'|'.join(map(re.escape, plainly))})(?![\w-])", *data["code"]]
    return Sending(
        programs=named,
        subcommands={name: frozenset(words) for name, words in data["subcommands"].items()},
        anywhere=re.compile("|".join(anywhere), re.IGNORECASE),
        tools=frozenset(data["tools"]),
        stays=frozenset(data["stays"]),
    )


def sends(use: ToolUse) -> bool:
    """Whether a tool call would carry what stands in it to another host, as far as can be told.

    What is too much to be read is taken for a call that does.
    """
    kept, budget = clean(use), Budget(cut=len(use.arguments) > MAX_CHARS)
    try:
        carries = any(_carries(deed, budget) for deed in deeds(kept, budget))
    except Exhausted:
        return True
    return carries or budget.cut or sends_by_name(kept.name)


def sends_by_name(name: str) -> bool:
    """Whether a tool sends by what it is called: ``send_email``, ``WebSearch``, ``slack.post``."""
    words = [word.lower() for word in _NAME_WORD.findall(name[:256])]
    joined = (
        "".join(words[first:last])
        for first in range(len(words))
        for last in range(first + 1, min(first + MAX_WORDS, len(words)) + 1)
    )
    known, whole = tables(), {plain(name), short_name(name)}
    if plain(name) in known.stays:
        return False
    return not known.tools.isdisjoint(whole) or not known.tools.isdisjoint(joined)


def _carries(deed: Deed, budget: Budget) -> bool:
    if deed.kind is DeedKind.TEXT:
        return any(True for _ in urls_in(deed.text))
    if deed.kind not in (DeedKind.COMMAND, DeedKind.CODE):
        return deed.kind is DeedKind.URL
    if tables().anywhere.search(deed.text):
        return True
    if deed.kind is DeedKind.CODE:
        return False
    return any(map(_is_sender, _calls(deed.text, budget, 0, windows=deed.windows)))


def _is_sender(call: Call) -> bool:
    known = tables()
    if call.name not in known.subcommands:
        return call.name in known.programs
    words = known.subcommands[call.name]
    return any(word.text.lower() in words for word in call.args)


def _calls(text: str, budget: Budget, depth: int, *, windows: bool) -> Iterator[Call]:
    """Go through the programs that a command line runs, those in its scripts too."""
    if depth > MAX_DEPTH or len(text) > MAX_COMMAND:
        raise Exhausted
    budget.parse(len(text))
    script = read_tokens(text, windows=True) if windows else read_script(text, budget)
    if script.broken:
        script = read_tokens(text, windows=False)
    if not script.complete:
        raise Exhausted
    for simple in script.simples():
        for one in unwrap(simple):
            budget.step(1)
            if isinstance(one, Call):
                yield one
            elif one.language != "code":
                yield from _nested(one, budget, depth)


def _nested(nested: Nested, budget: Budget, depth: int) -> Iterator[Call]:
    yield from _calls(nested.text, budget, depth + 1, windows=nested.language == "windows")
