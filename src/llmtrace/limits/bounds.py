"""What a call may cost: at most (``strict``), or likely (``estimate``), before it is sent.

``in · price + choices · out · price + fees``, in integer nano-USD and rounded up. Prices are the
highest that the call can reach (``providers.ceilings``); no discount of a cache is counted on.
Where a call sets no most of output tokens, ``strict`` puts one into it, so that the provider
itself keeps to the bound.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from llmtrace.config.limits import CostCapsConfig, TokenCap
from llmtrace.domain.parts import MediaKind
from llmtrace.limits.asked import PICTURES, Asked, Place, read_asked, spelling
from llmtrace.limits.caching import Writes, cache_writes
from llmtrace.limits.outputs import CHATS, SILENT, Output, Writer, decide
from llmtrace.limits.prompts import Hosted, Prompt, hosted_tools, measure
from llmtrace.limits.refusals import Refused, not_priced
from llmtrace.providers.base import Json, RequestView, Route
from llmtrace.providers.ceilings import (
    LARGEST_INPUT,
    MAX_NAME,
    Ceiling,
    Reach,
    ceiling,
    context_window,
    dearest,
)
from llmtrace.providers.money import MILLION, nano_usd
from llmtrace.providers.output_limits import most_output
from llmtrace.providers.pricing import PriceBook
from llmtrace.providers.reading import as_dict, as_list, as_str

type Hold = Literal["hard", "soft", "none"]
"""What a call is held to: a limit, warnings only, or no budget at all."""

LARGEST: Final = 2**53 - 1
NO_CAP: Final = TokenCap()
FREE: Final = Ceiling(input=0, output=0)
ROUNDINGS: Final = 16
"""Classes of usage that a call is priced by; each is rounded up by less than a nano-USD."""
PUT_BYTES: Final = 64
"""What a limit that is put in adds to a body, at most."""
MS_PER_BYTE: Final = 2
"""Sound has 500 bytes a second at least: 4 kbit/s, less than any codec for speech."""
_WRAPPERS: Final = ("request", "generateContentRequest", "generate_content_request")
_PRICED: Final = CHATS | SILENT | {"images", "audio"}
"""Operations whose cost has a bound, where the price lists know the model."""
_MANUAL_CACHES: Final = frozenset({"anthropic.messages", "bedrock.converse", "bedrock.invoke"})
"""Dialects whose caches are written only where a call says so, or tools run at the provider's."""
_TIERED: Final = frozenset({"openai", "azure"})
"""Providers whose projects say the service tier of calls that name none."""
_TEXT: Final = frozenset({"text"})
_SAYS_MEDIA: Final = frozenset({"modalities", "generationConfig", "generation_config"})
"""Members in which a call says what its answer may be made of."""
_MEDIA_MODELS: Final = ("image", "audio", "realtime", "tts", "live", "omni")
"""What is in the names of models that make pictures and sound unasked."""


class Outgoing(NamedTuple):
    """A call that is about to be sent.

    ``body`` is the object that the dialect reads, parsed, and None where there is no JSON;
    ``size`` is the length of all of it, decoded. ``editable`` is False where it must not be
    changed: it is signed, or the provider takes no limit (subscription backends).
    ``stored_tokens`` are those of an earlier conversation that it refers to, None where that is
    not known.
    """

    route: Route
    view: RequestView
    body: Json
    size: int
    at: datetime
    model: str = ""
    editable: bool = True
    stored_tokens: int | None = None

    @property
    def named(self) -> str:
        """The model that it asks for, empty where it names none."""
        return self.model or self.view.model or self.route.model


