"""Checks that a rule can name: does this text have the digits, ranges or looks it should have?

Numbers with check digits are checked by python-stdnum; what is here is what it lacks. Every check
takes what its pattern let through, with or without separators, and never raises.
"""

import binascii
import ipaddress
import re
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Callable, Mapping
from datetime import date
from importlib import import_module
from typing import Final

import orjson
from stdnum import iban, luhn

from llmtrace.analyzers.addresses import carries_text
from llmtrace.analyzers.phones import is_phone
from llmtrace.analyzers.randomness import is_credential, is_password, is_real, looks_random

type Validator = Callable[[str], bool]

ISSUERS: Final = (
    # issuer, first and last prefix, lengths in digits (ISO/IEC 7812, the networks' own pages)
    ("Visa", 4, 4, (13, 16, 19)),
    ("Mastercard", 51, 55, (16,)),
    ("Mastercard", 2221, 2720, (16,)),
    ("American Express", 34, 34, (15,)),
    ("American Express", 37, 37, (15,)),
    ("Diners Club", 300, 305, (14, 16, 17, 18, 19)),
    ("Diners Club", 3095, 3095, (14, 16, 17, 18, 19)),
    ("Diners Club", 36, 36, (14, 16, 17, 18, 19)),
    ("Diners Club", 38, 39, (14, 16, 17, 18, 19)),
    ("Discover", 6011, 6011, (16, 17, 18, 19)),
    ("Discover", 644, 649, (16, 17, 18, 19)),
    ("Discover, RuPay", 65, 65, (16, 17, 18, 19)),
    ("JCB", 3528, 3589, (16, 17, 18, 19)),
    ("UnionPay", 62, 62, (16, 17, 18, 19)),
    ("UnionPay, RuPay", 81, 82, (16, 17, 18, 19)),
    ("RuPay", 508, 508, (16,)),
    ("Mir", 2200, 2204, (16, 17, 18, 19)),
    ("Troy", 9792, 9792, (16,)),
    ("Maestro", 5018, 5018, tuple(range(13, 20))),
    ("Maestro", 5020, 5020, tuple(range(13, 20))),
    ("Maestro", 5038, 5038, tuple(range(13, 20))),
    ("Maestro", 5893, 5893, tuple(range(13, 20))),
    ("Maestro", 6304, 6304, tuple(range(13, 20))),
    ("Maestro", 6759, 6759, tuple(range(13, 20))),
    ("Maestro", 6761, 6763, tuple(range(13, 20))),
)

_NATIONAL: Final = (
    # python-stdnum's modules of numbers that belong to people, in Europe
    *("at.vnr", "be.nn", "bg.egn", "ch.ssn", "cz.rc", "de.idnr", "dk.cpr", "ee.ik", "es.dni"),
    *("es.nie", "fi.hetu", "fr.nir", "gr.amka", "hr.oib", "ie.pps", "is_.kennitala"),
    *("it.codicefiscale", "lt.asmens", "lv.pvn", "nl.bsn", "no.fodselsnummer", "pl.pesel"),
    *("pt.cc", "pt.nif", "ro.cnp", "se.personnummer", "si.emso", "sk.rc"),
)
_OTHERS: Final = {
    "bitcoin": "bitcoin",
    "nhs": "gb.nhs",
    "ssn": "us.ssn",
    "sin": "ca.sin",
    "tfn": "au.tfn",
    "nl.passport": "nl.identiteitskaartnummer",
}
_NINO: Final = re.compile(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]?")
_SEPARATORS: Final = re.compile(r"[\s().\-]+")
_ESCAPES: Final = re.compile(r"\\+[nr]")
_ARMORED: Final = re.compile(r"[A-Za-z0-9+/]{12,}")
_NOT_MAC: Final = frozenset({"0" * 12, "f" * 12})


def compact(text: str) -> str:
    """Return a text without the spaces, dots, hyphens and brackets that people group it by."""
    return _SEPARATORS.sub("", text)


def is_card(text: str) -> bool:
    """Whether 13 to 19 digits have an issuer's range and length, and Luhn's check digit."""
    digits = compact(text)
    return (
        digits.isascii()
        and digits.isdecimal()
        and len(set(digits)) > 1
        and bool(luhn.is_valid(digits))
        and any(
            len(digits) in lengths and low <= int(digits[: len(str(low))]) <= high
            for _, low, high, lengths in ISSUERS
        )
    )


