"""Numbers with check digits: found in every spacing that people write, and only if they hold."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import iban as iban_numbers
from stdnum import luhn
from stdnum.gb import nhs
from stdnum.iso7064 import mod_97_10

from llmtrace.analyzers.base import Context, Hit
from llmtrace.analyzers.patterns import PatternAnalyzer, load_packs, shipped_packs
from llmtrace.domain.findings import Severity

ANALYZER = PatternAnalyzer(load_packs(p for p in shipped_packs() if "/pii/" in str(p)))
FULL_WIDTH = "4111 1111 1111 1111".translate({ord("1"): "\uff11", ord("4"): "\uff14"})
CHECK_12 = (
    "Card 4111 1111 1111 1111, Amex 378282246310005, SSN 456-78-9012, GB82WEST12345698765432, "
    "NHS 943 476 5919, mail a@b.io"
)


def found(text: str) -> Sequence[Hit]:
    return ANALYZER.analyze(text, Context())


def values(text: str, kind: str) -> list[str]:
    return [text[hit.start : hit.end] for hit in found(text) if hit.kind == kind]


def grouped(digits: str, sizes: Sequence[int], separator: str) -> str:
    groups, at = [], 0
    for size in sizes:
        groups.append(digits[at : at + size])
        at += size
    return separator.join(groups)


FORMS = {
    # issuer's prefixes, groups as printed
    "visa": (("4",), (4, 4, 4, 4)),
    "visa_13": (("4",), (4, 4, 4, 1)),
    "visa_19": (("4",), (4, 4, 4, 4, 3)),
    "mastercard": (("51", "55", "2221", "2720"), (4, 4, 4, 4)),
    "amex": (("34", "37"), (4, 6, 5)),
    "diners": (("300", "305", "36", "38"), (4, 6, 4)),
    "discover": (("6011", "644", "65"), (4, 4, 4, 4)),
    "jcb": (("3528", "3589"), (4, 4, 4, 4)),
    "unionpay": (("62",), (6, 13)),
    "maestro": (("5018", "6304", "6759"), (4, 4, 4, 4, 2)),
    "mir": (("2200", "2204"), (4, 4, 4, 4)),
}


@st.composite
def cards(draw: st.DrawFn) -> tuple[str, str]:
    """Return a card's digits, and as they are written."""
    prefixes, groups = FORMS[draw(st.sampled_from(sorted(FORMS)))]
    prefix = draw(st.sampled_from(prefixes))
    rest = sum(groups) - len(prefix) - 1
    body = prefix + draw(st.text("0123456789", min_size=rest, max_size=rest))
    digits = body + luhn.calc_check_digit(body)
    separator = draw(st.sampled_from(("", " ", "-", ".", "\N{NO-BREAK SPACE}")))
    return digits, grouped(digits, groups, separator)


@settings(max_examples=150, deadline=None)
@given(card=cards(), before=st.sampled_from(("", "card ", "(", "1234 ", "卡号")), data=st.data())
def test_a_card_is_found_and_with_one_digit_changed_is_not(
    card: tuple[str, str], before: str, data: st.DataObject
) -> None:
    _, written = card
    assert written in values(f"{before}{written}, 12/27", "pii.credit_card")
    at = data.draw(
        st.integers(len(written) // 2, len(written) - 1).filter(
            lambda place: written[place].isdigit()
        )
    )
    other = str((int(written[at]) + data.draw(st.integers(1, 9))) % 10)
    changed = written[:at] + other + written[at + 1 :]
    assert changed not in values(f"{before}{changed}, 12/27", "pii.credit_card")


COUNTRIES = (
    "AT",
    "BE",
    "CH",
    "DE",
    "ES",
    "FR",
    "GB",
    "IE",
    "IT",
    "LU",
    "MT",
    "NL",
    "NO",
    "PL",
    "SE",
)
STRUCTURE = {
    "AT": "n16", "BE": "n12", "CH": "n17", "DE": "n18", "ES": "n20", "FR": "n23", "GB": "a4n14",
    "IE": "a4n14", "IT": "a1n22", "LU": "n16", "MT": "a4n23", "NL": "a4n10", "NO": "n11",
    "PL": "n24", "SE": "n20",
}  # fmt: skip


@st.composite
def ibans(draw: st.DrawFn) -> str:
    country = draw(st.sampled_from(COUNTRIES))
    form, bban = STRUCTURE[country], ""
    if form.startswith("a"):
        letters, digits = form[1:].split("n")
        bban = draw(
            st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=int(letters), max_size=int(letters))
        )
        form = f"n{digits}"
    size = int(form[1:])
    bban += draw(st.text("0123456789", min_size=size, max_size=size))
    return country + mod_97_10.calc_check_digits(bban + country) + bban


