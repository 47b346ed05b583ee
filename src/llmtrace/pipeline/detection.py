"""What detectors and the policy make of a call: its findings, what is to be changed, what refused.

Pure functions of the texts and the policy: nothing here waits, and nothing knows the network.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from llmtrace.analyzers.actions import ActionAnalyzer, ToolUse, ToolWatch
from llmtrace.analyzers.base import Context, Direction, Hit, Inspection, Skipped, StreamAnalyzer
from llmtrace.analyzers.combined import inspection
from llmtrace.domain.answers import Answer, Channel, ToolCall
from llmtrace.domain.findings import Finding, Verdict
from llmtrace.domain.parts import Part
from llmtrace.pipeline.conversation import new_from
from llmtrace.pipeline.judgements import Caller, Judgement, finding, kept, place_of
from llmtrace.pipeline.judging_requests import Masks, RequestJudging
from llmtrace.pipeline.surroundings import MAX_VALUES, Values, is_telling, joined, named, seams
from llmtrace.pipeline.unfinished import is_incomplete, is_partly_read
from llmtrace.pipeline.voices import context_of, is_signed, location_of
from llmtrace.policy.placeholders import unmasked
from llmtrace.policy.table import Decision, Place, PolicyTable
from llmtrace.providers.base import Json, RequestView
from llmtrace.providers.media import unseen


class DetectionTimeout(TimeoutError):
    """The time for detection is over; what is left was not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolJudgement:
    """What there is to find in a tool call.

    ``incomplete`` as in ``Judgement``; ``skipped`` is what was left out, and why.
    """

    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...] = ()
    incomplete: bool = False


