import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.analyzers.randomness import (
    entropy,
    is_credential,
    is_password,
    is_real,
    looks_random,
)


@given(text=st.text(max_size=50))
def test_entropy_is_that_of_the_letters_in_any_order(text: str) -> None:
    assert entropy(text) == pytest.approx(entropy(text[::-1]))
    assert 0 <= entropy(text) <= 6


def test_entropy_counts_bits_for_each_character() -> None:
    assert entropy("aaaa") == 0
    assert entropy("abab") == 1
    assert entropy(string.hexdigits[:16]) == 4
    assert entropy("") == 0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("9f86d081884c7d659a2feaa0c55ad015", id="hex"),
        pytest.param("0123456789abcdef0123456789abcdef", id="hex-in-order"),
        pytest.param("kJ8s9dKq2mNx7Lp0", id="base62"),
        pytest.param("wJalrXUtnFEMI9K7MDENGbPxRfiCY", id="base64"),
        pytest.param("a9F-x2Qm.7Zk1Lw8", id="url-safe"),
    ],
)
def test_what_a_machine_made_looks_random(text: str) -> None:
    assert looks_random(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("my-bucket-2024", id="name"),
        pytest.param("claude-sonnet-4-5-20250929", id="model"),
        pytest.param("AbstractSingletonProxyFactoryBean2", id="camel-case"),
        pytest.param("generate_token(16)", id="call"),
        pytest.param("process.env.API_KEY_1", id="environment"),
        pytest.param("${API_KEY_1_VALUE}", id="variable"),
        pytest.param("https://a.example/x9Yz2", id="url"),
        pytest.param("/home/user1/.ssh/id_ed25519", id="path"),
        pytest.param("sha512-3IjMdb2L9QbBdWiW5e3P2", id="integrity"),
        pytest.param("123e4567-e89b-12d3-a456-426614174000", id="uuid"),
        pytest.param("your-api-key-a8Kq2mNx7", id="placeholder"),
        pytest.param("xxxxxxxxxxxxxxxx1a", id="crossed-out"),
        pytest.param("3dslicer-1.0", id="name-and-version"),
        pytest.param("kJ8s9dKq", id="short"),
        pytest.param("aB1aB1aB1aB1", id="repeated"),
        pytest.param("2024-05-17T10:22:33", id="time"),
    ],
)
def test_what_a_person_wrote_does_not(text: str) -> None:
    assert not looks_random(text)


def test_a_password_is_more_than_a_word() -> None:
    assert is_password("Summer2024!")
    assert not is_password("password")
    assert not is_password("current-password")


def test_blanks_in_manuals_are_not_real() -> None:
    assert is_real("A" * 36)
    assert not is_real("x" * 36)
    assert not is_real("sk-your-key")


def test_words_of_manuals_are_no_credentials() -> None:
    assert is_credential("s3cr3t")
    assert not any(map(is_credential, ("password", "PASS", "****", "${X}", "{{ x }}", "%s(")))
