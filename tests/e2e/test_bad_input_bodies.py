"""Bodies that hide something: what the provider receives stands in the trace, or nothing goes out.

Each body carries a canary where a careless reader would not look.
"""

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import brotli  # type: ignore[import-untyped]  # no stubs exist
import httpx2
import pytest
import zstandard

from llmtrace.domain.traces import Outcome
from llmtrace.storage.codec import decode_record, encode_record
from llmtrace.testing.inprocess import Worker, running_worker
from llmtrace.testing.oracles import ask, post
from llmtrace.testing.provider import ScriptedProvider

CANARY = b"the-canary-078-05-1120"
HOST = "api.openai.com"
PATH = "/v1/chat/completions"
JSON = "content-type: application/json"


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    provider.clear()
    async with running_worker(tmp_path, provider) as running:
        yield running


def chat(text: bytes = b"hi") -> bytes:
    return b'{"model":"gpt-4o","messages":[{"role":"user","content":"%s"}]}' % text


async def send(
    worker: Worker, body: bytes, *headers: str, path: str = PATH, host: str = HOST
) -> tuple[int, bytes]:
    """Send a body; return the status and the answer's body."""
    fields = [header.encode("latin-1") for header in headers]
    answer = await ask(worker, host, post(path, body, *fields, host=host))
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), rest


def assert_refused(worker: Worker, status: int, answer: bytes, code: str = "") -> None:
    """A clear error, a trace, and nothing at the provider."""
    assert 400 <= status < 500, (status, answer[:200])
    assert json.loads(answer)["error"]["message"]
    assert worker.provider.calls == []
    (record,) = worker.journal.ended
    assert (record.trace.outcome, record.trace.status) == (Outcome.REFUSED, status)
    assert not code or record.trace.error_code == code


def recorded(worker: Worker) -> bytes:
    """Return all that is on record of the requests, decoded."""
    return b"\n".join(body.content for _, body in worker.journal.begun if body)


PLAIN, HIDDEN = chat(), chat(CANARY)
RAW_DEFLATE = zlib.compressobj(wbits=-15)

ENCODED = {
    "two-gzip-members": (gzip.compress(PLAIN) + gzip.compress(HIDDEN), "gzip"),
    "truncated": (gzip.compress(HIDDEN)[:-12], "gzip"),
    "no-trailer": (gzip.compress(HIDDEN)[:-8], "gzip"),
    "bytes-behind": (gzip.compress(PLAIN) + HIDDEN, "gzip"),
    "wrong-checksum": (gzip.compress(HIDDEN)[:-8] + bytes(8), "gzip"),
    "x-gzip": (gzip.compress(HIDDEN), "x-gzip"),
    "gzip-identity": (gzip.compress(HIDDEN), "gzip, identity"),
    "twice": (gzip.compress(gzip.compress(HIDDEN)), "gzip, gzip"),
    "twice-said-once": (gzip.compress(gzip.compress(HIDDEN)), "gzip"),
    "hex": (HIDDEN.hex().encode(), "hex"),
    "rot13": (HIDDEN, "rot13"),
    "zstd-two-frames": (zstandard.compress(PLAIN) + zstandard.compress(HIDDEN), "zstd"),
    "zstd-skippable-frame": (
        b"\x50\x2a\x4d\x18"
        + len(CANARY).to_bytes(4, "little")
        + CANARY
        + zstandard.compress(PLAIN),
        "zstd",
    ),
    "declared-but-plain": (HIDDEN, "gzip"),
    "raw-deflate": (RAW_DEFLATE.compress(HIDDEN) + RAW_DEFLATE.flush(), "deflate"),
    "brotli-with-more-behind": (brotli.compress(PLAIN) + HIDDEN, "br"),
    "compress": (HIDDEN, "compress"),
    "aws-chunked": (HIDDEN, "aws-chunked"),
    "with-a-parameter": (gzip.compress(HIDDEN), "gzip;q=1"),
    "bomb": (gzip.compress(b" " * (70 << 20), 9), "gzip"),
}


@pytest.mark.parametrize(("body", "coding"), ENCODED.values(), ids=ENCODED)
async def test_a_coding_that_servers_undo_differently_reaches_nobody(
    worker: Worker, body: bytes, coding: str
) -> None:
    status, answer = await send(worker, body, JSON, f"Content-Encoding: {coding}")
    assert_refused(worker, status, answer)
    assert CANARY not in answer


