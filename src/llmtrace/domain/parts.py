"""What stands in a request: pieces of text and of media, each with its role, origin and place."""

import re
from enum import StrEnum
from typing import Final

from llmtrace.domain.values import dataclass

type Path = tuple[str | int, ...]
"""Where a value stands in a JSON document: keys and indices from the root."""


SHORTEST_VALUE: Final = 16
_VALUE: Final = re.compile(
    rf"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{{{SHORTEST_VALUE},}}|[A-Z]{{{SHORTEST_VALUE}}}"
)
_NAME: Final = re.compile(r"(?!(?:[^0-9]*[0-9]){7})[A-Za-z0-9_$][A-Za-z0-9_$./-]{0,39}")


def holds_value(name: str) -> bool:
    """Whether a member's name has in it what no word looks like: a key, an account's number."""
    return len(name) >= SHORTEST_VALUE and _VALUE.search(name) is not None


def location(path: Path) -> str:
    """Write a path as people read it: ``messages[3].content[0].text``.

    A member whose name may be somebody's text, or a secret, is written as an ellipsis.
    """
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{_shown(step)}" for step in path)
    return text.removeprefix(".")


def _shown(name: str) -> str:
    return name if _NAME.fullmatch(name) and not holds_value(name) else "…"


class Role(StrEnum):
    """Whose words a part is. A tool's description and its result are not the user's."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    TOOL_DESCRIPTION = "tool_description"


class Origin(StrEnum):
    """Whether the agent's owner wrote it (trusted) or it came from elsewhere."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


ORIGIN_OF: dict[Role, Origin] = {
    Role.SYSTEM: Origin.TRUSTED,
    Role.USER: Origin.TRUSTED,
    Role.ASSISTANT: Origin.TRUSTED,
    Role.TOOL_CALL: Origin.TRUSTED,
    Role.TOOL_RESULT: Origin.UNTRUSTED,
    Role.TOOL_DESCRIPTION: Origin.UNTRUSTED,
}
"""The origin that a role has unless a dialect knows better (a retrieved document, say)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of text in a request. ``path`` leads to the JSON string that holds it."""

    role: Role
    origin: Origin
    path: Path
    text: str

    @property
    def location(self) -> str:
        """The path as people read it."""
        return location(self.path)


class MediaKind(StrEnum):
    """What a media part is, as far as the request says."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """Media in a request: what it is and its hash, never its bytes.

    ``size`` is in bytes, decoded, and ``sha256`` is of the decoded bytes; both are None where
    the request only refers to the media (by URL or file id). ``host`` is that URL's host.
    """

    role: Role
    origin: Origin
    path: Path
    kind: MediaKind
    mime: str = ""
    size: int | None = None
    sha256: str | None = None
    host: str | None = None

    @property
    def location(self) -> str:
        """The path as people read it."""
        return location(self.path)
