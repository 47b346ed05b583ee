"""What detectors and the policy make of a call: its findings, what is to be changed, what refused.

Pure functions of the texts and the policy: nothing here waits, and nothing knows the network.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from llmtrace.analyzers.actions import ActionAnalyzer, ToolUse, ToolWatch
from llmtrace.analyzers.base import Context, Direction, Hit, Inspection, Skipped, StreamAnalyzer
from llmtrace.analyzers.combined import inspection
from llmtrace.analyzers.kinds import severity_of
from llmtrace.domain.answers import Answer, Channel, ToolCall
from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.parts import Media, Origin, Part, Path, Role
from llmtrace.pipeline.conversation import new_from
from llmtrace.pipeline.credentials import value_at
from llmtrace.pipeline.unfinished import is_incomplete, is_partly_read
from llmtrace.pipeline.voices import context_of, is_signed, location_of
from llmtrace.policy.masking import apply, one_way
from llmtrace.policy.notices import quarantine_notice
from llmtrace.policy.placeholders import unmasked
from llmtrace.policy.table import Decision, Place, PolicyTable
from llmtrace.providers.base import Json, RequestView

MAX_FINDINGS: Final = 256
"""Findings of one call that are kept: the worst."""
ORDER: Final = {verdict: rank for rank, verdict in enumerate(Verdict)}
"""Verdicts, mildest first."""
_WORST: Final = {severity: rank for rank, severity in enumerate(Severity)}
_SEALS: Final = frozenset(
    {"signature", "thoughtSignature", "thought_signature", "encrypted_content"}
)
"""Beside these, a text is signed by the provider: changed, it would refuse the request."""


class DetectionTimeout(TimeoutError):
    """The time for detection is over; what is left was not looked at."""


class Masks(Protocol):
    """Hides values, and knows them again."""

    def mask(self, tenant: str, kind: str, value: str) -> str:
        """Return what stands for a value from now on: the same for the same value."""
        ...

    def unmask(self, tenant: str, masked: str) -> str | None:
        """Return the value that a placeholder stands for; None if it stands for none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose call it is, as far as policies ask."""

    tenant: str = ""
    agent: str = ""
    provider: str = ""
    session: str = ""
    dialect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is to become of a request. ``edits`` are whole new texts by their place."""

    findings: tuple[Finding, ...] = ()
    edits: Mapping[Path, str] = field(default_factory=dict)
    hidden: Mapping[Path, str] = field(default_factory=dict)
    """The same for what is kept of the request alone: values that it was blocked for."""
    texts: Mapping[Path, str] = field(default_factory=dict)
    """What was read at the places of both."""
    entangled: bool = False
    """Whether two texts stand at one place, a member's name and its value, and both must change."""
    blocked: Finding | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    """Detectors that left something out, and why."""
    incomplete: bool = False
    """Whether something that was left out would have been acted on, or may have been."""
    partly: frozenset[object] = frozenset()
    """Paths and channels of the texts in which they did."""

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all findings."""
        return worst(self.findings)

    @property
    def kept_edits(self) -> Mapping[Path, str]:
        """All that is changed in what is kept of the request."""
        return {**self.edits, **self.hidden}


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict among findings, ``allow`` if there are none."""
    return max((f.verdict for f in findings), key=ORDER.__getitem__, default=Verdict.ALLOW)


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
        judging = _Judging(self, caller, body)
        parts = view.parts
        first_new = new_from(parts)
        texts = [(one.text, Context(one.role, one.origin, Direction.REQUEST)) for one in parts]
        if recall := getattr(self.analyzer, "recall", None):
            recall(texts)
        for index, (part, (text, context)) in enumerate(zip(parts, texts, strict=True)):
            if time.monotonic() > deadline:
                raise DetectionTimeout
            made = inspection(self.analyzer, text, context)
            if made.hits or made.skipped:
                judging.part(part, made, is_new=index >= first_new)
        # a tool is written in another way in each dialect, and no other tool for it
        watched = (caller.tenant, caller.agent, caller.session, caller.dialect)
        for name in self._watch.changed(watched, view.tools):
            judging.tool(name)
        read = {part.path for part in parts}
        for media in view.media:
            if media.path not in read:
                judging.media(media)
        return judging.done()

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
            if time.monotonic() > deadline:
                raise DetectionTimeout
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
        return Place(
            role=context.role,
            origin=context.origin,
            direction=context.direction,
            provider=caller.provider,
            tenant=caller.tenant,
            agent=caller.agent,
        )


class _Judging:
    """The judgement of one request, as it grows."""

    def __init__(self, detection: Detection, caller: Caller, body: Json) -> None:
        self._detection = detection
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
        detection, caller = self._detection, self._caller
        place = detection.place(caller, Context(part.role, part.origin, Direction.REQUEST))
        sealed = is_sealed(self._body, part.path)
        replaced: list[tuple[int, int, str]] = []
        hidden: list[tuple[int, int, str]] = []
        notice: Finding | None = None
        decided: dict[str, bool] = {}
        for hit in unmasked(part.text, made.hits):
            decision = _about(part, detection.policy.decide(hit, place), is_new, sealed)
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
                masked = detection.masks.mask(caller.tenant, hit.kind, value)
                replaced.append((hit.start, hit.end, masked))
            decided[hit.detector] = decided.get(hit.detector, False) or decision.acts
        self._incomplete |= is_incomplete(made, decided, partial(detection.acts_on, place))
        if notice is not None or replaced or hidden:
            self._entangled |= self._texts.setdefault(part.path, part.text) != part.text
        if notice is not None:
            self._edits[part.path] = quarantine_notice(notice.kind, notice.rule)
        elif replaced:
            self._edits[part.path] = apply(part.text, replaced)
        if hidden:
            self._hidden[part.path] = apply(part.text, [*replaced, *hidden])

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
        decision = self._detection.policy.decide(hit, self._detection.place(self._caller, context))
        if decision.verdict in (Verdict.REDACT, Verdict.QUARANTINE):
            decision = Decision(verdict=Verdict.BLOCK, rule=decision.rule)
        found = finding(hit, location, decision)
        if told or decision.verdict is Verdict.BLOCK:
            self._found.append(found)
        if decision.verdict is Verdict.BLOCK:
            self._blocked = self._blocked or found

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


_HISTORY: Final = frozenset({Role.USER, Role.ASSISTANT, Role.TOOL_RESULT})


def finding(hit: Hit, location: str, decision: Decision) -> Finding:
    """Return a hit as what is kept of it."""
    return Finding(
        kind=hit.kind,
        severity=Severity.INFO if decision.silent else hit.severity,
        confidence=hit.confidence,
        location=location,
        start=hit.start,
        end=hit.end,
        detector=hit.detector,
        verdict=decision.verdict,
        rule=decision.rule,
    )


def kept(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the worst ``MAX_FINDINGS`` findings, in their order."""
    if len(found) <= MAX_FINDINGS:
        return tuple(found)
    ranked = sorted(found, key=lambda f: (-ORDER[f.verdict], _WORST[f.severity], -f.confidence))
    chosen = {id(f) for f in ranked[:MAX_FINDINGS]}
    return tuple(f for f in found if id(f) in chosen)


def is_sealed(body: Json, path: Path) -> bool:
    """Whether a text stands beside a signature over it."""
    holder = value_at(body, path[:-1])
    return isinstance(holder, dict) and any(holder.get(key) for key in _SEALS)