def is_iban(text: str) -> bool:
    """Whether its country has IBANs of this form, and the two check digits (mod 97) hold.

    A bank's code may be newer than what python-stdnum knows of a country's banks.
    """
    return bool(iban.is_valid(text, check_country=False))


def is_nino(text: str) -> bool:
    """Whether it is a UK national insurance number (HMRC manual NIM39110); it has no check."""
    return _NINO.fullmatch(compact(text).upper()) is not None


def is_public_ip(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address that the Internet routes."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def is_mac(text: str) -> bool:
    """Whether it is a MAC address of some device: neither none nor all of them."""
    digits = re.sub(r"[:.\-]", "", text).lower()
    return re.fullmatch(r"[0-9a-f]{12}", digits) is not None and digits not in _NOT_MAC


def is_ethereum(text: str) -> bool:
    """Whether ``0x`` and 40 digits are no pattern that people write down (zero, dead…)."""
    return re.fullmatch(r"0x[0-9a-fA-F]{40}", text) is not None and len(set(text[2:].lower())) > 7


def is_jwt(text: str) -> bool:
    """Whether the first part is base64url of a JSON object with ``alg`` (RFC 7515 §4.1.1)."""
    head = text.split(".", 1)[0]
    try:
        header = orjson.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(header, dict) and isinstance(header.get("alg"), str)


def is_basic(text: str) -> bool:
    """Whether it is base64 of a name and a password (RFC 7617) that no manual writes."""
    try:
        pair = b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return False
    name, colon, password = pair.partition(":")
    return bool(name and colon and password and pair.isprintable()) and is_credential(password)


def is_pem(text: str) -> bool:
    """Whether between its two lines a key's armor (RFC 7468) has what could be a key."""
    body = _ESCAPES.sub("\n", text)
    return any("XXXX" not in run.upper() for run in _ARMORED.findall(body))


def is_mrz(text: str) -> bool:
    """Whether the second line of a passport's machine-readable zone has its check digits.

    Source: ICAO 9303-4 §4.2.2; the digits of number, birth and expiry, and the composite one.
    """
    if len(text) != 44 or not text[43].isdecimal():
        return False
    fields = (text[:10], text[13:20], text[21:28], text[:10] + text[13:20] + text[21:])
    return all(_icao(field[:-1]) == field[-1] for field in fields)


def _icao(field: str) -> str:
    """Return the ICAO 9303 check digit: weights 7, 3, 1; A is 10, the filler 0."""
    values = (0 if char == "<" else int(char, 36) for char in field)
    return str(sum(value * (7, 3, 1)[at % 3] for at, value in enumerate(values)) % 10)


def is_birth_date(text: str) -> bool:
    """Whether numbers name a day from 1900 on, in any of the three usual orders."""
    parts = re.findall(r"\d+", text)
    if len(parts) != 3:
        return False
    if len(parts[0]) == 4:
        return _is_day(parts[0], parts[1], parts[2])
    year = parts[2] if len(parts[2]) == 4 else f"19{parts[2]}"
    return _is_day(year, parts[1], parts[0]) or _is_day(year, parts[0], parts[1])


def _is_day(year: str, month: str, day: str) -> bool:
    try:
        return 1900 <= date(int(year), int(month), int(day)).year <= 2099
    except ValueError:
        return False


def _stdnum(module: str) -> Validator:
    """Return the check of one of python-stdnum's modules."""
    is_valid: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid

    def valid(text: str) -> bool:
        try:
            return is_valid(text) or ((plain := compact(text)) != text and is_valid(plain))
        except (ValueError, LookupError):  # what some modules raise on letters among the digits
            return False

    return valid


VALIDATORS: Final[Mapping[str, Validator]] = {
    "luhn": _stdnum("luhn"),
    "card": is_card,
    "iban": is_iban,
    "nino": is_nino,
    "mac": is_mac,
    "phone": is_phone,
    "public_ip": is_public_ip,
    "ethereum": is_ethereum,
    "jwt": is_jwt,
    "pem": is_pem,
    "mrz": is_mrz,
    "birth_date": is_birth_date,
    "entropy": looks_random,
    "password": is_password,
    "real": is_real,
    "credential": is_credential,
    "basic": is_basic,
    "carries_text": carries_text,
    **{name: _stdnum(module) for name, module in _OTHERS.items()},
    **{module.replace("is_.", "is."): _stdnum(module) for module in _NATIONAL},
}
