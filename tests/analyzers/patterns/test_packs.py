from pathlib import Path

import pytest

from llmtrace.analyzers.patterns.packs import (
    MAX_BYTES,
    BadPack,
    load_packs,
    read_pack,
    shipped_packs,
)
from llmtrace.analyzers.patterns.rules import Rule
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Role

HEAD = "family: mine\nversion: 2\nrules:\n"
GOOD = "id: a.b, kind: prompt_injection, confidence: 0.9, pattern: abc, examples: {match: [abc]}"


def read(rule: str, head: str = HEAD) -> Rule:
    return next(read_pack(f"{head}  - {{{rule}}}\n", "mine.yaml"))


def test_a_rule_takes_what_it_does_not_say_from_its_kind() -> None:
    rule = read(GOOD)
    assert rule.name == "mine.a.b"
    assert rule.severity is Severity.HIGH
    assert rule.roles == frozenset(Role)
    assert rule.version.startswith("2.")
    assert not rule.value


def test_a_rule_says_it_all() -> None:
    rule = read(
        "id: x, kind: pii.email, severity: info, confidence: 0.5, pattern: 'caf\u00e9', "
        "view: canonical, anchor: caf, confirm: 'caf\u00e9(?!s)', roles: [user], "
        "directions: [answer], context: [mail], context_required: true, context_confidence: 0.9, "
        "untrusted_confidence: 1, validator: luhn, tests_values: [cafe], value: true, hold: word, "
        "max_length: 9, examples: {match: [caf\u00e9], no_match: [x]}"
    )
    assert rule.pattern == "cafe"
    assert rule.confirm == "cafe(?!s)"
    assert rule.roles == {Role.USER}
    assert rule.validator is not None
    assert (rule.hold, rule.max_length) == ("word", 9)


def test_other_text_is_another_version() -> None:
    assert read(GOOD).version != read(GOOD.replace("abc", "abd")).version


def without(key: str) -> str:
    return ", ".join(part for part in GOOD.split(", ") if not part.startswith(f"{key}:"))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        pytest.param(
            f"{GOOD}, patern: x", "unknown key 'patern'; did you mean 'pattern'?", id="key"
        ),
        pytest.param(
            GOOD.replace("prompt_injection", "prompt_injektion"),
            "unknown kind 'prompt_injektion'; did you mean 'prompt_injection'?",
            id="kind",
        ),
        pytest.param(without("kind"), "kind is missing", id="no-kind"),
        pytest.param(without("pattern"), "pattern is missing", id="no-pattern"),
        pytest.param(without("examples"), "examples are missing", id="no-examples"),
        pytest.param(without("confidence"), "confidence is None", id="no-confidence"),
        pytest.param(GOOD.replace("0.9", "9"), "confidence is 9", id="confidence"),
        pytest.param(GOOD.replace("0.9", "true"), "confidence is True", id="confidence-flag"),
        pytest.param(
            GOOD.replace("pattern: abc", "pattern: '(a+)+\\1'"),
            "could run away",
            id="back-reference",
        ),
        pytest.param(
            GOOD.replace("pattern: abc", "pattern: 'a(?!b)'"), "could run away", id="lookahead"
        ),
        pytest.param(
            GOOD.replace("pattern: abc", "pattern: 5"), "pattern is no text", id="pattern-type"
        ),
        pytest.param(f"{GOOD}, anchor: '('", "anchor is not for RE2", id="anchor"),
        pytest.param(f"{GOOD}, confirm: '('", "confirm is no pattern", id="confirm"),
        pytest.param(f"{GOOD}, view: orignal", "did you mean 'original'?", id="view"),
        pytest.param(
            f"{GOOD}, roles: [usr]", "unknown roles 'usr'; did you mean 'user'?", id="role"
        ),
        pytest.param(f"{GOOD}, directions: [up]", "unknown directions 'up'", id="direction"),
        pytest.param(f"{GOOD}, roles: user", "roles is no list of texts", id="roles-type"),
        pytest.param(f"{GOOD}, validator: lun", "unknown validator 'lun'", id="validator"),
        pytest.param(f"{GOOD}, value: 1", "value is 1", id="flag"),
        pytest.param(
            f"{GOOD}, context_required: true", "context_required without context", id="context"
        ),
        pytest.param(f"{GOOD}, hold: tokens, max_length: 3", "did you mean 'token'?", id="hold"),
        pytest.param(f"{GOOD}, hold: token", "max_length is None", id="no-length"),
        pytest.param(f"{GOOD}, hold: token, max_length: 0", "max_length is 0", id="length"),
        pytest.param(f"{GOOD}, max_length: 5", "max_length without hold", id="length-without-hold"),
        pytest.param(f"{GOOD}, hold: block, max_length: 9", "begin and end", id="block"),
        pytest.param(
            f"{GOOD}, hold: word, max_length: 9, begin: a, end: b", "begin and end", id="begin"
        ),
        pytest.param(
            GOOD.replace("match: [abc]", "matches: [abc]"),
            "examples are missing",
            id="examples-key",
        ),
        pytest.param(
            GOOD.replace("match: [abc]", "match: [1]"), "examples.match is no list", id="example"
        ),
    ],
)
def test_what_is_wrong_with_a_rule_is_said(rule: str, said: str) -> None:
    with pytest.raises(BadPack) as raised:
        read(rule)
    assert str(raised.value).startswith("mine.yaml: rule 'a.b': ")
    assert said in str(raised.value)
    assert "; " in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a: [", "this is not YAML in line", id="yaml"),
        pytest.param("- a", "expected the keys family, version and rules", id="list"),
        pytest.param("family: a\nversion: 1\nrules: {}", "expected the keys", id="rules"),
        pytest.param("family: a\nrules: []", "family and version are missing", id="version"),
        pytest.param(f"{HEAD}  - {{kind: x}}", "rule number 1 has no id", id="id"),
        pytest.param(f"{HEAD}  - {{{GOOD}}}\n  - {{{GOOD}}}", "'a.b' stands twice", id="twice"),
        pytest.param("familie: a\nrules: []", "did you mean 'family'?", id="pack-key"),
        pytest.param("!!python/object:x {}", "this is not YAML", id="python-object"),
    ],
)
def test_what_is_wrong_with_a_pack_is_said(text: str, said: str) -> None:
    with pytest.raises(BadPack, match=r"^mine\.yaml: ") as raised:
        list(read_pack(text, "mine.yaml"))
    assert said in str(raised.value)


