"""How much a call may write."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.config.limits import TokenCap
from llmtrace.limits.asked import Asked
from llmtrace.limits.outputs import HEARD_OUTPUT, IMAGE_TOKENS, OTHER_OUTPUT, Output, Writer, decide
from llmtrace.limits.prompts import Prompt
from llmtrace.limits.refusals import Refused

STRICT = Writer(
    provider="openai",
    model="gpt-4o",
    dialect="openai.chat",
    operation="chat",
    most=16_384,
    window=128_000,
    default=4_096,
    editable=True,
    strict=True,
)
LIKELY = STRICT._replace(strict=False)
OWN = ("max_tokens",)
NOTHING = Asked(limit=None, choices=1, own=OWN)
SMALL = Prompt(most=1000, likely=100)
FREE = TokenCap()


def output(
    asked: Asked | None, writer: Writer, cap: TokenCap = FREE, prompt: Prompt = SMALL
) -> Output:
    found = decide(asked, prompt, writer, cap)
    assert isinstance(found, Output), found
    return found


def refusal(
    asked: Asked | None, writer: Writer, cap: TokenCap = FREE, prompt: Prompt = SMALL
) -> Refused:
    found = decide(asked, prompt, writer, cap)
    assert isinstance(found, Refused), found
    return found


def wants(limit: int, choices: int = 1) -> Asked:
    return Asked(limit=limit, choices=choices, own=OWN)


def test_what_a_call_asks_for_counts_for_each_of_its_answers() -> None:
    assert output(wants(500, 3), STRICT).tokens == 1500
    assert output(wants(500, 3), STRICT).put is None


def test_more_than_a_model_can_is_not_reserved() -> None:
    assert output(wants(2**52), LIKELY).each == 16_384
    assert output(wants(2**52), STRICT).each == 128_000  # what is known of it may be too little


def test_strict_gives_a_call_the_limit_it_lacks() -> None:
    assert output(NOTHING, STRICT) == Output(each=16_384, put=(OWN, 16_384))


def test_an_estimate_leaves_a_call_as_it_is() -> None:
    assert output(NOTHING, LIKELY) == Output(each=16_384)


def test_an_unknown_model_is_given_what_the_operator_says() -> None:
    unknown = STRICT._replace(most=None, window=None)
    assert output(NOTHING, unknown).put == (OWN, 4_096)
    assert output(NOTHING, unknown._replace(strict=False)).each == 4_096


def test_no_limit_is_put_that_the_prompt_leaves_no_room_for() -> None:
    tight = STRICT._replace(most=8_192, window=8_192)
    assert output(NOTHING, tight, prompt=Prompt(most=9000, likely=5000)).put == (OWN, 3_192)
    full = output(NOTHING, tight, prompt=Prompt(most=9000, likely=8_190))
    assert full.put == (OWN, 8_192)  # the provider will say that it is too long


def test_what_cannot_be_changed_counts_by_its_model() -> None:
    signed = STRICT._replace(editable=False)
    assert output(NOTHING, signed) == Output(each=16_384)
    assert output(NOTHING, signed._replace(most=None)) == Output(each=128_000)
    assert output(None, STRICT) == Output(each=16_384)  # nobody knows where a limit would go


def test_what_cannot_be_bounded_is_refused() -> None:
    blind = STRICT._replace(editable=False, most=None, window=None)
    found = refusal(NOTHING, blind)
    assert (found.status, found.code) == (403, "model_not_priced")
    assert "Set one in the call" in found.message
    assert output(NOTHING, blind._replace(strict=False)).each == 4_096


def test_a_cap_is_put_into_a_call_in_both_modes() -> None:
    cap = TokenCap(max_completion_tokens=300)
    assert output(NOTHING, STRICT, cap).put == (OWN, 300)
    assert output(NOTHING, LIKELY, cap).put == (OWN, 300)
    thrice = Asked(limit=None, choices=3, own=OWN)
    assert output(thrice, LIKELY, cap).put == (OWN, 100)
    total = TokenCap(max_total_tokens=350)
    assert output(NOTHING, LIKELY, total).put == (OWN, 250)


def test_a_cap_that_cannot_be_put_in_is_to_be_set_by_the_client() -> None:
    cap = TokenCap(max_completion_tokens=300)
    found = refusal(NOTHING, LIKELY._replace(editable=False), cap)
    assert (found.status, found.code) == (400, "token_cap_exceeded")
    assert "Set max_tokens to 300 or less" in found.message
    roomy = TokenCap(max_completion_tokens=20_000)  # the model has less anyway
    assert output(NOTHING, LIKELY._replace(editable=False), roomy).each == 16_384


@pytest.mark.parametrize(
    ("cap", "asked", "kind"),
    [
        (TokenCap(max_prompt_tokens=99), wants(1), "prompt"),
        (TokenCap(max_prompt_tokens=99), NOTHING, "prompt"),
        (TokenCap(max_completion_tokens=10), wants(11), "completion"),
        (TokenCap(max_completion_tokens=10), wants(4, 3), "completion"),
        (TokenCap(max_completion_tokens=2), Asked(limit=None, choices=3, own=OWN), "completion"),
        (TokenCap(max_total_tokens=109), wants(10), "total"),
        (TokenCap(max_total_tokens=100), NOTHING, "total"),
    ],
)
def test_a_call_over_a_cap_is_refused(cap: TokenCap, asked: Asked, kind: str) -> None:
    found = refusal(asked, STRICT, cap)
    assert (found.status, found.code) == (400, "token_cap_exceeded")
    assert found.details["kind"] == kind


@pytest.mark.parametrize(
    ("cap", "asked"),
    [
        (TokenCap(max_prompt_tokens=100), wants(1)),
        (TokenCap(max_completion_tokens=10), wants(10)),
        (TokenCap(max_completion_tokens=12), wants(4, 3)),
        (TokenCap(max_total_tokens=110), wants(10)),
        (TokenCap(max_total_tokens=101), NOTHING),
    ],
)
def test_a_call_at_a_cap_may_go(cap: TokenCap, asked: Asked) -> None:
    output(asked, STRICT, cap)


@pytest.mark.parametrize(
    ("operation", "each"),
    [
        ("embeddings", 0),
        ("moderation", 0),
        ("images", IMAGE_TOKENS),
        ("realtime", OTHER_OUTPUT),
        ("audio", HEARD_OUTPUT),
    ],
)
def test_what_is_no_chat_has_its_own_size(operation: str, each: int) -> None:
    assert output(None, STRICT._replace(operation=operation)).each == each


def test_short_completions_stay_short() -> None:
    short = STRICT._replace(dialect="openai.completions", operation="completion")
    assert output(NOTHING, short) == Output(each=16)
    assert output(NOTHING, short._replace(provider="together")).put == (OWN, 16_384)


LIMITS = st.none() | st.integers(1, 50_000)


@settings(max_examples=300, deadline=None)
@given(
    limit=st.none() | st.integers(0, 2**53 - 1),
    choices=st.integers(1, 200),
    likely=st.integers(0, 200_000),
    prompt_cap=LIMITS,
    completion_cap=LIMITS,
    total_cap=LIMITS,
    most=st.none() | st.integers(1, 200_000),
    window=st.none() | st.integers(1, 2_000_000),
    editable=st.booleans(),
    strict=st.booleans(),
)
def test_no_call_that_may_go_is_over_its_cap(
    limit: int | None,
    choices: int,
    likely: int,
    prompt_cap: int | None,
    completion_cap: int | None,
    total_cap: int | None,
    most: int | None,
    window: int | None,
    editable: bool,
    strict: bool,
) -> None:
    cap = TokenCap(
        max_prompt_tokens=prompt_cap,
        max_completion_tokens=completion_cap,
        max_total_tokens=total_cap,
    )
    writer = STRICT._replace(most=most, window=window, editable=editable, strict=strict)
    asked = Asked(limit=limit, choices=choices, own=OWN)
    found = decide(asked, Prompt(most=likely * 4, likely=likely), writer, cap)
    if isinstance(found, Output):
        assert completion_cap is None or found.tokens <= completion_cap
        assert prompt_cap is None or likely <= prompt_cap
        assert total_cap is None or likely + found.tokens <= total_cap
        if strict and limit is None and editable:
            assert found.put is not None
        assert found.put is None or 1 <= found.put[1] <= found.each
