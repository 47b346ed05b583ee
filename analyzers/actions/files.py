"""Which files a command reads and writes, and which of them are sensitive."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from llmtrace.analyzers.actions.literals import literals
from llmtrace.analyzers.actions.paths import outside, sensitive
from llmtrace.analyzers.actions.script import HOLE, Simple, Word
from llmtrace.analyzers.actions.unwrap import Call, known, programs
from llmtrace.analyzers.actions.values import Access
from llmtrace.domain.findings import Severity

type Touch = tuple[str, Access]

OPENS: Final = re.compile(
    r"(?i)\b(?:open|read\w*|path|file\w*|load\w*|slurp|copy\w*|get-content|write\w*|stream)\b|[<`]"
)
OPTION_VALUE: Final = re.compile(r"^--?[\w-]+=(.+)$", re.DOTALL)
WRITES_TO: Final = frozenset(
    {
        "-o",
        "-O",
        "--output",
        "--output-document",
        "of",
        "-out",
        "--out",
        "-outfile",
        "-destination",
        "-t",
    }
)


def touched(call: Call) -> Iterator[Touch]:
    """Go through the paths that a call names, and whether it reads or writes them."""
    name = call.name
    if name in programs().wrappers:
        return
    if known("names_only", name) or known("shells", name):
        yield from _of_options(call)
        return
    words = [word.text.removeprefix("@") for word in operands(call)]
    if known("writes_all", name):
        yield from ((word, Access.WRITE) for word in words)
    elif known("writes_last", name):
        yield from ((word, Access.READ) for word in words[:-1])
        yield from ((word, Access.WRITE) for word in words[-1:])
    elif name == "dd":
        yield from _dd(call)
    elif not known("key_users", name) and not _quiet(call):
        in_place = name in ("sed", "perl") and any(w.text.startswith("-i") for w in call.args)
        yield from ((word, Access.WRITE if in_place else Access.READ) for word in words)
    yield from _of_options(call)


def _quiet(call: Call) -> bool:
    """Whether a search tells only whether or how often it found something."""
    return known("pattern_first", call.name) and any(
        word.text in ("-q", "--quiet", "-c", "--count", "-L", "-l") for word in call.args
    )


def operands(call: Call) -> list[Word]:
    """Return the words that may be paths: no options, their values, nor patterns."""
    pattern = known("pattern_first", call.name) and not any(
        word.text in programs().sets["pattern_options"] for word in call.args
    )
    words: list[Word] = []
    skipped = programs().sets["value_options"]
    previous = ""
    for word in call.args:
        text = word.text
        if text.startswith("-") and len(text) > 1:
            previous = text
            continue
        if previous in ("-e", "--regexp") and known("pattern_first", call.name):
            pass
        elif pattern:
            pattern = False
        elif previous not in skipped and previous not in WRITES_TO:
            words.append(word)
        previous = ""
    return words


def _of_options(call: Call) -> Iterator[Touch]:
    """Go through the files that options name: ``-o FILE``, ``--data=@FILE``, ``-F a=@FILE``."""
    previous = ""
    for word in call.args:
        text = word.text
        if previous.lower() in WRITES_TO or previous == "-O":
            yield text, Access.WRITE
        elif "@" in text and previous.startswith("-") and call.name != "git":
            path = text.rpartition("@")[2].partition(";")[0]
            if text.startswith("@") or "=@" in text:
                yield path, Access.READ
        elif (value := OPTION_VALUE.match(text)) and not _skipped(text):
            yield value[1].removeprefix("@"), Access.READ
        previous = text if text.startswith("-") else ""


def _skipped(text: str) -> bool:
    return text.partition("=")[0] in programs().sets["value_options"]


def _dd(call: Call) -> Iterator[Touch]:
    for word in call.args:
        key, _, value = word.text.partition("=")
        if key in ("if", "of") and value:
            yield value, Access.READ if key == "if" else Access.WRITE


def redirected(simple: Simple) -> Iterator[Touch]:
    """Go through the files that a command's redirections open."""
    for redirect in simple.redirects:
        target = redirect.target.text
        copied = redirect.operator in (">&", "<&") and target.rstrip("-").isdigit()
        if copied or not target or redirect.operator in ("<<", "<<-", "<<<"):
            continue
        yield target, Access.WRITE if redirect.writes else Access.READ


def sightings(touches: Sequence[Touch], cwd: str) -> Iterator[tuple[str, Severity]]:
    """Go through the rules that hold for accesses to files."""
    for path, access in touches:
        if path not in ("", "-") and "://" not in path.partition("file://")[0] + path[7:]:
            yield from sensitive(path, access, cwd)


def strays(touches: Sequence[Touch], workspace: Sequence[str], cwd: str) -> bool:
    """Whether something is written outside a workspace, where there is one."""
    return any(
        access is Access.WRITE and path not in ("", "-") and outside(path, workspace, cwd)
        for path, access in touches
        if workspace
    )


def of_code(text: str) -> list[Touch]:
    """Return the paths that a program text may open: its strings that look like paths."""
    if not OPENS.search(text):
        return []
    return [
        (one.text, Access.READ)
        for one in literals(text)
        if 3 < len(one.text) < 512 and ("/" in one.text or "\\" in one.text or "." in one.text[:1])
        and HOLE not in one.text and "\n" not in one.text and "://" not in one.text
    ]  # fmt: skip


def reads_secret(call: Call) -> bool:
    """Whether what a call prints is a secret: a sensitive file, or the environment."""
    if call.name in ("env", "printenv", "export", "set", "declare") and not call.args:
        return True
    if call.name in ("tar", "zip", "7z", "gzip", "base64", "xxd", "gpg", "openssl", "scp", "rsync"):
        touches = [(word.text, Access.READ) for word in operands(call)]
    else:
        touches = [touch for touch in touched(call) if touch[1] is Access.READ]
    touches += [touch for touch in redirected(call.simple) if touch[1] is Access.READ]
    grave = (Severity.CRITICAL, Severity.HIGH)
    return any(severity in grave for _, severity in sightings(touches, call.simple.cwd))


def secret_word(word: Word, cwd: str) -> bool:
    """Whether a word names a sensitive file that it would have sent: ``@~/.ssh/id_rsa``."""
    path = word.text.rpartition("@")[2].partition(";")[0]
    return any(
        s in (Severity.CRITICAL, Severity.HIGH) for _, s in sensitive(path, Access.READ, cwd)
    )