def test_two_packs_may_not_have_one_rule(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(f"{HEAD}  - {{{GOOD}}}\n")
    with pytest.raises(BadPack, match=r"b.yaml: rule 'mine.a.b' stands in .*a.yaml already"):
        load_packs([tmp_path / "a.yaml", tmp_path / "b.yaml"])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPack, match=r"none.yaml: cannot be read: No such file"):
        load_packs([tmp_path / "none.yaml"])
    (tmp_path / "latin.yaml").write_bytes(b"family: caf\xe9")
    with pytest.raises(BadPack, match="byte 11 is no UTF-8"):
        load_packs([tmp_path / "latin.yaml"])
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(BadPack, match="a pack has at most"):
        load_packs([tmp_path / "big.yaml"])


def test_examples_of_others_are_run_while_there_is_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text(f"{HEAD}  - {{{GOOD}}}\n")
    load_packs([tmp_path / "a.yaml"])
    monkeypatch.setattr("llmtrace.analyzers.patterns.packs.EXAMPLES_SECONDS", -1.0)
    with pytest.raises(BadPack, match=r"rule 'a.b': the examples of all rules take more than"):
        load_packs([tmp_path / "a.yaml"])
    wrong = GOOD.replace("match: [abc]", "match: [dog]")
    (tmp_path / "a.yaml").write_text(f"{HEAD}  - {{{wrong}}}\n")
    monkeypatch.undo()
    with pytest.raises(BadPack, match=r"a.yaml: rule 'a.b': examples.match\[0\] is not matched; "):
        load_packs([tmp_path / "a.yaml"])


def test_packs_of_others_are_compiled(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(f"{HEAD}  - {{{GOOD.replace('abc,', '(,', 1)}}}\n")
    with pytest.raises(BadPack, match="could run away"):
        load_packs([bad])


def test_patterns_taken_on_trust_are_not_compiled() -> None:
    text = f"{HEAD}  - {{{GOOD.replace('abc,', '(,', 1)}}}\n"
    assert next(read_pack(text, "mine.yaml", compile_each=False)).pattern == "("


def test_the_packs_of_the_package_load() -> None:
    packs = shipped_packs()
    assert load_packs(packs, compile_each=True) == load_packs(packs)
