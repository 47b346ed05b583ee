"""A shell script as the commands that it runs, whatever it was written like."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

HOLE: Final = "\ufffc"
"""Stands in a word for what only the running shell will know."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a command after quotes, escapes and known variables are resolved.

    ``scripts`` are the substitutions in it; ``raw`` is how it was written.
    """

    text: str
    raw: str = ""
    scripts: tuple["Script", ...] = ()

    @property
    def known(self) -> bool:
        """Whether all of it is known."""
        return HOLE not in self.text


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirection: ``operator`` (``>``, ``>>``, ``<``, ``<<``, ``<<<``, ``>&``, …) and target.

    Of a here-document or here-string, ``target.text`` is what is fed in.
    """

    operator: str
    target: Word

    @property
    def writes(self) -> bool:
        """Whether it opens its target to write."""
        return ">" in self.operator and not (
            self.operator in (">&", "<&") and self.target.text.rstrip("-").isdigit()
        )


@dataclass(frozen=True, slots=True, eq=False)
class Simple:
    """A command: its words (the first is the program), redirections and where it stands.

    Each is itself alone, not equal to another, so that what it runs can be remembered by it.

    ``start`` and ``end`` count code points of the script. ``cwd`` is the folder that a ``cd``
    before it went to, empty where there was none.
    """

    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...] = ()
    start: int = 0
    end: int = 0
    cwd: str = ""

    @property
    def fed(self) -> str | None:
        """What a here-document or here-string feeds to it."""
        for redirect in self.redirects:
            if redirect.operator in ("<<", "<<-", "<<<"):
                return redirect.target.text
        return None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages joined by ``|``; each is the commands that it runs (one, or those of a group)."""

    stages: tuple[tuple[Simple, ...], ...]
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Script:
    """The pipelines of a script in order, also those within its groups, loops and functions.

    ``recursive`` are functions that start themselves more than once; ``complete`` is False where
    something was over a bound, ``broken`` True where it did not parse.
    """

    pipelines: tuple[Pipeline, ...] = ()
    recursive: tuple[tuple[int, int], ...] = ()
    complete: bool = True
    broken: bool = False
    variables: dict[str, str] = field(default_factory=dict)

    def simples(self) -> Iterator[Simple]:
        """Go through all commands, those in substitutions too."""
        for pipeline in self.pipelines:
            for stage in pipeline.stages:
                for simple in stage:
                    yield simple
                    for word in (*simple.words, *(r.target for r in simple.redirects)):
                        for inner in word.scripts:
                            yield from inner.simples()
