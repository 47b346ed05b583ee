import hashlib
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]  # no stubs exist
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.providers.sigv4 import (
    AwsKeys,
    NotSignable,
    Signature,
    SignedRequest,
    Signing,
    is_valid,
    read_signature,
    sign,
)

HOST = "example.amazonaws.com"
DATE = ("X-Amz-Date", "20150830T123600Z")
KEYS = AwsKeys(key_id="AKIDEXAMPLE", secret="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
OTHER = AwsKeys(key_id="AKIDOTHER", secret="other", token="to/k+en==")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
TWICE = (("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1"))
MODEL = "/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/converse"


def request(
    method: str = "GET", target: str = "/", *headers: tuple[str, str], body: bytes = b""
) -> SignedRequest:
    return SignedRequest(
        method=method,
        host=HOST,
        target=target,
        headers=(DATE, *headers),
        body_sha256=hashlib.sha256(body).hexdigest(),
    )


def signature(about: SignedRequest, *, service: str) -> Signature:
    return Signature(
        key_id=KEYS.key_id,
        day="20150830",
        region="us-east-1",
        service=service,
        names=tuple(sorted({"host", *(name.lower() for name, _ in about.headers)})),
        digits="0" * 64,
    )


def signed(about: SignedRequest, *, service: str = "service") -> SignedRequest:
    """Return a request as a client with ``KEYS`` sends it."""
    headers = sign(about, Signing(signature=signature(about, service=service), keys=KEYS))
    kept = [(name, value) for name, value in about.headers if name.lower() not in headers]
    return replace(about, headers=(*kept, *(pair for pair in headers.items() if pair[1])))


# Name → request and signature: AWS's published test suite for Signature Version 4.
SUITE = {
    "get-vanilla": (
        request(),
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "post-vanilla": (
        request("POST"),
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "get-vanilla-query-order-key-case": (
        request("GET", "/?Param2=value2&Param1=value1"),
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-vanilla-empty-query-key": (
        request("GET", "/?Param1=value1"),
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ),
    "post-x-www-form-urlencoded": (
        request("POST", "/", FORM, body=b"Param1=value1"),
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "get-utf8": (
        request("GET", "/ሴ"),
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    "get-unreserved": (
        request("GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "normalize-path-get-relative": (
        request("GET", "/example/.."),
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "normalize-path-get-slashes": (
        request("GET", "//example//"),
        "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
    ),
    "get-header-key-duplicate": (
        request("GET", "/", *TWICE),
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    "get-header-value-trim": (
        request("GET", "/", ("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')),
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-header-key-sort": (
        request("POST", "/", ("My-Header1", "value1")),
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
}


@pytest.mark.parametrize("name", SUITE)
def test_the_published_suite_is_signed_as_published(name: str) -> None:
    about, digits = SUITE[name]
    assert read_signature(signed(about)).digits == digits


def test_the_example_of_the_guide_is_signed_as_in_the_guide() -> None:
    about = request(
        "GET",
        "/?Action=ListUsers&Version=2010-05-08",
        ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
    )
    made = signed(replace(about, host="iam.amazonaws.com"), service="iam")
    digits = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    assert read_signature(made).digits == digits


def by_botocore(target: str, headers: dict[str, str], body: bytes, token: str) -> SignedRequest:
    """Return a request as botocore signs it now."""
    about = AWSRequest("POST", f"https://{HOST}{target}", headers=headers, data=body)
    SigV4Auth(
        Credentials(KEYS.key_id, KEYS.secret, token or None), "bedrock", "eu-west-1"
    ).add_auth(about)
    return SignedRequest(
        method="POST",
        host=HOST,
        target=target,
        headers=list(about.headers.items()),
        body_sha256=hashlib.sha256(body).hexdigest(),
    )


_NAMES = st.from_regex(r"x-[a-z]{1,8}", fullmatch=True)
_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
_SEGMENTS = st.lists(
    st.from_regex(r"([A-Za-z0-9._~:()-]|%3A|%2F){1,9}", fullmatch=True), max_size=4
)
_QUERIES = st.lists(st.tuples(_NAMES, st.from_regex(r"[A-Za-z0-9._~-]{0,9}", fullmatch=True)))


@given(
    _SEGMENTS, _QUERIES, st.dictionaries(_NAMES, _VALUES), st.binary(), st.sampled_from(("", "T="))
)
def test_what_botocore_signs_is_valid_and_signed_the_same(
    segments: list[str],
    query: list[tuple[str, str]],
    headers: dict[str, str],
    body: bytes,
    token: str,
) -> None:
    target = "/" + "/".join(segments) + (f"?{urlencode(query)}" if query else "")
    about = by_botocore(target, headers, body, token)
    found, keys = read_signature(about), replace(KEYS, token=token)
    assert is_valid(about, found, keys)
    again = sign(about, Signing(signature=found, keys=keys))
    assert again["authorization"] == dict(about.headers)["Authorization"]
    assert not is_valid(
        replace(about, body_sha256=hashlib.sha256(body + b" ").hexdigest()), found, keys
    )


def test_a_models_colon_is_encoded_once_more_than_it_is_sent() -> None:
    about = by_botocore(MODEL, {"Content-Type": "application/json"}, b"{}", "")
    assert is_valid(about, read_signature(about), KEYS)
    sent_plainly = replace(about, target=MODEL.replace("%3A", ":"))
    assert not is_valid(sent_plainly, read_signature(about), KEYS)


def test_another_hash_token_and_key_take_the_place_of_the_old() -> None:
    digest = hashlib.sha256(b"old").hexdigest()
    about = request(
        "POST",
        MODEL,
        ("X-Amz-Content-SHA256", digest),
        ("X-Amz-Security-Token", "clients"),
        ("Content-Encoding", "gzip"),
        body=b"old",
    )
    old = read_signature(signed(about, service="bedrock"))
    new = request("POST", MODEL, ("X-Amz-Content-SHA256", digest), body=b"new")
    made = sign(new, Signing(signature=old, keys=OTHER))
    assert made["x-amz-content-sha256"] == hashlib.sha256(b"new").hexdigest()
    assert made["x-amz-security-token"] == OTHER.token
    assert "content-encoding" in old.names
    sent = replace(new, headers=(DATE, *made.items()))
    found = read_signature(sent)
    assert (found.key_id, found.scope) == (OTHER.key_id, old.scope)
    assert found.names == ("host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token")
    assert is_valid(sent, found, OTHER)
    assert sign(new, Signing(signature=old, keys=KEYS))["x-amz-security-token"] == ""


def _authorization(about: SignedRequest) -> str:
    return dict(about.headers)["authorization"]


FINE = signed(request("POST", MODEL, body=b"{}"), service="bedrock")
SAID = _authorization(FINE)
UNREADABLE = {
    "no-signature": (DATE,),
    "bearer": (DATE, ("authorization", "Bearer x")),
    "two": (DATE, ("authorization", SAID), ("Authorization", SAID)),
    "another-algorithm": (
        DATE,
        ("authorization", SAID.replace("HMAC-SHA256", "ECDSA-P256-SHA256")),
    ),
    "cut-short": (DATE, ("authorization", SAID[:-1])),
    "names-out-of-order": (
        DATE,
        ("authorization", SAID.replace("host;x-amz-date", "x-amz-date;host")),
    ),
    "without-host": (DATE, ("authorization", SAID.replace("host;", ""))),
    "without-date": (("authorization", SAID),),
    "two-dates": (DATE, DATE, ("authorization", SAID)),
    "another-day": (("x-amz-date", "20150831T123600Z"), ("authorization", SAID)),
    "in-chunks": (
        DATE,
        ("authorization", SAID),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
    ),
    "of-no-body": (DATE, ("authorization", SAID), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_not_signed_as_a_whole_is_told(name: str) -> None:
    with pytest.raises(NotSignable) as told:
        read_signature(replace(FINE, headers=UNREADABLE[name]))
    assert KEYS.key_id not in str(told.value)


CHANGED = {
    "method": replace(FINE, method="PUT"),
    "host": replace(FINE, host="example.com"),
    "target": replace(FINE, target=f"{MODEL}-stream"),
    "query": replace(FINE, target=f"{MODEL}?a"),
    "body": replace(FINE, body_sha256=hashlib.sha256(b"[]").hexdigest()),
    "date": replace(FINE, headers=(("x-amz-date", "20150830T123601Z"), ("authorization", SAID))),
    "lying-hash": replace(
        FINE, headers=(*FINE.headers, ("x-amz-content-sha256", hashlib.sha256(b"[]").hexdigest()))
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_signature_of_something_else_is_not_valid(name: str) -> None:
    assert is_valid(FINE, read_signature(FINE), KEYS)
    assert not is_valid(CHANGED[name], read_signature(CHANGED[name]), KEYS)


def test_a_signature_by_other_keys_is_not_valid() -> None:
    found = read_signature(FINE)
    assert not is_valid(FINE, found, OTHER)
    assert not is_valid(FINE, found, replace(KEYS, secret="guessed"))


def test_keys_show_nothing_of_themselves() -> None:
    assert repr(OTHER) == "AwsKeys(key_id='AKIDOTHER')"