async def test_two_headers_of_codings_reach_nobody(worker: Worker) -> None:
    body = gzip.compress(HIDDEN)
    status, answer = await send(
        worker, body, JSON, "Content-Encoding: gzip", "Content-Encoding: identity"
    )
    assert_refused(worker, status, answer, "undecodable_body")


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("zstd", zstandard.compress),
        ("identity", bytes),
        ("GZIP", gzip.compress),
    ],
)
async def test_a_known_coding_is_read_and_its_bytes_go_on(
    worker: Worker, coding: str, encode: Callable[[bytes], bytes]
) -> None:
    body = encode(HIDDEN)
    status, _ = await send(worker, body, JSON, f"Content-Encoding: {coding}")
    assert status == 200
    (call,) = worker.provider.calls
    assert call.body == body
    assert recorded(worker) == HIDDEN
    assert CANARY.decode() in worker.journal.ended[0].texts.prompt


BAD_JSON = {
    "empty": b"",
    "only-blanks": b" \n",
    "cut": HIDDEN[:-1],
    "two-documents": PLAIN + HIDDEN,
    "trailing-comma": HIDDEN[:-1] + b",}",
    "nan": HIDDEN[:-1] + b',"n":NaN}',
    "infinity": HIDDEN[:-1] + b',"n":-Infinity}',
    "comment": b"/* x */" + HIDDEN,
    "single-quotes": HIDDEN.replace(b'"', b"'"),
    "byte-order-mark": b"\xef\xbb\xbf" + HIDDEN,
    "utf-16": HIDDEN.decode().encode("utf-16"),
    "utf-32": HIDDEN.decode().encode("utf-32"),
    "utf-16-without-mark": HIDDEN.decode().encode("utf-16-le"),
    "invalid-utf-8": chat(b"\xff\xfe" + CANARY),
    "overlong-utf-8": chat(b"\xc0\xaf" + CANARY),
    "lone-surrogate": chat(b"\\ud800" + CANARY),
    "raw-newline-in-string": chat(b"a\nb" + CANARY),
    "huge-exponent": HIDDEN[:-1] + b',"n":1e999999}',
    "digits": HIDDEN[:-1] + b',"n":' + b"1" * 5000 + b"}",
    "deep": HIDDEN[:-1] + b',"n":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "many-nodes": HIDDEN[:-1] + b',"n":[' + b"0," * 1_100_000 + b"0]}",
    "duplicate-root-key": b'{"messages":[{"role":"user","content":"%s"}],%s' % (CANARY, PLAIN[1:]),
    "duplicate-deep-key": b'{"model":"m","messages":[{"role":"user","content":"%s","content":"x"}]}'
    % CANARY,
    "duplicate-escaped-key": b'{"m\\u0065ssages":[{"content":"%s"}],%s' % (CANARY, PLAIN[1:]),
    "case-variant": b'{"Messages":[{"role":"user","content":"%s"}],%s' % (CANARY, PLAIN[1:]),
    "leading-zero": HIDDEN[:-1] + b',"n":01}',
    "form-feed": b"\x0c" + HIDDEN,
    "nul-behind": HIDDEN + b"\0",
}


LIMITED = {"many-nodes": "json_limits"}


@pytest.mark.parametrize("name", BAD_JSON)
async def test_json_that_parsers_read_differently_reaches_nobody(worker: Worker, name: str) -> None:
    status, answer = await send(worker, BAD_JSON[name], JSON)
    assert status == 400
    assert_refused(worker, status, answer, LIMITED.get(name, "bad_json"))
    assert CANARY not in answer


@pytest.mark.parametrize("name", ["nan", "cut", "digits", "utf-16", "deep"])
async def test_on_an_unknown_route_what_is_no_json_is_told_as_unread(
    worker: Worker, name: str
) -> None:
    body = BAD_JSON[name]
    await send(worker, body, JSON, path="/v1/new_thing")
    (record,) = worker.journal.ended
    assert record.trace.coverage.unread_bytes >= len(body)
    assert recorded(worker) == body


@pytest.mark.parametrize("name", ["duplicate-root-key", "many-nodes", "case-variant"])
async def test_the_same_holds_on_a_route_that_nobody_knows(worker: Worker, name: str) -> None:
    status, answer = await send(worker, BAD_JSON[name], JSON, path="/v1/new_thing")
    assert_refused(worker, status, answer, LIMITED.get(name, "bad_json"))


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "",
        "application/json; charset=utf-16",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "image/png",
        "application/vnd.api+json",
    ],
)
async def test_json_is_read_whatever_it_is_called(worker: Worker, kind: str) -> None:
    headers = [f"Content-Type: {kind}"] if kind else []
    status, _ = await send(worker, HIDDEN, *headers)
    assert (status, recorded(worker)) == (200, HIDDEN)
    assert CANARY.decode() in worker.journal.ended[0].texts.prompt


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"prompt=" + CANARY, "application/x-www-form-urlencoded"),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n'
            b"Content-Type: image/png\r\n\r\n" + HIDDEN + b"\r\n--x--\r\n",
            "multipart/form-data; boundary=x",
        ),
        (CANARY, "text/plain"),
        (b"\x89PNG\r\n\x1a\n" + CANARY, "image/png"),
    ],
    ids=["form", "multipart", "text", "binary"],
)
async def test_what_is_no_json_is_refused_where_json_is_due_and_told_elsewhere(
    worker: Worker, body: bytes, kind: str
) -> None:
    status, answer = await send(worker, body, f"Content-Type: {kind}")
    assert_refused(worker, status, answer, "bad_json")
    await send(worker, body, f"Content-Type: {kind}", path="/v1/new_thing")
    trace = worker.journal.ended[-1].trace
    assert trace.outcome is not Outcome.REFUSED
    assert trace.coverage.unread_bytes >= len(body)
    assert CANARY in recorded(worker)


