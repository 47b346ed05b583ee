import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.validators import VALIDATORS, compact

# Numbers from the documentation of those who give them out, as python-stdnum's pages cite them.
VALID = {
    "luhn": ["79927398713"],
    "card": ["4111 1111 1111 1111", "3782-822463-10005", "4222222222222", "6304000000000000000"],
    "iban": ["GB82WEST12345698765432", "GR16 0110 1050 0000 1054 7023 795", "BE68539007547034"],
    "nhs": ["943 476 5870", "9434765919"],
    "nino": ["AB123456C", "ab 12 34 56 c", "AB123456"],
    "ssn": ["536-90-4399", "456 78 9012"],
    "sin": ["123-456-782", "130692544"],
    "tfn": ["123 456 782"],
    "bitcoin": ["1NEDqZPvTWRaoho48qXuLLsrYomMXPABfD", "bc1qardv855yjngspvxuttq897aqca3lxju2y69jce"],
    "ethereum": ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"],
    "public_ip": ["81.2.69.142", "2a00:1450:4001:81b::200e"],
    "mac": ["3c:22:fb:12:9a:01", "D0-50-99-84-A2-A0"],
    "phone": ["+44 20 7946 0958"],
    "jwt": ["eyJhbGciOiJIUzI1NiJ9.e30.x"],
    "pem": ["-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG\\n-----END PRIVATE KEY-----"],
    "mrz": ["L898902C36UTO7408122F1204159ZE184226B<<<<<10"],
    "carries_text": ["https://a.example/c2VjcmV0IHZhbHVlIGhlcmU/x.png"],
    "basic": ["YWxhZGRpbjpvcGVuc2VzYW1l"],
    "birth_date": ["1985-07-30", "30.07.1985", "7/30/85", "29/02/2000"],
    "entropy": ["kJ8s9dKq2mNx7Lp0"],
    "password": ["Tr0ub4dor&3"],
    "real": ["kJ8s9dKq2mNx7Lp0"],
    "credential": ["hunter2"],
    "nl.passport": ["EM0000000"],
    "at.vnr": ["1237 010180"],
    "be.nn": ["85 07 30 033 28", "85.07.30-033.28"],
    "bg.egn": ["8032056031"],
    "ch.ssn": ["756.9217.0769.85"],
    "cz.rc": ["710319/2745"],
    "de.idnr": ["36 574 261 809"],
    "dk.cpr": ["211062-5629"],
    "ee.ik": ["36805280109"],
    "es.dni": ["54362315-K"],
    "es.nie": ["X-2482300W"],
    "fi.hetu": ["131052-308T"],
    "fr.nir": ["2 95 10 99 126 111 93", "253072B07300470"],
    "gr.amka": ["01013099997"],
    "hr.oib": ["33392005961"],
    "ie.pps": ["6433435F", "6433435OA"],
    "is.kennitala": ["120174-3399"],
    "it.codicefiscale": ["RCCMNL83S18D969H"],
    "lt.asmens": ["33309240064"],
    "lv.pvn": ["161175-19997"],
    "nl.bsn": ["1112.22.333"],
    "no.fodselsnummer": ["151086 95088"],
    "pl.pesel": ["44051401359"],
    "pt.cc": ["00000000 0 ZZ4"],
    "pt.nif": ["501 964 843"],
    "ro.cnp": ["1630615123457"],
    "se.personnummer": ["880320-0016"],
    "si.emso": ["0101006500006"],
    "sk.rc": ["710319/2745"],
}
INVALID = {
    "luhn": ["79927398710"],
    "card": ["4111 1111 1111 1112", "1111111111111117", "41111111111111", "0000000000000000"],
    "iban": ["GB00WEST12345698765432", "XX82WEST12345698765432", "GB82WEST1234569876543"],
    "nhs": ["9434765871"],
    "nino": ["QQ123456C", "BG123456A", "AB123456E"],
    "ssn": ["000-12-3456", "666-12-3456", "900-12-3456", "456-00-9012", "456-78-0000"],
    "sin": ["999-999-999"],
    "tfn": ["999 999 999"],
    "bitcoin": ["1NEDqZPvTWRaoho48qXuLLsrYomMXPABfX", "bc1!"],
    "ethereum": ["0x" + "0" * 40, "0x" + "dead" * 10],
    "public_ip": ["10.0.0.1", "127.0.0.1", "224.0.0.1", "300.1.1.1", "::1", "12:34:56"],
    "mac": ["ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"],
    "phone": ["+12345"],
    "jwt": ["eyJhYWFhYWFhYWFh.e30.x", "ey.e30.x", "e30.e30.x"],
    "pem": ["-----BEGIN PRIVATE KEY-----\nXXXXXXXXXXXXXXXX\n-----END PRIVATE KEY-----"],
    "mrz": ["L898902C36UTO7408122F1204159ZE184226B<<<<<11", "L898902C36"],
    "basic": ["authentication", "dXNlcjpwYXNzd29yZA=="],
    "birth_date": ["1985-13-30", "31.02.1985", "1850-01-01", "7/30"],
    "entropy": ["my-secret-name", "123e4567-e89b-12d3-a456-426614174000", "aaaaaaaaaaaaaaa1"],
    "password": ["password", "short1", "correct-horse"],
    "real": ["xxxxxxxxxxxx", "your-key-here"],
    "credential": ["password", "${DB_PASS}", "$DB_PASS", "{password}", "<password>"],
    "es.dni": ["54362315Z"],
    "fi.hetu": ["131052-308U"],
    "pl.pesel": ["44051401358"],
}


@pytest.mark.parametrize("name", sorted(VALIDATORS))
def test_what_is_valid_passes_and_what_is_not_fails(name: str) -> None:
    for number, text in enumerate(VALID[name]):
        assert VALIDATORS[name](text), f"{name}: valid value {number} fails"
    for number, text in enumerate(INVALID.get(name, ["0"])):
        assert not VALIDATORS[name](text), f"{name}: invalid value {number} passes"


@settings(max_examples=40)
@given(text=st.text(max_size=60) | st.text("0123456789abcxABCX+=.<:-", max_size=60))
def test_no_validator_raises(text: str) -> None:
    for validator in VALIDATORS.values():
        assert validator(text) in {True, False}


@given(digits=st.text("0123456789", max_size=20), separator=st.sampled_from(" .-()"))
def test_compact_takes_separators_away(digits: str, separator: str) -> None:
    assert compact(separator.join(digits)) == digits
