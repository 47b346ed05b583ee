from collections.abc import Sequence
from dataclasses import replace

import pytest

from llmtrace.analyzers.base import Context, Hit, Inspection, Skipped
from llmtrace.analyzers.ensemble import Ensemble, either, joined
from llmtrace.analyzers.meter import Meter
from llmtrace.domain.findings import Severity
from llmtrace.domain.parts import Role

HERE = Context()


def hit(kind: str, start: int, end: int, confidence: float, *, value: bool = False) -> Hit:
    return Hit(
        kind=kind,
        severity=Severity.HIGH,
        confidence=confidence,
        start=start,
        end=end,
        detector=f"{kind}.x",
        value=value,
    )


class Says:
    """Says what it was told to, as patterns or as a model."""

    name = "says"
    version = "1"

    def __init__(self, *hits: Hit, attack: float = 0.0, skipped: tuple[Skipped, ...] = ()) -> None:
        self.made = Inspection(hits, skipped, attack)
        self.asked = 0
        self.meter = Meter()

    def wants(self, text: str, context: Context) -> bool:
        return bool(text) and context.role is Role.USER

    def inspect(self, text: str, context: Context) -> Inspection:
        self.asked += 1
        return self.made

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        return self.inspect(text, context).hits

    def undecided(self, text: str) -> int:
        return len(text) - 3


def test_agreement_is_one_hit_of_the_patterns_kind_that_is_surer() -> None:
    patterns, model = hit("jailbreak", 5, 9, 0.8), hit("prompt_injection", 0, 20, 0.7)
    (both,) = joined([patterns], [model])
    assert (both.kind, both.start, both.end) == ("jailbreak", 5, 9)
    assert both.confidence == pytest.approx(0.94)
    assert both.detector == "jailbreak.x+prompt_injection.x"


def medium(detector: str) -> Hit:
    return replace(hit("prompt_extraction", 5, 9, 0.5), severity=Severity.MEDIUM, detector=detector)


def test_agreement_is_as_severe_and_of_the_kind_as_the_worst_of_them_says() -> None:
    model = hit("prompt_injection", 0, 20, 0.9)
    (both,) = joined([medium("extraction.a")], [model])
    assert (both.kind, both.severity) == ("prompt_injection", Severity.HIGH)
    assert (both.start, both.end) == (5, 9)
    assert both.confidence == pytest.approx(0.95)


def test_a_mild_voice_takes_nothing_from_a_severe_one() -> None:
    rule, model = hit("jailbreak", 5, 9, 0.8), medium("other.injection")
    (both,) = joined([rule], [model])
    assert (both.kind, both.severity) == ("jailbreak", Severity.HIGH)


@pytest.mark.parametrize("view", ["", "~leet"])
def test_where_words_are_spoken_about_a_model_makes_nothing_more_severe(view: str) -> None:
    quoted = replace(medium(f"override.mention{view}"), start=1, end=4)
    told = joined([quoted, medium("extraction.a")], [hit("prompt_injection", 0, 20, 0.9)])
    assert [one.severity for one in told] == [Severity.MEDIUM] * 2
    assert [one.confidence for one in told] == pytest.approx([0.95, 0.95])


def test_what_one_sees_alone_stays_as_it_is() -> None:
    alone = [hit("jailbreak", 0, 5, 0.8), hit("prompt_injection", 9, 20, 0.7)]
    assert joined(alone[:1], alone[1:]) == alone


def test_a_secret_beside_an_attack_is_no_surer_for_it() -> None:
    secret = hit("secret.token", 5, 9, 0.8, value=True)
    assert joined([secret], [hit("prompt_injection", 0, 20, 0.7)])[1] == secret


def test_a_name_within_what_a_pattern_has_told_is_not_told_again() -> None:
    mail = hit("pii.email", 0, 20, 0.9, value=True)
    assert joined([mail], [hit("pii.person", 0, 5, 0.9, value=True)]) == [mail]


