"""Finds the commands inside commands: ``sudo env A=1 rm``, ``bash -c '…'``, ``find -exec``."""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, Literal, TypedDict

from llmtrace.analyzers.actions.script import HOLE, Simple, Word
from llmtrace.analyzers.actions.tables import table

MAX_WRAPPERS: Final = 12
MAX_REMEMBERED: Final = 512
ASSIGNMENT: Final = re.compile(r"^\w+=")
TAR_RUNS: Final = "--checkpoint-action=exec="
SCRIPT_FLAG: Final = re.compile(r"^[-+][A-Za-z]*c[A-Za-z]*$")
POWERSHELL_SCRIPT: Final = re.compile(r"(?i)^[-/](?:c|co\w*|command)$")
POWERSHELL_ENCODED: Final = re.compile(r"(?i)^[-/](?:e|ec|en\w*|encodedcommand)$")
REMOTE_VALUES: Final = frozenset(f"-{letter}" for letter in "pilFoLRDJbcemSW")


class Wrapper(TypedDict, total=False):
    """A row of ``wrappers`` in ``commands.yaml``."""

    values: list[str]
    skip: int
    assigns: bool


@dataclass(frozen=True, slots=True)
class Programs:
    """``commands.yaml`` as it is looked up."""

    wrappers: Mapping[str, Wrapper]
    interpreters: Mapping[str, tuple[str, ...]]
    script_options: Mapping[str, tuple[str, ...]]
    sets: Mapping[str, frozenset[str]]


@cache
def programs() -> Programs:
    """Return the shipped tables."""
    data = table("commands.yaml")
    sets = {key: frozenset(map(str, rows)) for key, rows in data.items() if isinstance(rows, list)}
    tuples = {
        key: {name: tuple(words) for name, words in data[key].items()}
        for key in ("interpreters", "script_options")
    }
    return Programs(data["wrappers"], tuples["interpreters"], tuples["script_options"], sets)


def known(group: str, name: str) -> bool:
    """Whether a program is in a list of ``commands.yaml``."""
    return name in programs().sets[group]


@dataclass(frozen=True, slots=True)
class Call:
    """A program with its words, as it is run in the end. ``via`` are the programs that run it."""

    name: str
    args: tuple[Word, ...]
    simple: Simple
    via: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The words after the program, with a space before and after each."""
        return f" {' '.join(word.text for word in self.args)} "

    def operands(self) -> list[Word]:
        """Return the words that are no options."""
        after = next((i for i, word in enumerate(self.args) if word.text == "--"), len(self.args))
        front = [word for word in self.args[:after] if not word.text.startswith("-")]
        return [*front, *self.args[after + 1 :]]


@dataclass(frozen=True, slots=True)
class Nested:
    """A script or program text that a command runs."""

    text: str
    language: Literal["shell", "windows", "code"]


def program_name(word: Word) -> str:
    """Return a program's name: no folder, no ``.exe``, no case."""
    name = word.text.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
    return name.removesuffix(".exe").removesuffix(".cmd").removesuffix(".bat")


@lru_cache(maxsize=MAX_REMEMBERED)
def unwrap(simple: Simple) -> tuple[Call | Nested, ...]:
    """Return the calls of a command, the outermost first, and the scripts given to them."""
    return tuple(_calls(simple.words, simple, ()))


def calls(simple: Simple) -> list[Call]:
    """Return the calls of a command, without the scripts in it."""
    return [one for one in unwrap(simple) if isinstance(one, Call)]


def _calls(
    words: tuple[Word, ...], simple: Simple, via: tuple[str, ...]
) -> Iterator[Call | Nested]:
    words = _program_first(words)
    if not words or len(via) > MAX_WRAPPERS:
        return
    name, args = program_name(words[0]), words[1:]
    yield Call(name, args, simple, via)
    tables = programs()
    if name in tables.wrappers:
        yield from _split_string(name, args)
        yield from _calls(_rest(args, tables.wrappers[name]), simple, (*via, name))
    elif name in ("find", "fd"):
        for inner in _executed(args):
            yield from _calls(inner, simple, (*via, name))
    else:
        yield from _nested(name, args, simple)


def _program_first(words: tuple[Word, ...]) -> tuple[Word, ...]:
    index = 0
    while index < len(words) and (ASSIGNMENT.match(words[index].text) or not words[index].text):
        index += 1
    return words[index:]


def _rest(args: tuple[Word, ...], wrapper: Wrapper) -> tuple[Word, ...]:
    """Return the words after a wrapper's own options and operands."""
    values, skip = wrapper.get("values", []), wrapper.get("skip", 0)
    index = 0
    while index < len(args):
        text = args[index].text
        if text == "--":
            index += 1
            break
        if wrapper.get("assigns") and ASSIGNMENT.match(text):
            index += 1
        elif text in values:
            index += 2
        elif text.startswith("-") and len(text) > 1:
            index += 1
        else:
            break
    return args[index + skip :]


