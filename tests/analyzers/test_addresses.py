"""Addresses that carry a text, and those of ordinary pictures."""

from base64 import b32encode, b64encode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.analyzers.addresses import carries_text

SAID = b"the secret value is here"
B64, B32, HEX = b64encode(SAID).decode(), b32encode(SAID).decode().lower(), SAID.hex()


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(f"https://collector.example/{B64}/x.png", id="segment"),
        pytest.param(f"https://collector.example/x.png?z={B64}", id="member"),
        pytest.param(f"//collector.example/x.png#{HEX}", id="fragment-without-scheme"),
        pytest.param(f"https://{B32.rstrip('=')}.collector.example/", id="label"),
        pytest.param(f"https://{HEX[:24]}.{HEX[24:]}.collector.example/", id="labels"),
        pytest.param(f"https://collector.example/{HEX[:20]}/{HEX[20:]}", id="segments"),
        pytest.param(f"https://{B64}@collector.example/", id="user"),
        pytest.param("https://aB3kD9xQ2mZ7pL4w.collector.example/", id="label-in-mixed-case"),
        pytest.param(f"https:\\\\collector.example\\{B64}", id="backslashes"),
        pytest.param(f"https://collector.example/%{ord(B64[0]):02x}{B64[1:]}", id="escaped"),
    ],
)
def test_a_coded_text_is_seen(address: str) -> None:
    assert carries_text(address)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("https://images.example/uploads/2021/05/Screenshot-2021-05-03.png", id="name"),
        pytest.param("https://images.example/4f8a9c0b1d2e3f405162738495a6b7c8.png", id="hash"),
        pytest.param("https://images.example/?id=4532677723456789123456", id="number"),
        pytest.param("https://docs.example/getting-started/installation-of-the-tool", id="slug"),
        pytest.param("https://my-app-9k2jd8hq2-team.deploy.example/x.png", id="deployment"),
        pytest.param(
            f"https://proxy.example/{b64encode(b'https://a.example/cat.png').decode()}", id="proxy"
        ),
        pytest.param("https://images.example/\u00e4\u00f6\u00fc/" + "\u732b" * 20, id="not-ascii"),
        pytest.param("", id="empty"),
    ],
)
def test_an_ordinary_address_says_nothing(address: str) -> None:
    assert not carries_text(address)


@given(st.text("abcdefghij klmnopqrstuvwxyz", min_size=12, max_size=60))
def test_any_sentence_in_base64_is_seen(said: str) -> None:
    if sum(map(str.isalpha, said)) * 2 >= len(said):
        coded = urlsafe_b64encode(said.encode()).decode()
        assert carries_text(f"https://collector.example/x?y={coded}")


@given(st.text(max_size=300))
def test_any_text_is_judged(text: str) -> None:
    assert carries_text(text) in (True, False)
