"""The words of this room: a tool use, what it does, and what was seen in it."""

from dataclasses import dataclass
from enum import StrEnum

from llmtrace.domain.findings import Severity


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool as the model wrote it: ``arguments`` is JSON text or free text."""

    name: str
    arguments: str


class DeedKind(StrEnum):
    """What one value in a tool's arguments makes the tool do."""

    COMMAND = "command"
    """A shell command line."""
    CODE = "code"
    """A program text in a language that is not a shell's."""
    FILE = "file"
    URL = "url"
    TEXT = "text"
    """Prose that a tool takes addresses from."""
    SKILL = "skill"


class Access(StrEnum):
    """What is done with a file."""

    READ = "read"
    WRITE = "write"
    LIST = "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One thing that a tool use does.

    ``start`` and ``end`` count code points of the arguments. ``exact`` says that ``text`` stands
    there letter by letter, so that an offset in it can be told apart; else only the whole can.
    """

    kind: DeedKind
    text: str
    start: int
    end: int
    exact: bool = False
    access: Access = Access.READ
    windows: bool = False


@dataclass(frozen=True, slots=True)
class Sighting:
    """A rule that holds for ``text[start:end]``; offsets in code points.

    ``severity`` is set where it is not that of the rule: of files, by what is done with them.
    """

    rule: str
    start: int
    end: int
    severity: Severity | None = None