def _split_string(name: str, args: tuple[Word, ...]) -> Iterator[Nested]:
    if name != "env":
        return
    for index, word in enumerate(args):
        if word.text in ("-S", "--split-string") and index + 1 < len(args):
            yield Nested(args[index + 1].text, "shell")
        elif word.text.startswith("-S"):
            yield Nested(word.text[2:], "shell")


def _executed(args: tuple[Word, ...]) -> Iterator[tuple[Word, ...]]:
    """The commands after ``-exec`` and its kin; ``{}`` is not known."""
    index = 0
    while index < len(args):
        if args[index].text in ("-exec", "-execdir", "-ok", "-okdir", "-x", "--exec"):
            end = index + 1
            while end < len(args) and args[end].text not in (";", "+"):
                end += 1
            inner = args[index + 1 : end]
            yield tuple(Word(w.text.replace("{}", HOLE), w.raw, w.scripts) for w in inner)
            index = end
        index += 1


def _nested(name: str, args: tuple[Word, ...], simple: Simple) -> Iterator[Nested]:
    tables = programs()
    texts = [word.text for word in args]
    if name in tables.sets["shells"]:
        yield from _shell(texts, simple)
    elif name == "tmux":
        yield from (Nested(text, "shell") for text in texts if " " in text)
    elif name in ("tar", "gtar", "bsdtar"):
        yield from (Nested(text[len(TAR_RUNS) :], "shell") for text in texts if TAR_RUNS in text)
    elif name in tables.sets["evals"]:
        first = next((i for i, text in enumerate(texts) if not text.startswith("-")), len(texts))
        words = texts[first:]
        yield Nested(words[0] if name == "trap" and words else " ".join(words), "shell")
    elif name in tables.script_options:
        yield from _after(texts, tables.script_options[name], "shell")
    elif name in tables.interpreters:
        yield from _program(name, texts, simple)
    elif name in tables.sets["remotes"]:
        yield from _remote(texts)
    elif name in tables.sets["powershells"]:
        yield from _powershell(texts)
    elif name in tables.sets["cmds"]:
        start = next(
            (i for i, text in enumerate(texts) if text.lower() in ("/c", "/k", "/r")), None
        )
        if start is not None:
            yield Nested(" ".join(texts[start + 1 :]), "windows")


def _shell(texts: Sequence[str], simple: Simple) -> Iterator[Nested]:
    for index, text in enumerate(texts):
        if SCRIPT_FLAG.match(text) or text == "--command":
            script = next((one for one in texts[index + 1 :] if not one.startswith("-")), "")
            yield Nested(script, "shell")
            return
        if not text.startswith(("-", "+")):
            return
    if simple.fed is not None:
        yield Nested(simple.fed, "shell")


def _after(
    texts: Sequence[str], options: Sequence[str], language: Literal["shell", "code"]
) -> Iterator[Nested]:
    for index, text in enumerate(texts):
        if text in options and index + 1 < len(texts):
            yield Nested(texts[index + 1], language)
        elif any(text.startswith(f"{option}=") for option in options if option[:2] == "--"):
            yield Nested(text.partition("=")[2], language)


def _program(name: str, texts: Sequence[str], simple: Simple) -> Iterator[Nested]:
    options = programs().interpreters[name]
    found = False
    for index, text in enumerate(texts):
        short = [o for o in options if len(o) == 2 and o[0] == "-"]
        cluster = text[:1] == "-" and text[:2] != "--" and any(text.endswith(o[1]) for o in short)
        if (cluster or text in options) and index + 1 < len(texts):
            found = True
            yield Nested(texts[index + 1], "code")
        elif any(text.startswith(o) and len(text) > 3 for o in short):
            found = True
            yield Nested(text[2:], "code")
    if not options and texts:
        yield Nested(next((t for t in texts if not t.startswith("-")), ""), "code")
    if not found and simple.fed is not None:
        yield Nested(simple.fed, "code")


def _remote(texts: Sequence[str]) -> Iterator[Nested]:
    index = 0
    while index < len(texts) and texts[index].startswith("-"):
        index += 2 if texts[index] in REMOTE_VALUES else 1
    if len(texts) > index + 1:
        yield Nested(" ".join(texts[index + 1 :]), "shell")


def _decoded(text: str) -> Iterator[Nested]:
    """The script that ``-EncodedCommand`` was given: base64 of UTF-16."""
    try:
        script = base64.b64decode(text[: 1024 * 1024] + "=" * (-len(text) % 4))
    except ValueError:
        return
    yield Nested(script.decode("utf-16-le", "replace"), "windows")


def _powershell(texts: Sequence[str]) -> Iterator[Nested]:
    for index, text in enumerate(texts):
        if POWERSHELL_ENCODED.match(text):
            yield from _decoded("".join(texts[index + 1 : index + 2]))
            return
        if POWERSHELL_SCRIPT.match(text):
            yield Nested(" ".join(texts[index + 1 :]), "windows")
            return
        if not text.startswith(("-", "/")) and (index == 0 or texts[index - 1][:1] != "-"):
            yield Nested(" ".join(texts[index:]), "windows")
            return
