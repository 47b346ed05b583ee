"""What is masked is the secret and nothing around it, whatever it stands in."""

import json

import pytest

from llmtrace.analyzers.base import Context
from llmtrace.analyzers.patterns import PatternAnalyzer, load_packs, shipped_packs
from llmtrace.domain.findings import Severity

ANALYZER = PatternAnalyzer(
    load_packs(p for p in shipped_packs() if "/pii/" in str(p) or "/secrets/" in str(p))
)
RANDOM = "kJ8s9dKq2mNx7Lp0" * 8
HEX = "0123456789abcdef" * 4
PEM = "-----BEGIN {0}PRIVATE KEY-----\n{1}\n{1}\n-----END {0}PRIVATE KEY-----"


def secrets(text: str) -> list[tuple[str, str]]:
    return [
        (hit.kind, text[hit.start : hit.end])
        for hit in ANALYZER.analyze(text, Context())
        if hit.severity in {Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM}
    ]


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        pytest.param("{}", "sk-" + "proj-" + RANDOM, "provider_key", id="openai"),
        pytest.param("key={};", "sk-" + "ant-api03-" + RANDOM[:95], "provider_key", id="anthropic"),
        pytest.param("x-goog-api-key: {}", "AIza" + RANDOM[:35], "provider_key", id="google"),
        pytest.param("?key={}&alt=sse", "AIza" + RANDOM[:35], "provider_key", id="google-url"),
        pytest.param("<{}>", "gsk" + "_" + RANDOM[:52], "provider_key", id="groq"),
        pytest.param("MISTRAL_API_KEY={}", RANDOM[:32], "provider_key", id="mistral"),
        pytest.param("[default]\naws_access_key_id={}", "AKIA" + "Q3EGRIDRWHTLUV5Z",
                     "cloud_key", id="aws-id"),
        pytest.param("aws_secret_access_key = {}\nregion=x", RANDOM[:40], "cloud_key", id="aws"),
        pytest.param("DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};E=c",
                     RANDOM[:86] + "==", "cloud_key", id="azure"),
        pytest.param('"{}"', "dop" + "_v1_" + HEX, "cloud_key", id="digitalocean"),
        pytest.param("https://{}:x@github.com/a/b", "ghp" + "_" + RANDOM[:36], "token",
                     id="github-in-url"),
        pytest.param("({})", "glpat" + "-" + RANDOM[:20], "token", id="gitlab"),
        pytest.param("//registry.npmjs.org/:_authToken={}", "npm" + "_" + RANDOM[:36], "token",
                     id="npm"),
        pytest.param("{}, ok?", "xoxb" + "-123456789012-" + RANDOM[:24], "token", id="slack"),
        pytest.param("stripe.api_key = '{}'", "sk" + "_live_" + RANDOM[:24], "token", id="stripe"),
        pytest.param("bot{}/getMe", "123456789" + ":AA" + RANDOM[:33], "token", id="telegram"),
        pytest.param("postgres://app:{}@db:5432/x\nnext: line", "s3cr3tPw", "connection_string",
                     id="postgres"),
        pytest.param("DSN=mysql://root:{}@10.0.0.5/a?b=c@d", "hunter2", "connection_string",
                     id="mysql"),
        pytest.param("mongodb+srv://u:{}@c0.ab1cd.mongodb.net", "p@ss/".replace("/", "9"),
                     "connection_string", id="at-in-password"),
        pytest.param('"redis://:{}@cache:6379/0"', "Zk9-q2", "connection_string", id="redis"),
        pytest.param("client_secret: {}\nother: 1", RANDOM[:24], "assignment", id="yaml"),
        pytest.param('{{\\"api_key\\": \\"{}\\"}}', RANDOM[:24], "assignment", id="escaped-json"),
        pytest.param("config[:secret_key] = '{}'", RANDOM[:24], "assignment", id="ruby"),
        pytest.param("password: '{}'", "Tr0ub4dor&3", "assignment", id="password"),
        pytest.param("Authorization: Bearer {}", RANDOM[:24], "assignment", id="bearer"),
        pytest.param("a\n{}\nb", PEM.format("RSA ", RANDOM[:64]), "private_key", id="pem"),
        pytest.param('"private_key": "{}"', PEM.format("", RANDOM[:64]).replace("\n", "\\n"),
                     "private_key", id="pem-in-json"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "wrap", [pytest.param("{}", id="plain"), pytest.param("```\n{}\n```", id="fence")]
)
def test_the_secret_alone_is_found(text: str, value: str, kind: str, wrap: str) -> None:
    whole = wrap.replace("{}", text.format(value))
    assert secrets(whole) == [(f"secret.{kind}", value)]


def test_a_private_key_that_breaks_off_is_found_to_its_last_character() -> None:
    text = "see\n" + PEM.format("OPENSSH ", RANDOM)[:120]
    assert secrets(text) == [("secret.private_key", text[4:])]


