"""Commands that delete or open up much at once, judged by what they are aimed at."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from llmtrace.analyzers.actions.expand import joined
from llmtrace.analyzers.actions.paths import resolve, shelf
from llmtrace.analyzers.actions.script import HOLE
from llmtrace.analyzers.actions.unwrap import Call

OF_SYSTEM: Final = re.compile(
    r"^/(?:etc|boot|bin|sbin|lib|lib64|sys|proc|dev|system)/|^/usr/(?:bin|sbin|lib|share|include)(?:/|$)"
    r"|^/var/(?:lib|log|spool|mail|www|db)/?\*?$|^c:/(?:windows|program files)"
)
ANYTHING: Final = re.compile(r"^[*.?{}\[\]!a-z0-9,_-]*\*[*.?{}\[\]!]*$")
EVERYTHING: Final = re.compile(r"^(?:\*|\.\*|\.\[!?\.?\]\*|\{\*,\.\*\}|\*\.\*|\?\*)$")
OPEN_MODE: Final = re.compile(
    r"^(?:0?[0-7]?[67][67][67]|[augo]*o?[augo]*[+=]r?wx?|a\+rwx|\+rwx|o\+w)$"
)
FILTERS: Final = frozenset(
    {"-name", "-iname", "-path", "-regex", "-newer", "-mtime", "-mmin", "-size", "-empty", "-user"}
    | {"-atime", "-wholename", "-ipath", "-perm", "-group"}
)


ALL: Final = frozenset({"*", "**", "/*", "./*", "*/*", "/**", ".*"})
"""What a filter asks for that lets everything through."""


def of_call(call: Call, fed: Sequence[str] = ()) -> Iterator[str]:
    """Go through the rules that hold for a call. ``fed`` are words that ``xargs`` will add."""
    if call.name in ("rm", "srm", "trash", "rimraf", "shred", "unlink", "del-cli"):
        yield from _deleted(call, fed)
    elif call.name == "find":
        yield from _found(call)
    elif call.name in ("chmod", "chown", "chgrp"):
        yield from _opened(call)
    elif call.name == "mv" and call.args[-1:] and call.args[-1].text == "/dev/null":
        yield from _aimed(call, [word.text for word in call.operands()[:-1]])
    elif HOLE in call.name and any(_recursive(word.text) for word in call.args):
        yield from _deleted(call, fed)
    elif call.name == "rsync" and any(word.text.startswith("--delete") for word in call.args):
        yield from _aimed(call, [word.text for word in call.operands()[-1:]])


def _recursive(option: str) -> bool:
    if option.startswith("--"):
        return len(option) > 4 and "--recursive".startswith(option)
    return bool(re.fullmatch(r"-\w*[rR]\w*", option))


def _deleted(call: Call, fed: Sequence[str]) -> Iterator[str]:
    after = next((i for i, word in enumerate(call.args) if word.text == "--"), len(call.args))
    options = [word.text for word in call.args[:after]]
    if fed or call.name in ("rimraf", "trash") or any(map(_recursive, options)):
        targets = [word.text for word in call.operands()] + list(fed)
        yield from _aimed(call, targets)


def _aimed(call: Call, targets: Sequence[str]) -> Iterator[str]:
    """Go through what holds for targets, each rule once."""
    found = {rule for target in targets if (rule := aim(target, call.simple.cwd))}
    yield from sorted(found)


def aim(target: str, cwd: str = "") -> str:
    """Return the rule that holds for deleting a target with all that is in it, empty if none."""
    if HOLE in target:
        rest = target.rpartition(HOLE)[2].rstrip("*.")
        return "delete.variable" if target.startswith(HOLE) and rest == "/" else ""
    path = resolve(joined(target, cwd))
    folder, _, name = path.rpartition("/")
    if EVERYTHING.match(name):
        path = folder or ("/" if path.startswith("/") else ".")
    if path in ("/", "~", "~/..") or re.fullmatch(r"[a-z]:/?", path):
        return "delete.root"
    names = path.lstrip("/").split("/")
    if path.startswith("/") and len(names) == 1:
        return "delete.root" if names[0] in shelf().system or ANYTHING.match(names[0]) else ""
    if OF_SYSTEM.match(path) or path in ("c:/windows", "c:/users"):
        return "delete.root"
    if path.startswith("~/") and len(names) == 2:
        return "delete.personal" if names[1] in shelf().personal else ""
    if path.startswith(".."):
        return "delete.parent" if set(names) <= {".."} else ""
    return "delete.here" if path in (".", ".git") else ""


def _found(call: Call) -> Iterator[str]:
    """``find`` that deletes: all below where it starts, or what a filter lets through."""
    words = [word.text for word in call.args]
    roots = list(_until_option(words))
    deletes = "-delete" in words or re.search(
        r" -(?:exec|execdir|ok|okdir) (?:sudo )?\S*(?:rm|shred|unlink)\b", call.line
    )
    if not deletes:
        return
    rules = {aim(root, call.simple.cwd) for root in roots} & {"delete.root", "delete.parent"}
    if rules:
        filtered = any(a in FILTERS and b not in ALL for a, b in pairwise([*words, ""]))
        yield "delete.filtered" if filtered else sorted(rules)[-1]


def _until_option(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if word in ("-L", "-H", "-P"):
            continue
        if word.startswith(("-", "(", "!")):
            return
        yield word


def _opened(call: Call) -> Iterator[str]:
    words = [word.text for word in call.args]
    operands = [word.text for word in call.operands()]
    if len(operands) < 2:
        return
    opens = call.name != "chmod" or OPEN_MODE.match(operands[0]) is not None
    deep = any(_recursive(word) for word in words)
    aims = {aim(target, call.simple.cwd) for target in operands[1:]}
    if opens and aims & {"delete.root"} and (deep or call.name == "chmod"):
        yield "permissions.open"