class Bound(NamedTuple):
    """What a call is held to cost, and what is to be put into it so that it does not cost more.

    ``usd`` is in nano-USD. ``tokens`` are for rates: what it likely sends, and all that it may
    write. ``input_usd`` is what of ``usd`` is not for output.
    """

    usd: int = 0
    tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    choices: int = 1
    input_usd: int = 0
    output_rate: int = 0
    """Nano-USD for a million tokens."""
    put: tuple[Place, int] | None = None
    """Where a number is to stand in the body, and which."""
    price_version: str = ""
    """Empty where the call is free or has no price of its own."""

    def fitting_output(self, room: int) -> int | None:
        """Return how many tokens each answer may have to fit into so many nano-USD.

        None where output is not what it costs.
        """
        if not self.output_rate:
            return None
        return max((room - self.input_usd) * MILLION // self.output_rate // self.choices, 0)


class Bounder:
    """Tells what calls may cost. Safe to share between threads."""

    def __init__(self, config: CostCapsConfig, book: PriceBook) -> None:
        self.strict: Final = config.mode == "strict"
        self._default_output = config.max_output_tokens
        self._default_price = _default_price(config)
        self._refuses_tools = config.provider_tools == "refuse"
        self._book = book

    def bound(
        self, call: Outgoing, cap: TokenCap | None = None, *, hold: Hold = "hard"
    ) -> Bound | Refused:
        """Return what a call may cost, or why it must not go.

        Args:
            call: The call.
            cap: How many tokens it may have.
            hold: What it is held to. Without a hard limit, it likely costs what it costs, nothing
                is put into it but a cap, and it needs no price.
        """
        if not (call.route.billable and call.view.billable):
            return Bound()
        strict = self.strict and hold == "hard"
        prefix, body = _inner(call)
        cap = cap or NO_CAP
        asked = _asked(call, prefix, body)
        if isinstance(asked, Refused):
            if hold != "none" or cap != NO_CAP:
                return asked
            asked = None
        hosted = hosted_tools(body, call.route.provider)
        window = context_window(call.route.provider, call.named)
        prompt = measure(
            call.view,
            body,
            size=call.size + (0 if asked and asked.limit is not None else PUT_BYTES),
            provider=call.route.provider,
            dialect=call.route.dialect,
            window=window or LARGEST_INPUT,
            hosted=hosted,
            stored_tokens=call.stored_tokens,
        )
        output = decide(asked, prompt, self._writer(call, window, strict), cap)
        if isinstance(output, Refused):
            return output
        price = self._price(call, body, prompt, hosted, strict=strict) if hold != "none" else FREE
        if isinstance(price, Refused):
            return price
        return _bound(call, prompt, output, hosted, price, strict=strict)

    def _writer(self, call: Outgoing, window: int | None, strict: bool) -> Writer:
        return Writer(
            provider=call.route.provider,
            model=call.named,
            dialect=call.route.dialect,
            operation=call.route.operation,
            most=most_output(call.named),
            window=window,
            default=self._default_output,
            editable=call.editable,
            strict=strict,
            spoken=call.size if isinstance(call.body, dict) else None,
        )

    def _price(
        self, call: Outgoing, body: Json, prompt: Prompt, hosted: Hosted, *, strict: bool
    ) -> Ceiling | Refused:
        operation = call.route.operation
        unsaid = "auto" if strict and call.route.provider in _TIERED else ""
        reach = _reach(call, body, _read(prompt, strict), hosted, unsaid)
        models = tuple(_models(call, body))
        boundless = self._boundless(call, hosted)
        if (operation in _PRICED and not boundless) or not strict:
            found = ceiling(self._book, call.route.provider, models, reach, at=call.at)
            if found is not None:
                return found
        if not strict:
            return self._default_price
        reason = f"no price is known of {call.named!r}" if models else "it names no model"
        if operation not in _PRICED:
            reason = f"calls for {operation!r} have no upper bound"
        return not_priced(
            provider=call.route.provider,
            model=call.named,
            operation=operation,
            reason=boundless or reason,
        )

    def _boundless(self, call: Outgoing, hosted: Hosted) -> str:
        """Return why nothing in a call bounds what it costs, empty if something does."""
        if call.route.provider == "perplexity" and "deep-research" in call.named:
            return f"{call.named!r} thinks and searches without a limit"
        if hosted.uses and self._refuses_tools:
            return "it offers tools that run at the provider's (cost_caps.provider_tools: refuse)"
        return ""


def _default_price(config: CostCapsConfig) -> Ceiling:
    """Return what a model without a price is held to cost; never nothing."""
    if config.default_price is None:
        return dearest()
    return Ceiling(
        input=_nano(config.default_price.input_per_million),
        output=_nano(config.default_price.output_per_million),
    )


def _bound(
    call: Outgoing, prompt: Prompt, output: Output, hosted: Hosted, price: Ceiling, *, strict: bool
) -> Bound:
    read = _read(prompt, strict)
    uses = hosted.uses if strict else min(hosted.uses, 1)
    fees = price.request + uses * price.tool + call.size * MS_PER_BYTE * price.audio
    if strict:
        fees += _predicted(call) * price.output
    sent, written = _rounded(read * price.input + fees), _rounded(output.tokens * price.output)
    sent += ROUNDINGS if sent or written else 0
    return Bound(
        usd=min(sent + written, LARGEST),
        tokens=min(_read(prompt, strict=False) + output.tokens, LARGEST),
        input_tokens=read,
        output_tokens=output.tokens,
        choices=output.choices,
        input_usd=sent,
        output_rate=price.output,
        put=output.put,
        price_version=price.version,
    )


def _read(prompt: Prompt, strict: bool) -> int:
    """Return the tokens that a call is held to send: estimates are short for code, by a tenth."""
    return prompt.most if strict else -(-prompt.likely * 11 // 10)


def _predicted(call: Outgoing) -> int:
    """Return the tokens of a prediction at most: rejected ones cost as if they were written.

    It is not measured by itself, which takes long and fails where it is nested deep: no more
    tokens than the call has bytes.
    """
    return call.size if as_dict(call.body).get("prediction") else 0


def _inner(call: Outgoing) -> tuple[Place, Json]:
    """Return the object that says what is wanted, and where it stands in the body."""
    fields = as_dict(call.body)
    if call.route.dialect == "gemini.generate" and "contents" not in fields:
        for name in _WRAPPERS:
            if isinstance(fields.get(name), dict):
                return (name,), fields[name]
    return (), call.body


def _asked(call: Outgoing, prefix: Place, body: Json) -> Asked | Refused | None:
    """Read what a call asks for; None where nobody knows how it would say it."""
    if call.route.operation in SILENT or not isinstance(body, dict):
        return None
    how = spelling(call.route.dialect, call.route.provider, body, call.named)
    if call.route.operation == "images":
        how = PICTURES
    return read_asked(how, body, prefix, prompts=_prompts(call, body)) if how else None


def _prompts(call: Outgoing, body: dict[str, Json]) -> int:
    """Return how many prompts a call has: those of completions may be a list."""
    if call.route.dialect != "openai.completions":
        return 1
    return max(1, sum(isinstance(prompt, str | list) for prompt in as_list(body.get("prompt"))))


def _models(call: Outgoing, body: Json) -> Iterator[str]:
    """Go through the models that may answer: OpenRouter takes a list of them."""
    if call.named:
        yield call.named[:MAX_NAME]
    if call.route.provider == "openrouter":
        for model in filter(None, map(as_str, as_list(as_dict(body).get("models"))[:32])):
            yield model[:MAX_NAME]


def _reach(call: Outgoing, body: Json, read: int, hosted: Hosted, unsaid: str) -> Reach:
    """Return what a call can lead to; ``unsaid`` is the tier of one that names none."""
    fields = as_dict(body)
    manual = call.route.dialect in _MANUAL_CACHES
    writes = cache_writes(body) if manual else Writes(any=True)
    if hosted.uses:
        writes = Writes(any=True, long=writes.long)
    tier = fields.get("service_tier") or fields.get("serviceTier")
    return Reach(
        input_tokens=read,
        answers=call.route.operation not in SILENT,
        sound=call.route.operation == "audio",
        cache_writes=writes.any,
        cache_writes_1h=writes.long,
        input_media=any(item.kind is not MediaKind.FILE for item in call.view.media),
        output_media=_makes_media(call, fields) or "image" in hosted.fees,
        service_tier=_short(as_str(as_dict(tier).get("type")) or as_str(tier) or unsaid, "auto"),
        speed=_short(as_str(fields.get("speed")), "fast"),
        tools=hosted.fees,
    )


def _short(name: str, dearest: str) -> str:
    """Return a name as it is, or the dearest where it is longer than any: it is kept."""
    return name if len(name) <= MAX_NAME else dearest


def _makes_media(call: Outgoing, fields: dict[str, Json]) -> bool:
    if call.route.operation not in CHATS:
        return call.route.operation not in SILENT
    if _SAYS_MEDIA.isdisjoint(fields):
        return _is_media_model(call.named[:MAX_NAME])
    config = as_dict(fields.get("generationConfig") or fields.get("generation_config"))
    wanted = [
        *as_list(fields.get("modalities")),
        *as_list(config.get("responseModalities")),
        *as_list(config.get("response_modalities")),
    ]
    return _is_media_model(call.named[:MAX_NAME]) or any(
        as_str(kind).lower() not in _TEXT for kind in wanted
    )


@lru_cache(maxsize=4096)
def _is_media_model(named: str) -> bool:
    return any(word in named.lower() for word in _MEDIA_MODELS)


def _rounded(amount: int) -> int:
    return -(-amount // MILLION)


def _nano(dollars: float) -> int:
    return nano_usd(Decimal(str(dollars)))
