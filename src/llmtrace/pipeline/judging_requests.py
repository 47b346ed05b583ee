"""What becomes of a request, part by part."""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final, Protocol

import orjson

from llmtrace.analyzers.base import Context, Direction, Hit, Inspection
from llmtrace.analyzers.kinds import severity_of
from llmtrace.domain.findings import Finding, Verdict
from llmtrace.domain.parts import Media, Origin, Part, Path, Role
from llmtrace.pipeline.credentials import value_at
from llmtrace.pipeline.judgements import Caller, Judgement, finding, kept, place_of
from llmtrace.pipeline.rewriting import cut, each_text
from llmtrace.pipeline.unfinished import is_incomplete, is_partly_read
from llmtrace.policy.masking import apply, one_way
from llmtrace.policy.notices import quarantine_notice
from llmtrace.policy.placeholders import unmasked
from llmtrace.policy.table import Decision, Place, PolicyTable
from llmtrace.providers.base import Json
from llmtrace.providers.editing import EditFailed

_SEALS: Final = frozenset(
    {"signature", "thoughtSignature", "thought_signature", "encrypted_content"}
)
"""Beside these, a text is signed by the provider: changed, it would refuse the request."""


class Masks(Protocol):
    """Hides values, and knows them again."""

    def mask(self, tenant: str, kind: str, value: str) -> str:
        """Return what stands for a value from now on: the same for the same value."""
        ...

    def unmask(self, tenant: str, masked: str) -> str | None:
        """Return the value that a placeholder stands for; None if it stands for none."""
        ...


class RequestJudging:
    """The judgement of one request, as it grows."""

    def __init__(self, policy: PolicyTable, masks: Masks, caller: Caller, body: Json) -> None:
        self._policy = policy
        self._masks = masks
        self._caller = caller
        self._body = body
        self._found: list[Finding] = []
        self._edits: dict[Path, str] = {}
        self._hidden: dict[Path, str] = {}
        self._texts: dict[Path, str] = {}
        self._entangled = False
        self._skipped: set[tuple[str, str]] = set()
        self._partly: set[object] = set()
        self._incomplete = False
        self._blocked: Finding | None = None

    def part(self, part: Part, made: Inspection, *, is_new: bool) -> None:
        """Take what was seen in one part."""
        if made.skipped:
            self._skipped.update((one.detector, one.reason) for one in made.skipped)
            if is_partly_read(made.skipped):
                self._partly.add(part.path)
        place = place_of(self._caller, Context(part.role, part.origin, Direction.REQUEST))
        sealed = is_sealed(self._body, part)
        replaced: list[tuple[int, int, str]] = []
        hidden: list[tuple[int, int, str]] = []
        notice: Finding | None = None
        decided: dict[str, bool] = {}
        for hit in unmasked(part.text, made.hits):
            decision = _about(part, self._policy.decide(hit, place), is_new, sealed)
            found = finding(hit, part.location, decision)
            self._found.append(found)
            if decision.verdict is Verdict.BLOCK:
                self._blocked = self._blocked or found
                if hit.value:
                    hidden.append((hit.start, hit.end, one_way(hit.kind)))
            elif decision.verdict is Verdict.QUARANTINE:
                notice = notice or found
            elif decision.verdict is Verdict.REDACT:
                value = part.text[hit.start : hit.end]
                masked = self._masks.mask(self._caller.tenant, hit.kind, value)
                replaced.append((hit.start, hit.end, masked))
            decided[hit.detector] = decided.get(hit.detector, False) or decision.acts
        self._incomplete |= is_incomplete(made, decided, partial(self._acts_on, place))
        if notice is not None or replaced or hidden:
            self._entangled |= self._texts.setdefault(part.path, part.text) != part.text
        if notice is not None:
            self._edits[part.path] = _in_place_of(part, quarantine_notice(notice.kind, notice.rule))
        elif replaced:
            self._edits[part.path] = _with(part, replaced)
        if hidden:
            self._hidden[part.path] = _with(part, [*replaced, *hidden])

    def tool(self, name: str) -> None:
        """Take a tool whose description is not what it was."""
        context = Context(Role.TOOL_DESCRIPTION, Origin.UNTRUSTED, Direction.REQUEST)
        self._without_text("tool_changed", "tools.changed", f"tools.{name[:128]}", context)

    def media(self, media: Media) -> None:
        """Take media that nobody can look into. Told only where the policy stops it."""
        context = Context(media.role, media.origin, Direction.REQUEST)
        self._without_text("unscannable_media", "media", media.location, context, told=False)

    def _without_text(
        self, kind: str, detector: str, location: str, context: Context, *, told: bool = True
    ) -> None:
        """Take what is no text: it can pass or be blocked, and not be changed."""
        hit = Hit(
            kind=kind,
            severity=severity_of(kind),
            confidence=1.0,
            start=0,
            end=1,
            detector=detector,
        )
        decision = self._policy.decide(hit, place_of(self._caller, context))
        if decision.verdict in (Verdict.REDACT, Verdict.QUARANTINE):
            decision = Decision(verdict=Verdict.BLOCK, rule=decision.rule)
        found = finding(hit, location, decision)
        if told or decision.verdict is Verdict.BLOCK:
            self._found.append(found)
        if decision.verdict is Verdict.BLOCK:
            self._blocked = self._blocked or found

    def _acts_on(self, place: Place, hit: Hit) -> bool:
        return self._policy.decide(hit, place).acts

    def done(self) -> Judgement:
        """Return the judgement."""
        return Judgement(
            findings=kept(self._found),
            edits=self._edits,
            hidden=self._hidden,
            texts=self._texts,
            entangled=self._entangled,
            blocked=self._blocked,
            skipped=tuple(sorted(self._skipped)),
            incomplete=self._incomplete,
            partly=frozenset(self._partly),
        )


