import pytest

from llmtrace.analyzers.kinds import kinds
from llmtrace.analyzers.model import hublabels
from llmtrace.analyzers.model.hublabels import UnknownLabels, kind_of, text_labels, token_labels


@pytest.mark.parametrize(
    ("labels", "attacks", "kind"),
    [
        (["SAFE", "INJECTION"], (1,), "prompt_injection"),
        (["INJECTION", "LEGIT"], (0,), "prompt_injection"),
        (["benign", "malicious"], (1,), "prompt_injection"),
        (["BENIGN", "INJECTION", "JAILBREAK"], (1, 2), "prompt_injection"),
        (["benign", "jailbreak"], (1,), "jailbreak"),
        (["LABEL_0", "LABEL_1"], (1,), "prompt_injection"),
    ],
    ids=["protectai", "the-other-way", "prompt-guard-2", "prompt-guard", "jailbreak", "numbers"],
)
def test_known_labels_of_texts_need_no_word(
    labels: list[str], attacks: tuple[int, ...], kind: str
) -> None:
    made = text_labels(labels, {})
    assert (made.attacks, made.kind) == (attacks, kind)


def test_what_is_said_comes_before_what_is_known() -> None:
    made = text_labels(["INJECTION", "other"], {"INJECTION": "none", "other": "jailbreak"})
    assert (made.attacks, made.kind) == ((1,), "jailbreak")


@pytest.mark.parametrize(
    ("labels", "said", "message"),
    [
        (["SAFE", "WEIRD"], {}, r"labels WEIRD mean is not known; say it: labels: \{WEIRD: prom"),
        (["LABEL_0", "LABEL_1", "LABEL_2"], {}, "LABEL_0, LABEL_1, LABEL_2 mean is not known"),
        (["SAFE", "CLEAN"], {}, "none is an attack"),
        (["INJECTION", "JAILBREAK"], {}, "each is an attack"),
        (["SAFE", "INJECTION"], {"INJECTION": "prompt"}, "'prompt' is no kind of finding"),
        (["SAFE", "INJECTION"], {"INJECTION": "pii.email"}, "pii.email is no attack"),
        (["SAFE", "INJECTION"], {"EVIL": "jailbreak"}, "the model has no 'EVIL', only SAFE"),
        ([f"C{n}" for n in range(40)], {}, "and 28 more mean"),
    ],
    ids=["unknown", "numbers", "no-attack", "all", "no-kind", "not-attack", "strange", "many"],
)
def test_labels_of_texts_that_say_nothing_are_asked_for(
    labels: list[str], said: dict[str, str], message: str
) -> None:
    with pytest.raises(UnknownLabels, match=message):
        text_labels(labels, said)


def test_tags_of_tokens_become_kinds() -> None:
    labels = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
    made = token_labels(labels, {})
    assert made.tags == ("O", "B-per", "I-per", "B-org", "I-org", "B-loc", "I-loc", "O", "O")
    assert made.entities == {
        "per": "pii.person",
        "org": "pii.organization",
        "loc": "pii.location",
    }


@pytest.mark.parametrize(
    ("label", "tag"),
    [("S-PER", "B-per"), ("U-PER", "B-per"), ("E-PER", "I-per"), ("L-PER", "I-per")],
)
def test_tags_of_other_schemes_are_read_as_bio(label: str, tag: str) -> None:
    assert token_labels(["O", label], {}).tags[1] == tag


def test_names_without_places_go_on() -> None:
    made = token_labels(["O", "person", "first name"], {})
    assert made.tags == ("O", "I-person", "I-first_name")


def test_each_name_can_go_on_though_no_label_says_so() -> None:
    assert token_labels(["O", "B-PER"], {}).tags == ("O", "B-per", "I-per")


def test_all_others_can_be_left_out_at_once() -> None:
    made = token_labels(["O", "B-PER", "B-X", "B-Y"], {"*": "none"})
    assert set(made.entities) == {"per"}


@pytest.mark.parametrize(
    ("labels", "said", "message"),
    [
        (["LABEL_0", "LABEL_1"], {}, r"LABEL_0, LABEL_1 mean is not known.*LABEL_0: pii.person"),
        (["O", "B-MISC"], {}, "none of the labels MISC is a name"),
        (["O", "B-PER"], {"PERSON": "pii.person"}, "the model has no 'PERSON', only PER"),
    ],
    ids=["numbers", "nothing", "strange"],
)
def test_labels_of_tokens_that_say_nothing_are_asked_for(
    labels: list[str], said: dict[str, str], message: str
) -> None:
    with pytest.raises(UnknownLabels, match=message):
        token_labels(labels, said)


@pytest.mark.parametrize("table", ["texts", "names"])
def test_the_tables_speak_of_kinds_that_exist(table: str) -> None:
    known = hublabels._known(table)
    assert {kind for kind in known.values() if kind != "none"} <= set(kinds())
    assert all(name == hublabels._plain(name) for name in known)


@pytest.mark.parametrize(
    ("label", "kind"),
    [("PER", "pii.person"), ("pii.iban", "pii.iban"), ("MISC", "none"), ("HERO", None)],
)
def test_a_label_or_a_kind_says_what_kind_of_name_it_is(label: str, kind: str | None) -> None:
    assert kind_of(label) == kind
