import pytest

from llmtrace.pipeline.credentials import MASK, Credentials, fingerprint
from llmtrace.storage.keys import PREFIX

SECRET = "sk-test-0123456789abcdef"


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        pytest.param([("Authorization", f"Bearer {SECRET}")], "", id="bearer"),
        pytest.param([("x-api-key", SECRET)], "", id="anthropic"),
        pytest.param([("X-Goog-Api-Key", SECRET)], "", id="google-header"),
        pytest.param([], f"alt=sse&key={SECRET}", id="google-query"),
        pytest.param([("Cookie", f"a=b; session={SECRET}")], "", id="cookie"),
        pytest.param([("X-Amz-Security-Token", SECRET)], "", id="aws-session"),
        pytest.param(
            [("Authorization", f"AWS4-HMAC-SHA256 Credential=AK, Signature={SECRET}")],
            "",
            id="aws-signature",
        ),
    ],
)
def test_a_credential_is_taken_out_of_texts_and_bodies(
    headers: list[tuple[str, str]], query: str
) -> None:
    credentials = Credentials(headers, query)
    assert credentials.scrub(f"Incorrect key: {SECRET}.") == f"Incorrect key: {MASK}."
    assert SECRET.encode() not in credentials.scrub_bytes(f'{{"k":"{SECRET}"}}'.encode())


def test_other_headers_are_no_credentials() -> None:
    credentials = Credentials([("User-Agent", "curl/8.0.0")], "alt=sse")
    assert credentials.principal == ""
    assert credentials.scrub("curl/8.0.0 alt=sse") == "curl/8.0.0 alt=sse"


def test_short_values_are_left_alone() -> None:
    assert Credentials([("x-api-key", "none")]).scrub("none of it") == "none of it"


def test_a_fingerprint_depends_on_the_installation() -> None:
    assert fingerprint(b"one", SECRET) == fingerprint(b"one", SECRET)
    assert fingerprint(b"one", SECRET) != fingerprint(b"two", SECRET)
    assert SECRET[:6] not in fingerprint(b"one", SECRET)


def test_an_llmtrace_key_pays_for_nothing_and_is_taken_out_everywhere() -> None:
    own = f"{PREFIX}abcdefghijkl_{'a1B2c3D4' * 4}"
    credentials = Credentials([("Authorization", f"Bearer {own}"), ("x-api-key", SECRET)])
    assert credentials.principal == SECRET
    for text in (own, own[:-5], f"HTTPS_PROXY=http://bot:{own}@127.0.0.1:8642"):
        for scrubber in (credentials, Credentials([])):
            assert MASK in scrubber.scrub(text)
            assert own[-10:-5] not in scrubber.scrub(text)
            assert own[-10:-5].encode() not in scrubber.scrub_bytes(text.encode())
    assert credentials.scrub("llmt_theme") == "llmt_theme"