class Detection:
    """All detectors, and the policy that decides. One per worker; safe in any thread."""

    def __init__(
        self,
        *,
        analyzer: StreamAnalyzer,
        growing: StreamAnalyzer,
        actions: ActionAnalyzer,
        policy: PolicyTable,
        masks: Masks,
        watch: ToolWatch,
        enforce: bool,
        seconds: float,
    ) -> None:
        self.analyzer = analyzer
        self.growing = growing
        """The same for texts that still grow: each is another, and not to be remembered."""
        self.actions = actions
        self.policy = policy
        self.masks = masks
        self.enforce = enforce
        self.seconds = seconds
        """How long the detection of one request or answer may take."""
        self._watch = watch

    # --- requests ---------------------------------------------------------------------------

    def request(self, caller: Caller, view: RequestView, body: Json) -> Judgement:
        """Judge a request. ``body`` is the parsed document that the view is of.

        Raises:
            DetectionTimeout: It took longer than ``seconds``.
        """
        deadline = time.monotonic() + self.seconds
        judging = RequestJudging(self.policy, self.masks, caller, body)
        parts = view.parts
        first_new = new_from(parts)
        texts = [(one.text, Context(one.role, one.origin, Direction.REQUEST)) for one in parts]
        if recall := getattr(self.analyzer, "recall", None):
            recall(texts)
        seen: list[Inspection] = []
        for text, context in texts:
            _in_time(deadline)
            seen.append(inspection(self.analyzer, text, context))
        self._together(caller, parts, seen, deadline)
        for index, (part, made) in enumerate(zip(parts, seen, strict=True)):
            if made.hits or made.skipped:
                judging.part(part, made, is_new=index >= first_new)
        # a tool is written in another way in each dialect, and described in another way from
        # project to project, so from session to session: neither makes it another tool
        watched = (caller.tenant, caller.agent, caller.session, caller.dialect)
        for name in self._watch.changed(watched, view.tools):
            judging.tool(name)
        for media in unseen(parts, view.media):
            judging.media(media)
        judged = judging.done()
        if judged.blocked is None or not self.enforce:  # what was refused is not what is known
            self._watch.remember(watched, view.tools)
        return judged

    def _together(
        self, caller: Caller, parts: Sequence[Part], seen: list[Inspection], deadline: float
    ) -> None:
        """Add to what was seen what shows only together with what stands around a part."""
        cut = seams(parts, self.growing)
        for number, part in enumerate(parts):
            _in_time(deadline)
            more = joined(cut.get(number, Inspection(())), named(part, self.growing))
            seen[number] = joined(seen[number], more)
        values = self._values(caller, parts, seen)
        for number, part in enumerate(parts if values.by_text else ()):
            _in_time(deadline)
            seen[number] = joined(seen[number], values.again(part, seen[number].hits))

    def _values(self, caller: Caller, parts: Sequence[Part], seen: Sequence[Inspection]) -> Values:
        """Return the values that are hidden in one part, and must be in all."""
        told = (
            (part.text[hit.start : hit.end], hit)
            for part, made in zip(parts, seen, strict=True)
            for hit in unmasked(part.text, made.hits)
            if is_telling(hit, part.text[hit.start : hit.end])
            and self.acts_on(self.place(caller, _context(part)), hit)
        )
        values: dict[str, Hit] = {}
        for text, hit in told:  # the same one stands in each turn: it counts once
            if len(values) < MAX_VALUES:
                values.setdefault(text, hit)
            elif text not in values:
                return Values(values, is_whole=False)
        return Values(values)

    # --- answers ----------------------------------------------------------------------------

    def answer(self, caller: Caller, answer: Answer) -> Judgement:
        """Judge an answer that has ended, as the provider wrote it: its findings alone.

        Raises:
            DetectionTimeout: It took longer than ``seconds``.
        """
        deadline = time.monotonic() + self.seconds
        found: list[Finding] = []
        skipped: set[tuple[str, str]] = set()
        partly: set[object] = set()
        for channel, text in answer.texts.items():
            _in_time(deadline)
            made = inspection(self.analyzer, text, context_of(channel))
            if made.skipped:
                skipped.update((one.detector, one.reason) for one in made.skipped)
                if is_partly_read(made.skipped):
                    partly.add(channel)
            for hit in unmasked(text, made.hits):
                decision = self.decide_in_answer(caller, channel, hit)
                found.append(finding(hit, location_of(channel), decision))
        for call in answer.tool_calls:
            judged = self.tool_call(caller, call)
            found += judged.findings
            if judged.skipped:
                skipped.update((one.detector, one.reason) for one in judged.skipped)
                if is_partly_read(judged.skipped):
                    partly.add(call.channel)
        return Judgement(
            findings=kept(found), skipped=tuple(sorted(skipped)), partly=frozenset(partly)
        )

    def tool_call(self, caller: Caller, call: ToolCall) -> ToolJudgement:
        """Judge a tool call, put together: its words, and what it does."""
        where = f"{location_of(call.channel)}.arguments"
        place = self.place(caller, context_of(call.channel))
        words = inspection(self.analyzer, call.arguments, context_of(call.channel))
        deeds = self.actions.inspect_tool(ToolUse(name=call.name, arguments=call.arguments))
        hits = [*unmasked(call.arguments, words.hits), *deeds.hits]
        both = Inspection((), (*words.skipped, *deeds.skipped))
        found: list[Finding] = []
        decided: dict[str, bool] = {}
        for hit in hits:
            decision = self.policy.decide(hit, place)
            found.append(finding(hit, where, decision))
            decided[hit.detector] = decided.get(hit.detector, False) or decision.acts
        incomplete = is_incomplete(both, decided, partial(self.acts_on, place))
        return ToolJudgement(findings=tuple(found), skipped=both.skipped, incomplete=incomplete)

    def decide_in_answer(self, caller: Caller, channel: Channel, hit: Hit) -> Decision:
        """Decide about what stands in a channel.

        What cannot be told before the text has ended is reported, never acted on: a stream
        would have gone by then, and a whole answer is to be judged as its stream. Reasoning
        that its provider signs goes on as it is, or not at all.
        """
        decision = self.policy.decide(hit, self.place(caller, context_of(channel)))
        changes = decision.verdict is not Verdict.BLOCK
        if decision.acts and (not hit.stable or (changes and is_signed(caller.dialect, channel))):
            return Decision(verdict=Verdict.FLAG, rule=decision.rule)
        return decision

    def acts_on(self, place: Place, hit: Hit) -> bool:
        """Whether a hit would be acted on, if it stood there."""
        return self.policy.decide(hit, place).acts

    def place(self, caller: Caller, context: Context) -> Place:
        """Return where something stands, as policies ask."""
        return place_of(caller, context)


def _in_time(deadline: float) -> None:
    """Raises: DetectionTimeout."""
    if time.monotonic() > deadline:
        raise DetectionTimeout


def _context(part: Part) -> Context:
    return Context(part.role, part.origin, Direction.REQUEST)
