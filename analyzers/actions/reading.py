"""What a tool call does, as the actions that are kept of a call."""

from collections.abc import Mapping
from typing import Final

from llmtrace.analyzers.actions.tools import clean, deeds
from llmtrace.analyzers.actions.urls import urls_in
from llmtrace.analyzers.actions.values import Deed, DeedKind, ToolUse
from llmtrace.domain.traces import ActionType, AgentAction

MAX_ACTIONS: Final = 64
TYPES: Final[Mapping[DeedKind, ActionType]] = {
    DeedKind.COMMAND: ActionType.COMMAND_EXECUTION,
    DeedKind.CODE: ActionType.COMMAND_EXECUTION,
    DeedKind.FILE: ActionType.FILE_ACCESS,
    DeedKind.URL: ActionType.WEB_ACCESS,
    DeedKind.TEXT: ActionType.WEB_ACCESS,
    DeedKind.SKILL: ActionType.SKILL_INVOCATION,
}


def read_actions(use: ToolUse, call_id: str = "") -> tuple[AgentAction, ...]:
    """Return the actions of a tool call: the call itself, then what it does.

    ``arguments`` is the command, path, address or skill alone. At most ``MAX_ACTIONS``, each once.
    """
    kept = clean(use)
    told = [(ActionType.TOOL_CALL, kept.arguments)]
    told += [(TYPES[deed.kind], text) for deed in deeds(kept) for text in _texts(deed)]
    return tuple(
        AgentAction(action_type=kind, name=kept.name, arguments=text, call_id=call_id)
        for kind, text in list(dict.fromkeys(told))[:MAX_ACTIONS]
    )


def _texts(deed: Deed) -> list[str]:
    if deed.kind is DeedKind.TEXT:
        return [url for url, _, _ in urls_in(deed.text)]
    return [deed.text]
