"""Judges an answer while it passes: what is to be changed in it, and what is to stop it."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

from llmtrace.analyzers.actions import ToolUse, read_actions, sends
from llmtrace.analyzers.base import Hit
from llmtrace.analyzers.combined import inspection
from llmtrace.domain.answers import Channel, ToolCall
from llmtrace.domain.findings import Finding, Verdict
from llmtrace.domain.traces import ActionType
from llmtrace.pipeline.detection import Detection, DetectionTimeout
from llmtrace.pipeline.judgements import Caller, finding
from llmtrace.pipeline.rewriting import cut, each_text
from llmtrace.pipeline.streaming import Ruling, ToolRuling
from llmtrace.pipeline.streaming.addresses import (
    IN_ARGUMENT,
    IN_FILE,
    IN_TEXT,
    Where,
    addresses,
)
from llmtrace.pipeline.streaming.stops import MESSAGES, UNEDITABLE
from llmtrace.pipeline.unfinished import is_incomplete
from llmtrace.pipeline.voices import context_of, is_signed, location_of
from llmtrace.policy.masking import FAMILIES, apply, one_way
from llmtrace.policy.notices import block_message
from llmtrace.policy.placeholders import PLACEHOLDER, unmasked
from llmtrace.policy.placeholders import undecided as placeholder_undecided
from llmtrace.providers.editing import EditFailed


class _Stays(Exception):
    """Something is to be hidden in a tool call, and cannot be."""

    def __init__(self, found: Finding) -> None:
        super().__init__(found.kind)
        self.found = found


class AnswerJudge:
    """Judges the channels of one answer, by the detectors and the policy.

    What is hidden in an answer is hidden for good: it was the provider's to tell, and must not come
    back when the model says it again. Placeholders of values that this tenant's requests had come
    back as the values, except where they would be carried out by it: into an address, into a
    command that sends, or into a tool that does.
    """

    def __init__(self, detection: Detection, caller: Caller) -> None:
        self._detection = detection
        self._caller = caller
        self.restored: dict[str, str] = {}
        """Values that were put back, and the placeholders that stood for them."""

    def undecided(self, text: str, channel: Channel) -> int:
        """Return where the tail of a channel's text begins that more text could change."""
        del channel  # held alike in all
        return min(self._detection.growing.undecided(text), placeholder_undecided(text))

    def rulings(self, text: str, channel: Channel) -> Sequence[Ruling]:
        """Return what is to be done about a text, in order of start.

        Raises:
            DetectionTimeout: A detector broke off whose findings are acted on.
        """
        detection, caller = self._detection, self._caller
        rulings: list[Ruling] = []
        decided: dict[str, bool] = {}
        made = inspection(detection.growing, text, context_of(channel))
        for hit in unmasked(text, made.hits):
            decision = detection.decide_in_answer(caller, channel, hit)
            decided[hit.detector] = decided.get(hit.detector, False) or decision.acts
            if decision.verdict in (Verdict.BLOCK, Verdict.QUARANTINE):
                found = finding(hit, location_of(channel), decision)
                rulings.append(_block(found))
            elif decision.verdict is Verdict.REDACT:
                masked = one_way(hit.kind)
                rulings.append(Ruling(start=hit.start, end=hit.end, replacement=masked))
        if is_incomplete(made, decided, partial(self._acts_on, channel)):
            raise DetectionTimeout
        if not is_signed(caller.dialect, channel):
            rulings += self._restorations(text, IN_TEXT)
        return sorted(rulings, key=lambda ruling: (ruling.start, -ruling.end))

    def _acts_on(self, channel: Channel, hit: Hit) -> bool:
        return self._detection.decide_in_answer(self._caller, channel, hit).acts

    def tool_call(self, name: str, arguments: str, channel: Channel) -> ToolRuling:
        """Judge a tool call that is complete: as it is, with other arguments, or not at all.

        Raises:
            DetectionTimeout: A detector broke off whose findings are acted on.
        """
        call = ToolCall(channel=channel, call_id="", name=name, arguments=arguments)
        judged = self._detection.tool_call(self._caller, call)
        for one in judged.findings:
            if one.verdict in (Verdict.BLOCK, Verdict.QUARANTINE):
                return ToolRuling(refused=block_message(one.kind, one.rule, what="tool call"))
        if judged.incomplete:
            raise DetectionTimeout
        try:
            hidden = each_text(arguments, partial(self._hidden, channel))
            if any(one.verdict is Verdict.REDACT for one in judged.findings):
                hidden = self._cut(replace(call, arguments=hidden))
            where = cache(partial(_addresses_in, ToolUse(name=name, arguments=hidden)))
            changed = each_text(hidden, partial(self._put_back, where))
        except EditFailed:
            return ToolRuling(refused=MESSAGES[UNEDITABLE])
        except _Stays as stays:
            one = stays.found
            return ToolRuling(refused=block_message(one.kind, one.rule, what="tool call"))
        return ToolRuling(arguments=changed if changed != arguments else None)

    def as_sent(self, content: bytes) -> bytes:
        """Return what went on with placeholders again for the values that were put back."""
        for value, masked in self.restored.items():
            for ascii_only in (True, False):
                written = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
                content = content.replace(written.encode("utf-8", "surrogatepass"), masked.encode())
        return content

    def _cut(self, call: ToolCall) -> str:
        """Return arguments without what only their whole tells: a password by its name, say.

        Raises:
            _Stays: Something is still there, or is no value: a command without it is another.
            DetectionTimeout: A detector broke off whose findings are acted on.
        """
        left = self._to_hide(call)
        if not left:
            return call.arguments
        values = [one for one in left if one.kind.partition(".")[0] in FAMILIES]
        spans = [(one.start, one.end, one_way(one.kind)) for one in values]
        done = cut(call.arguments, spans) if len(values) == len(left) else None
        if done is not None:
            left = self._to_hide(replace(call, arguments=done))
        if done is None or left:
            raise _Stays(left[0])
        return done

    def _to_hide(self, call: ToolCall) -> list[Finding]:
        """Return what is still in a tool call that was to be hidden."""
        judged = self._detection.tool_call(self._caller, call)
        if judged.incomplete:
            raise DetectionTimeout
        return [one for one in judged.findings if one.verdict is Verdict.REDACT]

    def _hidden(self, channel: Channel, text: str) -> str:
        detection = self._detection
        place = detection.place(self._caller, context_of(channel))
        made = inspection(detection.analyzer, text, context_of(channel))
        changes: list[tuple[int, int, str]] = []
        decided: dict[str, bool] = {}
        for hit in unmasked(text, made.hits):
            decision = detection.policy.decide(hit, place)
            decided[hit.detector] = decided.get(hit.detector, False) or decision.acts
            if hit.value and decision.verdict is Verdict.REDACT:
                changes.append((hit.start, hit.end, one_way(hit.kind)))
        if is_incomplete(made, decided, partial(detection.acts_on, place)):
            raise DetectionTimeout
        return apply(text, changes) if changes else text

    def _put_back(self, where: Callable[[], Where | None], text: str) -> str:
        found = where() if PLACEHOLDER.search(text) else None
        if found is None:
            return text
        values = [
            (ruling.start, ruling.end, ruling.replacement)
            for ruling in self._restorations(text, found)
            if ruling.replacement is not None
        ]
        return apply(text, values) if values else text

    def _restorations(self, text: str, where: Where) -> Iterator[Ruling]:
        spans = addresses(text, where)
        start = stop = -1
        for match in PLACEHOLDER.finditer(text):
            at = match.start()
            while stop < at and start < len(text):
                start, stop = next(spans, (len(text), len(text)))
            if start < at <= stop:
                continue
            value = self._detection.masks.unmask(self._caller.tenant, match.group())
            if value is not None:
                self.restored[value] = match.group()
                yield Ruling(start=at, end=match.end(), replacement=value)


def _addresses_in(use: ToolUse) -> Where | None:
    """Return what is an address in a tool call's texts; None where no value is put back at all."""
    if sends(use):
        return None
    does = {action.action_type for action in read_actions(use)}
    only_files = ActionType.FILE_ACCESS in does and ActionType.COMMAND_EXECUTION not in does
    return IN_FILE if only_files else IN_ARGUMENT


def _block(found: Finding) -> Ruling:
    message = block_message(found.kind, found.rule, what="answer")
    return Ruling(start=found.start, end=found.end, replacement=None, block=message)
