"""What a shell makes of words: quotes, variables, braces, and substitutions of known outcome."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from llmtrace.analyzers.actions import decode
from llmtrace.analyzers.actions.script import HOLE, Script

SPLIT: Final = "\x00"
"""Stands where an unquoted expansion ends one word and begins the next."""

MAX_BRACES: Final = 64
KNOWN: Final[Mapping[str, str]] = {
    "HOME": "~",
    "USERPROFILE": "~",
    "PWD": ".",
    "TMPDIR": "/tmp",  # noqa: S108  a name in somebody else's script
    "TEMP": "/tmp",  # noqa: S108
    "TMP": "/tmp",  # noqa: S108
    "USER": "user",
    "LOGNAME": "user",
    "IFS": " ",
    "SHELL": "/bin/bash",
    "BASH": "/bin/bash",
}
NOTHING: Final = re.compile(r"[@*#?!_\-0-9]+")
PARAMETER: Final = re.compile(
    r"\$\{(?P<name>!?\w+|[@*#?!-])(?P<operation>:?[-=+?]|:|##?|%%?|//?|\^\^?|,,?)?(?P<rest>.*)\}\Z",
    re.DOTALL,
)
ANSI: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|(.))", re.DOTALL
)
LETTERS: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "f": "\f"}
BRACES: Final = re.compile(r"^([^{}]*)\{([^{}]*)\}(.*)$", re.DOTALL)
ESCAPED: Final = re.compile(r"\\(\n|.)", re.DOTALL)
ESCAPED_IN_QUOTES: Final = re.compile(r'\\([$`"\\\n])')


def unquoted(text: str, *, quoted: bool = False) -> str:
    """Return a literal without its backslashes, as outside or inside double quotes."""
    if "\\" not in text:
        return text
    pattern = ESCAPED_IN_QUOTES if quoted else ESCAPED
    return pattern.sub(lambda found: "" if found[1] == "\n" else found[1], text)


def ansi_c(text: str) -> str:
    r"""Return what ``$'…'`` says: ``\x72`` is r."""
    return ANSI.sub(_ansi, text)


def _ansi(found: re.Match[str]) -> str:
    two, octal, four, eight, letter = found.groups()
    if octal:
        return chr(int(octal, 8) & 0xFF)
    if code := two or four or eight:
        value = int(code, 16)
        return chr(value) if value < 0xD800 or 0xE000 <= value < 0x110000 else "\ufffd"
    return LETTERS.get(letter, letter)


def variable(name: str, variables: Mapping[str, str], *, quoted: bool) -> str:
    """Return the value of ``$name``; what is unknown is a hole, what is unset is nothing."""
    if NOTHING.fullmatch(name):
        return ""
    value = variables.get(name, KNOWN.get(name, HOLE))
    if quoted:
        return value.replace(SPLIT, " ")
    return re.sub(r"\s+", SPLIT, value)


def expansion(text: str, variables: Mapping[str, str], *, quoted: bool) -> str:
    """Return the value of ``${name…}``: defaults and slices of what is known."""
    found = PARAMETER.match(text)
    if found is None:
        return HOLE
    name, operation, rest = found["name"], found["operation"] or "", found["rest"]
    value = variable(name, variables, quoted=quoted)
    if operation == "" or operation in (":?", "?"):
        return value if not rest or operation else HOLE
    if operation in (":-", "-", ":=", "="):
        return value if value != HOLE else unquoted(rest.strip("\"'"))[:1024] or HOLE
    if HOLE in value:
        return HOLE
    if operation == ":":
        return _slice(value, rest)
    if operation in ("/", "//"):
        old, _, new = rest.partition("/")
        return value.replace(unquoted(old), unquoted(new), -1 if operation == "//" else 1)
    return value.lower() if operation.startswith(",") else HOLE


def _slice(value: str, rest: str) -> str:
    found = re.fullmatch(r"\s*(-?\d{1,6})(?::\s*(-?\d{1,6}))?\s*", rest)
    if found is None:
        return HOLE
    start = int(found[1])
    if found[2] is None:
        return value[start:]
    size = int(found[2])
    return value[start : start + size] if size >= 0 else value[start:size]


def braces(text: str) -> Iterator[str]:
    """Go through the words of ``a{b,c}d``, at most ``MAX_BRACES``."""
    words = [text]
    for _ in range(8):
        grown: list[str] = []
        for word in words:
            found = BRACES.match(word)
            if found is None or "," not in found[2]:
                grown.append(word)
            else:
                grown += [found[1] + piece + found[3] for piece in found[2].split(",")]
        if grown == words or len(grown) > MAX_BRACES:
            break
        words = grown
    yield from words[:MAX_BRACES]


def joined(path: str, cwd: str) -> str:
    """Return a path seen from a folder."""
    absolute = path.startswith(("/", "~", "\\")) or path[1:2] == ":"
    return path if absolute or not cwd else f"{cwd}/{path}"


def output(script: Script) -> str:
    """Return what a substitution prints, or a hole."""
    if len(script.pipelines) != 1:
        return HOLE
    text = decode.output(script.pipelines[0])
    return HOLE if text is None else re.sub(r"\s+", SPLIT, text.strip())