def test_a_line_that_speaks_of_keys_takes_no_key_further_down_with_it() -> None:
    key = PEM.format("EC ", RANDOM[:64])
    text = f"the line -----BEGIN EC PRIVATE KEY----- begins it\n\n{key}\n"
    assert secrets(text) == [("secret.private_key", key)]


def test_a_connection_string_does_not_reach_into_the_next_line() -> None:
    text = "http://localhost:3000\nuser: a@example.org\nhttp://b:8080 c@d\n"
    assert secrets(text) == []


def test_the_value_of_one_line_is_masked_without_the_next() -> None:
    text = f"A_TOKEN={RANDOM[:32]}\nB_TOKEN={RANDOM[32:64]}\n"
    assert [value for _, value in secrets(text)] == [RANDOM[:32], RANDOM[32:64]]


BEHIND = {
    "newline": r"x\n{}\ny",
    "tab": r"x\t{}\ty",
    "twice-escaped": r"x\\n{}\\ny",
    "percent": "x%20{}%20y",
    "percent-equals": "k%3D{}%26",
    "json-quote": r"x\u0022{}\u0022",
    "hex-quote": r"x\x22{}\x22",
    "html-space": "x&nbsp;{}&nbsp;y",
    "colour": "\x1b[31m{}\x1b[0m",
    "bold-colour": "ok\x1b[1;32m{}\x1b[0m ok",
}
VALUES = [
    pytest.param("AKIA" + "ZQ3DR7LKT5MN2VXB", id="cloud-key"),
    pytest.param("ghp" + "_" + RANDOM[:36], id="token"),
    pytest.param("hf" + "_" + "qWeRtYuIoPaSdFgHjKlZxCvBnMqWeRtYuI", id="letters-alone"),
    pytest.param("npm" + "_" + RANDOM[:36], id="begins-as-an-escape"),
    pytest.param("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0." + RANDOM[:43], id="jwt"),
]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("form", BEHIND.values(), ids=BEHIND)
def test_a_secret_behind_an_escape_is_cut_out_and_no_more(form: str, value: str) -> None:
    found = [text for _, text in secrets(form.format(value))]
    assert found == [value]


@pytest.mark.parametrize("form", BEHIND.values(), ids=BEHIND)
def test_the_password_of_an_address_behind_an_escape(form: str) -> None:
    found = secrets(form.format("postgres://app:hunter2Zx9q@db.example.org:5432/app"))
    assert found == [("secret.connection_string", "hunter2Zx9q")]


@pytest.mark.parametrize("value", VALUES[:4])
def test_a_key_stands_beside_underscores(value: str) -> None:
    assert [text for _, text in secrets(f"old_{value}_x")] in ([value], [f"{value}_x"])


@pytest.mark.parametrize("value", VALUES)
def test_letters_before_a_key_are_no_escape(value: str) -> None:
    assert secrets(f"n{value}") == []


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("456-78-9012", id="ssn"),
        pytest.param("5425 2334 3010 9903", id="card"),
        pytest.param("5425233430109903", id="card-compact"),
        pytest.param("DE89370400440532013000", id="iban"),
        pytest.param("+44 20 7946 0958", id="phone"),
    ],
)
@pytest.mark.parametrize("form", BEHIND.values(), ids=BEHIND)
def test_a_personal_datum_behind_an_escape_is_cut_out_and_no_more(form: str, value: str) -> None:
    text = form.format(value)
    found = [h for h in ANALYZER.analyze(text, Context()) if h.severity is not Severity.INFO]
    assert [text[hit.start : hit.end] for hit in found] == [value]


@pytest.mark.parametrize("name", ["anna", "nina"])
@pytest.mark.parametrize("form", BEHIND.values(), ids=BEHIND)
def test_an_address_of_mail_behind_an_escape(form: str, name: str) -> None:
    text = form.format(f"{name}@firma.de")
    hits = [hit for hit in ANALYZER.analyze(text, Context()) if hit.kind == "pii.email"]
    cut = "".join(text[: hit.start] + text[hit.end :] for hit in hits)
    assert len(hits) == 1
    assert "firma" not in cut
    assert ("\\" in form) <= (text[hits[0].start : hits[0].end] == f"{name}@firma.de")


def test_words_behind_an_escape_say_what_a_number_is() -> None:
    text = r"x\nNHS 943 476 5919\ny"
    found = ANALYZER.analyze(text, Context())
    assert [text[hit.start : hit.end] for hit in found] == ["943 476 5919"]


def test_a_json_text_stays_one_when_what_it_hides_is_cut_out() -> None:
    key = "AKIA" + "ZQ3DR7LKT5MN2VXB"
    for before in ("a\n", "a\t", "a\\", '"', "caf\u00e9 ", "\x1b[31m", "\\u0022", "n"[:0]):
        for ascii_only in (True, False):
            text = json.dumps({"out": f"{before}{key}\nb"}, ensure_ascii=ascii_only)
            hits = [h for h in ANALYZER.analyze(text, Context()) if h.value]
            assert hits
            hit = hits[0]
            cut = json.loads(f"{text[: hit.start]}[KEY]{text[hit.end :]}")
            assert key not in cut["out"]
