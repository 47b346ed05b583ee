from types import SimpleNamespace

import pytest

from llmtrace.analyzers.phones import by_plans, is_phone


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("+44 20 7946 0958", True, id="usual"),
        pytest.param("+1 234 56", False, id="too-short"),
        pytest.param("+1 2345 6789 0123 4567", False, id="too-long"),
    ],
)
def test_a_number_has_as_many_digits_as_e164_allows(text: str, *, expected: bool) -> None:
    assert is_phone(text) is expected


class NoNumber(Exception):
    pass


def parse(text: str, region: str | None) -> str:
    assert region is None, "an international number needs no region"
    if "?" in text:
        raise NoNumber
    return text


def test_numbering_plans_have_the_last_word() -> None:
    plans = SimpleNamespace(
        NumberParseException=NoNumber, parse=parse, is_valid_number=lambda n: n == "+1 212 555 0100"
    )
    planned = by_plans(plans)
    assert planned("+1 212 555 0100")
    assert not planned("+1 012 555 0100")
    assert not planned("+?")
