"""Tells random values from names, placeholders and code: how a secret without a prefix looks."""

import re
from collections import Counter
from math import log2
from typing import Final

LEAST_BITS: Final = 3.0
"""Shannon's entropy, bits per character, from which a value of mixed characters is random.

Sixteen random hexadecimal digits have 3.2 on average, English words of that length 2.9.
"""
LEAST_RANDOM: Final = 12
"""A random-looking value has at least so many characters."""
LEAST_PASSWORD: Final = 8

_PLACEHOLDER: Final = re.compile(
    r"""
    example | placeholder | change[-_.]?(?:me|this|it) | dummy | redacted
    | replace[-_.]?(?:me|this|with)
    | your[-_.]? | my[-_]?(?:secret|token|password|api|key) | insert[-_.] | sample | fake | mock
    | (?:^|[-_.])(?:test(?:ing)?|todo|tbd|none|null|undefined|secret|token|password|here)(?:$|[-_.])
    | x{4,} | \*{3,} | \.{3,} | (.)\1{7,} | \$\{ | \$\( | \{\{ | <[a-z] | %[sd(] | ^[$%@&#]
    """,
    re.IGNORECASE | re.VERBOSE,
)
_BLANK: Final = re.compile(r"x{6,}|\*{4,}|your|placeholder|redacted|\.{3,}|example", re.IGNORECASE)
_VARIABLE: Final = re.compile(r"^\$[A-Za-z_{(]|\$\{|\{\{|^\{.*\}$|^%[\w%(]|^<|^\[")
_WORDS: Final = frozenset(
    (
        *("", "pass", "passwd", "password", "pw", "pwd", "secret", "user", "username", "token"),
        *("postgres", "mysql", "root", "guest", "test", "key", "changeme", "change_me"),
        *("mypassword", "db_password", "hostname", "x-oauth-basic"),
    )
)
_CODE: Final = re.compile(
    r"""
    ^(?:process\.env|os\.environ|os\.getenv|import\.meta|env|secrets|vars)\b[.\[(]
    | ^(?:config|settings|self|this)\b[.\[(] | ^\d{4}-\d\d-\d\dt?[ \d]
    | [(\[{]|[)\]}]$ | :// | ^\.{0,2}/ | ^[a-z]:\\ | ^(?:sha\d+|md5)[-:] | ^arn: | ^data:
    """,
    re.IGNORECASE | re.VERBOSE,
)
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HEX: Final = re.compile(r"[0-9a-f]{16,}|[0-9A-F]{16,}")
_VERSION: Final = re.compile(r"[-_]v?\d{1,3}(?:\.\d{1,3}){1,3}\Z")
_RUN: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_WORDY: Final = 3.0
"""Words, numbers and parts of camelCase are at least so long on average; random runs are not."""


def entropy(text: str) -> float:
    """Return Shannon's entropy of the characters of a text, in bits per character."""
    size = len(text)
    return -sum(n / size * log2(n / size) for n in Counter(text).values()) if size else 0.0


def is_real(text: str) -> bool:
    """Whether what has the form of a key is not one that a manual leaves blank."""
    return _BLANK.search(text) is None


def is_credential(text: str) -> bool:
    """Whether a password in an address is none of the words that manuals write there."""
    plain = text.strip("*").lower()
    return is_real(text) and _VARIABLE.search(text) is None and plain not in _WORDS


def looks_random(text: str) -> bool:
    """Whether a value was made by a machine, not by a person: mixed, without words, no UUID."""
    return (
        len(text) >= LEAST_RANDOM
        and _PLACEHOLDER.search(text) is None
        and _CODE.search(text) is None
        and _UUID.fullmatch(text) is None
        and _kinds(text) >= 2
        and any(map(str.isdecimal, text))
        and any(map(str.isalpha, text))
        and entropy(text) >= LEAST_BITS
        and not _is_name(text)
    )


def is_password(text: str) -> bool:
    """Whether a value that stands as a password in quotes could be one, and not a name."""
    return (
        len(text) >= LEAST_PASSWORD
        and _PLACEHOLDER.search(text) is None
        and _CODE.search(text) is None
        and _kinds(text) >= 2
        and (any(c.isdecimal() for c in text) or _kinds(text) >= 3)
        and not re.fullmatch(r"[a-z]+(?:[-_. ][a-z]+)*\d?", text)
    )


def _kinds(text: str) -> int:
    """Count which of small letters, capitals, digits and the rest there are."""
    return sum(
        any(test(char) for char in text)
        for test in (str.islower, str.isupper, str.isdecimal, lambda char: not char.isalnum())
    )


def _is_name(text: str) -> bool:
    """Whether it is words and numbers, as identifiers, paths and names of models are made of."""
    text = _VERSION.sub("", text)
    runs = _RUN.findall(text)
    return not _HEX.fullmatch(text) and sum(map(len, runs)) >= _WORDY * len(runs)
