"""People are told what was found and who decided; a notice is never itself a finding."""

import pytest

from llmtrace.analyzers.base import Context, Direction
from llmtrace.analyzers.kinds import kinds
from llmtrace.analyzers.patterns import PatternAnalyzer, load_packs, shipped_packs
from llmtrace.domain.parts import ORIGIN_OF, Role
from llmtrace.policy.notices import block_message, quarantine_notice


def test_a_notice_names_kind_and_rule_and_is_the_same_on_every_turn() -> None:
    notice = quarantine_notice("prompt_injection", "balanced.poisoned")
    assert notice == quarantine_notice("prompt_injection", "balanced.poisoned")
    assert "Instruction override (prompt_injection, policy rule balanced.poisoned)" in notice
    assert len(notice) < 200


def test_a_message_says_what_was_stopped_and_where_to_look() -> None:
    message = block_message("secret.token", "mine", what="request", trace_id="0192")
    assert message == (
        "LLMTrace blocked this request: Access token (secret.token, policy rule mine). "
        "See: llmtrace findings show 0192"
    )
    assert block_message("x", "mine", what="tool call").endswith("policy rule mine).")


@pytest.mark.slow
def test_no_detector_sees_anything_in_what_is_said() -> None:
    analyzer = PatternAnalyzer(load_packs(shipped_packs()))
    for kind in kinds():
        texts = (quarantine_notice(kind, "r"), block_message(kind, "r", what="answer"))
        for text in texts:
            for role in Role:
                context = Context(role, ORIGIN_OF[role], Direction.REQUEST)
                assert not analyzer.analyze(text, context)