@settings(max_examples=100, deadline=None)
@given(
    iban=ibans(),
    separator=st.sampled_from(("", " ", "-")),
    behind=st.sampled_from(("", ".", " AND MORE", " NEXT", ", 5")),
    data=st.data(),
)
def test_an_iban_is_found_and_with_one_character_changed_is_not(
    iban: str, separator: str, behind: str, data: st.DataObject
) -> None:
    assert iban_numbers.is_valid(iban, check_country=False)
    written = separator.join(iban[at : at + 4] for at in range(0, len(iban), 4))
    assert values(f"to {written}{behind}", "pii.iban") == [written]
    at = data.draw(st.integers(4, len(iban) - 1).filter(lambda place: iban[place].isdigit()))
    changed = iban[:at] + str((int(iban[at]) + 1) % 10) + iban[at + 1 :]
    assert values(f"to {changed}{behind}", "pii.iban") == []


@settings(max_examples=50, deadline=None)
@given(
    body=st.text("0123456789", min_size=9, max_size=9), separator=st.sampled_from(("", " ", "-"))
)
def test_an_nhs_number_is_found_beside_its_name_alone(body: str, separator: str) -> None:
    for digit in "0123456789":
        written = grouped(body + digit, (3, 3, 4), separator)
        expected = [written] if nhs.is_valid(body + digit) else []
        assert values(f"NHS number: {written}", "pii.uk_nhs") == expected
        assert values(f"order {written}", "pii.uk_nhs") == []


def test_the_six_values_of_the_acceptance_check_are_found_each_once() -> None:
    assert [(hit.kind, CHECK_12[hit.start : hit.end]) for hit in found(CHECK_12)] == [
        ("pii.credit_card", "4111 1111 1111 1111"),
        ("pii.credit_card", "378282246310005"),
        ("pii.ssn", "456-78-9012"),
        ("pii.iban", "GB82WEST12345698765432"),
        ("pii.uk_nhs", "943 476 5919"),
        ("pii.email", "a@b.io"),
    ]


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param("```\n{}\n```", id="fence"),
        pytest.param("    {}", id="indented"),
        pytest.param("> {}", id="quote"),
        pytest.param('{{"text": "{}"}}', id="json"),
    ],
)
def test_code_is_not_exempt(wrap: str) -> None:
    assert len(found(wrap.format(CHECK_12))) == 6


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("4111 1111 1111 1112", id="card-check-digit"),
        pytest.param("SSN 000-12-3456", id="ssn-never-given"),
        pytest.param("GB00WEST12345698765432", id="iban-check-digits"),
        pytest.param("NHS 943 476 5918", id="nhs-check-digit"),
        pytest.param("SIN 130 692 545", id="sin-check-digit"),
        pytest.param("PESEL 44051401358", id="pesel-check-digit"),
    ],
)
def test_numbers_that_do_not_hold_are_none(text: str) -> None:
    assert not [hit for hit in found(text) if hit.severity is not Severity.LOW]


@pytest.mark.parametrize(
    ("word", "number", "kind"),
    [
        pytest.param("NHS", "943 476 5870", "uk_nhs", id="nhs"),
        pytest.param("SIN", "130 692 544", "ca_sin", id="sin"),
        pytest.param("TFN", "123 456 782", "au_tfn", id="tfn"),
        pytest.param("PESEL", "44051401359", "national_id", id="pesel"),
        pytest.param("born", "1985-07-30", "date_of_birth", id="birth"),
        pytest.param("passport", "C01X00T47", "passport", id="passport"),
    ],
)
def test_the_word_beside_a_number_must_be_near(word: str, number: str, kind: str) -> None:
    assert values(f"{word}: {number}", f"pii.{kind}") == [number]
    assert values(f"{word} {'and so on ' * 9}{number}", f"pii.{kind}") == []


def test_context_raises_confidence() -> None:
    alone, beside = found("456-78-9012")[0], found("her SSN is 456-78-9012")[0]
    assert alone.confidence < beside.confidence


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("4\u200b111 1111 1111 11\u200b11", id="zero-width"),
        pytest.param(FULL_WIDTH, id="full-width"),
        pytest.param("4111\u20111111\u20111111\u20111111", id="no-break-hyphen"),
    ],
)
def test_a_disguised_card_is_found_with_its_disguise(text: str) -> None:
    assert values(f"pay {text} now", "pii.credit_card") == [text]