# --- paths ---------------------------------------------------------------------------------------

SPELLINGS = [
    "/v1//chat/completions",
    "/v1/./chat/completions",
    "/v1/%63hat/completions",
    "/v1/chat/completions;x",
    "/v1/chat/completions/",
    "/v1/chat/completions?x=1",
    "/V1/CHAT/COMPLETIONS",
    "/v1/chat%2Fcompletions",
    "/v1/chat/completions#/files",
    "//v1/chat/completions",
]


@pytest.mark.parametrize("path", SPELLINGS)
async def test_every_spelling_of_a_path_is_the_route_or_refused(worker: Worker, path: str) -> None:
    status, _ = await send(worker, HIDDEN, JSON, path=path)
    if status in (400, 403):
        assert worker.provider.calls == []
        return
    (record,) = worker.journal.ended
    assert record.trace.dialect == "openai.chat"
    assert CANARY.decode() in record.texts.prompt


@pytest.mark.parametrize(
    "path",
    ["/v1/../v1/chat/completions", "/v1/%2e%2e/x", "/v1/chat%5ccompletions", "/v1/%2563hat", "/%"],
)
async def test_a_path_that_climbs_or_is_escaped_twice_reaches_nobody(
    worker: Worker, path: str
) -> None:
    status, _ = await send(worker, HIDDEN, JSON, path=path)
    assert status in (400, 403)
    assert worker.provider.calls == []


@pytest.mark.parametrize("path", ["/v1/chat/completions#/files", "/v1/chat/completions?/files"])
async def test_a_path_is_no_upload_for_what_stands_behind_it(worker: Worker, path: str) -> None:
    body = chat(b"x" * (21 << 20))
    status, _ = await send(worker, body, "content-type: text/plain", path=path)
    assert status in (400, 403, 413)
    assert worker.provider.calls == []


@pytest.mark.parametrize(
    "body",
    [b'{"deep":[{"text":"%s"}]}' % CANARY, b'["%s"]' % CANARY, b'{"%s":1}' % CANARY],
    ids=["value", "list", "key"],
)
async def test_an_unknown_route_is_read_string_by_string(worker: Worker, body: bytes) -> None:
    await send(worker, body, JSON, path="/v1/new_thing")
    (record,) = worker.journal.ended
    assert record.trace.dialect == "generic"
    assert CANARY.decode() in record.texts.prompt or record.trace.coverage.unread_bytes


# --- identity ------------------------------------------------------------------------------------


async def test_a_body_over_the_limit_is_told_in_the_dialect_and_traced(worker: Worker) -> None:
    body = chat(b"x" * (21 << 20))
    async with httpx2.AsyncClient(
        proxy=worker.proxy_url, verify=worker.client_context(), trust_env=False
    ) as http:
        answer = await http.post(f"https://{HOST}{PATH}", content=body)
    assert answer.status_code == 413
    assert answer.json()["error"]["message"]
    trace = await worker.journal.trace()
    assert (trace.outcome, trace.status, trace.error_code) == (
        Outcome.REFUSED,
        413,
        "body_bytes",
    )


async def test_many_cookies_do_not_hold_the_gateway(worker: Worker) -> None:
    cookies = "; ".join(f"c{n}={n:08d}" for n in range(4000))
    status, _ = await send(worker, chat(b"x" * (4 << 20)), JSON, f"Cookie: {cookies}")
    assert status in (200, 431)


@pytest.mark.parametrize(
    "header",
    [
        "User-Agent: \xff\xfe\x80",
        "X-Session-Id: \xff",
        "Session_id: \xff\xfe",
        "Cookie: a=\xff\xfe",
    ],
)
async def test_headers_that_are_no_utf_8_are_recorded(worker: Worker, header: str) -> None:
    assert (await send(worker, PLAIN, JSON, header))[0] == 200
    (record,) = worker.journal.ended
    assert decode_record(encode_record(record)).trace.trace_id == record.trace.trace_id


async def test_a_models_name_is_bounded(worker: Worker) -> None:
    body = b'{"model":"%s","messages":[]}' % (b"m" * 100_000)
    await send(worker, body, JSON)
    assert len(worker.journal.ended[0].trace.model) <= 1024
