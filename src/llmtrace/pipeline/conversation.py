"""Tells which calls belong to one conversation, from what they say.

A client re-sends the whole history on every turn, so the first exchange, the first words of
the user and the first answer to them, is the same in all turns and names the conversation.
On the first turn the answer comes at the end; until then the conversation has no name.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import orjson

from llmtrace.domain.answers import Answer, ChannelKind
from llmtrace.domain.parts import Part, Role
from llmtrace.domain.values import dataclass
from llmtrace.providers.base import RequestView

MEMORY: Final = 10_000
MIN_SPAWN_CHARS: Final = 20
"""A tool argument shorter than this is no task that a sub-agent would be recognised by."""
ASSISTANT: Final = frozenset({Role.ASSISTANT, Role.TOOL_CALL})
TURNS: Final = frozenset({*ASSISTANT, Role.USER, Role.TOOL_RESULT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """Where a call stands: its conversation (empty until told), parent and turn (from 1)."""

    conversation: str = ""
    parent: str = ""
    turn: int = 1
    opening: str = ""
    """Digest of the user's first words."""


class Conversations:
    """Remembers what this process has seen of conversations; bounded, oldest forgotten."""

    def __init__(self, size: int = MEMORY) -> None:
        self._responses = _Memory[tuple[str, int]](size)
        self._spawned = _Memory[str](size)

    def begin(self, tenant: str, session: str, view: RequestView) -> Thread:
        """Place a request in its conversation, as far as it tells."""
        first_user = next((p.text for p in view.parts if p.role is Role.USER), "")
        opening = _digest(tenant, session, first_user.strip())
        reply = _first_reply(view.parts)
        named = _digest(opening, reply) if reply else ""
        conversation, turn = self._responses.get(view.previous_response_id) or (named, 0)
        return Thread(
            conversation=conversation,
            parent=(self._spawned.get(_digest(first_user.strip())) or "") if self._spawned else "",
            turn=turn + _turns(view.parts) + 1,
            opening=opening,
        )

    def finish(self, thread: Thread, answer: Answer) -> str:
        """Return the conversation's id now that the answer is there, and remember it."""
        conversation = thread.conversation or _digest(thread.opening, _reply_of(answer))
        if answer.response_id:
            self._responses.put(answer.response_id, (conversation, thread.turn))
        for call in answer.tool_calls:
            for text in _long_strings(call.arguments):
                self._spawned.put(_digest(text.strip()), conversation)
        return conversation


def new_from(parts: Sequence[Part]) -> int:
    """Return the index from which parts are new in this call: behind the assistant's last words."""
    said = (i for i in range(len(parts) - 1, -1, -1) if parts[i].role in ASSISTANT)
    return next(said, -1) + 1


class _Memory[V]:
    """A bounded map. Locked: large requests are read in threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._values: OrderedDict[str, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> V | None:
        with self._lock:
            return self._values.get(key) if key else None

    def put(self, key: str, value: V) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._size:
                self._values.popitem(last=False)


def _digest(*values: str) -> str:
    text = "\0".join(values).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:24]


def _item(part: Part) -> tuple[str | int, ...]:
    """Return the message that a part belongs to: ``messages[3]``."""
    return part.path[:2]


def _first_reply(parts: Sequence[Part]) -> str:
    """Return the assistant's first message as it is re-sent: its words, else its tool calls."""
    first = next((p for p in parts if p.role in ASSISTANT), None)
    if first is None:
        return ""
    words = [p.text for p in parts if p.role is Role.ASSISTANT and _item(p) == _item(first)]
    return "".join(words).strip() or "tool call"


def _reply_of(answer: Answer) -> str:
    words = [t for c, t in answer.texts.items() if c.kind is ChannelKind.TEXT and c.choice == 0]
    return "".join(words).strip() or "tool call"


def _turns(parts: Sequence[Part]) -> int:
    """Count the assistant's turns: runs of its messages between those of others."""
    turns, previous = 0, False
    for part in parts:
        if part.role in TURNS:
            now = part.role in ASSISTANT
            turns += now and not previous
            previous = now
    return turns


def _long_strings(arguments: str) -> list[str]:
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return []
    if not isinstance(value, dict):
        return []
    return [v for v in value.values() if isinstance(v, str) and len(v) >= MIN_SPAWN_CHARS]
