"""What the scripted provider is to answer: a ``Script``, and how a prompt asks for one.

A prompt's last user text may carry a directive, such as::

    @script: chunks=20 delay_ms=100
    @script: tool_call=Bash {"command": "ls"}
    @script: tool_call=exec "text(1 + 1)"
    @script: status=529
    @script: text="two words" reasoning="think first" cached=100

Values are JSON (``"…"``, ``{…}``, ``[…]``) or a run of characters without spaces. What follows the
last pair that can be read is ordinary prompt.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

DEFAULT_TEXT: Final = "Hello from the scripted provider: all is well."
AFTER_TOOL_TEXT: Final = "The tool has answered and the work is done."
MARK: Final = "@script:"
QUOTE: Final = "{quote}"
_KEY: Final = re.compile(r"\s*([a-z_]+)=")
_BARE: Final = re.compile(r"[^\s\"'`<>]+")
_OPENING: Final = re.compile(r'\s*(?=[{"])')
_ESCAPED: Final = re.compile(r'(?<!")\{\\"')
_MAX_TEXT: Final = 8 * 1024 * 1024

USAGE_LIES: Final[Mapping[str, object]] = {
    "negative": -5,
    "huge": 10**18,
    "string": "12",
    "nan": float("nan"),
    "nested": {"tokens": 12},
    "null": None,
    "fraction": 1.5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedTool:
    """A tool call that the provider is to make. ``arguments`` is its JSON text."""

    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One answer. Token counts are the provider's totals; times are in milliseconds.

    ``chunks`` cuts the text into so many deltas (0: one per word); ``size`` makes a text of so
    many characters instead of ``text``. With ``hold`` a stream stops after its first delta until
    ``ScriptedProvider.release`` is called. ``usage`` is one of ``USAGE_LIES``; ``misbehave``
    names a mode of ``misbehaving``; ``answer_model`` is what the answer calls its model.
    ``error_after`` breaks a stream with the dialect's error event after so many deltas. The last
    match of the pattern ``quote`` in the request stands where text or arguments say ``{quote}``.
    An ``offered`` script waits in the queue for a request that offers its tools.
    """

    text: str = DEFAULT_TEXT
    chunks: int = 0
    size: int = 0
    delay_ms: float = 0
    first_delay_ms: float = 0
    hold: bool = False
    status: int = 200
    code: str = ""
    tool_calls: tuple[ScriptedTool, ...] = ()
    reasoning: str = ""
    refusal: str = ""
    input_tokens: int = 12
    output_tokens: int = 9
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning_tokens: int = 0
    stop: str = ""
    answer_model: str = ""
    usage: str = ""
    misbehave: str = ""
    error_after: int = 0
    retry_after: str = ""
    quote: str = ""
    offered: bool = False

    def quoting(self, request: str) -> Self:
        """Return it with what it quotes of a request."""
        found = ([""] + [match[0] for match in re.finditer(self.quote, request)])[-1]
        calls = [
            replace(call, arguments=call.arguments.replace(QUOTE, found))
            for call in self.tool_calls
        ]
        return replace(self, text=self.text.replace(QUOTE, found), tool_calls=tuple(calls))

    @property
    def words(self) -> str:
        """The text to answer with."""
        if not self.size:
            return self.text
        size = min(self.size, _MAX_TEXT)
        unit = "All work and no play makes a dull stream. "
        return (unit * (size // len(unit) + 1))[:size]

    @property
    def pieces(self) -> list[str]:
        """The text, cut into its deltas; never empty where there is text."""
        return cut(self.words, self.chunks)

    def count(self, tokens: int) -> Any:
        """Return ``tokens``, or what the script says instead of the truth."""
        return USAGE_LIES[self.usage] if self.usage else tokens


def cut(text: str, count: int) -> list[str]:
    """Cut ``text`` into ``count`` pieces of nearly equal length (0: after each word)."""
    if count <= 0:
        return re.findall(r"\s*\S+\s*$|\s*\S+", text) or ([text] if text else [])
    count = min(count, len(text)) or 1
    step, rest = divmod(len(text), count)
    pieces, start = [], 0
    for index in range(count):
        end = start + step + (index < rest)
        pieces.append(text[start:end])
        start = end
    return pieces


def _value(text: str, at: int) -> tuple[Any, int] | None:
    """Read one value of a directive; return it and where it ends."""
    if text[at : at + 1] in {'"', "{", "["}:
        try:
            return json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            return None
    match = _BARE.match(text, at)
    return (match.group(), match.end()) if match else None


def _tool(text: str, at: int) -> tuple[ScriptedTool, int] | None:
    match = _BARE.match(text, at)
    if match is None:
        return None
    end = match.end()
    opening = _OPENING.match(text, end)
    arguments = _value(text, opening.end()) if opening else None
    if arguments is None:
        return ScriptedTool(name=match.group()), end
    value, end = arguments
    written = value if isinstance(value, str) else json.dumps(value)
    return ScriptedTool(name=match.group(), arguments=written), end


_KINDS: Final[Mapping[str, type]] = {
    field.name: type(field.default) for field in fields(Script) if field.name != "tool_calls"
}
_CONVERT: Final[Mapping[type, Any]] = {
    int: int,
    float: float,
    str: str,
    bool: lambda value: str(value).lower() in {"1", "true", "yes"},
}
_FRACTIONS: Final = frozenset({"delay_ms", "first_delay_ms"})


def directive(text: str) -> Script | None:
    """Return the script that ``text`` asks for, None where it asks for none.

    The last mark counts. An unknown key or a value that cannot be read ends the directive.
    """
    _, mark, text = text.rpartition(MARK)
    if not mark:
        return None
    if _ESCAPED.search(text):  # a client has quoted the prompt
        text = text.replace('\\"', '"')
    at = 0
    found: dict[str, Any] = {}
    tools: list[ScriptedTool] = []
    while match := _KEY.match(text, at):
        key = match.group(1)
        if key == "tool_call":
            tool = _tool(text, match.end())
            if tool is None:
                break
            tools.append(tool[0])
            at = tool[1]
            continue
        value = _value(text, match.end())
        if value is None or key not in _KINDS:
            break
        kind = float if key in _FRACTIONS else _KINDS[key]
        try:
            found[key] = _CONVERT[kind](value[0])
        except (TypeError, ValueError):
            break
        at = value[1]
    return replace(Script(), **found, tool_calls=tuple(tools))


AFTER_TOOL: Final = Script(text=AFTER_TOOL_TEXT)