def _about(part: Part, decision: Decision, is_new: bool, sealed: bool) -> Decision:
    """Return what a decision comes to in this part.

    What would be blocked in a part that is in the conversation already would be blocked on every
    later turn, and the conversation with it: it is quarantined. What the provider signed is
    left as it is.
    """
    if sealed and decision.verdict in (Verdict.REDACT, Verdict.QUARANTINE):
        return Decision(verdict=Verdict.FLAG, rule=decision.rule)
    if decision.verdict is Verdict.BLOCK and not is_new and part.role in _HISTORY and not sealed:
        return Decision(verdict=Verdict.QUARANTINE, rule=decision.rule)
    return decision


_HISTORY: Final = frozenset({Role.USER, Role.ASSISTANT, Role.TOOL_RESULT, Role.TOOL_CALL})


def is_sealed(body: Json, part: Part) -> bool:
    """Whether a text stands beside a signature over it, where its provider signs.

    That is what a model thought or said, and the results of Anthropic's own search. Elsewhere a
    member with such a name is anybody's: a tool chooses those of its results.
    """
    holder = value_at(body, part.path[:-1])
    if not isinstance(holder, dict) or not any(holder.get(key) for key in _SEALS):
        return False
    if part.role is Role.ASSISTANT:
        return True
    block = value_at(body, part.path[:4]) if len(part.path) == _SEARCH_DEPTH else None
    return (
        part.path[0] == "messages"
        and holder.get("type") == "web_search_result"
        and isinstance(block, dict)
        and block.get("type") == "web_search_tool_result"
    )


_SEARCH_DEPTH: Final = 7
"""``messages[0].content[0].content[0].title``"""


def _is_json(part: Part) -> bool:
    """Whether a part is the arguments of a tool as JSON: they must stay that."""
    if part.role is not Role.TOOL_CALL or part.text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        orjson.loads(part.text)
    except orjson.JSONDecodeError:
        return False
    return True


def _in_place_of(part: Part, notice: str) -> str:
    return json.dumps({"llmtrace": notice}) if _is_json(part) else notice


def _with(part: Part, replaced: Iterable[tuple[int, int, str]]) -> str:
    """Return a part's text with others for spans of it."""
    spans = list(replaced)
    if not _is_json(part):
        return apply(part.text, spans)
    if (made := cut(part.text, spans)) is not None:
        return made
    values = {part.text[start:end]: new for start, end, new in spans}
    try:
        return each_text(part.text, partial(_exchanged, values))
    except EditFailed:
        return apply(part.text, spans)


def _exchanged(values: Mapping[str, str], text: str) -> str:
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, values[value])
    return text