def test_models_that_name_the_same_person_are_surer_and_leave_nothing_of_the_name() -> None:
    one = hit("pii.person", 5, 10, 0.8, value=True)
    other = hit("pii.person", 5, 19, 0.9, value=True)
    (both,) = joined([one], [other])
    assert (both.start, both.end) == (5, 19)
    assert both.confidence == pytest.approx(0.98)
    (whole,) = joined([one, hit("pii.person", 11, 19, 0.5, value=True)], [other])
    assert (whole.start, whole.end) == (5, 19)


def test_models_make_each_other_surer_by_the_same_rule() -> None:
    models = [Says(hit("prompt_injection", 0, 9, 0.5), attack=0.5) for _ in range(3)]
    made = Ensemble(Says(), *models).inspect("text", HERE)
    assert made.attack == 0.875
    assert [one.confidence for one in made.hits] == [0.875]


def test_each_model_is_asked_for_what_it_wants_alone() -> None:
    class Nothing(Says):
        def wants(self, text: str, context: Context) -> bool:
            return False

    idle, asked = Nothing(attack=0.9), Says(attack=0.3)
    ensemble = Ensemble(Says(), idle, asked)
    assert ensemble.inspect("text", HERE).attack == pytest.approx(0.3)
    assert ensemble.slow("text", HERE)
    assert (idle.asked, asked.asked) == (0, 1)


def test_the_model_is_not_asked_about_what_it_does_not_want() -> None:
    model = Says(attack=0.9)
    ensemble = Ensemble(Says(), model)
    assert ensemble.inspect("text", Context(Role.SYSTEM)).attack == 0
    assert not ensemble.slow("text", Context(Role.SYSTEM))
    assert model.asked == 0
    assert ensemble.inspect("text", HERE).attack == 0.9
    assert ensemble.slow("text", HERE)


def test_both_make_a_text_more_suspicious_and_both_gaps_are_told() -> None:
    patterns = Says(hit("jailbreak", 0, 2, 0.5), skipped=(Skipped("a", "timeout"),))
    model = Says(attack=0.5, skipped=(Skipped("model", "over_limit"),))
    made = Ensemble(patterns, model).inspect("text", HERE)
    assert made.attack == 0.75
    assert [one.detector for one in made.skipped] == ["a", "model"]


class Fails(Says):
    name = "fails"

    def inspect(self, text: str, context: Context) -> Inspection:
        raise KeyError(text)


@pytest.mark.parametrize("failing_first", [True, False])
def test_a_model_that_fails_takes_nothing_from_the_rules_and_the_others(
    failing_first: bool,
) -> None:
    mail, attack = hit("pii.email", 0, 4, 0.9, value=True), hit("prompt_injection", 6, 20, 0.7)
    fails, other = Fails(), Says(attack, attack=0.7)
    models = (fails, other) if failing_first else (other, fails)
    made = Ensemble(Says(mail), *models).inspect("mail, and an attack", HERE)
    assert list(made.hits) == [mail, attack]
    assert made.attack == pytest.approx(0.7)
    assert made.skipped == (Skipped("fails", "failed"),)
    assert (fails.meter.snapshot()["failed"], other.meter.snapshot()["failed"]) == (1, 0)
    assert fails.meter.snapshot()["failing"] == "KeyError"


def test_a_fault_is_logged_now_and_then_with_its_place_and_never_the_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ensemble = Ensemble(Says(), Fails())
    for _ in range(50):
        ensemble.inspect("my secret words", HERE)
    (line,) = caplog.messages
    assert line.startswith("model fails could not read a text: KeyError at inspect:")
    assert "secret" not in caplog.text


def test_a_growing_text_is_the_patterns_alone() -> None:
    assert Ensemble(Says(), Says()).undecided("longer") == 3


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0.3, 0), (0.5, 0.5), (1, 0.2)])
def test_two_are_at_least_as_sure_as_one_and_never_surer_than_sure(a: float, b: float) -> None:
    assert max(a, b) <= either(a, b) <= 1
