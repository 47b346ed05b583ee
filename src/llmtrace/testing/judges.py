"""A judge of answers for tests: a few patterns, and the classes of characters they are made of."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from llmtrace.domain.answers import Channel, ChannelKind
from llmtrace.pipeline.streaming import Ruling, ToolRuling

SSN: Final = "123-45-6789"
KEY: Final = "AKIA" + "IOSFODNN7EXAMPLE"
EMAIL: Final = "jane.doe@example.com"
CODE: Final = "code 7391"
MASKED: Final = "[[N-7]]"
VALUE: Final = 'Jörg "J" Ünal'
FORBIDDEN: Final = "FORBIDDEN"
REASON: Final = "LLMTrace blocked this answer by the rule 'words'."
REFUSED: Final = "LLMTrace did not let this tool call through: rule 'commands'."


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is looked for, and of which characters it is made, at most how many."""

    regex: re.Pattern[str]
    alphabet: re.Pattern[str]
    longest: int
    replacement: str | None = None


PATTERNS: Final = (
    Pattern(re.compile(r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)"), re.compile(r"[\d-]"), 16, "[SSN]"),
    Pattern(re.compile(r"(?<!\w)AKIA[0-9A-Z]{16}(?!\w)"), re.compile(r"\w"), 24, "[KEY]"),
    Pattern(
        re.compile(r"(?<![\w.+-])[\w.+-]{1,32}@[\w-]{1,32}\.[a-z]{2,8}(?![\w.-])"),
        re.compile(r"[\w.+@-]"),
        80,
        "[EMAIL]",
    ),
    Pattern(re.compile(re.escape(MASKED)), re.compile(r"[\[\]N7-]"), 8, VALUE),
    Pattern(re.compile(r"(?<=code )\d{4}(?!\d)"), re.compile(r"\d"), 6, "[CODE]"),
    Pattern(re.compile(r"\bFORBIDDEN\b"), re.compile(r"\w"), 12),
)


@dataclass
class PatternJudge:
    """Masks numbers, keys and addresses, restores a placeholder, stops at a forbidden word.

    Tool calls named ``refuse`` are refused; in others the same values are masked.
    """

    patterns: Sequence[Pattern] = PATTERNS
    calls: list[tuple[str, str]] = field(default_factory=list)
    judged: dict[Channel, str] = field(default_factory=dict)

    def undecided(self, text: str, channel: Channel) -> int:
        """Return where the first of the trailing runs begins."""
        del channel
        return min((_run(text, pattern) for pattern in self.patterns), default=len(text))

    def rulings(self, text: str, channel: Channel) -> Sequence[Ruling]:
        """Return what the patterns match."""
        self.judged[channel] = text
        found = [
            Ruling(
                start=match.start(),
                end=match.end(),
                replacement=pattern.replacement,
                block="" if pattern.replacement is not None else REASON,
            )
            for pattern in self.patterns
            for match in pattern.regex.finditer(text)
        ]
        return sorted(found, key=lambda ruling: ruling.start)

    def tool_call(self, name: str, arguments: str, channel: Channel) -> ToolRuling:
        """Refuse by name, else mask."""
        self.calls.append((name, arguments))
        if name == "refuse":
            return ToolRuling(refused=REFUSED)
        masked = redacted(arguments, self.rulings(arguments, channel))
        return ToolRuling(arguments=masked if masked != arguments else None)


def _run(text: str, pattern: Pattern) -> int:
    start = len(text)
    while start and len(text) - start < pattern.longest and pattern.alphabet.match(text[start - 1]):
        start -= 1
    return start


def redacted(text: str, rulings: Sequence[Ruling]) -> str:
    """Return a text with its replacements: the leftmost first, of those the longest."""
    said, at = "", 0
    for ruling in sorted(rulings, key=lambda r: (r.start, -r.end)):
        if ruling.replacement is not None and ruling.end > at:
            said += text[at : max(at, ruling.start)] + ruling.replacement
            at = ruling.end
    return said + text[at:]


def expected(text: str) -> str:
    """Return what a client must get of a whole text, but for what stops it."""
    judge = PatternJudge()
    return redacted(text, judge.rulings(text, Channel(0, ChannelKind.TEXT)))
